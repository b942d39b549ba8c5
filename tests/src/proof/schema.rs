//! The inventory read against the catalogue: what each row's fields are, and which grants it is
//! under.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, bail};
use hutong_schema::catalogue::{CatalogueEntry, Item};
use hutong_schema::digest::{KeyHash, Leaf, key_hash, leaf_of};
use hutong_schema::grant::{AsOf, CompiledFilter, RowFilter, Target};
use hutong_schema::ids::ResourceCode;
use hutong_schema::library::{LibraryId, definition};
use hutong_schema::row::{FieldId, KEY_SEPARATOR, RowBuf, RowRef};

use super::inventory::{GrantRecord, Inventory};

/// Number of a subject: classes first, then grants.
pub(super) type SubjectNo = usize;

/// Everything that rows are counted under.
pub(super) struct Subjects {
    pub(super) classes: Vec<String>,
    pub(super) grants: Vec<GrantSchema>,
    pub(super) resources: Vec<ResourceSchema>,
}

/// A resource's items, class and grants.
pub(super) struct ResourceSchema {
    pub(super) entry: CatalogueEntry,
    pub(super) class: usize,
    /// Alone in its class: the digest is the resource's own, as the hub shows it.
    pub(super) alone: bool,
    pub(super) grants: Vec<usize>,
    /// Its items have the numbers of the library's fields that they are bound to.
    same_fields: bool,
}

/// A grant's filter and fields.
pub(super) struct GrantSchema {
    pub(super) record: GrantRecord,
    /// Items of the target, key included.
    pub(super) items: Vec<Item>,
    fields: Vec<FieldId>,
    filter: CompiledFilter,
    of_library: bool,
}

/// Takes the leaves that rows make.
pub(super) trait Take {
    /// Something that is no row, in words.
    fn unreadable(&mut self, what: String);

    /// A leaf of a subject. `key` says where: within a class of several resources, it begins with
    /// the resource's code.
    fn take(&mut self, subject: SubjectNo, key: &[u8], hash: KeyHash, leaf: Leaf);
}

/// Memory reused from row to row.
#[derive(Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    key: Vec<u8>,
    mapped: RowBuf,
}

impl Subjects {
    pub(super) fn of(inventory: &Inventory) -> Result<Self> {
        let entries = entries(inventory)?;
        let mut classes: Vec<String> = Vec::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut resources = Vec::with_capacity(inventory.resources.len());
        for record in &inventory.resources {
            let entry = entries.get(&record.code);
            let entry = entry.with_context(|| format!("{} is in no catalogue", record.code))?;
            let class = match classes.iter().position(|class| *class == record.class) {
                Some(class) => class,
                None => {
                    classes.push(record.class.clone());
                    sizes.push(0);
                    classes.len() - 1
                }
            };
            sizes[class] += 1;
            let entry = entry.clone();
            let same_fields = entry.binding.as_ref().is_some_and(|binding| {
                entry.items.iter().all(|item| binding.library_field(item.id) == Some(item.id))
            });
            let grants = Vec::new();
            resources.push(ResourceSchema { entry, class, alone: false, grants, same_fields });
        }
        for resource in &mut resources {
            resource.alone = sizes[resource.class] == 1;
        }
        let mut grants = Vec::with_capacity(inventory.grants.len());
        for record in &inventory.grants {
            grants.push(grant(record, grants.len(), &mut resources)?);
        }
        Ok(Self { classes, grants, resources })
    }

    pub(super) fn count(&self) -> usize {
        self.classes.len() + self.grants.len()
    }

    pub(super) fn grant_subject(&self, grant: usize) -> SubjectNo {
        self.classes.len() + grant
    }

    /// A subject in words.
    pub(super) fn name(&self, subject: SubjectNo) -> String {
        match subject.checked_sub(self.classes.len()) {
            None => self.classes[subject].clone(),
            Some(grant) => self.grants[grant].name(),
        }
    }

    /// Counts a row of a resource under its class.
    pub(super) fn class_row(
        &self,
        resource: &ResourceSchema,
        key: &[u8],
        hash: KeyHash,
        row: RowRef<'_>,
        scratch: &mut Scratch,
        to: &mut impl Take,
    ) {
        let leaf = leaf_of(key, row.iter(), &mut scratch.bytes);
        if resource.alone {
            return to.take(resource.class, key, hash, leaf);
        }
        scratch.key.clear();
        scratch.key.extend_from_slice(resource.entry.code.as_str().as_bytes());
        scratch.key.push(KEY_SEPARATOR);
        scratch.key.extend_from_slice(key);
        // Rows of two resources may be equal: the leaf names its resource as well.
        let leaf = leaf_of(&scratch.key, [(FieldId(0), &leaf[..])].into_iter(), &mut scratch.bytes);
        to.take(resource.class, &scratch.key, key_hash(&scratch.key), leaf);
    }

