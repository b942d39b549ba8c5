//! What must be right before an entry can be registered. All problems are listed at once, so that
//! a department corrects its sheet in one go.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Binding, CatalogueEntry, DataType, Item, SharingKind, ascending};
use crate::library;
use crate::limits::COLUMNS_MAX;
use crate::row::FieldId;

/// Longest name of an entry, provider or label, in characters.
const MAX_NAME_CHARS: usize = 256;

/// Longest machine name of an item, in bytes.
const MAX_ITEM_NAME_BYTES: usize = 64;

/// Longest summary, condition, mode or basis, in characters.
const MAX_PROSE_CHARS: usize = 4096;

/// Most related codes of an entry.
const MAX_RELATED: usize = 256;

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryProblem {
    /// Where: `name`, `items[3].name`, `binding.fields`.
    pub field: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for EntryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.field, self.expected, self.found)
    }
}

pub(super) fn problems(entry: &CatalogueEntry) -> Vec<EntryProblem> {
    let mut list = List(Vec::new());
    describe(entry, &mut list);
    sharing(entry, &mut list);
    items(&entry.items, &mut list);
    if let Some(binding) = &entry.binding {
        bound(entry, binding, &mut list);
    }
    list.0
}

pub(super) fn warnings(entry: &CatalogueEntry) -> Vec<EntryProblem> {
    let mut list = List(Vec::new());
    if !entry.code.is_national_shape() {
        list.add(
            "code",
            "class (1, 2 or 3), five or more digits, '/', sequence",
            entry.code.as_str(),
        );
    }
    if !entry.provider.has_known_authority() {
        list.add("provider", "a registering authority of GB 32100", entry.provider.as_str());
    }
    let mut labels = HashSet::new();
    for (index, item) in entry.items.iter().enumerate() {
        if !labels.insert(item.label.as_str()) {
            list.add(format!("items[{index}].label"), "a label that is used once", &item.label);
        }
    }
    list.0
}

struct List(Vec<EntryProblem>);

impl List {
    fn add(
        &mut self,
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) {
        self.0.push(EntryProblem {
            field: field.into(),
            expected: expected.into(),
            found: format!("{found:.80}"),
        });
    }

    fn name(&mut self, field: impl Into<String>, value: &str) {
        let chars = value.chars().count();
        if value.trim().is_empty() {
            self.add(field, "a name", "nothing");
        } else if chars > MAX_NAME_CHARS {
            self.add(field, format!("at most {MAX_NAME_CHARS} characters"), chars);
        } else if value.chars().any(char::is_control) {
            self.add(field, "a name without control characters", "a control character");
        }
    }

    fn prose(&mut self, field: &str, value: &str) {
        let chars = value.chars().count();
        if chars > MAX_PROSE_CHARS {
            self.add(field, format!("at most {MAX_PROSE_CHARS} characters"), chars);
        }
    }
}

fn describe(entry: &CatalogueEntry, list: &mut List) {
    list.name("name", &entry.name);
    list.name("provider_name", &entry.provider_name);
    list.prose("classification", &entry.classification);
    list.prose("summary", &entry.summary);
    list.prose("open.condition", &entry.open.condition);
    if entry.version == 0 {
        list.add("version", "1 or more", 0);
    }
    if entry.schema_version == 0 {
        list.add("schema_version", "1 or more", 0);
    }
    if entry.related.contains(&entry.code) {
        list.add("related", "other entries", "the entry itself");
    }
    if entry.related.len() > MAX_RELATED {
        list.add("related", format!("at most {MAX_RELATED} codes"), entry.related.len());
    }
}

