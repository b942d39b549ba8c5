//! The target that is a table of a database, with the position in the same transaction.
//!
//! The database's own row of positions (see [`cursor`]) is what counts. When the agent's store says
//! something else – the agent ended between the two commits, one of the two was restored – the image is
//! brought to what the tables hold. A fresh snapshot goes to a staging table; at its end one
//! transaction removes the live rows that are not staged, changes those that differ, adds what is new
//! and moves the position.

mod catalogue;
mod compare;
mod cursor;
mod kind;
mod name;
mod pending;
mod shape;
mod statements;
mod table;
mod told;

#[cfg(test)]
mod tests;

use std::{fs::File, path::Path, time::Duration};

use hutong_schema::{
    block::Block,
    grant::GrantView,
    wire::v1::{Json, subscribe::SnapshotEnd},
};
use tokio_util::sync::CancellationToken;

use super::{
    Begin, Disposal, FileFailure, Kept, SinkError, SqlOptions, ledger::Ledger, pieces,
    records::Broken, target::Finding,
};
use crate::{
    config::Dialect,
    spool::{ImageId, WriteBatch},
    sql::{Access, Connection, SqlError, connect, identifier},
};
use compare::{Comparison, Followed};
use kind::Kind;
use name::TableName;
use pending::Pending;
use shape::Shape;
use statements::Statements;

/// Differences that are followed when the hub asks. Beyond that a fresh snapshot is cheaper.
const DIFFERENCES_MAX: usize = 100_000;

/// A transaction that takes longer is given up: the database, or the way to it, hangs.
const COMMIT_WITHIN: Duration = Duration::from_secs(120);

/// A table with its connection.
pub(super) struct SqlTable {
    connection: Connection,
    name: TableName,
    /// The table for people.
    place: String,
    /// Whether it is made, and missing columns are added.
    create: bool,
    /// What this agent left in the row of positions; `None` while there is no row.
    writes: Option<i64>,
    /// The columns, once delivery began.
    shape: Option<Shape>,
    pending: Pending,
}

impl SqlTable {
    /// Connects, and brings the ledger to what the database says.
    ///
    /// # Errors
    /// When database or store fail.
    pub(super) async fn open(options: &SqlOptions, ledger: &mut Ledger) -> Result<Self, SinkError> {
        let dialect = options.database.url.dialect();
        let name = TableName::new(dialect, &options.table, ledger.key.grant);
        let place = format!("table {} of {}", name.plain(), options.database.url);
        if options.create
            && let Some(file) = options.database.url.file(Path::new(""))
            && !file.exists()
        {
            File::create_new(&file).map_err(FileFailure::of("make", &file))?;
        }
        let mut connection = connect(&options.database, Access::Write).await?;
        if dialect == Dialect::MySql {
            // A value that does not fit is an error, not another value.
            let strict = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
            connection.run(strict).await?;
        }
        cursor::ensure(&mut connection, &name).await?;
        let stored = cursor::read(&mut connection, &name, &ledger.key).await?;
        let mut table = Self {
            connection,
            name,
            place,
            create: options.create,
            writes: stored.as_ref().map(|stored| stored.writes),
            shape: None,
            pending: Pending::default(),
        };
        let before = ledger.record.clone();
        match stored {
            Some(stored) => ledger.record = stored.record,
            // What the store knows was written somewhere else, or is lost.
            None => ledger.record.lost(),
        }
        table.settle(ledger).await?;
        if ledger.record != before {
            tracing::info!(place = table.place, "the store follows what the database says");
            table.follow_all(ledger).await?;
        }
        Ok(table)
    }

    /// For people.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Bytes taken and not yet committed.
    pub(super) fn uncommitted(&self) -> u64 {
        self.pending.bytes()
    }

