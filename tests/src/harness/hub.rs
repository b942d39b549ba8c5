//! A hub in a folder: founded, served, killed, asked.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::http;
use super::metrics::Metrics;
use super::ports;
use super::process::Process;
use super::programs::programs;
use super::run::{Ran, run};
use super::wait::until_true;

/// How long a hub may take from its start to `ready`; it may have to repeat its log.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a hub may take to end in good order.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Settings with which agents notice soon that a killed hub is gone; otherwise a round of kills is
/// mostly waiting for that.
pub const NOTICES_SOON: &str = "[gate]\nidle_seconds = 6\n";

/// The exchange's name wherever nobody chose one.
pub const EXCHANGE: &str = "tieling";

/// A hub and its folder.
#[derive(Debug)]
pub struct Hub {
    folder: PathBuf,
    logs: PathBuf,
    /// Lines added to the configuration, in TOML with dotted section headers of their own.
    settings: String,
    environment: Vec<(OsString, OsString)>,
    process: Option<Process>,
    /// What the configuration asks for: the same at every start, so that agents find the hub again.
    asked: Addresses,
    /// What it said at its last start.
    addresses: Option<Addresses>,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    quic: SocketAddr,
    http: SocketAddr,
}

impl Hub {
    /// Founds an exchange in `folder`; logs go to `logs`.
    ///
    /// # Errors
    /// When `hutong-hub init` does not succeed.
    pub fn found(folder: &Path, logs: &Path) -> Result<Self> {
        Self::found_with(folder, logs, &[])
    }

    /// The same with further arguments of `hutong-hub init`.
    ///
    /// # Errors
    /// As [`Hub::found`].
    pub fn found_with(folder: &Path, logs: &Path, further: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let hub = Self {
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            settings: String::new(),
            environment: Vec::new(),
            process: None,
            asked: Addresses { quic: ports::own()?, http: ports::own()? },
            addresses: None,
        };
        hub.configure()?;
        hub.command([&["init"], further].concat())?.ok().context("found the exchange")?;
        Ok(hub)
    }

    /// Adds settings to the configuration; they hold from the next start on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&mut self, settings: &str) -> Result<()> {
        writeln!(self.settings, "{settings}")?;
        self.configure()
    }

    /// Sets the environment of the next start.
    pub fn set_environment(
        &mut self,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) {
        let owned = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = owned.collect();
    }

    /// Serves, and waits until it is ready. Its addresses are the same at every start.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.ready()
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(&programs()?.hub);
        command.arg("--config").arg(self.config()).arg("serve").envs(self.environment.clone());
        self.process = Some(Process::start("hub", &mut command, &self.logs)?);
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or the deadline passes.
    pub fn ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the hub was not started")?;
        let line = process.line("ready ", READY_WITHIN)?;
        let address = |name: &str| -> Result<SocketAddr> {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            let word = word.with_context(|| format!("{name} in the line {line:?}"))?;
            word.parse().with_context(|| format!("the address {word:?}"))
        };
        let addresses = Addresses { quic: address("quic=")?, http: address("http=")? };
        self.addresses = Some(addresses);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(END_WITHIN))
    }

    /// Its process while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Its door for nodes.
    ///
    /// # Errors
    /// Before its first start.
    pub fn quic(&self) -> Result<SocketAddr> {
        Ok(self.addresses.context("the hub was never started")?.quic)
    }

    /// Its pages for health and metrics.
    ///
    /// # Errors
    /// Before its first start.
    pub fn http(&self) -> Result<SocketAddr> {
        Ok(self.addresses.context("the hub was never started")?.http)
    }

    /// Its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("hub.toml")
    }

    /// Runs a command of the operator.
    ///
    /// # Errors
    /// When the program cannot be started; a command that fails is an answer.
    pub fn command<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Result<Ran> {
        let config = [OsString::from("--config"), self.config().into()];
        run(&programs()?.hub, config.into_iter().chain(args.into_iter().map(Into::into)))
    }

    /// Runs a command that answers in JSON.
    ///
    /// # Errors
    /// When it fails, or answers something else.
    pub fn json<S: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Result<serde_json::Value> {
        let out = self.command(args)?.ok()?;
        serde_json::from_str(&out).with_context(|| format!("read as JSON: {out:.200}"))
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::fetch(self.http()?)
    }

    /// Waits until the page answers with success.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn page_ok(&self, path: &str, within: Duration) -> Result<()> {
        let http = self.http()?;
        until_true(within, &format!("the hub's {path} answers 200"), || {
            Ok(http::get(http, path).is_ok_and(|(code, _)| code == 200))
        })
    }

    /// What the hub says of itself; with a line for each resource if these are wanted.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self, resources: bool) -> Result<serde_json::Value> {
        let body = self.office("GET", &format!("/admin/status?resources={resources}"))?;
        serde_json::from_str(&body).with_context(|| format!("read as JSON: {body:.200}"))
    }

    /// Lets it write its views to disk, so that another process can read them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush(&self) -> Result<()> {
        self.office("POST", "/admin/flush").map(|_| ())
    }

    /// What the operator is shown of a row.
    ///
    /// # Errors
    /// When the question is refused.
    pub fn lookup(&self, target: &str, key: &str) -> Result<String> {
        self.command(["lookup", target, key, "--reason", "test"])?.ok()
    }

    /// What the operator is shown nearest to a point, `longitude,latitude`.
    ///
    /// # Errors
    /// When the program cannot be started; a refusal is an answer.
    pub fn nearest(&self, target: &str, point: &str, limit: u16) -> Result<Ran> {
        let limit = limit.to_string();
        self.command(["lookup", target, "--near", point, "--limit", &limit, "--reason", "TEST-1"])
    }

    /// Ends a grant.
    ///
    /// # Errors
    /// When the hub refuses.
    pub fn withdraw(&self, grant: u64, reason: &str) -> Result<()> {
        self.command(["grant", "withdraw", &grant.to_string(), "--reason", reason])?.ok()?;
        Ok(())
    }

    /// Checks the log, with the hub stopped: its chain, and that the views found every batch of it in
    /// its place, none twice.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn log_is_sound(&self) -> Result<()> {
        self.command(["verify-log"])?.ok().context("verify the log")?;
        let path = self.logs.join("hub.log");
        let log = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        if let Some(line) = log.lines().find(|line| line.contains("HT-VIEW-PARKED")) {
            bail!("an entry of the log is not as it should be: {line}");
        }
        Ok(())
    }

    /// The operator's socket.
    pub fn socket(&self) -> PathBuf {
        self.data().join("hub.sock")
    }

    fn office(&self, method: &str, path: &str) -> Result<String> {
        match http::over_socket(&self.socket(), method, path)? {
            (200, body) => Ok(body),
            (code, body) => bail!("{path} answered {code}: {body:.200}"),
        }
    }

    fn configure(&self) -> Result<()> {
        let Addresses { quic, http } = self.asked;
        let text = format!(
            "[hub]\nexchange = \"{EXCHANGE}\"\ndata_dir = \"data\"\nlisten = \"{quic}\"\nhttp = \"{http}\"\n\n{}",
            self.settings
        );
        let path = self.config();
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}
