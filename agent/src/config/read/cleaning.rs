//! `[[node.publish.map]]` and `[node.publish.clean]`

use super::super::cleaning::{CodeList, DateForm, ItemRule, Rules, ValueOrigin};
use super::super::section::Section;
use super::super::{FORMULA_BYTES_MAX, Formula};

/// Settings of a publication that are read here.
pub(super) const SETTINGS: &[&str] = &["map", "clean"];

const ITEM: &[&str] = &[
    "item",
    "from",
    "constant",
    "compute",
    "half_width",
    "default",
    "dates",
    "codes",
    "codes_file",
    "unknown_codes",
    "pad",
];

/// All rules; what is wrong was reported.
pub(super) fn rules(publish: &Section<'_>) -> Rules {
    let clean = publish.section("clean");
    clean.only(&["trim", "half_width", "ignore"]);
    let items: Vec<ItemRule> = publish.sections("map").iter().filter_map(item).collect();
    for (at, each) in items.iter().enumerate() {
        if items[..at].iter().any(|earlier| earlier.item == each.item) {
            let hint = "one [[node.publish.map]] for each item; all steps stand in it";
            publish.report("map", format!("names the item {:?} twice", each.item), hint);
        }
    }
    Rules {
        trim: clean.flag("trim", true),
        half_width: clean.flag("half_width", false),
        ignore: clean.texts("ignore"),
        op: None,
        items,
    }
}

fn item(table: &Section<'_>) -> Option<ItemRule> {
    table.only(ITEM);
    let item = table.required("item", "machine name or label of an item of the catalogue entry");
    let origin = origin(table);
    let rule = ItemRule {
        half_width: table.has("half_width").then(|| table.flag("half_width", false)),
        default: table.text("default"),
        dates: dates(table),
        codes: codes(table),
        pad: table.has("pad").then(|| table.number("pad", 1..=64, 1) as u8),
        origin: origin?,
        item: item?,
    };
    Some(rule)
}

fn origin(table: &Section<'_>) -> Option<ValueOrigin> {
    let given: Vec<&str> =
        ["from", "constant", "compute"].into_iter().filter(|name| table.has(name)).collect();
    if given.len() > 1 {
        let problem = format!("stands beside {}", given[..given.len() - 1].join(" and "));
        table.report(given[given.len() - 1], problem, "a value has one origin; keep one of them");
        return None;
    }
    let Some(name) = given.first() else { return Some(ValueOrigin::Own) };
    let text = table.text(name)?;
    match *name {
        "from" => Some(ValueOrigin::Column(text.trim().to_owned())),
        "constant" => Some(ValueOrigin::Constant(text)),
        _ => match Formula::parse(&text) {
            Ok(formula) => Some(ValueOrigin::Computed(formula)),
            Err(error) => {
                let hint = format!(
                    "a CEL expression over the columns, at most {FORMULA_BYTES_MAX} bytes: \
                     \"family + given\", \"row['姓名']\""
                );
                table.report(name, format!("is {text:?}: {error}"), hint);
                None
            }
        },
    }
}

fn dates(table: &Section<'_>) -> Vec<DateForm> {
    let mut forms = Vec::new();
    for text in table.texts("dates") {
        match DateForm::parse(&text) {
            Ok(form) => forms.push(form),
            Err(problem) => table.report(
                "dates",
                format!("holds {text:?}: {problem}"),
                "such as \"%d.%m.%Y\" or \"%Y/%m/%d %H:%M:%S\"",
            ),
        }
    }
    forms
}

fn codes(table: &Section<'_>) -> Option<CodeList> {
    let words = [("refuse", false), ("keep", true)];
    let keep_unknown = table.choice("unknown_codes", &words, false);
    let name = match (table.has("codes"), table.has("codes_file")) {
        (false, false) if table.has("unknown_codes") => {
            table.report("unknown_codes", "stands without a code list", "add codes or codes_file");
            return None;
        }
        (false, false) => return None,
        (true, true) => {
            let hint = "keep the table or the file";
            table.report("codes_file", "stands beside codes", hint);
            return None;
        }
        (true, false) => "codes",
        (false, true) => "codes_file",
    };
    let pairs = if name == "codes" {
        Ok(table.pairs(name))
    } else {
        let path = table.path(name)?;
        CodeList::read_file(&path).map_err(|problem| format!("{}: {problem}", path.display()))
    };
    match pairs.and_then(|pairs| CodeList::new(pairs, keep_unknown)) {
        Ok(list) => Some(list),
        Err(problem) => {
            let hint = "a CSV file of two columns in UTF-8, value and code; each value once";
            table.report(name, problem, hint);
            None
        }
    }
}