    /// Makes tables and position ready for rows; whether they are those that the record knows.
    ///
    /// # Errors
    /// When the table does not fit the view, or database or store fail.
    pub(super) async fn begin(
        &mut self,
        ledger: &mut Ledger,
        begin: Begin,
        view: &GrantView,
    ) -> Result<bool, SinkError> {
        match begin {
            Begin::Live => {
                self.drop_staged().await?;
                self.shape = Some(self.prepare(ledger, view).await?);
            }
            Begin::Staged => self.shape = Some(self.prepare(ledger, view).await?),
            Begin::Fresh => {
                // The position must not speak of a staging table that is emptied.
                let staged = ledger.record.staged.take();
                self.shape = Some(self.prepare(ledger, view).await?);
                self.move_cursor(ledger).await?;
                ledger.record.staged = staged;
                self.drop_staged().await?;
                for statement in table::create_staged(&self.name, view) {
                    self.connection.run(&statement).await?;
                }
            }
        }
        self.move_cursor(ledger).await?;
        Ok(true)
    }

    /// Takes the changes of a block.
    ///
    /// # Errors
    /// When they do not fit the view.
    pub(super) fn rows(&mut self, block: &Block<'_>) -> Result<(), SinkError> {
        self.pending.take(self.shape.as_ref().ok_or(SinkError::Interrupted)?, block)
    }

    /// Writes rows and position in one transaction.
    ///
    /// # Errors
    /// When the database fails or does not answer; it is then to be opened again.
    pub(super) async fn commit(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        let place = self.place.clone();
        match tokio::time::timeout(COMMIT_WITHIN, self.write(ledger)).await {
            Ok(written) => written,
            Err(_) => Err(SqlError::Silent { place, after: COMMIT_WITHIN }.into()),
        }
    }

    async fn write(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        let shape = self.shape.as_ref().ok_or(SinkError::Interrupted)?;
        let written = match ledger.record.staged {
            Some(_) => self.name.staged(),
            None => self.name.live(),
        };
        self.connection.run(begin_writing(self.name.dialect())).await?;
        self.pending.write(&mut self.connection, shape, written).await?;
        self.move_cursor(ledger).await?;
        self.connection.run("COMMIT").await?;
        Ok(())
    }

