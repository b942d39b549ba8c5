//! `explain`

use std::process::ExitCode;

use anyhow::Context;
use hutong_schema::explain::{Language, StableCode, page, pages};

use super::ExplainArgs;

/// Variables that tell a person's language, the first that is set.
const LOCALES: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

pub(super) fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let language = language(args.lang);
    match args.code {
        Some(code) => print(code, language)?,
        None => pages(language).for_each(|page| println!("{}  {}", page.code, page.title)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The language asked for, else that of the environment.
pub(super) fn language(asked: Option<Language>) -> Language {
    let locale =
        || LOCALES.iter().find_map(|name| std::env::var(name).ok().filter(|l| !l.is_empty()));
    asked.unwrap_or_else(|| Language::of_locale(&locale().unwrap_or_default()))
}

fn print(code: StableCode, language: Language) -> anyhow::Result<()> {
    let page = page(code, language).with_context(|| {
        format!(
            "this version knows no code {code}; a newer one may; all known: hutong-agent explain"
        )
    })?;
    println!("{}  {}\n\n{}", page.code, page.title, page.text);
    Ok(())
}
