//! Answers in lines for a person.

use jiff::Timestamp;

use super::table::{Table, bytes, grouped};
use crate::{
    api::types::{
        AuthorityStatus, ConnectionLine, GrantLine, HealthLine, LookupAnswer, NodeLine, Status,
        TokenLine,
    },
    intake::disk::DiskLevel,
    reconcile::{Comparison, Difference, Report, Side, Verdict},
};

pub(super) fn status(status: &Status) -> Vec<String> {
    let mut lines = vec![
        format!(
            "exchange {}, {}, incarnation {}",
            status.exchange, status.software, status.incarnation
        ),
        format!("running since {}, disk {}", time(status.started_ms), disk(status.disk)),
        format!(
            "{} departments, {} nodes in service, {} connected; filters count ages to {}",
            grouped(status.departments as u64),
            grouped(status.nodes as u64),
            grouped(status.connected as u64),
            status.as_of.map_or_else(|| "no day yet".to_owned(), |day| day.to_string()),
        ),
        format!(
            "{} catalogue entries, {} with rows: {} rows, {} changes applied, {} rows rejected",
            grouped(status.totals.entries),
            grouped(status.totals.with_rows),
            grouped(status.totals.rows),
            grouped(status.totals.changes),
            grouped(status.totals.rejected),
        ),
        format!("a batch is settled when it is {}", status.settle),
    ];
    let mut partitions = Table::new(&["partition", ">head", ">applied", ">behind"]);
    for line in &status.partitions {
        let applied = line.applied.map_or_else(String::new, grouped);
        partitions.row([
            line.partition.clone(),
            grouped(line.head),
            applied,
            bytes(line.backlog_bytes),
        ]);
    }
    section(&mut lines, &partitions);
    let mut libraries = Table::new(&["library", "name", ">resources", ">rows", ">feed"]);
    for line in &status.libraries {
        let (resources, rows) = (grouped(line.resources as u64), grouped(line.rows));
        libraries.row([
            line.library.clone(),
            line.name.clone(),
            resources,
            rows,
            grouped(line.feed_seq),
        ]);
    }
    section(&mut lines, &libraries);
    section(&mut lines, &resources(status));
    section(&mut lines, &subscriptions(status));
    lines
}

fn resources(status: &Status) -> Table {
    let mut table = Table::new(&[
        "resource",
        "name",
        "library",
        ">rows",
        ">changes",
        ">rejected",
        ">epoch",
        ">batch",
    ]);
    for line in &status.resources {
        table.row([
            line.resource.to_string(),
            line.name.clone(),
            line.library.clone().unwrap_or_default(),
            grouped(line.rows),
            grouped(line.changes),
            grouped(line.rejected),
            line.epoch.to_string(),
            grouped(line.seq),
        ]);
    }
    table
}

fn subscriptions(status: &Status) -> Table {
    let mut table = Table::new(&[
        "grant", "target", "to", "node", "state", ">durable", ">feed", ">behind", ">sent",
    ]);
    for line in &status.subscriptions {
        table.row([
            line.grant.to_string(),
            line.target.clone(),
            line.grantee.to_string(),
            line.node.clone().unwrap_or_default(),
            line.state.clone(),
            line.durable.map_or_else(String::new, grouped),
            grouped(line.head),
            grouped(line.head.saturating_sub(line.durable.unwrap_or(0))),
            grouped(line.changes),
        ]);
    }
    table
}

/// A table under a free line; nothing when it has no rows.
fn section(lines: &mut Vec<String>, table: &Table) {
    if !table.is_empty() {
        lines.push(String::new());
        lines.extend(table.lines());
    }
}

fn disk(level: DiskLevel) -> String {
    match level {
        DiskLevel::Enough => "has room".to_owned(),
        DiskLevel::Low { free_percent } => {
            format!("nearly full ({free_percent} % free): batches are refused")
        }
        DiskLevel::Full { free_percent } => format!("full ({free_percent} % free)"),
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.0}"))
}

pub(super) fn tokens(tokens: &[TokenLine]) -> Vec<String> {
    let mut table = Table::new(&["department", "node", "expires", "status"]);
    for line in tokens {
        let expires = format!("{:.0}", line.expires);
        table.row([
            line.department.to_string(),
            line.node.to_string(),
            expires,
            line.status.clone(),
        ]);
    }
    table.lines()
}

