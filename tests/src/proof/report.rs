//! The verdict in words.

use std::io::{self, Write};

use hutong_schema::digest::Digest;

use super::{Line, Verdict};

/// Prints a table with a line for each subject, then what differs.
///
/// # Errors
/// When it cannot be written.
pub fn print(verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    let width = |text: &str| text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
    let widest = verdict.lines.iter().map(|line| width(&line.subject)).max().unwrap_or(0);
    let digest = |digest: &Digest| format!("{:>10}  {}", digest.count, digest.short());
    writeln!(
        out,
        "{:widest$}  {:>10}  {:16}  {:>10}  {:16}  {:>10}  {:16}",
        "", "source", "digest", "hub", "digest", "subscriber", "digest"
    )?;
    for line in &verdict.lines {
        let Line { subject, source, hub, subscriber } = line;
        let pad = widest - width(subject);
        let delivered = subscriber.as_ref().map_or_else(|| format!("{:28}", ""), digest);
        let verdict = if line.equal() { "equal" } else { "DIFFERENT" };
        let (source, hub) = (digest(source), digest(hub));
        writeln!(out, "{subject}{:pad$}  {source}  {hub}  {delivered}  {verdict}", "")?;
    }
    for what in &verdict.unreadable {
        writeln!(out, "unreadable: {what}")?;
    }
    for difference in &verdict.differences {
        writeln!(out, "different: {difference}")?;
    }
    let rows = |lines: &mut dyn Iterator<Item = u64>| lines.sum::<u64>();
    let source = rows(&mut verdict.classes().map(|line| line.source.count));
    let delivered = rows(&mut verdict.lines.iter().filter_map(|line| Some(line.subscriber?.count)));
    let equal = if verdict.equal() { "all digests are equal" } else { "NOT EQUAL" };
    writeln!(out, "{source} rows at the sources, {delivered} delivered: {equal}")
}
