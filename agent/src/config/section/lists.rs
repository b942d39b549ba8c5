//! Settings of other shapes: logical values, lists of texts, pairs of texts.

use config::ValueKind;

use super::Section;

impl Section<'_> {
    /// Whether a key is there.
    pub(in crate::config) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A logical value, or the default.
    pub(in crate::config) fn flag(&self, name: &str, default: bool) -> bool {
        match self.value(name) {
            None => default,
            Some(ValueKind::Boolean(yes)) => *yes,
            Some(ValueKind::String(text)) if text == "true" => true,
            Some(ValueKind::String(text)) if text == "false" => false,
            Some(_) => {
                self.report(name, "is not a logical value", "true or false");
                default
            }
        }
    }

    /// A list of texts; a single text is a list of one.
    pub(in crate::config) fn texts(&self, name: &str) -> Vec<String> {
        let values = match self.value(name) {
            None => return Vec::new(),
            Some(ValueKind::String(text)) => return vec![text.clone()],
            Some(ValueKind::Array(values)) => values,
            Some(_) => {
                self.report(name, "is not a list of texts", "write [\"a\", \"b\"]");
                return Vec::new();
            }
        };
        let texts: Option<Vec<_>> = values.iter().map(|value| as_text(&value.kind)).collect();
        texts.unwrap_or_else(|| {
            self.report(name, "holds something that is no text", "write [\"a\", \"b\"]");
            Vec::new()
        })
    }

    /// A table of texts, in the order of its keys.
    pub(in crate::config) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        const HINT: &str = "write { \"value\" = \"code\", … }";
        let table = match self.value(name) {
            None => return Vec::new(),
            Some(ValueKind::Table(table)) => table,
            Some(_) => {
                self.report(name, "is not a table of texts", HINT);
                return Vec::new();
            }
        };
        let mut pairs = Vec::with_capacity(table.len());
        for (key, value) in table {
            match as_text(&value.kind) {
                Some(text) => pairs.push((key.clone(), text)),
                None => self.report(name, format!("has no text for {key:?}"), HINT),
            }
        }
        pairs.sort();
        pairs
    }
}

/// A text, or a number as it is written.
fn as_text(kind: &ValueKind) -> Option<String> {
    if let ValueKind::I64(number) = kind {
        return Some(number.to_string());
    }
    if let ValueKind::String(text) = kind { Some(text.clone()) } else { None }
}