pub(super) fn nodes(nodes: &[NodeLine]) -> Vec<String> {
    let mut table = Table::new(&[
        "no",
        "department",
        "name",
        "node",
        "state",
        "address",
        "heartbeat",
        ">queued",
        ">oldest s",
        "trouble",
    ]);
    for line in nodes {
        let connection = line.connection.as_ref();
        let state = match (&line.retired, connection) {
            (Some(reason), _) => format!("retired: {reason}"),
            (None, _) if line.revoked.is_some() => {
                format!("revoked: {}", line.revoked.as_deref().unwrap_or_default())
            }
            (None, Some(connection)) => format!("connected since {}", time(connection.since_ms)),
            (None, None) => "away".to_owned(),
        };
        let of = |text: fn(&ConnectionLine) -> String| connection.map_or_else(String::new, text);
        table.row([
            line.number.to_string(),
            line.department.to_string(),
            line.department_name.clone(),
            line.node.to_string(),
            state,
            of(|connection| connection.address.clone()),
            of(|connection| connection.heartbeat_ms.map_or_else(String::new, time)),
            of(|connection| {
                format!("{} ({})", connection.queued_batches, bytes(connection.queued_bytes))
            }),
            of(|connection| (connection.oldest_unacked_ms / 1_000).to_string()),
            notes(line),
        ]);
    }
    table.lines()
}

pub(super) fn authority(status: &AuthorityStatus) -> Vec<String> {
    let what = if status.intermediate {
        "an intermediate issues; its root's key need not be here"
    } else {
        "the root issues itself; its key is here"
    };
    let mut lines = vec![
        format!("{what}; it can issue until {:.0}", status.issues_until),
        format!("the hub's own certificate is valid until {:.0}", status.hub_until),
    ];
    let mut table = Table::new(&["root", "until", "issues", ">nodes without it", "such as"]);
    for root in &status.roots {
        table.row([
            root.fingerprint.clone(),
            root.ends.map_or_else(String::new, |ends| format!("{ends:.0}")),
            if root.issues { "yes" } else { "no" }.to_owned(),
            root.nodes_without.to_string(),
            root.named.join(", "),
        ]);
    }
    lines.extend(table.lines());
    lines
}

/// What a person should know of a node.
fn notes(line: &NodeLine) -> String {
    let mut notes = Vec::new();
    if let Some(copy) = &line.copy {
        let (address, at) = (&copy.address, time(copy.at_ms));
        notes.push(format!(
            "a second machine with this identity was refused from {address} at {at}"
        ));
    }
    if let Some(ends) = line.certificate_ends
        && ends < hutong_certs::clock::now()
        && line.retired.is_none()
        && line.revoked.is_none()
    {
        notes.push(format!("its certificate ended at {ends:.0}"));
    }
    notes.extend(line.health.as_ref().and_then(needs_person));
    notes.extend(line.connection.as_ref().map(trouble).filter(|trouble| !trouble.is_empty()));
    notes.join("; ")
}

