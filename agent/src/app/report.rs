//! How everything stands, for people and for programs.

use hutong_schema::{
    grant::GrantId,
    ids::{NodeName, ResourceCode},
};
use serde::{Deserialize, Serialize};

use super::{Agent, scans::Mounted};
use crate::{
    config::{GrantChoice, NodeConfig},
    link::{Hindrance, LinkState, Node, Phase, Publication, SOFTWARE, SubscriptionState},
    sinks,
    spool::{Store, StreamState},
};

/// How the agent stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentReport {
    /// Name and version.
    pub software: String,
    /// Whether this comes from a running agent, or from the store of one that is not running.
    pub running: bool,
    /// The hub's address.
    pub hub: String,
    /// Bytes in the outbox.
    pub outbox_bytes: u64,
    /// Bytes at which reading pauses.
    pub outbox_cap_bytes: u64,
    /// Where programs can push rows.
    #[serde(default)]
    pub push: Option<std::net::SocketAddr>,
    /// Its nodes.
    pub nodes: Vec<NodeReport>,
}

/// How a node stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: NodeName,
    /// `connected`, `connecting`, `not connected`, `not enrolled`, `stopped`.
    pub link: String,
    /// Why it is not connected, and what to do.
    pub reason: Option<String>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// When the certificate ends, RFC 3339.
    pub certificate_ends: Option<String>,
    /// Seconds until then; 0 when it has ended.
    #[serde(default)]
    pub certificate_seconds_left: Option<u64>,
    /// Why it could not be renewed, and what to do.
    #[serde(default)]
    pub renewal_trouble: Option<String>,
    /// This machine's clock minus the hub's, milliseconds.
    pub clock_skew_ms: i64,
    /// Whether the certificate should have been renewed by now.
    #[serde(default)]
    pub certificate_short: bool,
    /// Why the catalogue could not be applied.
    pub catalogue_trouble: Option<String>,
    /// Why the hub could not be asked for the grants.
    #[serde(default)]
    pub grants_trouble: Option<String>,
    /// What it publishes.
    pub publications: Vec<PublicationReport>,
    /// What it receives.
    pub subscriptions: Vec<SubscriptionReport>,
}

/// How a publication stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicationReport {
    /// The resource.
    pub resource: ResourceCode,
    /// Its file.
    pub path: Option<String>,
    /// `ok`, or what it is doing or waiting for; `stands still` needs a person.
    pub state: String,
    /// What stands in the way.
    pub troubles: Vec<String>,
    /// Epoch in force; 0 before the first.
    pub epoch: u32,
    /// Rows read in all.
    pub read: u64,
    /// Changes accepted by the hub in all.
    pub accepted: u64,
    /// Rows in quarantine in all.
    pub rejected: u64,
    /// Batches not yet acknowledged.
    pub waiting_batches: u64,
    /// Batches in the outbox, their size in bytes.
    pub outbox_bytes: u64,
    /// Age of the oldest batch not yet acknowledged, milliseconds.
    pub oldest_ms: Option<u64>,
    /// Last batch acknowledged.
    pub acknowledged: u64,
    /// Scans that ended well since the start.
    pub scans: u64,
    /// Last batch settled: the hub needs it no more from here.
    #[serde(default)]
    pub settled: u64,
    /// When the source was read to its end last, or found unchanged; RFC 3339, since the start.
    #[serde(default)]
    pub last_read: Option<String>,
    /// When a batch was acknowledged last, RFC 3339, since the start.
    #[serde(default)]
    pub last_acknowledged: Option<String>,
    /// When a batch was settled last, RFC 3339, since the start.
    #[serde(default)]
    pub last_settled: Option<String>,
    /// Changes sent since the start; those that were sent again count again.
    #[serde(default)]
    pub sent: u64,
}

