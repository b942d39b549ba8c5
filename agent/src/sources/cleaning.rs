//! From the texts of a source's row to the texts of an entry's items, by the rules of the publication.

use std::borrow::Cow;
use std::collections::HashMap;

use hutong_schema::limits::FIELD_BYTES_MAX;
use hutong_schema::rules::RejectReason;

use super::Mapping;
use crate::config::{CodeList, DateForm, Formula, ItemRule, Rules, ValueOrigin};

/// What is done to the values of each item.
#[derive(Clone, Debug)]
pub(super) struct Cleaning {
    plans: Vec<Plan>,
    trim: bool,
}

/// What is done to the values of one item.
#[derive(Clone, Debug)]
struct Plan {
    origin: Origin,
    half_width: bool,
    default: Option<String>,
    dates: Vec<DateForm>,
    codes: Option<CodeList>,
    pad: Option<usize>,
    /// The column as the rule names it.
    column: Option<String>,
}

#[derive(Clone, Debug)]
enum Origin {
    Slot(usize),
    Constant(String),
    /// The expression, and the slots of its columns by name.
    Computed(Formula, HashMap<String, usize>),
}

/// Why a value cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: RejectReason,
    pub(super) note: String,
}

impl Cleaning {
    /// Rules for the items in the order of a row, `origins` the slot of each, `names` the slots by name.
    pub(super) fn new(
        rules: &Rules,
        ruled: &[Option<&ItemRule>],
        origins: Vec<usize>,
        names: &HashMap<String, usize>,
    ) -> Self {
        let plan = |(rule, slot): (&Option<&ItemRule>, usize)| {
            let Some(rule) = rule else { return Plan::plain(slot, rules.half_width) };
            let column = |name: &String| names.get(name).map(|slot| (name.clone(), *slot));
            let origin = match &rule.origin {
                ValueOrigin::Own | ValueOrigin::Column(_) => Origin::Slot(slot),
                ValueOrigin::Constant(text) => Origin::Constant(text.clone()),
                ValueOrigin::Computed(formula) => Origin::Computed(
                    formula.clone(),
                    formula.columns().iter().filter_map(column).collect(),
                ),
            };
            let column = if let ValueOrigin::Column(name) = &rule.origin {
                Some(name.clone())
            } else {
                None
            };
            Plan {
                origin,
                half_width: rule.half_width.unwrap_or(rules.half_width),
                default: rule.default.clone(),
                dates: rule.dates.clone(),
                codes: rule.codes.clone(),
                pad: rule.pad.map(usize::from),
                column,
            }
        };
        Self { plans: ruled.iter().zip(origins).map(plan).collect(), trim: rules.trim }
    }

    /// Whether rows cannot do without the column of this item's slot.
    pub(super) fn needs(&self, item: usize) -> bool {
        let serves = |plan: &Plan| {
            plan.default.is_none() && matches!(&plan.origin, Origin::Slot(slot) if *slot == item)
        };
        self.plans.get(item).is_none_or(serves)
    }

    /// The column of an item as its rule names it.
    pub(super) fn column_named(&self, item: usize) -> Option<&str> {
        self.plans.get(item)?.column.as_deref()
    }

    /// The text of an item. `slot` gives the texts of the row.
    pub(super) fn value<'t>(
        &'t self,
        item: usize,
        slot: &(impl Fn(usize) -> &'t str + Send + Sync),
    ) -> Result<Cow<'t, str>, Fault> {
        let plan = &self.plans[item];
        let text = match &plan.origin {
            Origin::Slot(at) => Cow::Borrowed(slot(*at)),
            Origin::Constant(text) => Cow::Borrowed(text.as_str()),
            Origin::Computed(formula, slots) => Cow::Owned(computed(formula, slots, slot)?),
        };
        plan.apply(if self.trim { trimmed(text) } else { text })
    }
}

fn computed<'t>(
    formula: &Formula,
    slots: &HashMap<String, usize>,
    slot: &(impl Fn(usize) -> &'t str + Send + Sync),
) -> Result<String, Fault> {
    let too_long = slots.values().any(|at| slot(*at).len() > FIELD_BYTES_MAX);
    if too_long {
        let note = format!("a column of the expression is over {FIELD_BYTES_MAX} bytes");
        return Err(Fault { reason: RejectReason::FieldTooLong, note });
    }
    let column = |name: &str| slots.get(name).map(|at| slot(*at));
    formula.evaluate(column).map_err(|error| Fault {
        reason: RejectReason::Type,
        note: format!("计算失败 {}: {error}", formula.text()),
    })
}

