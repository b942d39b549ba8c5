//! Taking a changed configuration into use while everything else goes on.
//!
//! The whole file is read and checked first: with any mistake nothing changes. What was added starts,
//! what was removed ends in good order, what was changed goes on with the new settings; a node whose
//! publications and subscriptions change keeps its connection.

use std::{sync::Arc, time::Duration};

use hutong_schema::{ids::ResourceCode, words::in_full};
use serde::{Deserialize, Serialize};

use super::{Agent, enrol, subscription_options};
use crate::{
    changes::{Publication as Source, Settling},
    config::{Config, ConfigError, NodeConfig, PublishConfig, SourceConfig},
    link::{Node, Publication},
    spool::{StoreError, StreamId},
};

/// Time for the batches of a removed publication to be acknowledged.
const DRAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(20);

/// A changed configuration was not taken; everything is as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It was not read from a file.
    #[error("this agent's configuration is in no file")]
    NoFile,
    /// It has mistakes.
    #[error("nothing was changed")]
    Config(#[from] ConfigError),
    /// The join tokens of new nodes.
    #[error("nothing was changed: the sheet of join tokens cannot be used")]
    Sheet(#[from] hutong_certs::join::sheet::SheetError),
    /// The store.
    #[error("nothing was changed")]
    Store(#[from] StoreError),
}

/// What a reload brought about, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What began, ended or changed.
    pub done: Vec<String>,
    /// Settings that were changed in the file and count from the next start on.
    pub after_restart: Vec<String>,
}

impl Agent {
    /// Reads the configuration again and takes it into use.
    ///
    /// # Errors
    /// When it has mistakes, or the store fails; nothing has changed then.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, ReloadError> {
        let _alone = self.reloading.lock().await;
        let before = self.config();
        let file = before.file.clone().ok_or(ReloadError::NoFile)?;
        let (next, after_restart) = kept(&before, Config::load(&file)?);
        let tokens = next.enrol_sheet.as_deref().map(enrol::tokens).transpose()?;
        // Opening a stream that is there already changes nothing.
        let wanted = next.nodes.iter().flat_map(|node| {
            node.publish.iter().map(|publish| (node.name.clone(), publish.resource.clone()))
        });
        let mut streams = self.process.store.open_streams(wanted.collect()).await?.into_iter();
        *self.tokens.lock() = tokens.unwrap_or_default();
        *self.config.write() = Arc::new(next.clone());
        let mut done = Vec::new();
        for old in &before.nodes {
            if next.nodes.iter().all(|node| node.name != old.name) {
                self.end_node(old).await;
                done.push(format!("node {}: ended", old.name));
            }
        }
        for node in next.nodes {
            let streams: Vec<StreamId> = streams.by_ref().take(node.publish.len()).collect();
            let old = before.nodes.iter().find(|old| old.name == node.name);
            self.follow(old, node, streams, &mut done).await;
        }
        tracing::info!(?done, ?after_restart, "the configuration was read again");
        Ok(Reloaded { done, after_restart })
    }

    /// Brings one node to what is configured now.
    async fn follow(
        self: &Arc<Self>,
        old: Option<&NodeConfig>,
        node: NodeConfig,
        streams: Vec<StreamId>,
        done: &mut Vec<String>,
    ) {
        let name = node.name.clone();
        let Some(old) = old else {
            self.begin_node(node, streams);
            return done.push(format!("node {name}: begun"));
        };
        let up = self.nodes.lock().get(&name).cloned();
        match up {
            Some(up) if old.catalogue == node.catalogue => {
                let changed = self.adjust(&up, old, &node, &streams).await;
                done.extend(changed.into_iter().map(|what| format!("node {name}: {what}")));
            }
            // Without a certificate nothing is under way yet.
            None if old == &node => {}
            Some(_) | None => {
                self.end_node(old).await;
                self.begin_node(node, streams);
                done.push(format!("node {name}: begun anew"));
            }
        }
    }

    /// Changes what a node publishes and receives; its connection goes on.
    async fn adjust(
        self: &Arc<Self>,
        node: &Arc<Node>,
        old: &NodeConfig,
        new: &NodeConfig,
        streams: &[StreamId],
    ) -> Vec<String> {
        let mut done = Vec::new();
        let has = |config: &NodeConfig, code: &ResourceCode| {
            config.publish.iter().any(|each| each.resource == *code)
        };
        let publications = node.publications();
        for gone in publications.iter().filter(|each| !has(new, &each.resource)) {
            self.scans.unmount(gone.stream);
            self.drained(node, gone).await;
            node.end_publication(gone);
            done.push(format!("{} ended", gone.resource));
        }
        let mut begun = Vec::new();
        for (publish, stream) in new.publish.iter().zip(streams) {
            let known = publications.iter().find(|each| each.resource == publish.resource);
            match known {
                Some(_) if old.publish.contains(publish) => {}
                Some(publication) => {
                    self.mount(node, Arc::clone(publication), publish.clone());
                    done.push(format!("{} changed", publish.resource));
                }
                None => match node.begin_publication(*stream, publish.resource.clone()) {
                    Ok(publication) => {
                        self.mount(node, Arc::clone(&publication), publish.clone());
                        begun.push(publication);
                        done.push(format!("{} begun", publish.resource));
                    }
                    Err(error) => {
                        self.process.fatal.raise(&error);
                        return done;
                    }
                },
            }
        }
        if old.subscribe != new.subscribe {
            node.set_subscriptions(subscription_options(new));
            done.push("subscriptions changed".to_owned());
        }
        // The file may have entries for what is new; one that is as it was is not applied again.
        let (node, fatal) = (Arc::clone(node), self.process.fatal.clone());
        self.tasks.spawn(async move {
            let work = async {
                node.apply_catalogue().await;
                begun.iter().for_each(|publication| node.poke(publication));
            };
            fatal.guard("applying the catalogue", Box::pin(work)).await;
        });
        done
    }

    /// Waits until what is in the outbox is acknowledged; what is not in time stays there.
    async fn drained(&self, node: &Node, publication: &Publication) {
        let looking = async {
            while node.session().is_some()
                && publication.state(&self.process.store).is_ok_and(|state| !state.is_drained())
            {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Late ones are told by the outbox.
        let _ = tokio::time::timeout(DRAIN, looking).await;
    }

    /// Waits until the scans of sources that were unmounted have noticed it: a source that is mounted
    /// anew is not to be read twice at a time. The store refuses what a later one would still append.
    async fn read_no_more(&self, publications: impl Iterator<Item = &Arc<Publication>> + Clone) {
        let looking = async {
            while publications.clone().any(|each| each.is_scanning()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(DRAIN, looking).await;
    }

    pub(super) fn mount(
        &self,
        node: &Arc<Node>,
        publication: Arc<Publication>,
        config: PublishConfig,
    ) {
        let quarantine = self.process.quarantine.clone();
        let settling = Settling::default();
        let source = Source { stream: publication.stream, config, quarantine, settling };
        if source.config.source == SourceConfig::Push {
            publication.keep_outbox();
        }
        self.scans.mount(Arc::clone(node), publication, source);
    }

    /// Ends a node in good order.
    async fn end_node(&self, config: &NodeConfig) {
        let running = self.running.lock().remove(&config.name);
        let publications = self.nodes.lock().get(&config.name).map(|node| node.publications());
        for publication in publications.iter().flat_map(|all| all.iter()) {
            self.scans.unmount(publication.stream);
        }
        self.read_no_more(publications.iter().flat_map(|all| all.iter())).await;
        if let Some(running) = running {
            running.cancel.cancel();
            if let Err(error) = running.task.await {
                tracing::error!(node = %config.name, reason = in_full(&error), "a node ended by a fault");
            }
        }
        self.nodes.lock().remove(&config.name);
        self.waiting.lock().remove(&config.name);
    }
}

/// The new configuration with those settings of the old one that cannot change now, and their names.
fn kept(old: &Config, new: Config) -> (Config, Vec<String>) {
    // Without `..`: whoever adds a setting decides here.
    let Config {
        file,
        hub_address,
        exchange,
        state_dir,
        enrol_sheet,
        status_socket,
        outbox_cap_bytes,
        store_cache_bytes,
        parallel_scans,
        push,
        nodes,
    } = new;
    let changed = [
        ("hub.address", hub_address != old.hub_address),
        ("hub.exchange", exchange != old.exchange),
        ("state.dir", state_dir != old.state_dir),
        ("status.socket", status_socket != old.status_socket),
        ("outbox.cap_bytes", outbox_cap_bytes != old.outbox_cap_bytes),
        ("store.cache_bytes", store_cache_bytes != old.store_cache_bytes),
        ("scan.parallel", parallel_scans != old.parallel_scans),
        ("push", push != old.push),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    let names = changed.map(|(name, _)| name.to_owned()).collect();
    let fixed = Config { file, enrol_sheet, nodes, ..old.clone() };
    (fixed, names)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_stays_as_it_was() {
        let text = |hub: &str, dir: &str, node: &str| {
            format!("hub.address = \"{hub}\"\nstate.dir = \"{dir}\"\n[[node]]\nname = \"{node}\"\n")
        };
        let read = |text: String| Config::parse(&text, Path::new("/etc/hutong")).unwrap();
        let old = read(text("a:1", "s", "n1"));
        let (next, names) = kept(&old, read(text("b:1", "t", "n2")));
        assert_eq!(names, ["hub.address", "state.dir", "status.socket"]);
        assert_eq!((&*next.hub_address, &next.state_dir), ("a:1", &old.state_dir));
        assert_eq!(next.nodes[0].name.as_str(), "n2");
        assert!(kept(&old, old.clone()).1.is_empty());
    }
}
