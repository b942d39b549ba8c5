use proptest::prelude::*;

use super::*;

fn item(data_type: DataType) -> Item {
    Item {
        id: FieldId(1),
        name: "x".to_owned(),
        label: "值".to_owned(),
        data_type,
        length: 0,
        required: false,
        key: false,
        semantic: None,
        sensitivity: 0,
    }
}

fn meaning(semantic: Semantic) -> Item {
    Item { semantic: Some(semantic), ..item(DataType::Text) }
}

fn canonical(item: &Item, raw: &str) -> Result<Option<String>, RejectReason> {
    let value = canonicalise(item, raw)?;
    Ok(value.map(|bytes| String::from_utf8(bytes.into_owned()).expect("text types only")))
}

fn assert_forms(item: &Item, forms: &[(&str, &str)]) {
    for (raw, expected) in forms {
        assert_eq!(canonical(item, raw), Ok(Some((*expected).to_owned())), "{raw}");
        assert_eq!(check(item, expected.as_bytes()), Ok(()), "{expected}");
        let again = canonicalise(item, expected).expect("valid").expect("present");
        assert!(matches!(again, Cow::Borrowed(_)), "{expected} is borrowed");
    }
}

fn assert_refused(item: &Item, reason: RejectReason, raws: &[&str]) {
    for raw in raws {
        assert_eq!(canonicalise(item, raw), Err(reason), "{raw}");
        assert!(check(item, raw.as_bytes()).is_err(), "{raw}");
    }
}

#[test]
fn empty_text_is_no_value() {
    for data_type in DataType::ALL {
        assert_eq!(canonicalise(&item(data_type), ""), Ok(None));
        assert_eq!(check(&item(data_type), b""), Err(RejectReason::Missing));
        assert_eq!(check_optional(&item(data_type), None), Ok(()));
    }
    assert_eq!(canonicalise(&item(DataType::Number), "  "), Ok(None));
    let required = Item { required: true, ..item(DataType::Text) };
    assert_eq!(check_optional(&required, None), Err(RejectReason::Missing));
    assert_eq!(check_optional(&required, Some(b"x")), Ok(()));
}

#[test]
fn text_stays_as_it_is() {
    assert_forms(
        &item(DataType::Text),
        &[(" 张三 ", " 张三 "), ("a\tb\r\n", "a\tb\r\n"), (" ", " ")],
    );
    assert_refused(
        &item(DataType::Memo),
        RejectReason::ControlCharacter,
        &["a\0b", "\u{1f}", "\u{1b}[2J"],
    );
    assert_eq!(check(&item(DataType::Text), b"\xff\xfe"), Err(RejectReason::Encoding));
    assert_eq!(
        check(&item(DataType::Text), "张".as_bytes().split_at(2).0),
        Err(RejectReason::Encoding)
    );
}

#[test]
fn text_length_counts_characters() {
    let short = Item { length: 3, ..item(DataType::Text) };
    assert_forms(&short, &[("欧阳修", "欧阳修"), ("abc", "abc")]);
    assert_refused(&short, RejectReason::Length, &["欧阳修文", "abcd"]);
}

#[test]
fn key_values_hold_no_control_character_and_have_a_bound() {
    let key = Item { key: true, required: true, ..item(DataType::Text) };
    assert_refused(&key, RejectReason::ControlCharacter, &["a\tb", "a\nb", "a\u{1f}b"]);
    assert_refused(&key, RejectReason::KeyTooLong, &[&"x".repeat(KEY_BYTES_MAX + 1)]);
    assert_refused(
        &item(DataType::Text),
        RejectReason::FieldTooLong,
        &[&"x".repeat(FIELD_BYTES_MAX + 1)],
    );
}