    /// The staged rows become the live ones.
    ///
    /// # Errors
    /// When no snapshot is under way, or database or store fail.
    pub(super) async fn complete(
        &mut self,
        ledger: &mut Ledger,
        end: &SnapshotEnd,
    ) -> Result<(), SinkError> {
        let shape = self.shape.clone().ok_or(SinkError::Interrupted)?;
        let (old_view, old_image) = (ledger.record.grant_view(), ledger.live());
        ledger.record.end_snapshot(end)?;
        ledger.record.rename_due = false;
        let withdrawn = self.withdrawn_columns(old_view.as_ref(), &shape).await?;
        if self.name.dialect() == Dialect::Postgres {
            // It knows nothing yet of a table that was just filled.
            self.connection.run(&format!("ANALYZE {}", self.name.staged())).await?;
        }
        self.connection.run(begin_writing(self.name.dialect())).await?;
        let (live, staged) = (self.name.live().to_owned(), self.name.staged().to_owned());
        for statement in Statements(&shape).swap(&live, &staged) {
            self.connection.run(&statement).await?;
        }
        for column in withdrawn {
            self.connection.run(&Statements::empty_column(&live, &column)).await?;
        }
        self.move_cursor(ledger).await?;
        self.connection.run("COMMIT").await?;
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, old_image);
        ledger.put(writes).await?;
        self.drop_staged().await
    }

    /// Forgets what is not committed.
    pub(super) fn forget_uncommitted(&mut self) {
        self.pending.clear();
    }

    /// The grant ended: the rows are kept under another name, or removed.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn dispose(
        &mut self,
        ledger: &Ledger,
        disposal: Disposal,
        now: jiff::Timestamp,
    ) -> Result<Option<Kept>, SinkError> {
        self.drop_staged().await?;
        if self.writes.is_none() || self.facts().await?.is_none() {
            self.move_cursor(ledger).await?;
            return Ok(None);
        }
        let live = self.name.live().to_owned();
        match disposal {
            Disposal::KeepAside if self.has_rows().await? => {
                let (rename, aside) = self.name.put_aside(now);
                self.connection.run(&rename).await?;
                self.move_cursor(ledger).await?;
                Ok(Some(Kept::Table(aside)))
            }
            Disposal::KeepAside | Disposal::Delete => {
                self.connection.run(begin_writing(self.name.dialect())).await?;
                self.connection.run(&format!("DELETE FROM {live}")).await?;
                self.move_cursor(ledger).await?;
                self.connection.run("COMMIT").await?;
                if self.create
                    && let Err(error) = self.connection.run(&format!("DROP TABLE {live}")).await
                {
                    tracing::warn!(place = self.place, %error, "the empty table stays");
                }
                Ok(None)
            }
        }
    }

    /// The tables cannot be gone on with; the ledger says already that nothing is held.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn give_up(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        self.move_cursor(ledger).await
    }

    /// Compares the live table with what was written to it.
    ///
    /// # Errors
    /// When the table cannot be read, the store fails, or the check was cancelled.
    pub(super) async fn check(
        &mut self,
        ledger: &Ledger,
        cancel: &CancellationToken,
    ) -> Result<Finding, SinkError> {
        let view = ledger.record.grant_view().ok_or(SinkError::Record)?;
        let facts = self.facts().await?;
        let dialect = self.name.dialect();
        let what = match facts.map(|facts| table::has_all(dialect, &facts, &view)) {
            Some(true) => {
                let (image, live) = (ledger.live(), self.name.live().to_owned());
                match self.follow(ledger, &view, image, &live, cancel, DIFFERENCES_MAX).await? {
                    Followed::Keys(0) => return Ok(Finding::Same),
                    Followed::Keys(keys) => return Ok(Finding::Changed { keys }),
                    Followed::TooMany => {
                        format!("more than {DIFFERENCES_MAX} keys differ from what was written")
                    }
                }
            }
            Some(false) => "columns are gone".to_owned(),
            None => "the table is gone".to_owned(),
        };
        Ok(Finding::Broken(Broken { line: None, what }))
    }

    /// What the record speaks of and is not there is given up.
    async fn settle(&mut self, ledger: &mut Ledger) -> Result<(), SinkError> {
        let dialect = self.name.dialect();
        if let Some(staged) = &ledger.record.staged {
            let facts = catalogue::look(&mut self.connection, self.name.named_staged()).await?;
            let there = view_of(&staged.view).is_some_and(|view| {
                facts.is_some_and(|facts| table::has_all(dialect, &facts, &view))
            });
            if !there {
                ledger.record.staged = None;
            }
        }
        if ledger.record.cursor.is_some() {
            let view = ledger.record.grant_view().ok_or(SinkError::Record)?;
            let facts = self.facts().await?;
            if !facts.is_some_and(|facts| table::has_all(dialect, &facts, &view)) {
                tracing::warn!(
                    place = self.place,
                    "the table is gone or lacks columns; it is delivered anew"
                );
                let staged = ledger.record.staged.take();
                ledger.record.lost();
                ledger.record.staged = staged;
            }
        }
        Ok(())
    }

    /// Brings both images to what the tables hold.
    async fn follow_all(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        let cancel = CancellationToken::new();
        let (live, staged) = (self.name.live().to_owned(), self.name.staged().to_owned());
        if let Some(view) = ledger.record.grant_view().filter(|_| ledger.record.cursor.is_some()) {
            self.follow(ledger, &view, ledger.live(), &live, &cancel, usize::MAX).await?;
        }
        if let Some(view) = ledger.record.staged.as_ref().and_then(|staged| view_of(&staged.view)) {
            self.follow(ledger, &view, ledger.staged(), &staged, &cancel, usize::MAX).await?;
        }
        Ok(())
    }

    async fn follow(
        &mut self,
        ledger: &Ledger,
        view: &GrantView,
        image: ImageId,
        table: &str,
        cancel: &CancellationToken,
        most: usize,
    ) -> Result<Followed, SinkError> {
        // To read, it does not matter what else the columns could hold.
        let shape = Shape::new(self.name.dialect(), view, |_| Kind::Text(None));
        let comparison =
            Comparison { shape: &shape, table, store: &ledger.store, image, cancel, most };
        comparison.run(&mut self.connection).await
    }

    /// Makes or checks the live table.
    async fn prepare(&mut self, ledger: &Ledger, view: &GrantView) -> Result<Shape, SinkError> {
        let dialect = self.name.dialect();
        if let Some(owner) =
            cursor::other_owner(&mut self.connection, &self.name, &ledger.key).await?
        {
            return Err(self.refused(vec![format!("it belongs to {owner}; name another one")]));
        }
        let mut facts = self.facts().await?;
        if self.create {
            let collation = self.collation().await?;
            let statements = match &facts {
                None => table::create(&self.name, view, &collation),
                Some(facts) => table::add(&self.name, view, facts, &collation),
            };
            for statement in &statements {
                self.connection.run(statement).await?;
            }
            if !statements.is_empty() {
                facts = self.facts().await?;
            }
        }
        let Some(facts) = facts else {
            let what = "it is not there; make it, or write create = true".to_owned();
            return Err(self.refused(vec![what]));
        };
        let mut problems = table::problems(dialect, view, &facts);
        if self.writes.is_none() && problems.is_empty() && self.has_rows().await? {
            problems.push(
                "it holds rows that this subscription did not write; empty it, or name another one"
                    .to_owned(),
            );
        }
        if !problems.is_empty() {
            return Err(self.refused(problems));
        }
        Ok(Shape::new(dialect, view, |item| table::kind_of(dialect, &facts, item)))
    }

    /// Columns that the old view had and the new one has not, in quotes.
    async fn withdrawn_columns(
        &mut self,
        old: Option<&GrantView>,
        shape: &Shape,
    ) -> Result<Vec<String>, SinkError> {
        let Some(old) = old else { return Ok(Vec::new()) };
        let Some(facts) = self.facts().await? else { return Ok(Vec::new()) };
        let dialect = self.name.dialect();
        let granted = |name: &str| shape.columns.iter().any(|column| column.item.name == name);
        let gone = old.items.iter().filter(|item| !granted(&item.name));
        let there = gone.filter(|item| table::has_column(dialect, &facts, item));
        Ok(there.map(|item| identifier(dialect, &item.name)).collect())
    }

    async fn facts(&mut self) -> Result<Option<catalogue::TableFacts>, SinkError> {
        Ok(catalogue::look(&mut self.connection, self.name.named_live()).await?)
    }

    async fn has_rows(&mut self) -> Result<bool, SinkError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", self.name.live());
        Ok(!self.connection.all_rows(&sql).await?.is_empty())
    }

    async fn drop_staged(&mut self) -> Result<(), SinkError> {
        if catalogue::look(&mut self.connection, self.name.named_staged()).await?.is_some() {
            self.connection.run(&format!("DROP TABLE {}", self.name.staged())).await?;
        }
        Ok(())
    }

    async fn move_cursor(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        let (connection, name) = (&mut self.connection, &self.name);
        let writes =
            cursor::write(connection, name, &ledger.key, self.writes, &ledger.record).await?;
        self.writes = Some(writes);
        Ok(())
    }

    /// The collation of MySQL that tells all texts apart, blanks at their end included.
    async fn collation(&mut self) -> Result<String, SinkError> {
        if self.name.dialect() != Dialect::MySql {
            return Ok(String::new());
        }
        let sql = "SELECT collation_name FROM information_schema.collations \
                   WHERE collation_name IN ('utf8mb4_nopad_bin', 'utf8mb4_0900_bin')";
        let found = self.connection.all_rows(sql).await?.into_iter().flatten().flatten().next();
        Ok(found.unwrap_or_else(|| "utf8mb4_bin".to_owned()))
    }

    fn refused(&self, problems: Vec<String>) -> SinkError {
        SinkError::Table { place: self.place.clone(), problems }
    }
}

fn view_of(json: &Json) -> Option<GrantView> {
    json.read().ok()
}

/// SQLite's transactions that write say so at their beginning, and wait for their turn.
fn begin_writing(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "BEGIN",
        Dialect::MySql => "START TRANSACTION",
        Dialect::Sqlite => "BEGIN IMMEDIATE",
    }
}
