//! A whole exchange in a temporary folder: one hub, some machines, and what a test asks of them.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hutong_schema::ids::ResourceCode;

use super::Machine;
use super::delivered::said_twice;
use super::entries::{department_code, people as people_entry};
use super::hub::Hub;
use super::process::tail;
use super::programs::programs;
use super::promise::Promise;
use super::rows::{csv, people};
use super::run::{Ran, run};
use super::wait::{until, until_true};
use crate::proof::inventory;
use crate::proof::{GrantRecord, Inventory, ResourceRecord};

/// How long anything may take that needs no more than a few round trips and syncs.
pub const SOON: Duration = Duration::from_secs(30);

/// An exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Its hub.
    pub hub: Hub,
    /// Its departments' machines, in the order in which they were added.
    pub machines: Vec<Machine>,
    /// The deliveries that [`Exchange::prove`] compares.
    pub grants: Vec<GrantRecord>,
    folder: tempfile::TempDir,
    passed: bool,
}

/// Runs a test in an exchange of its own, with the hub ready. If it fails, the ends of all logs are
/// printed and the folder is kept.
///
/// # Errors
/// The test's.
pub fn scene(test: impl FnOnce(&mut Exchange) -> Result<()>) -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.start()?;
    exchange.play(test)
}

impl Exchange {
    /// An exchange with a founded hub that does not run yet.
    ///
    /// # Errors
    /// When it cannot be founded.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hutong-").tempdir()?;
        let hub = Hub::found(&folder.path().join("hub"), &folder.path().join("logs"))?;
        Ok(Self { hub, machines: Vec::new(), grants: Vec::new(), folder, passed: false })
    }

    /// Runs a test in it. If it fails, the ends of all logs are printed and the folder is kept.
    ///
    /// # Errors
    /// The test's.
    pub fn play(mut self, test: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        test(&mut self)?;
        self.passed = true;
        Ok(())
    }

    /// Checks the log of the hub, which must not run: its chain, and that the views found every batch
    /// of it in its place, none twice.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn log_is_sound(&self) -> Result<()> {
        self.hub.log_is_sound()
    }

    /// Checks that no agent had to begin a delivery anew: what it told the hub to hold, it held.
    ///
    /// # Errors
    /// With the agent that had to.
    pub fn nothing_delivered_anew(&self) -> Result<()> {
        for machine in &self.machines {
            if machine.log()?.contains("delivered anew") {
                bail!("{} had lost rows that it had confirmed", machine.name);
            }
        }
        Ok(())
    }

    /// Checks that no change stands twice in a delivered file. Digests do not tell: of several lines
    /// with one key the last counts.
    ///
    /// # Errors
    /// With the first that does.
    pub fn nothing_delivered_twice(&self) -> Result<()> {
        for grant in self.grants.iter().filter(|grant| grant.fields.is_empty()) {
            if let Some(line) = said_twice(&grant.path, 0)? {
                bail!("a change was delivered twice: {line}");
            }
        }
        Ok(())
    }

    /// A path in the exchange's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds the machine of the next department; its number is the number of machines before.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn department(&mut self, name: &str) -> Result<&mut Machine> {
        let number = self.machines.len();
        let (folder, logs) = (self.path(name), self.path("logs"));
        let title = format!("示例局（{name}）");
        let machine = Machine::new(&folder, &logs, name, department_code(number)?, &title)?;
        self.machines.push(machine);
        Ok(&mut self.machines[number])
    }

    /// Issues tokens for all nodes of a machine and writes its configuration; its agent enrols when
    /// it starts.
    ///
    /// # Errors
    /// When the hub refuses.
    pub fn admit(&mut self, machine: usize) -> Result<()> {
        let machine = &self.machines[machine];
        let mut lines = String::from("department,department_name,node\n");
        for node in &machine.nodes {
            lines.push_str(&format!("{},{},{}\n", machine.code, machine.title, node.name));
        }
        let nodes = machine.write("nodes.csv", lines)?;
        issue_sheet(&self.hub, &nodes, &machine.sheet())?;
        machine.configure(self.hub.quic()?)
    }

    /// [`Exchange::admit`], then starts the agent.
    ///
    /// # Errors
    /// When either fails.
    pub fn run(&mut self, machine: usize) -> Result<()> {
        self.admit(machine)?;
        self.machines[machine].start()
    }

    /// A department `civil` whose node `n1` publishes so many people, who are at the hub.
    ///
    /// # Errors
    /// When they do not arrive.
    pub fn people_from_civil(&mut self, code: &str, count: usize) -> Result<()> {
        let at = self.machines.len();
        let entry = people_entry(code, department_code(at)?)?;
        let machine = self.department("civil")?;
        machine.write("people.csv", csv(&people(count)?))?;
        machine.publish("n1", &entry, "people.csv")?;
        self.run(at)?;
        self.rows(&entry.code, count as u64, SOON)
    }

    /// A department `social` whose node `s1` is granted a resource.
    ///
    /// # Errors
    /// When the hub refuses.
    pub fn granted_to_social(&mut self, code: &str) -> Result<()> {
        let at = self.machines.len();
        self.department("social")?.subscribe("s1", "all");
        self.run(at)?;
        self.grant(at, &Wish { target: code, ..Wish::default() })?;
        Ok(())
    }

    /// The end of a test: what the hub had shown is still there, all places hold the same, nothing was
    /// healed, nothing was delivered twice, and the log, of the hub that is stopped here, is sound.
    ///
    /// # Errors
    /// With what is not so.
    pub fn nothing_lost(&mut self, promise: &Promise) -> Result<()> {
        promise.kept(&self.hub)?;
        self.equal(SOON)?;
        promise.no_epoch_began(&self.hub)?;
        self.nothing_delivered_twice()?;
        self.hub.stop()?;
        self.log_is_sound()
    }

    /// Waits until the hub holds this many rows of a resource, searchable.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn rows(&self, resource: &ResourceCode, rows: u64, within: Duration) -> Result<()> {
        let mut seen = None;
        let waited = until_true(within, &format!("{rows} rows of {resource} at the hub"), || {
            seen = self.rows_now(resource)?;
            Ok(seen == Some(rows))
        });
        waited.with_context(|| format!("seen last: {seen:?}"))
    }

    /// Rows of a resource that the hub holds; `None` while it does not know the resource.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub fn rows_now(&self, resource: &ResourceCode) -> Result<Option<u64>> {
        let status = self.hub.status(true)?;
        let mut lines = status["resources"].as_array().into_iter().flatten();
        let found = lines.find(|line| line["resource"].as_str() == Some(resource.as_str()));
        Ok(found.and_then(|line| line["rows"].as_u64()))
    }

    /// Makes a grant and notes it for [`Exchange::prove`]; the first file of the machine's
    /// subscriptions receives it.
    ///
    /// # Errors
    /// When the hub refuses.
    pub fn grant(&mut self, machine: usize, wish: &Wish<'_>) -> Result<u64> {
        let receiver = &self.machines[machine];
        let id = make_grant(&self.hub, receiver.code.as_str(), wish)?;
        self.grants.push(GrantRecord {
            id,
            grantee: receiver.name.clone(),
            target: wish.target.to_owned(),
            fields: wish.fields.iter().map(|&field| field.to_owned()).collect(),
            filter: wish.filter.to_owned(),
            path: receiver.delivered(id),
        });
        Ok(id)
    }

    /// The inventory of everything that the machines publish and receive.
    pub fn inventory(&self) -> Inventory {
        let mut all = Inventory { hub_data: self.hub.data(), ..Inventory::default() };
        for node in self.machines.iter().flat_map(|machine| &machine.nodes) {
            if node.catalogue.exists() {
                all.catalogues.push(node.catalogue.clone());
            }
            let record = |publish: &crate::city::agent_config::PublishTable| {
                Ok(ResourceRecord {
                    code: publish.resource.parse()?,
                    class: publish.resource.clone(),
                    path: publish.path.clone(),
                    format: publish.format.to_owned(),
                    encoding: publish.encoding.to_owned(),
                    rows: 0,
                })
            };
            let records = node.publish.iter().map(record);
            all.resources.extend(records.filter_map(|record: Result<_>| record.ok()));
        }
        all.grants.clone_from(&self.grants);
        all
    }

    /// Compares everything in a process of its own, as of the views' last flush.
    ///
    /// # Errors
    /// When it cannot be started; a verdict is an answer.
    pub fn prove(&self) -> Result<Ran> {
        let path = self.path(inventory::FILE);
        self.inventory().save(&path)?;
        run(&programs()?.city, ["verify".as_ref(), path.as_os_str()])
    }

    /// Waits until source, hub and subscribers hold the same.
    ///
    /// # Errors
    /// When the deadline passes, with the last verdict.
    pub fn equal(&self, within: Duration) -> Result<()> {
        let mut last = String::new();
        let equal = until(within, "all digests are equal", || {
            self.hub.flush()?;
            let ran = self.prove()?;
            last = format!("{}{}", ran.out, ran.err);
            Ok(ran.success.then_some(()))
        });
        equal.with_context(|| last)
    }

    /// The end of every log, for a failure.
    pub fn logs(&self) -> String {
        let listing = fs::read_dir(self.path("logs")).into_iter().flatten().flatten();
        let mut paths: Vec<_> = listing.map(|entry| entry.path()).collect();
        paths.sort();
        paths.retain(|path| path.extension().is_some_and(|suffix| suffix == "log"));
        paths.iter().map(|path| tail(path) + "\n").collect()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.passed {
            self.folder.disable_cleanup(true);
            let kept = self.folder.path().display().to_string();
            // Standard error may be closed; then nobody wants to know.
            let _ = writeln!(std::io::stderr(), "{}the folder is kept: {kept}", self.logs());
        }
    }
}

