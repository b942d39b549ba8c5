//! Which column or name of a source is which item, and what is done to its values.
//!
//! A source asks for the *slot* of each of its columns ([`Mapping::take_header`], or
//! [`Mapping::item_named`] where values come by name) and gives the text of a slot when a row is filled.
//! Without rules slots are the items of the entry; rules add slots for columns that only they name.

use std::collections::HashMap;

use hutong_schema::catalogue::{CatalogueEntry, DataType, Item};
use hutong_schema::row::FieldId;

use super::cleaning::Cleaning;
use crate::config::{ItemRule, Rules, ValueOrigin};

/// The items of an entry in the order of a row's values (key items, then columns), and how a source
/// names them.
#[derive(Clone, Debug)]
pub struct Mapping {
    items: Vec<Item>,
    keys: usize,
    /// Slots: one per item, then those of further columns.
    slots: usize,
    /// Names of columns → slot.
    names: HashMap<String, usize>,
    /// Names of slots beyond the items.
    further: Vec<String>,
    ignored: Vec<String>,
    /// Per column of a CSV its slot.
    columns: Vec<Option<usize>>,
    /// Per slot its column.
    column_of: Vec<Option<usize>>,
    unknown: Vec<String>,
    trims: bool,
    op: Option<usize>,
    cleaning: Option<Box<Cleaning>>,
    /// Names in the rules that are no items of the entry.
    strangers: Vec<String>,
}

/// Unknown names that are remembered to be told; a file of nothing else must not fill the memory.
const UNKNOWN_MAX: usize = 32;

impl Mapping {
    /// A mapping by name only, as JSON has it.
    pub fn by_name(entry: &CatalogueEntry) -> Self {
        Self::new(entry, &Rules::default())
    }

    /// A mapping by the rules of a publication.
    pub fn new(entry: &CatalogueEntry, rules: &Rules) -> Self {
        let keys = entry.keys();
        let items: Vec<Item> =
            keys.iter().chain(&entry.columns()).map(|item| (*item).clone()).collect();
        let mut mapping = Self {
            keys: keys.len(),
            slots: items.len(),
            items,
            names: HashMap::new(),
            further: Vec::new(),
            ignored: rules.ignore.clone(),
            columns: Vec::new(),
            column_of: Vec::new(),
            unknown: Vec::new(),
            trims: rules.trim,
            op: None,
            cleaning: None,
            strangers: Vec::new(),
        };
        let ruled: Vec<Option<&ItemRule>> = mapping.rules_of_items(rules);
        mapping.name_items(&ruled);
        let origins: Vec<usize> = (0..mapping.items.len())
            .map(|item| match ruled[item].map(|rule| &rule.origin) {
                Some(ValueOrigin::Column(name)) => mapping.slot_of(name, Some(item)),
                _ => item,
            })
            .collect();
        for rule in &rules.items {
            if let ValueOrigin::Computed(formula) = &rule.origin {
                for name in formula.columns() {
                    mapping.slot_of(name, None);
                }
            }
        }
        mapping.op = rules.op.as_ref().map(|name| mapping.slot_of(name, None));
        mapping.column_of = vec![None; mapping.slots];
        if rules.half_width || !rules.items.is_empty() {
            mapping.cleaning =
                Some(Box::new(Cleaning::new(rules, &ruled, origins, &mapping.names)));
        }
        mapping
    }

    /// The names in the rules that the entry does not have, in words; `None` if it has all.
    pub fn fault(&self) -> Option<String> {
        (!self.strangers.is_empty()).then(|| {
            let (known, strangers) = (self.items.iter(), self.strangers.join(", "));
            let known: Vec<_> = known.map(|item| item.name.as_str()).collect();
            format!(
                "[[node.publish.map]] names what is no item of the catalogue entry: {strangers}; its \
                 items are {}",
                known.join(", ")
            )
        })
    }

