//! How a hub or an agent ends and is started again.

use std::fs;

use anyhow::{Result, ensure};

use super::agent::From;
use super::delivering::Subscription;
use super::hub::{Hub, Opened, copy_folder, newest_wal};
use super::sim::Sim;
use super::step::{AgentEnd, HubEnd};

impl Sim {
    pub(crate) fn end_hub(&mut self, end: HubEnd) -> Result<()> {
        self.nothing_answered_too_early()?;
        let before = self.base.join(format!("hub-{}", self.life));
        let after = self.base.join(format!("hub-{}", self.life + 1));
        self.life += 1;
        self.figures.ended(match end {
            HubEnd::Stopped => "hub stopped",
            HubEnd::Killed => "hub killed",
            HubEnd::ViewsLost => "hub without its views",
            HubEnd::Cut(_) | HubEnd::CutBelowMarks(_) => "hub whose disk lied",
        });
        if matches!(end, HubEnd::Stopped) {
            self.sync()?;
        }
        for agent in 0..self.agents.len() {
            if self.agents[agent].connected {
                self.disconnect(agent)?;
            }
        }
        self.late.clear();
        self.figures.lost_batches += self.hub.held.waiting();
        if matches!(end, HubEnd::Stopped | HubEnd::CutBelowMarks(_)) {
            self.runtime.block_on(self.hub.close())?;
        }
        // What its disk has now is what the next one finds.
        copy_folder(&before, &after)?;
        if let HubEnd::Cut(bytes) | HubEnd::CutBelowMarks(bytes) = end
            && let Some(wal) = newest_wal(&after)?
        {
            let length = fs::metadata(&wal)?.len();
            let file = fs::File::options().write(true).open(&wal)?;
            file.set_len(length.saturating_sub(u64::from(bytes)))?;
        }
        if end == HubEnd::ViewsLost {
            fs::remove_dir_all(after.join("views"))?;
        }
        let next = self.runtime.block_on(Hub::open(&after, &self.time))?;
        let old = std::mem::replace(&mut self.hub, next);
        self.runtime.block_on(old.vanish())?;
        fs::remove_dir_all(before)?;
        let lied = matches!(end, HubEnd::Cut(_) | HubEnd::CutBelowMarks(_));
        let opened = self.hub.opened;
        ensure!(lied || opened == Opened::Whole, "an honest end was found {opened:?}");
        let whole = self.truth.started_again(&self.hub, lied)?;
        if !whole {
            let known = match opened {
                Opened::Anew => "known to its marks",
                Opened::Torn | Opened::Whole => "known to its peers only",
            };
            *self.figures.lies.entry(known).or_default() += 1;
        }
        self.note(format!(
            "    the hub is back: {opened:?}, {}",
            if whole { "whole" } else { "less" }
        ));
        // As at every start.
        self.set_date()?;
        for agent in 0..self.agents.len() {
            self.connect(agent)?;
        }
        Ok(())
    }

    pub(crate) fn end_agent(&mut self, agent: usize, end: AgentEnd) -> Result<()> {
        let from = match end {
            AgentEnd::Restored if !self.agents[agent].has_backup() => return Ok(()),
            AgentEnd::Restored => From::Backup,
            AgentEnd::StoreLost => From::WithoutStore,
            AgentEnd::Killed | AgentEnd::PowerCut | AgentEnd::InCommit(_) => From::Disk,
        };
        self.figures.ended(match end {
            AgentEnd::Killed => "agent killed",
            AgentEnd::PowerCut => "agent's power cut",
            AgentEnd::InCommit(_) => "agent killed while it commits",
            AgentEnd::StoreLost => "agent without its store",
            AgentEnd::Restored => "agent restored from a copy",
        });
        if let AgentEnd::InCommit(waits) = end {
            self.news()?;
            for at in 0..self.subscriptions.len() {
                if self.subscriptions[at].agent == agent {
                    // The answer, and the first rows behind it.
                    let messages = if self.subscriptions[at].stream.is_some() { 1 } else { 2 };
                    self.pour(at, messages)?;
                }
            }
            self.commit_in_part(agent, waits);
        }
        self.cut(agent);
        if end == AgentEnd::PowerCut {
            self.cut_files(agent)?;
        }
        let old = self.agents.remove(agent);
        let again = old.restart(from, &self.runtime)?;
        self.agents.insert(agent, again);
        // It knows those that its store knows; what had been disposed of may be back with an old copy.
        let of = &self.agents[agent];
        let known = hutong_agent::sinks::known(&of.store, &of.name()?)?;
        self.subscriptions.retain(|subscription| subscription.agent != agent);
        for view in known {
            let ended = view.record.ended.is_some();
            let grant = view.key.grant;
            self.subscriptions.push(Subscription { agent, grant, stream: None, ended });
        }
        for at in 0..self.subscriptions.len() {
            if self.subscriptions[at].agent == agent {
                self.check_subscription(at)?;
            }
        }
        self.connect(agent)
    }

    /// What stands in received files without having been synced is gone.
    pub(crate) fn cut_files(&mut self, agent: usize) -> Result<()> {
        let of = &self.agents[agent];
        for record in hutong_agent::sinks::known(&of.store, &of.name()?)? {
            let live = of.received().join(format!("{}.jsonl", record.key.grant));
            let mut staged = live.clone().into_os_string();
            staged.push(".new");
            let durable = record.record.staged.as_ref().map_or(0, |staged| staged.length);
            // While a swap is under way the staged file is the live one under its old name.
            if !record.record.rename_due {
                for (path, length) in [(live, record.record.length), (staged.into(), durable)] {
                    let Ok(found) = fs::metadata(&path) else { continue };
                    if found.len() > length {
                        fs::File::options().write(true).open(&path)?.set_len(length)?;
                    }
                }
            }
        }
        Ok(())
    }
}
