//! Which column or name of a file is which item.

use std::collections::HashMap;

use hutong_schema::catalogue::{CatalogueEntry, Item};

/// The items of an entry in the order of a row's values (key items, then columns), and how a file
/// names them.
#[derive(Clone, Debug)]
pub struct Mapping {
    items: Vec<Item>,
    keys: usize,
    /// Machine names and labels → item.
    names: HashMap<String, usize>,
    /// Per column of a CSV its item.
    columns: Vec<Option<usize>>,
    /// Per item its column.
    column_of: Vec<Option<usize>>,
    unknown: Vec<String>,
}

/// Unknown names that are remembered to be told; a file of nothing else must not fill the memory.
const UNKNOWN_MAX: usize = 32;

impl Mapping {
    /// A mapping by name only, as JSON has it.
    pub fn by_name(entry: &CatalogueEntry) -> Self {
        let keys = entry.keys();
        let items: Vec<Item> =
            keys.iter().chain(&entry.columns()).map(|item| (*item).clone()).collect();
        let mut names = HashMap::new();
        // A machine name wins over another item's label.
        for (index, item) in items.iter().enumerate() {
            names.insert(item.name.clone(), index);
        }
        for (index, item) in items.iter().enumerate() {
            names.entry(item.label.clone()).or_insert(index);
        }
        Self {
            keys: keys.len(),
            column_of: vec![None; items.len()],
            items,
            names,
            columns: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Takes the header of a CSV. Unknown columns are remembered and ignored.
    ///
    /// # Errors
    /// When required items are missing or two columns are of one item; says which.
    pub(super) fn take_header(
        &mut self,
        header: &[String],
        entry: &CatalogueEntry,
    ) -> Result<(), String> {
        for (column, name) in header.iter().enumerate() {
            let item = self.names.get(name.trim()).copied();
            match item {
                Some(item) if self.column_of[item].is_some() => {
                    return Err(format!(
                        "two columns of the header are the item {}",
                        self.named(item)
                    ));
                }
                Some(item) => self.column_of[item] = Some(column),
                None => self.note_unknown(name.trim()),
            }
            self.columns.push(item);
        }
        let missing: Vec<String> = (0..self.items.len())
            .filter(|item| self.column_of[*item].is_none())
            .filter(|item| self.items[*item].required || *item < self.keys)
            .map(|item| self.named(item))
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

    /// The item of a name.
    pub(super) fn item_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The column of an item.
    pub(super) fn column_of(&self, item: usize) -> Option<usize> {
        self.column_of[item]
    }

    /// How many columns the header has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Names that are no item of the entry.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    pub(super) fn note_unknown(&mut self, name: &str) {
        if self.unknown.len() < UNKNOWN_MAX && !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
    }

    /// The name is wanted for something else than an item.
    pub(super) fn know(&mut self, name: &str) {
        self.unknown.retain(|unknown| unknown != name);
    }

    fn named(&self, item: usize) -> String {
        let item = &self.items[item];
        if item.label.is_empty() {
            item.name.clone()
        } else {
            format!("{} ({})", item.name, item.label)
        }
    }
}
