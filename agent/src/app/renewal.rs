//! Keeping a node's certificate alive: the next one at two thirds of its life, while everything else
//! goes on.

use std::{sync::Arc, time::Duration};

use hutong_certs::{
    clock,
    enrol::{EnrolError, EnrolRefusal, NodeFolder},
};
use hutong_schema::wire::v1::RefusalCode;
use hutong_schema::words::in_full;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::link::{EnrolFailure, Node, Wanted};

/// The clock is looked at this often: it may be set, or the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Shortest time between two renewals.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The same trouble is logged again after this time.
const REMIND_EVERY: SignedDuration = SignedDuration::from_hours(6);

/// What keeps the certificate of one node.
pub(super) struct Keeper<'a> {
    pub(super) node: Arc<Node>,
    pub(super) folder: NodeFolder,
    /// Renewals and enrolments under way at once.
    pub(super) turns: &'a Semaphore,
    pub(super) cancel: CancellationToken,
}

/// Failures in a row, and what was told of them.
#[derive(Default)]
struct Trouble {
    failures: u32,
    told: Option<(String, Timestamp)>,
}

impl Keeper<'_> {
    /// Renews until cancelled.
    pub(super) async fn keep(&self) {
        let mut trouble = Trouble::default();
        while !self.cancel.is_cancelled() {
            let life = self.node.certificate().lifetime();
            let due = life.renew_at(rand::random());
            match self.wait_until(due).await {
                Wanted::Nothing => {}
                Wanted::Look => {
                    self.look().await;
                    continue;
                }
                Wanted::Renewal => {
                    // Somebody may have done it by hand.
                    if self.look().await {
                        continue;
                    }
                }
                Wanted::End => return,
            }
            self.renew_until_done(&mut trouble).await;
            // A clock far ahead of the hub's, before the two were compared, finds every certificate
            // due at once: that must not become a stream of renewals.
            tokio::select! {
                () = tokio::time::sleep(LEAST_PAUSE) => {}
                () = self.cancel.cancelled() => return,
            }
        }
    }

    /// Attempts the renewal of a certificate that has expired already: a connection is not worth
    /// trying before.
    pub(super) async fn revive(&self) {
        if self.node.certificate().lifetime().left(clock::now()).is_zero() {
            self.attempt(&mut Trouble::default()).await;
        }
    }

    async fn renew_until_done(&self, trouble: &mut Trouble) {
        while !self.attempt(trouble).await {
            let life = self.node.certificate().lifetime();
            let wait = life.retry_after(clock::now(), trouble.failures, rand::random());
            trouble.failures = trouble.failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cancel.cancelled() => return,
            }
            if self.look().await {
                break;
            }
        }
        *trouble = Trouble::default();
    }

    /// One attempt; whether there is a new certificate.
    async fn attempt(&self, trouble: &mut Trouble) -> bool {
        let renewing = async {
            let _turn = self.turns.acquire().await.ok()?;
            let (tls, dialler) = (self.node.tls(), &self.node.process().dialler);
            Some(Box::pin(dialler.renew(tls, &self.folder)).await)
        };
        let renewed = tokio::select! {
            renewed = renewing => renewed,
            () = self.cancel.cancelled() => return false,
        };
        match renewed {
            Some(Ok(material)) => {
                let ends = material.credentials.facts().not_after;
                tracing::info!(node = %self.node.name(), %ends, "the certificate was renewed");
                self.node.adopt(material);
                true
            }
            Some(Err(failure)) => {
                self.failed(&failure, trouble);
                false
            }
            None => false,
        }
    }

    fn failed(&self, failure: &EnrolFailure, trouble: &mut Trouble) {
        let (now, life) = (clock::now(), self.node.certificate().lifetime());
        let next = advice(failure);
        let reason = match next {
            Some(next) => format!("{}; {next}", in_full(failure)),
            None => in_full(failure),
        };
        self.node.set_renewal_trouble(Some(reason.clone()));
        let fresh = trouble
            .told
            .as_ref()
            .is_none_or(|(told, at)| *told != reason || now.duration_since(*at) >= REMIND_EVERY);
        if !fresh {
            return;
        }
        let (node, ends) = (self.node.name(), life.ends());
        let left_hours = life.left(now).as_secs() / 3_600;
        if life.is_short(now) || next.is_some() {
            tracing::warn!(%node, %ends, left_hours, reason, "the certificate could not be renewed");
        } else {
            tracing::info!(%node, %ends, left_hours, reason, "the certificate could not be renewed yet");
        }
        trouble.told = Some((reason, now));
    }

    /// Takes a certificate into use that was put into the folder by another process
    /// (`hutong-agent enrol --anew`); whether there was one.
    async fn look(&self) -> bool {
        let folder = self.folder.clone();
        let loaded = tokio::task::spawn_blocking(move || folder.load()).await;
        let Ok(Ok(material)) = loaded else { return false };
        let found = material.credentials.facts();
        let other = found.serial != self.node.certificate().serial;
        if other {
            tracing::info!(node = %self.node.name(), ends = %found.not_after,
                "another certificate was put into the node's folder and is used from now on");
            self.node.adopt(material);
        }
        other
    }

    /// Waits until a time on the hub's clock has come, or something else is wanted.
    async fn wait_until(&self, due: Timestamp) -> Wanted {
        loop {
            let skew = SignedDuration::from_millis(self.node.skew_ms());
            let hub_now = clock::now().saturating_sub(skew).unwrap_or(due);
            let left = Duration::try_from(due.duration_since(hub_now)).unwrap_or_default();
            if left.is_zero() {
                return Wanted::Nothing;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
                wanted = self.node.wanted() => return wanted,
                () = self.cancel.cancelled() => return Wanted::End,
            }
        }
    }
}

/// What a person should do about a failed renewal; `None` when it mends itself.
fn advice(failure: &EnrolFailure) -> Option<&'static str> {
    const ANEW: &str =
        "ask the hub's operator for a join token, then run: hutong-agent enrol --anew --token FILE";
    match failure {
        EnrolFailure::Link(error) => error.advice(),
        EnrolFailure::Enrol(EnrolError::Refused(refused)) => {
            let refusal = EnrolRefusal::from_number(refused.code);
            match (refusal, refused.reason()) {
                (Some(EnrolRefusal::Certificate | EnrolRefusal::Proof), _) => Some(ANEW),
                // These say it themselves.
                (Some(EnrolRefusal::TooLate), _) => Some("the node cannot connect before that"),
                (_, Some(RefusalCode::Revoked | RefusalCode::UnknownNode)) => {
                    Some("the node cannot connect before that")
                }
                _ => None,
            }
        }
        EnrolFailure::Enrol(_) => None,
    }
}