/// How a subscription stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubscriptionReport {
    /// The grant.
    pub grant: GrantId,
    /// `ok`, `snapshot`, `waiting`, `stands still`, `ended`.
    pub state: String,
    /// Why it stands still or ended.
    pub reason: Option<String>,
    /// Position in the feed.
    pub position: Option<u64>,
    /// Whether what is held is the state of the feed at that position.
    pub consistent: bool,
    /// Changes written since the last snapshot began.
    pub changes: u64,
    /// Rows held, as of the last checkpoint.
    pub rows: Option<u64>,
    /// Whether the configuration names this grant, and not all of them.
    #[serde(default)]
    pub by_number: bool,
    /// Feed entries to come until what is held is consistent, while that is known.
    #[serde(default)]
    pub behind: Option<u64>,
    /// When something was written down last, RFC 3339, since the start.
    #[serde(default)]
    pub last_delivery: Option<String>,
    /// Seconds since then: a quiet feed, or a lag that nobody can tell yet.
    #[serde(default)]
    pub quiet_seconds: Option<u64>,
}

impl AgentReport {
    /// Of a running agent.
    pub fn of(agent: &Agent) -> Self {
        let mounted = agent.mounted();
        let nodes = agent.nodes();
        let mut reports: Vec<_> = nodes.iter().map(|node| of_node(node, &mounted)).collect();
        for (name, reason) in agent.waiting() {
            reports.push(NodeReport { reason: Some(reason), ..empty(name, "not enrolled") });
        }
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        let store = &agent.process().store;
        Self {
            software: SOFTWARE.to_owned(),
            running: true,
            hub: agent.config().hub_address.clone(),
            outbox_bytes: store.outbox_bytes(),
            outbox_cap_bytes: agent.config().outbox_cap_bytes,
            push: agent.push_address(),
            nodes: reports,
        }
    }

    /// Of an agent that is not running, from its store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn of_store(
        store: &Store,
        config: &crate::config::Config,
    ) -> Result<Self, sinks::SinkError> {
        let mut nodes = Vec::new();
        for node in &config.nodes {
            let mut report = empty(node.name.clone(), "stopped");
            for (stream, record) in store.streams() {
                let Some(publish) =
                    node.publish.iter().find(|each| each.resource == record.resource)
                else {
                    continue;
                };
                if record.node != node.name {
                    continue;
                }
                let path = Some(publish.source.place());
                let oldest = store.oldest_unacknowledged_ms(stream)?;
                let publication = Publication::new(stream, record.resource.clone());
                let mut one = of_publication(&publication, &record.state, path, oldest);
                one.state = "the agent is not running".to_owned();
                report.publications.push(one);
            }
            for known in sinks::known(store, &node.name)? {
                let held = crate::link::Subscription::new(known.key, Some(&known.record));
                let by_number = names(node, held.key.grant);
                let state = held.state();
                let one = of_subscription(held.key.grant, &state, false, by_number);
                report.subscriptions.push(one);
            }
            nodes.push(report);
        }
        Ok(Self {
            software: SOFTWARE.to_owned(),
            running: false,
            hub: config.hub_address.clone(),
            outbox_bytes: store.outbox_bytes(),
            outbox_cap_bytes: config.outbox_cap_bytes,
            push: None,
            nodes,
        })
    }

    /// Whether everything works. What waits for a person or a connection does not.
    pub fn healthy(&self) -> bool {
        self.ills().is_empty()
    }

    /// What does not work, a line each.
    pub fn ills(&self) -> Vec<String> {
        let mut ills = Vec::new();
        if !self.running {
            ills.push("the agent is not running".to_owned());
        }
        for node in &self.nodes {
            ills.extend(node.ills().into_iter().map(|ill| format!("node {}: {ill}", node.name)));
        }
        ills
    }
}

impl NodeReport {
    fn ills(&self) -> Vec<String> {
        let mut ills = Vec::new();
        if self.link != "connected" {
            let why = self.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            ills.push(format!("{}{why}", self.link));
        }
        if self.certificate_seconds_left == Some(0) {
            ills.push("the certificate has expired".to_owned());
        }
        if let Some(trouble) = self.renewal_trouble.as_ref().filter(|_| self.certificate_short) {
            ills.push(format!("the certificate could not be renewed: {trouble}"));
        }
        ills.extend(self.catalogue_trouble.iter().map(|why| format!("catalogue: {why}")));
        ills.extend(self.grants_trouble.iter().map(|why| format!("grants: {why}")));
        for each in &self.publications {
            let of = |why: &String| format!("{} {}: {why}", each.resource, each.state);
            ills.extend(each.troubles.iter().map(of));
        }
        for each in &self.subscriptions {
            let ill = match each.state.as_str() {
                "stands still" => true,
                // Nothing will ever come of what the configuration asks for.
                "ended" => each.by_number,
                _ => false,
            };
            if ill {
                let why = each.reason.as_deref().unwrap_or_default();
                ills.push(format!("grant {} {}: {why}", each.grant, each.state));
            }
        }
        ills
    }
}