#[test]
fn decimals_have_one_form() {
    for data_type in [DataType::Number, DataType::Money] {
        assert_forms(
            &item(data_type),
            &[
                ("-12.5", "-12.5"),
                ("+5", "5"),
                ("0012.500", "12.5"),
                ("-0", "0"),
                ("-0.00", "0"),
                (".5", "0.5"),
                ("5.", "5"),
                (" 7 ", "7"),
                ("1e3", "1000"),
                ("1.25E+1", "12.5"),
                ("125e-4", "0.0125"),
                ("-1e-2", "-0.01"),
                ("0e5", "0"),
                ("123456789012345678901234567890.1", "123456789012345678901234567890.1"),
            ],
        );
        assert_refused(
            &item(data_type),
            RejectReason::Type,
            &[
                "x",
                "1,234",
                "--1",
                "+-1",
                "1.2.3",
                "-",
                ".",
                "e5",
                "1e",
                "1e999999999999",
                "1e400",
                "０",
                "NaN",
                "inf",
                "0x10",
                "1 2",
            ],
        );
    }
}

#[test]
fn numeric_length_counts_digits() {
    let four = Item { length: 4, ..item(DataType::Number) };
    assert_forms(&four, &[("-12.34", "-12.34"), ("0.1234", "0.1234"), ("0000012", "12")]);
    assert_refused(&four, RejectReason::Length, &["12345", "1.2345", "0.12345"]);
}

#[test]
fn integers_have_no_point() {
    assert_forms(
        &item(DataType::Integer),
        &[("42", "42"), ("-7.0", "-7"), ("+0", "0"), ("1e2", "100")],
    );
    assert_refused(&item(DataType::Integer), RejectReason::Type, &["1.5", "1e-1", "一"]);
}

#[test]
fn floating_point_numbers_have_their_shortest_form() {
    assert_forms(
        &item(DataType::Double),
        &[("0.1", "0.1"), ("1e2", "100"), ("-0", "0"), ("0.10000000000000001", "0.1")],
    );
    assert_forms(&item(DataType::Float), &[("0.1", "0.1"), ("16777217", "16777216")]);
    for data_type in [DataType::Double, DataType::Float] {
        assert_refused(&item(data_type), RejectReason::Type, &["inf", "-inf", "NaN", "1e999", "x"]);
    }
    assert_eq!(check(&item(DataType::Double), b"0.10000000000000001"), Err(RejectReason::Type));
}

#[test]
fn dates_have_one_form() {
    assert_forms(
        &item(DataType::Date),
        &[
            ("20200131", "20200131"),
            ("2020-01-31", "20200131"),
            ("2020/1/31", "20200131"),
            ("2020.1.3", "20200103"),
            ("2020年1月31日", "20200131"),
            ("2020-01-31 00:00:00", "20200131"),
            ("20000229", "20000229"),
        ],
    );
    assert_refused(
        &item(DataType::Date),
        RejectReason::Date,
        &["20200230", "19000229", "2020-13-01", "00000101"],
    );
    assert_refused(
        &item(DataType::Date),
        RejectReason::Type,
        &[
            "2020",
            "202001",
            "2020-01/31",
            "31-01-2020",
            "2020-01-31 08:00:00",
            "2020-01-31x",
            "2020年1月",
            "2020013",
        ],
    );
}

#[test]
fn times_have_one_form() {
    assert_forms(
        &item(DataType::DateTime),
        &[
            ("2020-01-31 08:05:09", "2020-01-31 08:05:09"),
            ("2020-01-31T08:05:09", "2020-01-31 08:05:09"),
            ("2020/1/31 8:05", "2020-01-31 08:05:00"),
            ("20200131080509", "2020-01-31 08:05:09"),
            ("2020-01-31", "2020-01-31 00:00:00"),
            ("2020-01-31 08:05:09.000", "2020-01-31 08:05:09"),
        ],
    );
    assert_refused(
        &item(DataType::DateTime),
        RejectReason::Date,
        &["2020-01-31 24:00:00", "2020-02-30 00:00:00", "2020-01-31 08:60:00"],
    );
    assert_refused(
        &item(DataType::DateTime),
        RejectReason::Type,
        &["2020-01-31 08:05:09.5", "2020-01-31 08:05:09Z", "2020-01-31 8", "08:05:09"],
    );
    assert_eq!(check(&item(DataType::DateTime), b"2020-01-31T08:05:09"), Err(RejectReason::Type));
}

#[test]
fn logical_values_are_one_or_zero() {
    assert_forms(
        &item(DataType::Logical),
        &[("1", "1"), ("TRUE", "1"), ("是", "1"), ("n", "0"), ("否", "0")],
    );
    assert_refused(&item(DataType::Logical), RejectReason::Type, &["2", "对", "10"]);
}

