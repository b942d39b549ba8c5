//! The hub's half of enrolment.

use std::fmt::Display;
use std::time::Duration;

use hutong_schema::wire::frame;
use hutong_schema::wire::v1::{Refused, kind};
use hutong_schema::words::in_full;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;

use super::event::{EnrolEvent, NotRecorded};
use super::proof::Statement;
use super::{
    ClockAsk, ClockTold, EnrolAnswer, EnrolRefusal, EnrolRequest, FRAME_BYTES_MAX, RenewRequest,
};
use crate::authority::{Authority, Issued};
use crate::certificate::CertificateFacts;
use crate::clock;
use crate::identity::{Identity, NodeIdentity};
use crate::join::{Redemption, Secret, TokenBook};
use crate::lifetime::RENEWABLE_FOR;
use crate::live::Live;
use crate::request::ProvenKey;
use crate::roots::RootSet;
use crate::stream::{FrameReader, FrameWriter, StreamError};
use crate::tls::verify_node;

/// Most enrolments over one connection: more than any machine carries nodes.
const PER_CONNECTION_MAX: usize = 1024;

/// Most refusals over one connection. Guessing a 256-bit secret is hopeless anyway; this keeps the
/// log readable.
const REFUSALS_MAX: usize = 16;

/// Enrols nodes for an exchange.
#[derive(Debug)]
pub struct Enrolment {
    /// Issues the certificates.
    pub authority: Live<Authority>,
    /// Knows the tokens.
    pub book: TokenBook,
    /// The roots that nodes are told to trust.
    pub roots: Live<RootSet>,
    /// How long a node's certificate is valid.
    pub validity: SignedDuration,
    /// How long a connection may take for each step.
    pub timeout: Duration,
}

