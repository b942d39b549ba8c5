//! `doctor`

use std::process::ExitCode;

use hutong_schema::explain::Language;
use serde_json::json;

use super::explain::language;
use crate::{
    app::doctor::{self, Finding, Level},
    config::Config,
};

pub(super) async fn doctor(
    config: &Config,
    lang: Option<Language>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let language = language(lang);
    let findings = Box::pin(doctor::examine(config)).await;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (fine, notes, people) = (count(Level::Fine), count(Level::Note), count(Level::Person));
    if as_json {
        let all: Vec<_> = findings.iter().map(|finding| value(finding, language)).collect();
        let whole = json!({ "healthy": people == 0, "findings": all });
        println!("{}", serde_json::to_string_pretty(&whole)?);
    } else {
        for finding in &findings {
            print(finding, language);
        }
        match language {
            Language::English => {
                println!("\n{fine} fine, {notes} to know, {people} need a person");
            }
            Language::Chinese => {
                println!("\n正常 {fine} 项，提示 {notes} 项，需要处理 {people} 项")
            }
        }
    }
    Ok(if people == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn value(finding: &Finding, language: Language) -> serde_json::Value {
    json!({
        "level": finding.level,
        "area": finding.area,
        "subject": finding.subject,
        "found": finding.found.of(language),
        "means": finding.means.as_ref().map(|means| means.of(language)),
        "do": finding.act.as_ref().map(|act| act.of(language)),
        "code": finding.code.map(|code| code.to_string()),
    })
}

fn print(finding: &Finding, language: Language) {
    let mark = match finding.level {
        Level::Fine => "ok",
        Level::Note => "--",
        Level::Person => "!!",
    };
    let subject = finding.subject.as_deref().map(|each| format!(" {each}")).unwrap_or_default();
    let (means, act) = match language {
        Language::English => ("means", "do"),
        Language::Chinese => ("含义", "处理"),
    };
    println!("{mark} {}{subject}: {}", finding.area.name(language), finding.found.of(language));
    if let Some(text) = &finding.means {
        println!("     {means}: {}", text.of(language));
    }
    if let Some(text) = &finding.act {
        println!("     {act}: {}", text.of(language));
    }
    if let Some(code) = finding.code {
        println!("     hutong-agent explain {code}");
    }
}