#[test]
fn identifiers_are_normalised_and_wrong_ones_are_refused() {
    assert_forms(
        &meaning(Semantic::CitizenId),
        &[
            ("11010519491231002x", "11010519491231002X"),
            (" 440524188001010014", "440524188001010014"),
        ],
    );
    assert_refused(
        &meaning(Semantic::CitizenId),
        RejectReason::CheckDigit,
        &["110105194912310021"],
    );
    assert_refused(&meaning(Semantic::CitizenId), RejectReason::Date, &["110105194902310026"]);
    assert_refused(&meaning(Semantic::CitizenId), RejectReason::Length, &["11010519491231002"]);
    assert_refused(&meaning(Semantic::CitizenId), RejectReason::Type, &["1101051949123100AX"]);
    assert_forms(&meaning(Semantic::CreditCode), &[("91350100m000100y43", "91350100M000100Y43")]);
    assert_refused(
        &meaning(Semantic::CreditCode),
        RejectReason::CheckDigit,
        &["91310115MA1H8R7C6D"],
    );
    assert_forms(&meaning(Semantic::OrganisationCode), &[("D2143569-X", "D2143569X")]);
    assert_refused(&meaning(Semantic::OrganisationCode), RejectReason::CheckDigit, &["D2143569-1"]);
    let licence = "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.";
    let good = format!("{licence}U");
    assert_forms(&meaning(Semantic::LicenceId), &[(&good, &good)]);
    assert_refused(
        &meaning(Semantic::LicenceId),
        RejectReason::CheckDigit,
        &[&format!("{licence}V")],
    );
}

#[test]
fn code_lists_never_reject() {
    assert_eq!(canonical(&meaning(Semantic::Ethnicity), "1"), Ok(Some("01".to_owned())));
    assert_forms(&meaning(Semantic::Ethnicity), &[("01", "01"), ("汉族", "汉族"), ("77", "77")]);
    assert_forms(&meaning(Semantic::Division), &[("211299", "211299"), ("铁岭", "铁岭")]);
    assert_forms(&meaning(Semantic::Sex), &[("男", "男"), ("1", "1")]);
}

#[test]
fn geometry_is_read_and_checked() {
    let geometry = item(DataType::Geometry);
    let value = canonicalise(&geometry, r#"{"type":"Point","coordinates":[123.8,42.3]}"#);
    let bytes = value.expect("valid").expect("present").into_owned();
    assert_eq!(check(&geometry, &bytes), Ok(()));
    assert_eq!(check(&geometry, &bytes[1..]), Err(RejectReason::Geometry));
    assert_refused(
        &geometry,
        RejectReason::Geometry,
        &["x", "{}", r#"{"type":"Point","coordinates":[4623112.5,423112.5]}"#],
    );
}

#[test]
fn a_key_is_checked_part_by_part() {
    let person = Item { key: true, required: true, ..meaning(Semantic::CitizenId) };
    let year = Item { id: FieldId(4), key: true, required: true, ..item(DataType::Integer) };
    let keys = [&person, &year];
    assert_eq!(check_key(&keys, b"11010519491231002X\x1f2020"), Ok(()));
    assert_eq!(
        check_key(&keys, b"110105194912310021\x1f2020"),
        Err((FieldId(1), RejectReason::CheckDigit))
    );
    assert_eq!(
        check_key(&keys, b"11010519491231002X\x1f"),
        Err((FieldId(4), RejectReason::Missing))
    );
    assert_eq!(check_key(&keys, b"11010519491231002X"), Err((FieldId(4), RejectReason::Missing)));
    assert_eq!(
        check_key(&keys, b"11010519491231002X\x1f1\x1f2"),
        Err((FieldId(1), RejectReason::ControlCharacter))
    );
    assert_eq!(
        check_key(&keys, &[b'1'; KEY_BYTES_MAX + 1]),
        Err((FieldId(1), RejectReason::KeyTooLong))
    );
    assert_eq!(check_key(&keys, b""), Err((FieldId(1), RejectReason::Missing)));
}

#[test]
fn reasons_keep_their_numbers_and_have_words() {
    for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(reason.code()), index + 1);
        assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
        assert!(!reason.to_string().is_empty() && !reason.zh().is_empty());
    }
    assert_eq!(RejectReason::from_code(0), None);
    assert_eq!(RejectReason::from_code(13), None);
}