impl Enrolment {
    /// Serves one connection that speaks `hutong-enrol/1` until its other end closes it, stays
    /// silent or asks too much.
    ///
    /// `record` hears of every outcome **before** the node does, and may make it durable; if it
    /// fails to record an enrolment, the node is told to try again later (the same key may).
    pub async fn answer<F, Recorded, E>(&self, connection: &quinn::Connection, record: F)
    where
        F: Fn(EnrolEvent) -> Recorded,
        Recorded: Future<Output = Result<(), E>>,
        E: Into<NotRecorded>,
    {
        let mut refusals = 0;
        for _ in 0..PER_CONNECTION_MAX {
            let accepted = tokio::time::timeout(self.timeout, connection.accept_bi()).await;
            let Ok(Ok((send, receive))) = accepted else { break };
            let mut streams = (FrameReader::new(receive), FrameWriter::new(send));
            let served = self.serve(connection, &mut streams, &record);
            match tokio::time::timeout(self.timeout, served).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) if refusals < REFUSALS_MAX => refusals += 1,
                Ok(Ok(false) | Err(_)) | Err(_) => break,
            }
        }
        // Whoever sent a refused last request still reads its answer: closing waits for it.
        let _ = tokio::time::timeout(self.timeout, connection.closed()).await;
        connection.close(0_u32.into(), b"");
    }

    /// Decides on one request, issues the certificate, and says what happened.
    pub async fn decide(
        &self,
        request: EnrolRequest,
        now: Timestamp,
    ) -> (EnrolEvent, Result<EnrolAnswer, Refused>) {
        match self.grant(&request, now).await {
            Ok((issued, identity, again)) => {
                let answer = self.granted(&issued, now);
                let event = EnrolEvent::Enrolled {
                    identity,
                    serial: issued.facts.serial,
                    not_after: issued.facts.not_after,
                    again,
                    software: request.software,
                };
                (event, Ok(answer))
            }
            Err((reason, detail)) => {
                let event = EnrolEvent::Refused {
                    department: request.department,
                    node: request.node,
                    reason,
                    detail: detail.clone(),
                };
                (event, Err(reason.message(detail)))
            }
        }
    }

    async fn grant(
        &self,
        request: &EnrolRequest,
        now: Timestamp,
    ) -> Result<(Issued, NodeIdentity, bool), (EnrolRefusal, String)> {
        // The signing request first: a damaged one must not cost the token.
        let key = ProvenKey::from_request(&request.signing_request)
            .map_err(|problem| (EnrolRefusal::SigningRequest, problem.to_string()))?;
        let secret = Secret::new(request.secret.0);
        let redemption = self
            .book
            .redeem(&secret, &request.department, &request.node, &key, now)
            .await
            .map_err(unavailable)?;
        let again = accepted(redemption, now)?;
        let identity = NodeIdentity {
            exchange: self.authority.current().exchange().clone(),
            department: request.department,
            node: request.node.clone(),
        };
        let issued = self
            .authority
            .current()
            .issue_node_key(&key, &identity, now, self.validity)
            .map_err(unavailable)?;
        Ok((issued, identity, again))
    }

    /// Decides on a renewal. `statement` is what must have been signed on this connection.
    fn renew(
        &self,
        request: &RenewRequest,
        statement: impl FnOnce(&[u8]) -> Option<Statement>,
        now: Timestamp,
    ) -> Result<(CertificateFacts, Issued), (EnrolRefusal, String)> {
        let key = ProvenKey::from_request(&request.signing_request)
            .map_err(|problem| (EnrolRefusal::SigningRequest, problem.to_string()))?;
        let chain: Vec<CertificateDer<'_>> =
            request.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let refused = |detail: String| (EnrolRefusal::Certificate, detail);
        let shown = chain.first().ok_or_else(|| refused("no certificate is shown".to_owned()))?;
        let facts =
            CertificateFacts::read(shown).map_err(|problem| refused(problem.to_string()))?;
        let renewable_until = clock::after(facts.not_after, RENEWABLE_FOR);
        if now > renewable_until {
            let detail = format!(
                "the certificate expired at {} and could be renewed until {renewable_until:.0}, the hub's clock says {now:.0}: ask the hub's operator for a new join token",
                facts.not_after
            );
            return Err((EnrolRefusal::TooLate, detail));
        }
        // An expired one is judged as of the end of its time.
        let at = clock::to_unix(now.min(facts.not_after));
        verify_node(&chain, &self.roots.current(), self.authority.current().exchange(), at)
            .map_err(|problem| refused(problem.to_string()))?;
        let proven = statement(&request.signing_request)
            .is_some_and(|statement| statement.is_signed_by(shown, &request.proof));
        if !proven {
            let detail = "the request is not signed with the certificate's key for this connection";
            return Err((EnrolRefusal::Proof, detail.to_owned()));
        }
        if key.der() == facts.public_key {
            let detail = "the next certificate is for a new key, not for the present one";
            return Err((EnrolRefusal::SigningRequest, detail.to_owned()));
        }
        let identity = facts.node().ok_or_else(|| refused("not a node's".to_owned()))?;
        let issued = self
            .authority
            .current()
            .issue_node_key(&key, identity, now, self.validity)
            .map_err(unavailable)?;
        Ok((facts, issued))
    }

    fn decide_renewal(
        &self,
        request: RenewRequest,
        statement: impl FnOnce(&[u8]) -> Option<Statement>,
        now: Timestamp,
    ) -> (EnrolEvent, Result<EnrolAnswer, Refused>) {
        match self.renew(&request, statement, now) {
            Ok((
                CertificateFacts { identity: Identity::Node(identity), serial, not_after, .. },
                issued,
            )) => {
                let answer = self.granted(&issued, now);
                let event = EnrolEvent::Renewed {
                    identity,
                    replaces: serial,
                    serial: issued.facts.serial,
                    not_after: issued.facts.not_after,
                    expired: (not_after < now).then_some(not_after),
                    software: request.software,
                };
                (event, Ok(answer))
            }
            refused => {
                let (reason, detail) = refused.err().unwrap_or_else(|| {
                    (EnrolRefusal::Certificate, "the certificate is not a node's".to_owned())
                });
                let shown = request.chain.first();
                let identity = shown.and_then(|der| {
                    let facts = CertificateFacts::read(&CertificateDer::from(der.as_slice()));
                    facts.ok()?.node().cloned()
                });
                let event = EnrolEvent::NotRenewed { identity, reason, detail: detail.clone() };
                (event, Err(reason.message(detail)))
            }
        }
    }

    fn granted(&self, issued: &Issued, now: Timestamp) -> EnrolAnswer {
        EnrolAnswer {
            chain: issued.chain.iter().map(|c| c.to_vec()).collect(),
            roots: self.roots.current().certificates().iter().map(|c| c.to_vec()).collect(),
            hub_time_ms: now.as_millisecond(),
        }
    }

    /// Answers one stream. Returns whether it was granted.
    async fn serve<F, Recorded, E>(
        &self,
        connection: &quinn::Connection,
        (reader, writer): &mut (FrameReader, FrameWriter),
        record: &F,
    ) -> Result<bool, StreamError>
    where
        F: Fn(EnrolEvent) -> Recorded,
        Recorded: Future<Output = Result<(), E>>,
        E: Into<NotRecorded>,
    {
        let decided = match read_request(reader).await {
            Ok(Asked::Enrol(request)) => self.decide(request, clock::now()).await,
            Ok(Asked::Renew(request)) => {
                let statement = |request: &[u8]| Statement::new(connection, request).ok();
                self.decide_renewal(request, statement, clock::now())
            }
            Ok(Asked::Clock) => {
                writer.send(&ClockTold { hub_time_ms: clock::now().as_millisecond() }).await?;
                writer.finish();
                return Ok(true);
            }
            Err(StreamError::Frame(error)) => {
                let refused = EnrolRefusal::Protocol.message(in_full(&error));
                writer.send(&refused).await?;
                writer.finish();
                return Ok(false);
            }
            Err(lost) => return Err(lost),
        };
        let (event, answer) = decided;
        let answer = match record(event).await.map_err(Into::into) {
            Ok(()) => answer,
            // What is refused stays refused for its own reason.
            Err(NotRecorded::Refused(refused)) => answer.and(Err(refused)),
            Err(NotRecorded::Failed(error)) => answer.and_then(|_| {
                let (reason, detail) = unavailable(error);
                Err(reason.message(detail))
            }),
        };
        match &answer {
            Ok(granted) => writer.send(granted).await?,
            Err(refused) => writer.send(refused).await?,
        }
        writer.finish();
        Ok(answer.is_ok())
    }
}

