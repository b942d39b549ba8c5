//! `quarantine`

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::BufWriter,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use hutong_schema::{catalogue::CatalogueEntry, ids::ResourceCode, rules::RejectReason};
use serde::Serialize;

use crate::{
    app::{
        handed::{Fault, QuarantineRequest, Resubmitted},
        socket::{self, Request, SocketError},
        store_options,
    },
    config::Config,
    link,
    quarantine::{Quarantine, Sheet, SheetWriter},
    spool::Store,
};

/// Largest corrected sheet, bytes: it travels over the status socket in one request.
const SHEET_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Per resource: how many rows wait to be corrected, in which files, since when, and why.
    List {
        /// Only this resource.
        resource: Option<ResourceCode>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the rows of a resource into a sheet (CSV) that a spreadsheet opens.
    ///
    /// Each item has a column, filled from the refused row as far as that could be read; the columns
    /// whose names begin with # say what was wrong, and are not read back, except the first one: it
    /// tells which row of quarantine a corrected row settles, so leave it as it is. Values that begin
    /// with a tab do so to keep spreadsheets from changing them. A row that was refused again and again
    /// stands there once. Correct the rows, delete lines that are not to be sent, save as CSV.
    Export {
        /// The resource.
        resource: ResourceCode,
        /// The sheet; it must not exist yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Send corrected rows: the running agent checks them as it checks a source's and puts them into the
    /// outbox.
    ///
    /// Rows that are accepted leave the list. Rows that are still refused are named with their row and
    /// reason, and stay in quarantine. A row is only ever added or changed by this, never removed.
    ///
    /// Correct the source as well. For a source that is read as full snapshots, the next snapshot that
    /// has the row in a valid form wins over what was resubmitted, and one that no longer has its key
    /// deletes it. As long as the snapshot still has the row in its refused form, the resubmitted row
    /// stays: a refused row is never read as a delete; if its very key could not be read, the snapshot
    /// waits for `confirm` instead of deleting.
    Resubmit {
        /// The resource.
        resource: ResourceCode,
        /// The corrected sheet: CSV with a header of machine names or labels.
        file: PathBuf,
    },
}

pub(super) async fn perform(
    config: &Config,
    command: QuarantineCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        QuarantineCommand::List { resource, json } => list(config, resource, json),
        QuarantineCommand::Export { resource, out } => export(config, &resource, &out).await,
        QuarantineCommand::Resubmit { resource, file } => resubmit(config, resource, &file).await,
    }
}

/// What waits for a person at one resource.
#[derive(Serialize)]
struct Listed {
    resource: ResourceCode,
    /// Records that are not settled.
    rows: u64,
    /// The same fault of the same row counted once.
    distinct: u64,
    /// Day of the oldest.
    since: Option<String>,
    files: Vec<ListedFile>,
    reasons: Vec<ListedReason>,
}

#[derive(Serialize)]
struct ListedFile {
    path: PathBuf,
    rows: u64,
}

#[derive(Serialize)]
struct ListedReason {
    code: Option<u16>,
    zh: Option<&'static str>,
    en: String,
    rows: u64,
}

fn list(config: &Config, only: Option<ResourceCode>, json: bool) -> anyhow::Result<ExitCode> {
    let quarantine = Quarantine::new(config.quarantine_dir());
    let resources = match only {
        Some(resource) => vec![resource],
        None => quarantine.resources()?,
    };
    let listed: Vec<Listed> = resources
        .into_iter()
        .map(|resource| of(&quarantine, resource))
        .collect::<anyhow::Result<_>>()?;
    let listed: Vec<Listed> = listed.into_iter().filter(|each| each.rows > 0).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&listed)?);
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        println!("no rows wait in quarantine");
    }
    for each in &listed {
        let since = each.since.as_deref().unwrap_or("-");
        println!(
            "{} · {} row(s) · {} distinct · since {since}",
            each.resource, each.rows, each.distinct
        );
        for reason in &each.reasons {
            println!("  {:>7}  {} {}", reason.rows, reason.zh.unwrap_or_default(), reason.en);
        }
        for file in &each.files {
            println!("  {:>7}  in {}", file.rows, file.path.display());
        }
    }
    if let Some(first) = listed.first() {
        println!(
            "\nto correct them: hutong-agent quarantine export {} --out FILE.csv",
            first.resource
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn of(quarantine: &Quarantine, resource: ResourceCode) -> anyhow::Result<Listed> {
    let mut files: BTreeMap<String, u64> = BTreeMap::new();
    let mut reasons: BTreeMap<Option<RejectReason>, u64> = BTreeMap::new();
    let mut faults = std::collections::HashSet::new();
    quarantine.open_records(&resource, |record| {
        *files.entry(record.place.file).or_default() += 1;
        *reasons.entry(record.reason).or_default() += 1;
        faults.insert(record.id);
    })?;
    let folder = quarantine.folder(&resource);
    let mut reasons: Vec<ListedReason> = reasons
        .into_iter()
        .map(|(reason, rows)| ListedReason {
            code: reason.map(RejectReason::code),
            zh: reason.map(RejectReason::zh),
            en: reason.map_or("a reason of another version".to_owned(), |why| why.to_string()),
            rows,
        })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.rows));
    Ok(Listed {
        resource,
        rows: files.values().sum(),
        distinct: faults.len() as u64,
        since: files.keys().next().map(|file| file.trim_end_matches(".csv").to_owned()),
        files: files
            .into_iter()
            .map(|(file, rows)| ListedFile { path: folder.join(file), rows })
            .collect(),
        reasons,
    })
}

