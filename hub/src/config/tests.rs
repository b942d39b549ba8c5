//! Files, variables and mistakes.

use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    std::fs::write(&path, text).expect("written");
    let variables =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::from_sources(&path, variables)
}

fn mistakes(text: &str) -> Vec<String> {
    match load(text, &[]) {
        Err(ConfigError::Mistakes { mistakes, .. }) => {
            mistakes.into_iter().map(|m| m.key).collect()
        }
        other => panic!("expected mistakes, got {other:?}"),
    }
}

const LEAST: &str = "[hub]\nexchange = \"tieling\"\n";

/// Everything but the folder, in words.
fn described(config: Config) -> String {
    format!("{:?}", Config { data_dir: PathBuf::new(), ..config })
}

#[test]
fn the_sample_says_what_the_defaults_are() {
    let sample = load(&SAMPLE.replace("EXCHANGE", "tieling"), &[]).expect("the sample is valid");
    let least = load(LEAST, &[]).expect("the rest has defaults");
    assert_eq!(described(sample), described(least));
}

#[test]
fn all_mistakes_are_told_at_once_with_their_keys() {
    let text = "[hub]\nlisten = \"here\"\ngrace_seconds = \"long\"\n\
                [log]\npartitions = 0\nsettle = \"replicated\"\n[loog]\nx = 1\n\
                [disk]\nlow_percent = 1\n";
    let expected = [
        "hub.exchange",
        "hub.listen",
        "hub.grace_seconds",
        "log.partitions",
        "log.settle",
        "disk.full_percent",
        "loog.x",
    ];
    assert_eq!(mistakes(text), expected);
    let error = load(text, &[]).expect_err("mistakes").to_string();
    assert!(error.contains("0 is not within 1 to 1024"), "{error}");
}

#[test]
fn variables_go_above_the_file() {
    let variables = [
        ("HUTONG_HUB__LISTEN", "127.0.0.1:0"),
        ("HUTONG_LOG__PARTITIONS", "8"),
        ("HUTONG_DATA", "elsewhere"),
        ("OTHER__THING", "1"),
    ];
    let config = load(LEAST, &variables).expect("valid");
    assert_eq!((config.listen.port(), config.partitions), (0, 8));
}

#[test]
fn a_relative_data_folder_lies_beside_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    std::fs::write(&path, format!("{LEAST}data_dir = \"state\"\n")).expect("written");
    let config = Config::from_sources(&path, HashMap::new()).expect("valid");
    assert_eq!(config.data_dir, folder.path().join("state"));
    let error =
        Config::from_sources(&folder.path().join("none.toml"), HashMap::new()).expect_err("absent");
    assert!(matches!(error, ConfigError::File { .. }), "{error}");
}

#[test]
fn days_begin_in_the_time_zone_of_the_exchange() {
    let config = load(LEAST, &[]).expect("valid");
    let evening: Timestamp = "2026-11-21T16:30:00Z".parse().expect("a time");
    assert_eq!(config.today(evening), jiff::civil::date(2026, 11, 22));
}

/// The sample with each of its lines cut off in the middle, doubled, or left out: mistakes, never a panic.
#[test]
fn whatever_becomes_of_the_sample_is_read_or_told() {
    let sample = include_str!("sample.toml").replace("EXCHANGE", "tieling");
    let lines: Vec<&str> = sample.lines().collect();
    for at in 0..lines.len() {
        let half = &lines[at][..lines[at].floor_char_boundary(lines[at].len() / 2)];
        for instead in [vec![], vec![half], vec![lines[at]; 2]] {
            let text = [&lines[..at], &instead, &lines[at + 1..]].concat().join("\n");
            match load(&text, &[]) {
                Ok(_) | Err(ConfigError::File { .. }) => {}
                Err(ConfigError::Mistakes { mistakes, .. }) => assert!(!mistakes.is_empty()),
            }
        }
    }
}

/// What is taken can be worked with: nothing overflows, and days are days.
fn usable(config: &Config) {
    config.gate.transport();
    let pace = config.gate.pace();
    assert!(pace.within(hutong_schema::limits::FRAME_BYTES_MAX) >= pace.patience);
    for now in ["2026-11-21T16:30:00Z", "-000044-03-15T00:00:00Z"] {
        assert_ne!(config.today(now.parse().expect("a time")), Date::ZERO);
    }
    assert!(config.partitions > 0 && config.gate.heartbeat_seconds > 0);
    assert!(config.gate.heartbeat_seconds.checked_mul(1_000).is_some());
    assert!(config.pki("ca", "hub").authority.starts_with(&config.data_dir));
}

const NONSENSE: [&str; 16] = [
    "",
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "9223372036854775807",
    "9999999999999999999999",
    "1e300",
    "nan",
    "true",
    "\"\"",
    "\"长\\u0000../\"",
    "[1, \"a\", {}]",
    "{ a = { b = [] } }",
    "2026-11-21T16:30:00Z",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(600))]
    /// Any of its values turned into another, or its text damaged: it is read, or told what to correct.
    #[test]
    fn any_value_of_the_sample_is_taken_and_usable_or_told(
        values in proptest::collection::vec(
            (proptest::prelude::any::<proptest::sample::Index>(), 0..NONSENSE.len()), 0..4,
        ),
        damage in proptest::option::weighted(
            0.2, (proptest::prelude::any::<proptest::sample::Index>(), "\\PC{0,3}"),
        ),
    ) {
        let sample = include_str!("sample.toml").replace("EXCHANGE", "tieling");
        let mut lines: Vec<String> = sample.lines().map(str::to_owned).collect();
        let settings: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
        for (at, nonsense) in values {
            let line = &mut lines[*at.get(&settings)];
            let key = line.trim_start_matches("# ").split(" = ").next().unwrap_or_default();
            *line = format!("{key} = {}", NONSENSE[nonsense]);
        }
        let mut text = lines.join("\n");
        if let Some((at, new)) = damage {
            let at = text.floor_char_boundary(at.index(text.len()));
            text.insert_str(at, &new);
        }
        match load(&text, &[]) {
            Ok(config) => usable(&config),
            Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn a_department_may_have_bounds_of_its_own() {
    let text =
        format!("{LEAST}[quota]\nrows = 10\n[quota.departments.11100000000013338W]\nmib = 5\n");
    let variables = [("HUTONG_QUOTA__DEPARTMENTS__11100000000013338W__ENTRIES", "7")];
    let quotas = load(&text, &variables).expect("valid").intake.quotas;
    let own = quotas.of("11100000000013338W".parse().expect("a code"));
    assert_eq!((own.rows, own.bytes, own.entries), (10, 5 << 20, 7));
    let other = quotas.of("91350100M000100Y43".parse().expect("a code"));
    assert_eq!((other.rows, other.bytes), (10, 0));
    let wrong = format!("{LEAST}[quota.departments.nobody]\nrows = 1\n");
    assert_eq!(mistakes(&wrong), ["quota.departments.nobody"]);
}