/// A grant to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// A resource's code or a library's name.
    pub target: &'a str,
    /// Machine names of the fields beside the key; all when empty.
    pub fields: &'a [&'a str],
    /// Row filter; all rows when empty.
    pub filter: &'a str,
}

/// Issues tokens for the nodes in a CSV file.
///
/// # Errors
/// When the hub refuses.
pub fn issue_sheet(hub: &Hub, nodes: &std::path::Path, sheet: &std::path::Path) -> Result<()> {
    let args = [
        "token".as_ref(),
        "sheet".as_ref(),
        nodes.as_os_str(),
        "--out".as_ref(),
        sheet.as_os_str(),
    ];
    hub.command(args)?.ok().context("issue tokens")?;
    Ok(())
}

/// Makes a grant in all modes and returns its number.
///
/// # Errors
/// When the hub refuses.
pub fn make_grant(hub: &Hub, grantee: &str, wish: &Wish<'_>) -> Result<u64> {
    let fields = wish.fields.join(",");
    let mut args = vec!["grant", "add", "--json", "--to", grantee, "--target", wish.target];
    if !wish.fields.is_empty() {
        args.extend(["--fields", &fields]);
    }
    if !wish.filter.is_empty() {
        args.extend(["--filter", wish.filter]);
    }
    args.extend(["--purpose", "测试", "--modes", "deliver,lookup,verify"]);
    let made = hub.json(args).with_context(|| format!("grant {} to {grantee}", wish.target))?;
    match made["id"].as_u64() {
        Some(id) => Ok(id),
        None => bail!("the hub made a grant without a number: {made}"),
    }
}