/// Whether a node's configuration names a grant by its number.
fn names(node: &NodeConfig, grant: GrantId) -> bool {
    node.subscribe.iter().any(|each| each.grant == GrantChoice::One(grant))
}

fn empty(name: NodeName, link: &str) -> NodeReport {
    NodeReport {
        name,
        link: link.to_owned(),
        reason: None,
        since: None,
        certificate_ends: None,
        certificate_seconds_left: None,
        renewal_trouble: None,
        clock_skew_ms: 0,
        certificate_short: false,
        catalogue_trouble: None,
        grants_trouble: None,
        publications: Vec::new(),
        subscriptions: Vec::new(),
    }
}

fn of_node(node: &Node, mounted: &[std::sync::Arc<Mounted>]) -> NodeReport {
    let (link, since, reason) = match node.state() {
        LinkState::Idle => ("stopped", None, None),
        LinkState::Connecting => ("connecting", None, None),
        LinkState::Connected { since, .. } => ("connected", Some(since), None),
        LinkState::Away { since, reason, advice, .. } => {
            let reason = match advice {
                Some(advice) => format!("{reason}; {advice}"),
                None => reason,
            };
            ("not connected", Some(since), Some(reason))
        }
    };
    let connected = node.session().is_some();
    let store = node.store();
    let all = node.publications();
    let publications = all.iter().map(|publication| {
        let (state, unknown) = match publication.state(store) {
            Ok(state) => (state, None),
            Err(error) => (StreamState::default(), Some(error.to_string())),
        };
        let of = mounted.iter().find(|each| each.publication.stream == publication.stream);
        let path = of.map(|each| each.source.config.source.place());
        let oldest = store.oldest_unacknowledged_ms(publication.stream).ok().flatten();
        let mut report = of_publication(publication, &state, path, oldest);
        report.state = word(publication, &state, connected);
        if let Some(unknown) = unknown {
            report.state = "stands still".to_owned();
            report.troubles.push(unknown);
        }
        report
    });
    // What is configured no more is held for a person, and waits for nothing.
    let configured = |grant| node.subscription_options(grant).is_some();
    let mut subscriptions = node.subscriptions();
    subscriptions.retain(|each| configured(each.key.grant));
    let subscriptions = subscriptions.iter().map(|each| {
        let (grant, state) = (each.key.grant, each.state());
        of_subscription(grant, &state, connected, node.takes_by_number(grant))
    });
    let (certificate, now) = (node.certificate().lifetime(), hutong_certs::clock::now());
    let left = certificate.left(now).as_secs();
    NodeReport {
        reason,
        certificate_seconds_left: Some(left),
        renewal_trouble: node.renewal_trouble(),
        since: since.map(|since| since.to_string()),
        certificate_ends: Some(certificate.ends().to_string()),
        clock_skew_ms: node.skew_ms(),
        certificate_short: certificate.is_short(now),
        catalogue_trouble: node.catalogue_trouble(),
        grants_trouble: node.grants_trouble(),
        publications: publications.collect(),
        subscriptions: subscriptions.collect(),
        ..empty(node.name().clone(), link)
    }
}