impl Plan {
    fn plain(slot: usize, half_width: bool) -> Self {
        Self {
            origin: Origin::Slot(slot),
            half_width,
            default: None,
            dates: Vec::new(),
            codes: None,
            pad: None,
            column: None,
        }
    }

    fn apply<'t>(&'t self, text: Cow<'t, str>) -> Result<Cow<'t, str>, Fault> {
        let mut text = if self.half_width { half_width(text) } else { text };
        if text.is_empty() {
            match &self.default {
                Some(default) => text = Cow::Borrowed(default.as_str()),
                None => return Ok(text),
            }
        }
        if !self.dates.is_empty() {
            text = Cow::Owned(self.date(&text)?);
        }
        if let Some(codes) = &self.codes {
            match codes.get(&text) {
                Some(code) => text = Cow::Borrowed(code),
                None if codes.keep_unknown => {}
                None => {
                    let note =
                        format!("代码表中没有 {0} ({0} is not in the code list)", short(&text));
                    return Err(Fault { reason: RejectReason::Type, note });
                }
            }
        }
        if let Some(width) = self.pad {
            let missing = width.saturating_sub(text.chars().count());
            if missing > 0 {
                text = Cow::Owned("0".repeat(missing) + &text);
            }
        }
        Ok(text)
    }

    fn date(&self, text: &str) -> Result<String, Fault> {
        let mut exists = true;
        for form in &self.dates {
            match form.read(text) {
                Some(Ok(date)) => return Ok(date),
                Some(Err(_)) => exists = false,
                None => {}
            }
        }
        let forms: Vec<_> = self.dates.iter().map(DateForm::text).collect();
        let (zh, en) = if exists {
            ("日期格式不符", "has none of the forms")
        } else {
            ("日期不存在", "does not exist in the forms")
        };
        let note = format!("{zh}: {} {en} {}", short(text), forms.join(", "));
        Err(Fault { reason: RejectReason::Date, note })
    }
}

/// A value as it is shown in a note.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Without blanks around it, full-width ones as well.
pub(super) fn trim(text: &str) -> &str {
    // Most values begin and end with a sign of ASCII that is no blank.
    let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = text.as_bytes();
    if plain(bytes.first()) && plain(bytes.last()) { text } else { text.trim() }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(trim(text)),
        Cow::Owned(text) if trim(&text).len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(trim(&text).to_owned()),
    }
}

/// Full-width letters, digits, signs and the ideographic blank become ASCII.
fn half_width(text: Cow<'_, str>) -> Cow<'_, str> {
    let narrow = |c: char| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{3000}' => ' ',
        other => other,
    };
    if text.chars().any(|c| narrow(c) != c) {
        Cow::Owned(text.chars().map(narrow).collect())
    } else {
        text
    }
}

/// The texts of a row, collected before items are made of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    text: String,
    ends: Vec<(usize, Taken)>,
}

/// Whether a slot gave a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Text,
    /// Not valid in the encoding.
    NoText,
    /// The source could not give it.
    Refused(super::Refusal),
}

impl Texts {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push((self.text.len(), Taken::Text));
    }

    pub(super) fn push_none(&mut self, taken: Taken) {
        self.ends.push((self.text.len(), taken));
    }

    pub(super) fn taken(&self, slot: usize) -> Taken {
        self.ends.get(slot).map_or(Taken::NoText, |(_, taken)| *taken)
    }

    pub(super) fn get(&self, slot: usize) -> &str {
        let start = if slot == 0 { 0 } else { self.ends.get(slot - 1).map_or(0, |(end, _)| *end) };
        let end = self.ends.get(slot).map_or(start, |(end, _)| *end);
        self.text.get(start..end).unwrap_or_default()
    }
}

impl Cleaning {
    /// The first slot that an item is made of and that gave no text.
    pub(super) fn lacking(&self, item: usize, texts: &Texts) -> Option<Taken> {
        let lacks = |slot: usize| Some(texts.taken(slot)).filter(|taken| *taken != Taken::Text);
        match &self.plans[item].origin {
            Origin::Slot(slot) => lacks(*slot),
            Origin::Constant(_) => None,
            Origin::Computed(_, slots) => slots.values().find_map(|slot| lacks(*slot)),
        }
    }
}

/// What is wrong with the rules of a publication for an entry; `None` if they fit.
pub fn fault_of_rules(
    entry: &hutong_schema::catalogue::CatalogueEntry,
    rules: &Rules,
) -> Option<String> {
    Mapping::new(entry, rules).fault()
}

#[cfg(test)]
mod tests;