/// Decree 809, art. 15: conditional sharing lists scope and purposes; a refusal cites the reason
/// and the law, regulation or State Council decision.
fn sharing(entry: &CatalogueEntry, list: &mut List) {
    let sharing = &entry.sharing;
    list.prose("sharing.condition", &sharing.condition);
    list.prose("sharing.mode", &sharing.mode);
    list.prose("sharing.basis", &sharing.basis);
    match sharing.kind {
        SharingKind::Unconditional => {}
        SharingKind::Conditional => {
            if sharing.condition.trim().is_empty() {
                list.add("sharing.condition", "the scope and purposes (有条件共享)", "nothing");
            }
        }
        SharingKind::Refused => {
            if sharing.condition.trim().is_empty() {
                list.add("sharing.condition", "the reason of the refusal (不予共享)", "nothing");
            }
            if sharing.basis.trim().is_empty() {
                list.add(
                    "sharing.basis",
                    "the law, regulation or State Council decision that the refusal rests on (不予共享)",
                    "nothing",
                );
            }
        }
    }
}

fn items(items: &[Item], list: &mut List) {
    if items.is_empty() {
        list.add("items", "at least one item", "none");
    }
    if items.len() > COLUMNS_MAX {
        list.add("items", format!("at most {COLUMNS_MAX} items"), items.len());
        return;
    }
    let mut ids = HashSet::new();
    let mut names = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let at = |part: &str| format!("items[{index}].{part}");
        if item.id == FieldId(0) {
            list.add(at("id"), "a number from 1", 0);
        } else if !ids.insert(item.id) {
            list.add(at("id"), "a number that is used once", item.id);
        }
        if !is_machine_name(&item.name) {
            let expected = "a letter or underscore, then letters, digits, underscores (at most 64)";
            list.add(at("name"), expected, &item.name);
        } else if !names.insert(item.name.as_str()) {
            list.add(at("name"), "a name that is used once", &item.name);
        }
        list.name(at("label"), &item.label);
        if let Some(semantic) = item.semantic
            && !semantic.allows(item.data_type)
        {
            list.add(
                at("data_type"),
                format!("a type that can hold {semantic:?}"),
                item.data_type.code(),
            );
        }
        if item.key && !item.required {
            list.add(at("required"), "true, since the item is part of the key", false);
        }
        if item.key && item.data_type == DataType::Geometry {
            list.add(at("key"), "false, since a geometry cannot be part of a key", true);
        }
    }
    if !items.is_empty() && !items.iter().any(|item| item.key) {
        list.add("items", "at least one key item", "none");
    }
}

fn is_machine_name(name: &str) -> bool {
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins_well
        && name.len() <= MAX_ITEM_NAME_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn bound(entry: &CatalogueEntry, binding: &Binding, list: &mut List) {
    let Some(library) = library::definition(binding.library) else {
        list.add("binding.library", "a library of the exchange", binding.library);
        return;
    };
    let mut used = HashSet::new();
    for (index, (from, to)) in binding.fields.iter().enumerate() {
        let at = format!("binding.fields[{index}]");
        let Some(item) = entry.item(*from) else {
            list.add(at, "an item of the entry", from);
            continue;
        };
        let Some(field) = library.item(*to) else {
            list.add(at, format!("a field of the library {}", library.code), to);
            continue;
        };
        if !used.insert(*to) {
            list.add(at, "a library field that is used once", &field.name);
        } else if !item.data_type.fits(field.data_type) {
            let expected = format!("a type that fits {} ({})", field.name, field.data_type.code());
            list.add(at, expected, item.data_type.code());
        } else if field.key && item.semantic != field.semantic {
            // Otherwise unchecked identifiers would become keys of the library.
            let expected = format!("the meaning {:?}, as the library's key", field.semantic);
            list.add(at, expected, format!("{:?}", item.semantic));
        }
    }
    let keys = ascending(&entry.items, |item| item.key);
    let key_fits =
        matches!(keys[..], [key] if binding.library_field(key.id) == Some(library.key().id));
    if !key_fits {
        list.add(
            "binding.fields",
            format!("the entry's only key item bound to the library's key {}", library.key().name),
            format!("{} key item(s)", keys.len()),
        );
    }
}