    /// The rule of each item.
    fn rules_of_items<'r>(&mut self, rules: &'r Rules) -> Vec<Option<&'r ItemRule>> {
        let mut ruled = vec![None; self.items.len()];
        for rule in &rules.items {
            let by_name = self.items.iter().position(|item| item.name == rule.item);
            let by_label = || self.items.iter().position(|item| item.label == rule.item);
            match by_name.or_else(by_label) {
                Some(item) => ruled[item] = Some(rule),
                None => self.strangers.push(rule.item.clone()),
            }
        }
        ruled
    }

    /// Machine names and labels name the items, unless rules say otherwise.
    fn name_items(&mut self, ruled: &[Option<&ItemRule>]) {
        let own = |item: &usize| {
            !matches!(ruled[*item].map(|rule| &rule.origin), Some(ValueOrigin::Column(_)))
        };
        let own: Vec<usize> = (0..self.items.len()).filter(own).collect();
        // A machine name wins over another item's label.
        for item in &own {
            self.names.insert(self.items[*item].name.clone(), *item);
        }
        for item in &own {
            self.names.entry(self.items[*item].label.clone()).or_insert(*item);
        }
        for name in &self.ignored {
            self.names.remove(name);
        }
    }

    /// The slot of a column that a rule names: the one it has, `own` if that is free, or a new one.
    fn slot_of(&mut self, name: &str, own: Option<usize>) -> usize {
        if let Some(slot) = self.names.get(name) {
            return *slot;
        }
        let slot = own.unwrap_or_else(|| {
            self.further.push(name.to_owned());
            self.slots += 1;
            self.slots - 1
        });
        self.names.insert(name.to_owned(), slot);
        slot
    }

    /// Takes the header of a table. Unknown columns are remembered and ignored.
    ///
    /// # Errors
    /// When required items are missing or two columns are of one item; says which.
    pub(super) fn take_header(
        &mut self,
        header: &[String],
        entry: &CatalogueEntry,
    ) -> Result<(), String> {
        for (column, name) in header.iter().enumerate() {
            let slot = self.names.get(name.trim()).copied();
            match slot {
                Some(slot) if self.column_of[slot].is_some() => {
                    return Err(format!(
                        "two columns of the header are the item {}",
                        self.named(slot)
                    ));
                }
                Some(slot) => self.column_of[slot] = Some(column),
                None => self.note_unknown(name.trim()),
            }
            self.columns.push(slot);
        }
        let missing: Vec<String> = (0..self.slots)
            .filter(|slot| self.column_of[*slot].is_none() && self.needs(*slot))
            .map(|slot| self.named(slot))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the header lacks required items of {}: {}; the columns found are: {}",
            entry.code,
            missing.join(", "),
            header.join(", ")
        ))
    }

    /// Key items, then columns, each in ascending id.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many of the items make the key.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// How many slots a source may be asked for: at least as many as there are items.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The item at fault when a slot has no text: 0 for a column that is no item.
    pub(super) fn field(&self, slot: usize) -> FieldId {
        self.items.get(slot).map_or(FieldId(0), |item| item.id)
    }

    /// Whether a slot takes an object's text: geometry.
    pub(super) fn takes_objects(&self, slot: usize) -> bool {
        self.items.get(slot).is_some_and(|item| item.data_type == DataType::Geometry)
    }

    /// The slot of a name.
    pub(super) fn item_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The column of a slot.
    pub(super) fn column_of(&self, slot: usize) -> Option<usize> {
        self.column_of[slot]
    }

    /// How many columns the header has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Whether blanks around values are dropped.
    pub(super) fn trims(&self) -> bool {
        self.trims
    }

    /// The slot that tells whether a row is to be removed.
    pub(super) fn op(&self) -> Option<usize> {
        self.op
    }

    /// What is done to values; nothing in most cases.
    pub(super) fn cleaning(&self) -> Option<&Cleaning> {
        self.cleaning.as_deref()
    }

    /// Names that are no item of the entry.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    pub(super) fn note_unknown(&mut self, name: &str) {
        if self.unknown.len() < UNKNOWN_MAX
            && !self.unknown.iter().chain(&self.ignored).any(|known| known == name)
        {
            self.unknown.push(name.to_owned());
        }
    }

    /// The name is wanted for something else than an item.
    pub(super) fn know(&mut self, name: &str) {
        self.unknown.retain(|unknown| unknown != name);
    }

    /// Whether rows cannot be made without this slot's column. Columns that only rules name are needed:
    /// a missing one is mostly a misspelt one.
    fn needs(&self, slot: usize) -> bool {
        let by_rule = self.cleaning().map(|cleaning| cleaning.needs(slot));
        match self.items.get(slot) {
            None => true,
            Some(item) => by_rule.unwrap_or(true) && (item.required || slot < self.keys),
        }
    }

    fn named(&self, slot: usize) -> String {
        let Some(item) = self.items.get(slot) else {
            return self.further[slot - self.items.len()].clone();
        };
        let column = self.cleaning().and_then(|cleaning| cleaning.column_named(slot));
        match column {
            Some(column) => format!("{} (from {column})", item.name),
            None if item.label.is_empty() => item.name.clone(),
            None => format!("{} ({})", item.name, item.label),
        }
    }
}