/// A mark for a node that cannot go on by itself, with what it told of that last.
fn needs_person(health: &HealthLine) -> Option<String> {
    let first = health.troubles.iter().find(|trouble| trouble.needs_person)?;
    let code = first.code.as_deref().map(|code| format!("{code} ")).unwrap_or_default();
    let more = match health.need_person {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    Some(format!("NEEDS A PERSON: {code}{}: {}{more}", first.of, first.text))
}

fn trouble(connection: &ConnectionLine) -> String {
    let troubles: Vec<String> = connection
        .trouble
        .iter()
        .map(|(resource, trouble)| format!("{resource}: {trouble}"))
        .collect();
    troubles.join("; ")
}

pub(super) fn grants(grants: &[GrantLine]) -> Vec<String> {
    let mut table = Table::new(&[
        "grant", "target", "to", "name", "fields", "rows", "modes", "from", "until", "gen",
        "state", "purpose",
    ]);
    for line in grants {
        let modes = [
            ("deliver", line.modes.deliver),
            ("lookup", line.modes.lookup),
            ("verify", line.modes.verify),
        ];
        let modes: Vec<&str> = modes.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        table.row([
            line.id.to_string(),
            line.target.clone(),
            line.grantee.to_string(),
            line.grantee_name.clone(),
            line.fields.join(","),
            if line.filtered { "filtered" } else { "all" }.to_owned(),
            modes.join(","),
            line.from.to_string(),
            line.until.map_or_else(String::new, |until| until.to_string()),
            line.generation.to_string(),
            line.state.clone(),
            line.purpose.clone(),
        ]);
    }
    table.lines()
}

pub(super) fn found(answer: &LookupAnswer) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &answer.rows {
        let metres = row.metres.map_or_else(String::new, |metres| format!("  {metres:.0} m away"));
        lines.push(format!("{}{metres}", row.key));
        let mut table = Table::new(&["", "", ""]);
        for (name, value) in &row.values {
            let source =
                row.sources.get(name).map_or_else(String::new, |source| format!("from {source}"));
            table.row([format!("  {name}"), shortened(value), source]);
        }
        lines.extend(table.lines().into_iter().skip(1));
    }
    match (answer.rows.len(), answer.more) {
        (0, _) => lines.push("nothing was found".to_owned()),
        (_, true) => lines.push("there are more; ask with a higher --limit".to_owned()),
        (_, false) => {}
    }
    lines
}

/// Geometries can be pages long.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 100;
    if value.chars().count() <= SHOWN {
        return value.to_owned();
    }
    let shown: String = value.chars().take(SHOWN).collect();
    format!("{shown}…")
}

pub(super) fn reconciled(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    compare(&mut lines, "publications: source and hub", "source", &report.publications);
    compare(
        &mut lines,
        "subscriptions: hub's granted view and subscriber",
        "subscriber",
        &report.subscriptions,
    );
    let all = report.publications.len() + report.subscriptions.len();
    let equal =
        |list: &[Comparison]| list.iter().filter(|one| one.verdict == Verdict::Equal).count();
    let equal = equal(&report.publications) + equal(&report.subscriptions);
    lines.push(format!(
        "{} of {} comparisons are equal",
        grouped(equal as u64),
        grouped(all as u64)
    ));
    lines
}

/// Comparisons that are not equal one by one, the equal ones as a sum.
fn compare(lines: &mut Vec<String>, title: &str, other: &str, comparisons: &[Comparison]) {
    let side = |side: &Option<Side>| match side {
        None => ("?".to_owned(), "?".to_owned()),
        Some(side) => (grouped(side.rows), side.root.chars().take(16).collect()),
    };
    let other_rows = format!(">{other} rows");
    let mut table = Table::new(&[
        "subject",
        "name",
        "party",
        "at",
        ">hub rows",
        &other_rows,
        "hub digest",
        other,
        "verdict",
    ]);
    for one in comparisons {
        let ((hub_rows, hub_root), (rows, root)) = (side(&one.hub), side(&one.other));
        let verdict = match &one.verdict {
            Verdict::Equal => "equal".to_owned(),
            Verdict::Different => "DIFFERENT".to_owned(),
            Verdict::Unknown(reason) => format!("unknown: {reason}"),
        };
        let cells = [one.subject.clone(), one.name.clone(), one.party.clone(), one.at.clone()];
        table.row(cells.into_iter().chain([hub_rows, rows, hub_root, root, verdict]));
    }
    if table.is_empty() {
        return;
    }
    lines.push(title.to_owned());
    lines.extend(table.lines());
    for one in comparisons {
        for difference in &one.differences {
            let how = match difference.difference {
                Difference::MissingAtHub => "missing at the hub".to_owned(),
                Difference::MissingThere => format!("missing at the {other}"),
                Difference::Differs => "differs".to_owned(),
            };
            lines.push(format!("  {}: key {} {how}", one.subject, difference.key));
        }
        if one.repaired > 0 {
            let keys = if one.repaired == 1 { "key was" } else { "keys were" };
            lines.push(format!("  {}: {} {keys} sent again", one.subject, one.repaired));
        }
    }
    lines.push(String::new());
}
