//! The slot: there, healthy, and moved on.

use super::{super::query, wrong};
use crate::config::{Dialect, Replication, SqlFrom, SqlSource};
use crate::sources::{self, SourceError};
use crate::sql::{Cell, TextRows, literal};

/// Bytes that the slot may keep back before a person is told.
const LAG_TOLD: u64 = 1024 * 1024 * 1024;

/// A replication slot and the table that it is read for.
pub(super) struct Slot<'a> {
    source: &'a SqlSource,
    mode: &'a Replication,
}

impl<'a> Slot<'a> {
    pub(super) fn new(source: &'a SqlSource, mode: &'a Replication) -> Self {
        Self { source, mode }
    }

    /// Sees to it that there is a healthy slot. `false` if it is new: then it does not know what
    /// happened before.
    pub(super) fn prepare(&self) -> Result<bool, SourceError> {
        self.check_publication()?;
        let name = self.name();
        let facts = self.row(format!(
            "SELECT wal_status, plugin, \
             pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint, \
             current_setting('max_slot_wal_keep_size'), database = current_database() \
             FROM pg_replication_slots WHERE slot_name = {name}"
        ))?;
        let Some(facts) = facts else {
            self.check_level()?;
            self.create()?;
            return Ok(false);
        };
        let fact = |index: usize| facts.get(index).and_then(Option::as_deref).unwrap_or_default();
        if fact(1) != "pgoutput" || fact(4) != "1" {
            return Err(wrong(
                self.source,
                format!(
                    "the slot {} is of another program ({} in another database or with another plug-in); choose another name",
                    self.mode.slot,
                    fact(1)
                ),
            ));
        }
        if fact(0) == "lost" {
            tracing::warn!(
                slot = self.mode.slot,
                "PostgreSQL gave up the replication slot, since it kept back more than max_slot_wal_keep_size; it is made anew and all rows are compared"
            );
            self.text(format!("SELECT pg_drop_replication_slot({name})"))?;
            self.create()?;
            return Ok(false);
        }
        let lag: u64 = fact(2).parse().unwrap_or(0);
        if lag > LAG_TOLD {
            tracing::warn!(
                slot = self.mode.slot,
                bytes = lag,
                "the replication slot keeps back much of PostgreSQL's log"
            );
        }
        if fact(3) == "-1" {
            tracing::warn!(
                slot = self.mode.slot,
                "max_slot_wal_keep_size is not set: when this agent stands still for long, the slot fills the database's disk; set it, such as: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'"
            );
        }
        Ok(true)
    }

    /// From where on the slot keeps what happens.
    pub(super) fn kept_from(&self) -> Result<String, SourceError> {
        let found = query::value(
            self.source,
            format!(
                "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = {}",
                self.name()
            ),
        )?;
        found.ok_or_else(|| wrong(self.source, format!("the slot {} is gone", self.mode.slot)))
    }

    /// What the slot has, about so many changes, whole transactions only.
    pub(super) fn peek(&self, about: u32) -> Result<TextRows, SourceError> {
        let publication = literal(Dialect::Postgres, &self.mode.publication);
        self.text(format!(
            "SELECT data FROM pg_logical_slot_peek_binary_changes({}, NULL, {about}, \
             'proto_version', '1', 'publication_names', {publication})",
            self.name()
        ))
    }

    /// Lets the slot forget what lies before a position.
    pub(super) fn advance(&self, to: &str) -> Result<(), SourceError> {
        let to = literal(Dialect::Postgres, to);
        let done =
            format!("SELECT end_lsn FROM pg_replication_slot_advance({}, {to})", self.name());
        query::value(self.source, done).map(drop)
    }

    /// Schema and name of the table.
    pub(super) fn table(&self) -> (&str, &str) {
        match &self.source.from {
            SqlFrom::Table(name) => name.split_once('.').unwrap_or(("public", name)),
            SqlFrom::Query(_) => ("", ""),
        }
    }

    fn create(&self) -> Result<(), SourceError> {
        let made = format!(
            "SELECT lsn FROM pg_create_logical_replication_slot({}, 'pgoutput')",
            self.name()
        );
        let at = query::value(self.source, made)?;
        tracing::info!(slot = self.mode.slot, at, "a replication slot is made");
        Ok(())
    }

    fn check_level(&self) -> Result<(), SourceError> {
        let level = query::value(self.source, "SELECT current_setting('wal_level')".to_owned())?;
        match level.as_deref() {
            Some("logical") => Ok(()),
            other => Err(wrong(
                self.source,
                format!(
                    "wal_level is {}; logical replication needs: ALTER SYSTEM SET wal_level = logical, and a restart of PostgreSQL",
                    other.unwrap_or("unknown")
                ),
            )),
        }
    }

    fn check_publication(&self) -> Result<(), SourceError> {
        let (schema, table) = self.table();
        let publication = &self.mode.publication;
        let text = |text: &str| literal(Dialect::Postgres, text);
        let found = query::value(
            self.source,
            format!(
                "SELECT count(*) FROM pg_publication_tables WHERE pubname = {} AND schemaname = {} AND tablename = {}",
                text(publication),
                text(schema),
                text(table)
            ),
        )?;
        if found.as_deref() == Some("1") {
            return Ok(());
        }
        Err(wrong(
            self.source,
            format!(
                "the publication {publication} does not name the table {schema}.{table}; a person with the right runs: CREATE PUBLICATION {publication} FOR TABLE {schema}.{table}"
            ),
        ))
    }

    fn name(&self) -> String {
        literal(Dialect::Postgres, &self.mode.slot)
    }

    fn text(&self, statement: String) -> Result<TextRows, SourceError> {
        sources::text(self.source, statement)
    }

    fn row(&self, statement: String) -> Result<Option<Vec<Option<String>>>, SourceError> {
        let mut rows = self.text(statement)?;
        if !rows.advance()? {
            return Ok(None);
        }
        let cells = (0..rows.names().len()).map(|column| match rows.cell(column) {
            Cell::Text(text) => Some(text.to_owned()),
            Cell::Null | Cell::Bytes => None,
        });
        Ok(Some(cells.collect()))
    }
}