fn of_publication(
    publication: &Publication,
    state: &StreamState,
    path: Option<String>,
    oldest: Option<i64>,
) -> PublicationReport {
    let now = hutong_certs::clock::now().as_millisecond();
    let moments = publication.progress.moments();
    let told = |moment: Option<jiff::Timestamp>| moment.map(|moment| format!("{moment:.0}"));
    PublicationReport {
        resource: publication.resource.clone(),
        path,
        state: String::new(),
        troubles: publication.troubles().into_iter().map(|(_, why)| why).collect(),
        epoch: state.epoch,
        read: state.counters.read,
        accepted: state.counters.accepted,
        rejected: state.counters.rejected,
        waiting_batches: state.last_seq().saturating_sub(state.stored_through),
        outbox_bytes: state.queued_bytes,
        oldest_ms: oldest.map(|since| u64::try_from(now.saturating_sub(since)).unwrap_or(0)),
        acknowledged: state.stored_through,
        scans: publication.scans(),
        settled: state.settled_through,
        last_read: told(moments.read),
        last_acknowledged: told(moments.acknowledged),
        last_settled: told(moments.settled),
        sent: moments.sent,
    }
}

/// One word for a publication. What cannot work is never called `ok`.
fn word(publication: &Publication, state: &StreamState, connected: bool) -> String {
    let troubles = publication.troubles();
    let by = |hindrance| troubles.iter().any(|(by, _)| *by == hindrance);
    let word = if by(Hindrance::Hub) || by(Hindrance::Source) {
        "stands still"
    } else if by(Hindrance::Confirmation) {
        "waiting for confirmation"
    } else if !connected {
        "waiting for the connection"
    } else if by(Hindrance::Busy) {
        "waiting until the hub takes more"
    } else if publication.entry().is_none() {
        "waiting for its catalogue entry"
    } else if state.epoch == 0 {
        "waiting for the hub to open an epoch"
    } else if publication.is_scanning() {
        "reading"
    } else if !state.is_drained() || state.checkpoint_due() {
        "sending"
    } else if publication.scans() == 0 {
        "waiting to be read"
    } else {
        "ok"
    };
    word.to_owned()
}

fn of_subscription(
    grant: GrantId,
    state: &SubscriptionState,
    connected: bool,
    by_number: bool,
) -> SubscriptionReport {
    let now = hutong_certs::clock::now();
    let (word, reason) = match &state.phase {
        Phase::StandsStill(reason) => ("stands still", Some(reason.clone())),
        Phase::Ended(reason) => ("ended", Some(reason.clone())),
        Phase::Waiting => ("waiting", None),
        Phase::Snapshot => ("snapshot", None),
        Phase::Tail if connected => ("ok", None),
        Phase::Tail => ("waiting", None),
    };
    SubscriptionReport {
        grant,
        state: word.to_owned(),
        reason,
        position: state.cursor.map(|cursor| cursor.seq),
        consistent: state.consistent,
        changes: state.changes,
        rows: state.rows,
        by_number,
        behind: state.behind,
        last_delivery: state.delivered.map(|at| format!("{at:.0}")),
        quiet_seconds: state
            .delivered
            .map(|at| u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::scans::came_back, spool::StreamId};

    /// A running agent with one connected node that publishes this.
    fn report(publication: &Publication) -> AgentReport {
        let state = StreamState::default();
        let mut one = of_publication(publication, &state, None, None);
        one.state = word(publication, &state, true);
        let name = "n1".parse().unwrap();
        let node = NodeReport { publications: vec![one], ..empty(name, "connected") };
        AgentReport {
            software: SOFTWARE.to_owned(),
            running: true,
            hub: "hub.example:7443".to_owned(),
            outbox_bytes: 0,
            outbox_cap_bytes: 1,
            push: None,
            nodes: vec![node],
        }
    }

    #[tokio::test]
    async fn a_task_whose_thread_panicked_is_not_shown_healthy() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        assert!(report(&publication).healthy());
        let ended = tokio::task::spawn_blocking(|| panic!("a fault")).await;
        assert_eq!(came_back::<()>(&publication, ended), None);
        let report = report(&publication);
        assert_eq!(report.nodes[0].publications[0].state, "stands still");
        assert!(report.ills()[0].contains("a fault of the agent"), "{:?}", report.ills());
    }

    #[test]
    fn a_certificate_that_ended_is_an_ill_also_while_connected() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        let mut report = report(&publication);
        report.nodes[0].certificate_seconds_left = Some(0);
        assert_eq!(report.ills(), ["node n1: the certificate has expired"]);
    }
}
