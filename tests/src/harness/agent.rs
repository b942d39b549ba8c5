//! A department's front-end machine: its folder, its agent's configuration, its agent.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::ids::CreditCode;
use serde::Serialize;

use super::hub::EXCHANGE;
use super::process::Process;
use super::programs::programs;
use super::run::{Ran, run_command};
use crate::city::agent_config::{NodeTable, PublishTable, SubscribeTable};

/// How long an agent may take to end in good order.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Sources are looked at this often, so that tests need not wait long for a change.
const RESCAN_SECONDS: u32 = 1;

/// One machine with its agent.
#[derive(Debug)]
pub struct Machine {
    /// Short name: folder and log files are called after it.
    pub name: String,
    /// The department's credit code.
    pub code: CreditCode,
    /// The department's name.
    pub title: String,
    /// Its nodes.
    pub nodes: Vec<NodeTable>,
    folder: PathBuf,
    logs: PathBuf,
    environment: Vec<(OsString, OsString)>,
    process: Option<Process>,
}

/// The configuration file. Its types are not the agent's, so that a change of the format is noticed.
#[derive(Serialize)]
struct ConfigFile<'a> {
    hub: HubTable,
    state: StateTable,
    enrol: EnrolTable,
    status: StatusTable,
    node: &'a [NodeTable],
}

#[derive(Serialize)]
struct HubTable {
    address: String,
    exchange: &'static str,
}

#[derive(Serialize)]
struct StateTable {
    dir: &'static str,
}

#[derive(Serialize)]
struct EnrolTable {
    sheet: &'static str,
}

#[derive(Serialize)]
struct StatusTable {
    socket: &'static str,
}

