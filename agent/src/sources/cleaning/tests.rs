use std::path::Path;

use crate::config::{Config, Rules, SourceForm, TextEncoding};
use crate::sources::{Next, Row, Rows, Source, SourceError, SourceOptions};
use crate::testing::entry;

/// The rules in the words of a configuration.
fn rules(text: &str) -> Rules {
    let whole = format!(
        "hub.address = \"a:1\"\n[[node]]\nname = \"n1\"\n[[node.publish]]\n\
         resource = \"300001/1\"\npath = \"a.csv\"\n{text}"
    );
    let config = Config::parse(&whole, Path::new("/")).unwrap();
    (*config.nodes[0].publish[0].rules).clone()
}

fn open(content: &str, form: SourceForm, rules: &Rules) -> Result<Source, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, content).unwrap();
    let options = SourceOptions {
        path: &path,
        form: &form,
        encoding: TextEncoding::Utf8,
        rules,
        from: None,
        whole_lines: false,
    };
    Source::open(options, &entry())
}

/// Rows as `key|values`, refused ones as `field: note`, removed ones as `-key`.
fn read(content: &str, form: SourceForm, rules: &Rules) -> Vec<String> {
    let mut source = open(content, form, rules).unwrap();
    let (mut row, mut seen) = (Row::default(), Vec::new());
    loop {
        let key = |row: &Row| String::from_utf8(row.key().to_vec()).unwrap();
        match source.next(&mut row).unwrap() {
            Next::End => return seen,
            Next::Row if row.is_removed() => seen.push(format!("-{}", key(&row))),
            Next::Row => {
                let text = |value: Option<&[u8]>| {
                    value.map_or("-".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap())
                };
                let values: Vec<_> = row.values().map(text).collect();
                seen.push(format!("{}|{}", key(&row), values.join("|")));
            }
            Next::Refused(refusal) => {
                seen.push(format!("{} {:?}: {}", refusal.field.0, refusal.reason, row.note()));
            }
        }
    }
}

fn csv(content: &str, text: &str) -> Vec<String> {
    read(content, SourceForm::CSV, &rules(text))
}

#[test]
fn blanks_are_dropped_unless_they_are_to_stay() {
    let wide = "id,name,day,amount\n1,a,\u{3000}2020-01-02 ,\u{3000}\n";
    assert_eq!(csv(wide, ""), ["1|a|20200102|-"]);
    let content = "id,name\n \u{3000}a1 ,\u{3000}示例 x\u{3000}\n";
    assert_eq!(csv(content, ""), ["a1|示例 x|-|-"]);
    assert_eq!(
        csv(content, "[node.publish.clean]\ntrim = false"),
        [" \u{3000}a1 |\u{3000}示例 x\u{3000}|-|-"]
    );
}

#[test]
fn columns_are_renamed_ignored_and_shared() {
    let text = r#"
        [node.publish.clean]
        ignore = ["序号"]
        [[node.publish.map]]
        item = "id"
        from = "BH"
        [[node.publish.map]]
        item = "名称"
        from = "BH"
    "#;
    let mut source = open("序号,BH,other\n1,x7,o\n", SourceForm::CSV, &rules(text)).unwrap();
    let mut row = Row::default();
    assert_eq!(source.next(&mut row).unwrap(), Next::Row);
    assert_eq!((row.key(), row.values().next().unwrap()), (&b"x7"[..], Some(&b"x7"[..])));
    assert_eq!(source.unknown_columns(), ["other"]);
    let said = open("编号,名称\n", SourceForm::CSV, &rules(text)).err().unwrap().to_string();
    assert!(said.contains("id (from BH)"), "{said}");
    let jsonl = "{\"BH\":\"x8\",\"id\":\"no\"}\n";
    assert_eq!(read(jsonl, SourceForm::Jsonl, &rules(text)), ["x8|x8|-|-"]);
}