    /// Counts a source's row under the grants that cover it.
    pub(super) fn granted_rows(
        &self,
        resource: &ResourceSchema,
        as_of: AsOf,
        (key, hash): (&[u8], KeyHash),
        row: RowRef<'_>,
        scratch: &mut Scratch,
        to: &mut impl Take,
    ) {
        for grant in &resource.grants {
            let schema = &self.grants[*grant];
            let row = resource.mapped(row, schema, &mut scratch.mapped);
            self.granted_row(*grant, as_of, (key, hash), row, &mut scratch.bytes, to);
        }
    }

    /// Counts a row of a grant's target, if the grant covers it.
    pub(super) fn granted_row(
        &self,
        grant: usize,
        as_of: AsOf,
        (key, hash): (&[u8], KeyHash),
        row: RowRef<'_>,
        bytes: &mut Vec<u8>,
        to: &mut impl Take,
    ) {
        let schema = &self.grants[grant];
        if schema.filter.matches(key, row, as_of) {
            let leaf = schema.leaf(key, row, bytes);
            to.take(self.grant_subject(grant), key, hash, leaf);
        }
    }
}

impl ResourceSchema {
    /// A row in the fields of a grant's target.
    fn mapped<'a>(&self, row: RowRef<'a>, to: &GrantSchema, out: &'a mut RowBuf) -> RowRef<'a> {
        let binding = match &self.entry.binding {
            Some(binding) if to.of_library && !self.same_fields => binding,
            Some(_) | None => return row,
        };
        out.clear();
        let mut fields: Vec<_> = row
            .iter()
            .filter_map(|(item, value)| Some((binding.library_field(item)?, value)))
            .collect();
        fields.sort_by_key(|(field, _)| *field);
        for (field, value) in fields {
            out.push(field, value);
        }
        out.as_ref()
    }
}

impl GrantSchema {
    pub(super) fn name(&self) -> String {
        format!("grant {}: {} to {}", self.record.id, self.record.target, self.record.grantee)
    }

    /// The leaf of what is granted of a row.
    pub(super) fn leaf(&self, key: &[u8], row: RowRef<'_>, scratch: &mut Vec<u8>) -> Leaf {
        leaf_of(key, row.iter().filter(|(field, _)| self.fields.contains(field)), scratch)
    }

    /// Whether rows delivered have this item.
    pub(super) fn delivers(&self, item: &Item) -> bool {
        item.key || self.fields.contains(&item.id)
    }

    /// What it is a grant of.
    pub(super) fn target(&self) -> Result<Target> {
        Ok(match LibraryId::from_code(&self.record.target) {
            Some(library) => Target::Library(library),
            None => Target::Resource(self.record.target.parse()?),
        })
    }
}

fn entries(inventory: &Inventory) -> Result<HashMap<ResourceCode, CatalogueEntry>> {
    let mut entries = HashMap::new();
    for path in &inventory.catalogues {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let entry: CatalogueEntry = serde_json::from_str(line)
                .with_context(|| format!("an entry in {}", path.display()))?;
            entries.insert(entry.code.clone(), entry);
        }
    }
    Ok(entries)
}

fn grant(
    record: &GrantRecord,
    number: usize,
    resources: &mut [ResourceSchema],
) -> Result<GrantSchema> {
    let library = LibraryId::from_code(&record.target);
    let mut under: Vec<_> = resources
        .iter_mut()
        .filter(|resource| match library {
            Some(library) => {
                resource.entry.binding.as_ref().is_some_and(|binding| binding.library == library)
            }
            None => resource.entry.code.as_str() == record.target,
        })
        .collect();
    // Merging is what is to be checked; a second implementation of it would not be a proof.
    let [resource] = &mut under[..] else {
        bail!("{} resources stand behind {}; this proof takes one", under.len(), record.target);
    };
    resource.grants.push(number);
    let items = match library.and_then(definition) {
        Some(library) => library.items.clone(),
        None => resource.entry.items.clone(),
    };
    let mut keys: Vec<Item> = items.iter().filter(|item| item.key).cloned().collect();
    keys.sort_by_key(|item| item.id);
    let granted = |item: &&Item| {
        !item.key && (record.fields.is_empty() || record.fields.contains(&item.name))
    };
    let fields = items.iter().filter(granted).map(|item| item.id).collect();
    let filter = match record.filter.is_empty() {
        true => None,
        false => Some(RowFilter::parse(&record.filter, &items)?),
    };
    let key_fields: Vec<FieldId> = keys.iter().map(|item| item.id).collect();
    let filter = CompiledFilter::new(filter.as_ref(), &key_fields);
    Ok(GrantSchema { record: record.clone(), items, fields, filter, of_library: library.is_some() })
}
