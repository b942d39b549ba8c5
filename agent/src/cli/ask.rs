//! `catalogue`, `lookup`, `verify`: through the running agent, or over a connection of their own.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, anyhow, bail};
use hutong_certs::enrol::NodeFolder;
use hutong_schema::ids::NodeName;
use serde_json::Value;

use super::{LookupArgs, VerifyArgs};
use crate::{
    app::{
        questions::{self, By, Question},
        socket::{self, Request, SocketError},
        store_options,
    },
    config::Config,
    link::{Dialler, Session, catalogue},
    spool::Store,
};

pub(super) async fn apply(
    config: &Config,
    file: &Path,
    node: Option<NodeName>,
) -> anyhow::Result<ExitCode> {
    // Mistakes are found here, before anything is sent.
    let read = catalogue::read(file)?;
    for entry in &read.entries {
        for warning in entry.warnings() {
            eprintln!("warning: {}: {warning}", entry.code);
        }
    }
    let answer = ask(config, node, Question::CatalogueApply(read.entries)).await?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        eprintln!("warning: {}: {}", text(&warning["code"]), text(&warning["text"]));
    }
    println!(
        "{} entries registered or changed, {} as they were",
        answer["changed"], answer["unchanged"]
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(
    config: &Config,
    own: bool,
    json: bool,
    node: Option<NodeName>,
) -> anyhow::Result<ExitCode> {
    let answer = ask(config, node, Question::CatalogueList { own }).await?;
    for entry in answer.as_array().into_iter().flatten() {
        if json {
            println!("{entry}");
        } else {
            println!(
                "{}  {}  {}  version {}  schema {}",
                text(&entry["code"]),
                text(&entry["name"]),
                text(&entry["provider_name"]),
                entry["version"],
                entry["schema_version"]
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn lookup(config: &Config, args: LookupArgs) -> anyhow::Result<ExitCode> {
    let by = match (args.field, args.bbox, args.near) {
        (Some(field), _, _) => {
            let (name, value) = pair(&field)?;
            By::Field(name, value)
        }
        (None, Some(bounds), _) => By::Box(numbers(&bounds, "west,south,east,north")?),
        (None, None, Some(point)) => By::Near(numbers(&point, "longitude,latitude")?),
        (None, None, None) => By::Key(args.key),
    };
    let question =
        Question::Lookup { target: args.target, by, reason: args.reason, limit: args.limit };
    let answer = ask(config, args.node, question).await?;
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    for row in rows {
        println!("{row}");
    }
    let more = if answer["more"] == Value::Bool(true) { ", more match" } else { "" };
    eprintln!("{} row(s) under grant {}{more}", rows.len(), answer["grant"]);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify(config: &Config, args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let claims = args.claim.iter().map(|claim| pair(claim)).collect::<anyhow::Result<_>>()?;
    let question =
        Question::Verify { target: args.target, key: args.key, claims, reason: args.reason };
    let answer = ask(config, args.node, question).await?;
    for each in answer["verdicts"].as_array().into_iter().flatten() {
        println!("{}: {}", text(&each["field"]), text(&each["verdict"]));
    }
    eprintln!("under grant {}", answer["grant"]);
    Ok(ExitCode::SUCCESS)
}

/// Puts a question through the running agent; over a connection of its own when none is running.
async fn ask(config: &Config, node: Option<NodeName>, question: Question) -> anyhow::Result<Value> {
    let request = Request::Ask { node: node.clone(), question: question.clone() };
    match socket::ask(&config.status_socket, &request).await {
        Ok(answer) => answer.map_err(|error| anyhow!(error)),
        Err(SocketError::NotRunning(_)) => Box::pin(visit(config, node, &question)).await,
        Err(error) => Err(error.into()),
    }
}

async fn visit(
    config: &Config,
    node: Option<NodeName>,
    question: &Question,
) -> anyhow::Result<Value> {
    let mut folders = config
        .nodes
        .iter()
        .filter(|each| node.as_ref().is_none_or(|name| each.name == *name))
        .map(|each| NodeFolder::new(config.node_dir(&each.name)));
    let Some(folder) = folders.find(NodeFolder::is_enrolled) else {
        match node {
            Some(node) => bail!(
                "node {node} is not in the configuration or has no certificate; enrol it first"
            ),
            None => bail!(
                "no node of this agent has a certificate; enrol one first: hutong-agent enrol"
            ),
        }
    };
    let tls = folder.load().context("the node's certificate files")?.into_tls();
    // The hub tells copies of a machine apart by the number in the store.
    let store = Store::open(&config.store_dir(), store_options(config))?;
    let dialler = Dialler::open(&config.hub_address)?;
    let visitor = Session::visit(&dialler, &tls, store.instance()).await.map_err(|error| {
        let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        anyhow!("{}{advice}", hutong_schema::words::in_full(&error))
    })?;
    let answer = questions::perform(visitor.session(), question).await;
    drop(visitor);
    dialler.idle().await;
    Ok(answer?)
}

fn pair(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) =
        text.split_once('=').with_context(|| format!("{text:?} is not of the form name=value"))?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

fn numbers<const N: usize>(text: &str, form: &str) -> anyhow::Result<[f64; N]> {
    let parsed: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers = parsed.ok().and_then(|numbers| <[f64; N]>::try_from(numbers).ok());
    numbers
        .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
        .with_context(|| format!("{text:?} is not of the form {form} (degrees)"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_pairs_are_read_or_refused() {
        assert_eq!(numbers::<2>("123.5, 42", "x").unwrap(), [123.5, 42.0]);
        assert!(numbers::<4>("1,2,3", "x").is_err());
        assert!(numbers::<2>("1,NaN", "x").is_err());
        assert_eq!(pair("xm=示例=1").unwrap(), ("xm".to_owned(), "示例=1".to_owned()));
        assert!(pair("xm").is_err());
    }
}