#[test]
fn values_are_made_step_by_step() {
    let text = r#"
        [[node.publish.map]]
        item = "id"
        half_width = true
        pad = 6
        [[node.publish.map]]
        item = "name"
        default = "未知"
        codes = { "男" = "1", "女" = "2", "未知" = "0" }
        [[node.publish.map]]
        item = "day"
        dates = ["%d.%m.%Y", "%Y年%m月%d日 %H时"]
        [[node.publish.map]]
        item = "amount"
        constant = "7.50"
    "#;
    let content = "id,name,day\n\u{3000}１２,男,3.1.2020\n2,,2020年1月31日 00时\n3,女,31.02.2020\n\
                   4,女,2020-01-01\n5,其他,\n1234567,女,\n";
    let seen = csv(content, text);
    assert_eq!(seen[0], "000012|1|20200103|7.5");
    assert_eq!(seen[1], "000002|0|20200131|7.5");
    assert!(seen[2].starts_with("3 Date: 日期不存在: 31.02.2020 does not exist"), "{}", seen[2]);
    assert!(seen[3].starts_with("3 Date: 日期格式不符: 2020-01-01 has none"), "{}", seen[3]);
    assert!(seen[4].starts_with("2 Type: 代码表中没有 其他"), "{}", seen[4]);
    assert_eq!(seen[5], "1234567|2|-|7.5", "longer than the padding");
}

#[test]
fn expressions_see_the_columns_of_the_source_and_a_failing_one_costs_its_row() {
    let text = r#"
        [[node.publish.map]]
        item = "name"
        compute = "row['姓'] + row['名']"
        [[node.publish.map]]
        item = "amount"
        compute = "string(int(a) * int(b))"
    "#;
    let content =
        "id,姓,名,a,b\n1, 示 ,例,6 ,7\n2,示,例,6,x\n3,示,例,9223372036854775807,2\n4,示,例,2,3\n";
    let seen = csv(content, text);
    assert_eq!((seen[0].as_str(), seen[3].as_str()), ("1|示例|-|42", "4|示例|-|6"));
    for refused in &seen[1..3] {
        assert!(refused.starts_with("4 Type: 计算失败 string(int(a) * int(b))"), "{refused}");
    }
    let said = open("id,姓,a,b\n", SourceForm::CSV, &rules(text)).err().unwrap().to_string();
    assert!(said.contains("名"), "a column that only an expression names is missing: {said}");
    let jsonl = "{\"id\":\"5\",\"姓\":\"示\",\"a\":2,\"b\":3}\n";
    assert_eq!(read(jsonl, SourceForm::Jsonl, &rules(text)), ["5|示|-|6"]);
}

#[test]
fn a_short_row_and_a_wrong_character_are_refused_by_name_and_the_key_is_known() {
    let text = "[node.publish.clean]\nhalf_width = true\n";
    let mut source = open("id,name,day\n1,ａ\n", SourceForm::CSV, &rules(text)).unwrap();
    let mut row = Row::default();
    assert!(
        matches!(source.next(&mut row).unwrap(), Next::Refused(refusal) if refusal.field.0 == 3)
    );
    assert!(row.key_known());
}

#[test]
fn a_column_can_say_that_a_row_is_gone() {
    let rules = Rules { op: Some("操作".to_owned()), ..Rules::default() };
    let content = "操作,id,name\n新增,1,a\nDelete,2,\n,3,c\n删除,4,much too long a name\nsomething,5,e\nd,,\n";
    let seen = read(content, SourceForm::CSV, &rules);
    assert_eq!(seen[..4], ["1|a|-|-", "-2", "3|c|-|-", "-4"]);
    assert!(seen[4].starts_with("0 Type: 操作列"), "{}", seen[4]);
    assert_eq!(seen[5], "1 Missing: ");
}

#[test]
fn rules_for_items_that_the_entry_lacks_are_named() {
    let text = "[[node.publish.map]]\nitem = \"colour\"\nconstant = \"red\"\n";
    let said = open("id,name\n", SourceForm::CSV, &rules(text)).err().unwrap().to_string();
    assert!(said.contains("colour") && said.contains("id, name, day, amount"), "{said}");
}

#[test]
fn tabs_and_other_signs_separate_values_too() {
    let content = "编号\t名称\na\t\"x\ty\"\n";
    assert_eq!(read(content, SourceForm::TSV, &Rules::default()), ["a|x\ty|-|-"]);
    assert_eq!(
        read("id;name\na;\"x;y\"\n", SourceForm::Separated(b';'), &Rules::default()),
        ["a|x;y|-|-"]
    );
}
