//! What is done to the values of a source before they are checked: `[[node.publish.map]]` and
//! `[node.publish.clean]`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::{DateTime, date};
use jiff::fmt::strtime;

use super::Formula;

/// Most entries of a code list: a division of the country has fewer.
pub const CODES_MAX: usize = 100_000;
/// Largest file of a code list, bytes.
const CODE_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All rules of one publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `clean.trim`: blanks around values are dropped, full-width ones as well. On unless it is turned off.
    pub trim: bool,
    /// `clean.half_width`: full-width letters, digits and signs become ASCII in all values.
    pub half_width: bool,
    /// `clean.ignore`: columns that are passed over without a word.
    pub ignore: Vec<String>,
    /// The column that tells whether a row is one to be removed; only where a source speaks of changes.
    pub op: Option<String>,
    /// `[[map]]`
    pub items: Vec<ItemRule>,
}

/// `[[map]]`: one item and how its value is made. Steps follow in this order: where it comes from, trim,
/// half width, default, date form, code list, padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRule {
    /// Machine name or label of the item.
    pub item: String,
    /// Where the value comes from.
    pub origin: ValueOrigin,
    /// Overrides [`Rules::half_width`].
    pub half_width: Option<bool>,
    /// The value where there is none.
    pub default: Option<String>,
    /// Forms of date or time, one of which the value must have.
    pub dates: Vec<DateForm>,
    /// Value → code.
    pub codes: Option<CodeList>,
    /// Characters to which zeros are put before the value.
    pub pad: Option<u8>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The column of the item's machine name or label.
    Own,
    /// `from`: the column of this name.
    Column(String),
    /// `constant`: always this text.
    Constant(String),
    /// `compute`: what a CEL expression makes of the row.
    Computed(Formula),
}

/// A strptime-like form, such as `%d.%m.%Y %H:%M`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateForm(String);

/// Value → code.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeList {
    codes: Arc<BTreeMap<String, String>>,
    /// Whether values that are not in the list stay as they are; else their rows are refused.
    pub keep_unknown: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { trim: true, half_width: false, ignore: Vec::new(), op: None, items: Vec::new() }
    }
}

impl Rules {
    /// Recognises the rules again: a file is read once more when they have changed. 0 for the default.
    pub fn fingerprint(&self) -> u64 {
        if *self == Self::default() {
            return 0;
        }
        // Stable as long as the program is the same one; another one reads the file once more.
        let mut hasher = DefaultHasher::new();
        format!("{self:?}").hash(&mut hasher);
        hasher.finish().max(1)
    }
}

impl DateForm {
    /// Checks a form: it must name year, month and day.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(form: &str) -> Result<Self, String> {
        // Day and month differ, so that a form that confuses them is seen; so does the time.
        let sample: DateTime = date(2003, 11, 29).at(17, 41, 53, 0);
        let form = Self(form.to_owned());
        let written = strtime::format(&form.0, sample).map_err(|error| error.to_string())?;
        match form.read(&written) {
            Some(Ok(read)) if read.starts_with("2003-11-29") => Ok(form),
            _ => Err("does not name year, month and day".to_owned()),
        }
    }

    /// The date or time as ISO 8601 with a blank; `None` if the text has not this form, an error if it
    /// names a date that does not exist.
    pub fn read(&self, text: &str) -> Option<Result<String, NoSuchDate>> {
        let parsed = strtime::BrokenDownTime::parse(&self.0, text).ok()?;
        if parsed.hour().is_none() {
            let date = parsed.to_date();
            return Some(date.map(|date| date.to_string()).map_err(|_| NoSuchDate));
        }
        let time = parsed.to_datetime();
        Some(time.map(|time| time.strftime("%F %T").to_string()).map_err(|_| NoSuchDate))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The text has the form of a date, but there is no such day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchDate;

impl CodeList {
    /// A list of pairs; each value once.
    ///
    /// # Errors
    /// With the value that has two codes.
    pub fn new(
        pairs: impl IntoIterator<Item = (String, String)>,
        keep_unknown: bool,
    ) -> Result<Self, String> {
        let mut codes = BTreeMap::new();
        for (value, code) in pairs {
            let (value, code) = (value.trim().to_owned(), code.trim().to_owned());
            if codes.len() >= CODES_MAX {
                return Err(format!("has more than {CODES_MAX} values"));
            }
            if let Some(first) = codes.insert(value.clone(), code.clone())
                && first != code
            {
                return Err(format!("gives {value:?} two codes, {first:?} and {code:?}"));
            }
        }
        Ok(Self { codes: Arc::new(codes), keep_unknown })
    }

    /// Pairs from a CSV file of two columns in UTF-8, value and code; a first line `value,code` is passed
    /// over.
    ///
    /// # Errors
    /// With what is wrong and in which line.
    pub fn read_file(path: &Path) -> Result<Vec<(String, String)>, String> {
        let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > CODE_FILE_BYTES_MAX {
            return Err(format!("is {size} bytes large, {CODE_FILE_BYTES_MAX} are allowed"));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let mut pairs = Vec::new();
        for (record, line) in reader.records().zip(1..) {
            let record = record.map_err(|error| format!("line {line}: {error}"))?;
            if record.len() != 2 {
                return Err(format!(
                    "line {line} has {} column(s); write value,code in each",
                    record.len()
                ));
            }
            if line > 1 || (&record[0], &record[1]) != ("value", "code") {
                pairs.push((record[0].to_owned(), record[1].to_owned()));
            }
        }
        Ok(pairs)
    }

    /// The code of a value.
    pub fn get(&self, value: &str) -> Option<&str> {
        self.codes.get(value).map(String::as_str)
    }

    /// Values in the list.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether the list has no value.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }
}

impl std::fmt::Debug for CodeList {
    /// With its content in short: two lists that differ are shown differently.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.codes.hash(&mut hasher);
        write!(f, "CodeList({} values, {:x}, {})", self.len(), hasher.finish(), self.keep_unknown)
    }
}