async fn export(config: &Config, resource: &ResourceCode, out: &Path) -> anyhow::Result<ExitCode> {
    let entry = entry(config, resource).await?;
    // It holds personal data, and an older sheet may hold somebody's work.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let file = made.with_context(|| format!("cannot make {}", out.display()))?;
    let written = write(config, &entry, file);
    let rows = written.with_context(|| format!("cannot write {}", out.display()))?;
    println!("{rows} row(s) in {}", out.display());
    println!(
        "after correcting them: hutong-agent quarantine resubmit {resource} {}",
        out.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn write(config: &Config, entry: &CatalogueEntry, file: File) -> anyhow::Result<usize> {
    let mut sheet = SheetWriter::begin(BufWriter::new(file), entry)?;
    let mut failed = None;
    Quarantine::new(config.quarantine_dir()).open_records(&entry.code, |record| {
        if failed.is_none() {
            failed = sheet.push(&record).err();
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(sheet.finish()?),
    }
}

/// The entry as the running agent knows it, or as it was known when it ran last.
async fn entry(config: &Config, resource: &ResourceCode) -> anyhow::Result<CatalogueEntry> {
    let request = Request::Quarantine(QuarantineRequest::Entry(resource.clone()));
    match socket::ask(&config.status_socket, &request).await {
        Ok(answer) => Ok(serde_json::from_value(answer.map_err(|error| anyhow!(error))?)?),
        Err(SocketError::NotRunning(_)) => {
            let known = config.store_dir().exists().then(|| -> anyhow::Result<_> {
                let opened = Store::open(&config.store_dir(), store_options(config));
                let store = opened.context("the agent is starting or ending; try again")?;
                Ok(link::catalogue::recalled(&store, resource)?)
            });
            known.transpose()?.flatten().with_context(|| {
                format!("the catalogue entry of {resource} is not known; start the agent: hutong-agent run")
            })
        }
        Err(error) => Err(error.into()),
    }
}

async fn resubmit(
    config: &Config,
    resource: ResourceCode,
    path: &Path,
) -> anyhow::Result<ExitCode> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
    if size > SHEET_BYTES_MAX {
        bail!("{shown} has {size} bytes, {SHEET_BYTES_MAX} are the most; split it");
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let sheet = Sheet::read(&bytes).with_context(|| shown.to_string())?;
    if sheet.rows.is_empty() {
        bail!("{shown} has no rows below its header; nothing was sent");
    }
    let request = Request::Quarantine(QuarantineRequest::Resubmit { resource, sheet });
    let answer = match socket::ask(&config.status_socket, &request).await {
        Err(SocketError::NotRunning(_)) => {
            bail!(
                "the agent is not running, and only the running agent takes rows; start it, then resubmit: hutong-agent run (or: systemctl start hutong-agent)"
            )
        }
        other => other?,
    };
    let done: Resubmitted = serde_json::from_value(answer.map_err(|error| anyhow!(error))?)?;
    if !done.ignored.is_empty() {
        println!("columns that are no item, ignored: {}", done.ignored.join(", "));
    }
    println!(
        "accepted {} · still refused {} · settled in quarantine {}",
        done.accepted,
        done.refused.len(),
        done.settled
    );
    done.refused.iter().for_each(show);
    Ok(if done.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(fault: &Fault) {
    let label = fault.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    let field = fault.field.as_ref().map(|name| format!("{name}{label}"));
    let field = field.unwrap_or_else(|| "the row as a whole".to_owned());
    match RejectReason::from_code(fault.code) {
        Some(reason) => println!("  row {}: {field}: {} / {reason}", fault.index, reason.zh()),
        None => println!("  row {}: {field}: reason {}", fault.index, fault.code),
    }
}