impl Machine {
    /// A machine in a new folder, without nodes.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(
        folder: &Path,
        logs: &Path,
        name: &str,
        code: CreditCode,
        title: &str,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self {
            name: name.to_owned(),
            code,
            title: title.to_owned(),
            nodes: Vec::new(),
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            environment: Vec::new(),
            process: None,
        })
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file beside its place and moves it there, as a careful source does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let (path, draft) = (self.path(name), self.path(&format!("{name}.draft")));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// A node of this name, added when it is new.
    pub fn node(&mut self, name: &str) -> &mut NodeTable {
        let at = match self.nodes.iter().position(|node| node.name == name) {
            Some(at) => at,
            None => {
                self.nodes.push(NodeTable {
                    name: name.to_owned(),
                    catalogue: self.folder.join(format!("catalogue-{name}.jsonl")),
                    publish: Vec::new(),
                    subscribe: Vec::new(),
                });
                self.nodes.len() - 1
            }
        };
        &mut self.nodes[at]
    }

    /// Lets a node publish an entry from `<file>` in full snapshots, and returns the publication
    /// for further settings. The format follows the suffix.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn publish(
        &mut self,
        node: &str,
        entry: &CatalogueEntry,
        file: &str,
    ) -> Result<&mut PublishTable> {
        let path = self.path(file);
        let format = if file.ends_with(".jsonl") { "jsonl" } else { "csv" };
        let catalogue = self.node(node).catalogue.clone();
        let mut lines = fs::read_to_string(&catalogue).unwrap_or_default();
        lines.push_str(&serde_json::to_string(entry)?);
        lines.push('\n');
        fs::write(&catalogue, lines).context("write the catalogue")?;
        let publish = &mut self.node(node).publish;
        publish.push(PublishTable {
            resource: entry.code.to_string(),
            path,
            format,
            encoding: "utf-8",
            mode: "snapshot",
            rescan_seconds: Some(RESCAN_SECONDS),
            max_delete_percent: None,
            instead: None,
        });
        let last = publish.len() - 1;
        Ok(&mut publish[last])
    }

    /// Lets a node receive a grant, or `all` of them, in the folder `out`.
    pub fn subscribe(&mut self, node: &str, grant: &str) {
        let (grant, path) = (grant.to_owned(), self.folder.join("out"));
        let settings = toml::Table::new();
        self.node(node).subscribe.push(SubscribeTable { grant, path, settings });
    }

    /// Lets a node receive a grant, or `all` of them, as these settings say.
    ///
    /// # Errors
    /// When they are not TOML.
    pub fn subscribe_to(&mut self, node: &str, grant: &str, settings: &str) -> Result<()> {
        let settings = settings.parse().with_context(|| settings.to_owned())?;
        let (grant, path) = (grant.to_owned(), PathBuf::new());
        self.node(node).subscribe.push(SubscribeTable { grant, path, settings });
        Ok(())
    }

    /// The file that a grant is delivered to.
    pub fn delivered(&self, grant: u64) -> PathBuf {
        self.folder.join("out").join(format!("{grant}.jsonl"))
    }

    /// Its sheet of join tokens.
    pub fn sheet(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    /// The folder of its agent's state.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Writes the configuration for a hub at this address.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, hub: SocketAddr) -> Result<()> {
        let text = toml::to_string(&ConfigFile {
            hub: HubTable { address: hub.to_string(), exchange: EXCHANGE },
            state: StateTable { dir: "state" },
            enrol: EnrolTable { sheet: "tokens.csv" },
            status: StatusTable { socket: "state/agent.sock" },
            node: &self.nodes,
        })?;
        fs::write(self.config(), text).context("write the agent's configuration")
    }

    /// Sets the environment of the next start.
    pub fn set_environment(
        &mut self,
        variables: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    ) {
        let owned = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = owned.collect();
    }

    /// Starts the agent; the configuration must have been written.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.program()?;
        command.arg("run");
        self.process = Some(Process::start(&self.name, &mut command, &self.logs)?);
        Ok(())
    }

    /// Ends the agent as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Ends the agent in good order.
    ///
    /// # Errors
    /// When it does not end in time or not with success.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(END_WITHIN))
    }

    /// The agent's process while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// What the agent has logged, over all its starts.
    ///
    /// # Errors
    /// When it never started.
    pub fn log(&self) -> Result<String> {
        let path = self.logs.join(format!("{}.log", self.name));
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// Runs a command of the agent to its end.
    ///
    /// # Errors
    /// When the program cannot be started; a command that fails is an answer.
    pub fn command<S: Into<OsString>>(&self, args: impl IntoIterator<Item = S>) -> Result<Ran> {
        let mut command = self.program()?;
        command.args(args.into_iter().map(Into::into));
        run_command(&mut command)
    }

    /// What `hutong-agent status --json` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> Result<serde_json::Value> {
        let out = self.command(["status", "--json"])?.ok()?;
        serde_json::from_str(&out).with_context(|| format!("read as JSON: {out:.200}"))
    }

    /// Looks a row up over the running agent's connection.
    ///
    /// # Errors
    /// When the program cannot be started; a refusal is an answer.
    pub fn lookup(&self, target: &str, key: &str) -> Result<Ran> {
        self.command(["lookup", "--target", target, "--key", key, "--reason", "TEST-1"])
    }

    /// Asks whether a claim, `name=value`, is true.
    ///
    /// # Errors
    /// When the program cannot be started; a refusal is an answer.
    pub fn verify(&self, target: &str, key: &str, claim: &str) -> Result<Ran> {
        let args =
            ["verify", "--target", target, "--key", key, "--claim", claim, "--reason", "TEST-1"];
        self.command(args)
    }

    /// What the status says of one publication; null before the agent knows it.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn publication(&self, resource: &str) -> Result<serde_json::Value> {
        let status = self.status()?;
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let mut all = nodes.flat_map(|node| node["publications"].as_array().into_iter().flatten());
        Ok(all.find(|each| each["resource"] == resource).cloned().unwrap_or_default())
    }

    fn program(&self) -> Result<Command> {
        let mut command = Command::new(&programs()?.agent);
        command.arg("--config").arg(self.config()).envs(self.environment.clone());
        Ok(command)
    }
}