const MEANINGS: [Option<Semantic>; 9] = [
    None,
    None,
    Some(Semantic::CitizenId),
    Some(Semantic::CreditCode),
    Some(Semantic::OrganisationCode),
    Some(Semantic::LicenceId),
    Some(Semantic::Division),
    Some(Semantic::Phone),
    Some(Semantic::Name),
];

prop_compose! {
    fn any_item()(
        data_type in prop::sample::select(&DataType::ALL[..]),
        semantic in prop::sample::select(&MEANINGS[..]),
        length in prop_oneof![Just(0u32), 1u32..12],
        key in any::<bool>(),
    ) -> Item {
        let text = data_type == DataType::Text;
        Item { length, key, semantic: semantic.filter(|_| text), ..item(data_type) }
    }
}

/// Texts near to what the types take, so that good and nearly good values both turn up.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,24}",
        " {0,2}[0-9A-Za-z]{0,3} {0,2}",
        r"[-+]?[0-9]{0,6}\.?[0-9]{0,6}([eE][-+]?[0-9]{1,3})?",
        r"(19|20)[0-9]{2}[-/.年]?[01]?[0-9][-/.月]?[0-3]?[0-9]日?( |T)?([0-2][0-9]:[0-5][0-9](:[0-5][0-9])?)?",
        "[0-9]{17}[0-9Xx]",
        "[0-9A-Y]{8}-?[0-9X]",
        r#"\{"type":"(Point|MultiPoint)","coordinates":\[\[?-?[0-9]{1,3},-?[0-9]{1,2}\]?\]\}"#,
    ]
}

proptest! {
    #[test]
    fn what_is_made_canonical_passes_the_check_and_stays(item in any_item(), raw in any_text()) {
        if let Ok(Some(value)) = canonicalise(&item, &raw) {
            prop_assert_eq!(check(&item, &value), Ok(()));
            if item.data_type != DataType::Geometry {
                let text = std::str::from_utf8(&value).expect("text types only");
                let again = canonicalise(&item, text);
                prop_assert!(matches!(again, Ok(Some(Cow::Borrowed(bytes))) if bytes == &*value));
            }
        }
    }

    #[test]
    fn what_passes_the_check_is_canonical(item in any_item(), raw in any_text()) {
        if item.data_type != DataType::Geometry && check(&item, raw.as_bytes()).is_ok() {
            prop_assert_eq!(canonicalise(&item, &raw), Ok(Some(Cow::Borrowed(raw.as_bytes()))));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(item in any_item(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = check(&item, &bytes);
        let _ = check_key(&[&item, &item], &bytes);
    }

    #[test]
    fn floating_point_numbers_come_back(bits in any::<u64>()) {
        let (double, float) = (f64::from_bits(bits), f32::from_bits(bits as u32));
        if double.is_finite() {
            let text = canonical(&item(DataType::Double), &format!("{double:e}")).expect("finite").expect("present");
            prop_assert_eq!(text.parse::<f64>(), Ok(double));
            prop_assert_eq!(check(&item(DataType::Double), text.as_bytes()), Ok(()));
        }
        if float.is_finite() {
            let text = canonical(&item(DataType::Float), &format!("{float:e}")).expect("finite").expect("present");
            prop_assert_eq!(text.parse::<f32>(), Ok(float));
            prop_assert_eq!(check(&item(DataType::Float), text.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn a_decimal_keeps_its_value(whole in -1_000_000i64..1_000_000, zeros in 0usize..4, exponent in -6i32..6) {
        let raw = format!("{}{whole}.{}e{exponent}", if whole >= 0 { "+" } else { "" }, "0".repeat(zeros));
        let text = canonical(&item(DataType::Number), &raw).expect("a number").expect("present");
        let (value, expected): (f64, f64) = (text.parse().expect("decimal"), raw.parse().expect("decimal"));
        prop_assert_eq!(value, expected);
    }
}
