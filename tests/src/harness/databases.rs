//! Real database servers in folders of their own: PostgreSQL and MariaDB as Debian has them.
//!
//! They are started on ports of their own, as the users that the packages made for them where the tests
//! run as root, and are told what to do by the databases' own command-line clients.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::ports;
use super::process::Process;
use super::wait::until_true;

/// A server that was killed recovers in this time.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A server.
#[derive(Debug)]
pub struct Database {
    system: System,
    folder: PathBuf,
    logs: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Database {
    /// Makes a server with a database `city` in a new folder, and starts it.
    ///
    /// # Errors
    /// When it is not installed or cannot be started.
    pub fn start(system: System, folder: &Path, logs: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::create_dir_all(logs)?;
        let address = ports::own()?;
        let mut database = Self {
            system,
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            address,
            process: None,
        };
        give_to(database.user()?, folder)?;
        database.initialise()?;
        database.up()?;
        database.run_in(database.first(), "CREATE DATABASE city")?;
        Ok(database)
    }

    /// Starts the server again.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self) -> Result<()> {
        let name = match self.system {
            System::Postgres => "postgres",
            System::MariaDb => "mariadb",
        };
        // What is left of a killed server's children may hold its memory a moment longer.
        until_true(UP_WITHIN, &format!("{name} answers"), || {
            let running = match &mut self.process {
                Some(process) => process.ended()?.is_none(),
                None => false,
            };
            if !running {
                self.process = Some(Process::start(name, &mut self.server()?, &self.logs)?);
            }
            Ok(self.value_in(self.first(), "SELECT 1").is_ok_and(|one| one == "1"))
        })
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// The address of the database `city` as the agent's configuration has it.
    pub fn url(&self) -> String {
        match self.system {
            System::Postgres => format!("postgres://hutong@{}/city?sslmode=disable", self.address),
            System::MariaDb => format!("mysql://root@{}/city?ssl-mode=disabled", self.address),
        }
    }

    /// Which server it is.
    pub fn system(&self) -> System {
        self.system
    }

    /// Executes statements.
    ///
    /// # Errors
    /// With what the database says.
    pub fn run(&self, statements: &str) -> Result<()> {
        self.run_in("city", statements)
    }

    /// The first value of a statement's first row, as text.
    ///
    /// # Errors
    /// With what the database says.
    pub fn value(&self, statement: &str) -> Result<String> {
        self.value_in("city", statement)
    }

    /// Writes a table to a CSV file with a header.
    ///
    /// # Errors
    /// With what the database says.
    pub fn dump(&self, table: &str, columns: &[&str], path: &Path) -> Result<()> {
        let list = columns.join(", ");
        let text = match self.system {
            System::Postgres => self.output(
                "city",
                &format!("\\copy (SELECT {list} FROM {table}) TO STDOUT WITH (FORMAT csv)"),
            )?,
            // Tabs between values; the rows of the tests have none, and no quotes.
            System::MariaDb => self
                .output("city", &format!("SELECT {list} FROM {table}"))?
                .replace('\t', ",")
                .replace("NULL", ""),
        };
        fs::write(path, format!("{}\n{text}", columns.join(",")))?;
        Ok(())
    }

    fn run_in(&self, database: &str, statements: &str) -> Result<()> {
        self.output(database, statements).map(drop)
    }

    fn value_in(&self, database: &str, statement: &str) -> Result<String> {
        Ok(self.output(database, statement)?.lines().next().unwrap_or_default().to_owned())
    }

    fn output(&self, database: &str, statements: &str) -> Result<String> {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let mut command = match self.system {
            System::Postgres => {
                let mut command = Command::new("psql");
                command.args([
                    "-h", &host, "-p", &port, "-U", "hutong", "-d", database, "-X", "-q", "-A",
                    "-t",
                ]);
                command.args(["-v", "ON_ERROR_STOP=1", "-f", "-"]);
                command
            }
            System::MariaDb => {
                let mut command = Command::new("mariadb");
                command.args([
                    "--no-defaults",
                    "-h",
                    &host,
                    "-P",
                    &port,
                    "-u",
                    "root",
                    "--protocol=tcp",
                    "-N",
                    "-B",
                    "-r",
                ]);
                command.args(["--default-character-set=utf8mb4", database]);
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        let mut input = child.stdin.take().context("its input")?;
        let text = statements.to_owned();
        let writing =
            std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
        let output = child.wait_with_output()?;
        // A client that ended early says why itself.
        let _ = writing.join();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn first(&self) -> &'static str {
        match self.system {
            System::Postgres => "postgres",
            System::MariaDb => "mysql",
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn initialise(&self) -> Result<()> {
        let mut command = match self.system {
            System::Postgres => {
                let mut command = Command::new(postgres("initdb")?);
                command.args([
                    "-U",
                    "hutong",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                    "-D",
                ]);
                command.arg(self.data());
                command
            }
            System::MariaDb => {
                let mut command = Command::new("mariadb-install-db");
                command.args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]);
                command.arg(format!("--datadir={}", self.data().display()));
                command
            }
        };
        as_user(&mut command, self.user()?);
        let output = command.current_dir(&self.folder).output();
        let output =
            output.with_context(|| format!("start {}", command.get_program().display()))?;
        ensure!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn server(&self) -> Result<Command> {
        let mut command = match self.system {
            System::Postgres => {
                let mut command = Command::new(postgres("postgres")?);
                command.arg("-D").arg(self.data()).args(["-p", &self.address.port().to_string()]);
                command.arg("-h").arg(self.address.ip().to_string()).arg("-k").arg(&self.folder);
                // Processes are killed here, not machines.
                for setting in [
                    "fsync=off",
                    "wal_level=logical",
                    "max_slot_wal_keep_size=1GB",
                    "log_min_messages=warning",
                ] {
                    command.args(["-c", setting]);
                }
                command
            }
            System::MariaDb => {
                let mut command = Command::new("mariadbd");
                command.arg("--no-defaults").arg(format!("--datadir={}", self.data().display()));
                command.arg(format!("--bind-address={}", self.address.ip()));
                command.arg(format!("--port={}", self.address.port()));
                command.arg(format!("--socket={}", self.folder.join("socket").display()));
                command.arg(format!("--pid-file={}", self.folder.join("pid").display()));
                command.args([
                    "--innodb-flush-log-at-trx-commit=2",
                    "--skip-name-resolve",
                    "--character-set-server=utf8mb4",
                ]);
                command
            }
        };
        as_user(&mut command, self.user()?);
        command.current_dir(&self.folder);
        Ok(command)
    }

    /// The user that the package made, when the tests run as root: the servers refuse to.
    fn user(&self) -> Result<Option<(u32, u32)>> {
        let name = match self.system {
            System::Postgres => "postgres",
            System::MariaDb => "mysql",
        };
        // The folder was made by whoever runs the tests.
        if fs::metadata(&self.logs)?.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let line = users.lines().find(|line| line.split(':').next() == Some(name));
        let mut fields = line
            .with_context(|| format!("no user {name}: run deploy/setup.sh"))?
            .split(':')
            .skip(2);
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        match (number(), number()) {
            (Some(user), Some(group)) => Ok(Some((user, group))),
            _ => bail!("the user {name} has no number in /etc/passwd"),
        }
    }
}

/// A program of PostgreSQL, of the newest version installed.
fn postgres(program: &str) -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed: run deploy/setup.sh")?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(program)))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("no {program} below /usr/lib/postgresql: run deploy/setup.sh"))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) {
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
}

/// Gives a folder to the server's user; the folders above must let it through.
fn give_to(user: Option<(u32, u32)>, folder: &Path) -> Result<()> {
    let Some((user, group)) = user else { return Ok(()) };
    chown(folder, Some(user), Some(group))?;
    for above in folder.ancestors().skip(1) {
        let mut rights = fs::metadata(above)?.permissions();
        let mode = rights.mode();
        if mode & 0o001 == 0 {
            rights.set_mode(mode | 0o001);
            fs::set_permissions(above, rights)?;
        }
        // The temporary folder itself is everybody's.
        if above.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hutong-")) {
            break;
        }
    }
    Ok(())
}