/// What a stream begins with.
enum Asked {
    Enrol(EnrolRequest),
    Renew(RenewRequest),
    Clock,
}

async fn read_request(reader: &mut FrameReader) -> Result<Asked, StreamError> {
    let content = reader.due(FRAME_BYTES_MAX).await?;
    Ok(match frame::split(&content)?.0 {
        kind::RENEW => Asked::Renew(frame::expect(&content)?),
        kind::CLOCK_ASK => {
            let ClockAsk {} = frame::expect(&content)?;
            Asked::Clock
        }
        _ => Asked::Enrol(frame::expect(&content)?),
    })
}

fn accepted(redemption: Redemption, now: Timestamp) -> Result<bool, (EnrolRefusal, String)> {
    match redemption {
        Redemption::Redeemed { again } => Ok(again),
        Redemption::Unknown => Err((
            EnrolRefusal::TokenUnknown,
            "this hub knows no such join token: ask its operator for a new one".to_owned(),
        )),
        Redemption::Expired { at } => Err((
            EnrolRefusal::TokenExpired,
            format!(
                "the join token expired at {at}, the hub's clock says {now:.0}: ask the hub's operator for a new one"
            ),
        )),
        Redemption::AlreadyUsed { at } => Err((
            EnrolRefusal::TokenUsed,
            format!(
                "the join token was used at {at:.0} with another key: if that was not this machine, tell the hub's operator"
            ),
        )),
        Redemption::WrongIdentity => Err((
            EnrolRefusal::WrongIdentity,
            "the join token is for another department or node".to_owned(),
        )),
    }
}

/// The operator reads the cause in the hub's log; the node learns only that it may try again.
fn unavailable(error: impl Display) -> (EnrolRefusal, String) {
    tracing::error!(%error, "HT-2106: a node could not be enrolled");
    (
        EnrolRefusal::Unavailable,
        "the hub cannot enrol at this moment, its operator was told".to_owned(),
    )
}
