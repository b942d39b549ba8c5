//! Questions: lookups and verifications, answered from the views under a grant, recorded before
//! they are answered.

mod answer;
mod permit;
mod readers;

use std::sync::Arc;

use hutong_schema::{
    ids::CreditCode,
    wire::v1::{
        RefusalCode, Refused,
        ask::{Lookup, LookupAnswer, LookupBy, Verify, VerifyAnswer},
        control::Key,
    },
};

use crate::{
    audit::{AccessLog, AccessRecord, Actor, Question},
    numbers::NodeNo,
    views::{ViewSnapshot, Views, registry::RegistryHandle},
};
use answer::Unanswered;
use permit::Permit;
use readers::Readers;

/// Most rows in one answer.
const ROWS_MAX: u16 = 100;

/// Most claims in one verification.
const CLAIMS_MAX: usize = 32;

/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// Answers questions; a cheap handle.
#[derive(Clone)]
pub struct Asker {
    views: Views,
    registry: RegistryHandle,
    access: AccessLog,
    readers: Readers,
}

impl Asker {
    /// Answers from these views, under the grants of this registry, recording here.
    pub fn new(views: Views, registry: RegistryHandle, access: AccessLog) -> Self {
        Self { views, registry, access, readers: Readers::start() }
    }

    /// Rows with granted fields only. Where several grants cover the target, the first that shows a
    /// row is used.
    ///
    /// # Errors
    /// When no grant covers the question, it is malformed, or it could not be recorded.
    pub async fn lookup(
        &self,
        node: NodeNo,
        department: &CreditCode,
        lookup: Lookup,
    ) -> Result<LookupAnswer, Refused> {
        check_reason(&lookup.reason)?;
        if lookup.limit == 0 || lookup.limit > ROWS_MAX {
            let detail =
                format!("limit is {}, 1 to {ROWS_MAX} rows can be asked for", lookup.limit);
            return Err(Refused::new(RefusalCode::Protocol, detail));
        }
        let permits =
            permit::find(&self.registry, *department, &lookup.target, |modes| modes.lookup)?;
        let lookup = Arc::new(lookup);
        let asked = Arc::clone(&lookup);
        let one_key = matches!(lookup.by, LookupBy::Key(_));
        let find = move |snapshot: &ViewSnapshot<'_>| first_answer(snapshot, &permits, &asked);
        let answer = self.read(one_key, find).await?;
        let mut keys: Vec<&Key> = answer.rows.iter().map(|row| &row.key).collect();
        if let LookupBy::Key(key) = &lookup.by
            && keys.is_empty()
        {
            keys.push(key);
        }
        let actor = Actor::Node { department: *department, node };
        let record = self.record(actor, Question::Lookup, &lookup.reason, &keys, &answer)?;
        self.keep(&record).await?;
        metrics::counter!("hutong_questions_total", "kind" => "lookup").increment(1);
        Ok(answer)
    }

    /// Whether claims about a key are true.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub async fn verify(
        &self,
        node: NodeNo,
        department: &CreditCode,
        verify: Verify,
    ) -> Result<VerifyAnswer, Refused> {
        check_reason(&verify.reason)?;
        if verify.claims.is_empty() || verify.claims.len() > CLAIMS_MAX {
            let detail = format!("{} claims, 1 to {CLAIMS_MAX} can be made", verify.claims.len());
            return Err(Refused::new(RefusalCode::Protocol, detail));
        }
        let permits =
            permit::find(&self.registry, *department, &verify.target, |modes| modes.verify)?;
        let permit = permits
            .into_iter()
            .find(|permit| verify.claims.iter().all(|claim| permit.shows(claim.field)))
            .ok_or_else(|| not_granted("a claimed field"))?;
        let grant = permit.grant.id;
        let verify = Arc::new(verify);
        let asked = Arc::clone(&verify);
        let judge = move |snapshot: &ViewSnapshot<'_>| answer::verify(snapshot, &permit, &asked);
        let verdicts = self.read(true, judge).await?;
        let record = AccessRecord {
            actor: Actor::Node { department: *department, node },
            target: verify.target.clone(),
            question: Question::Verify,
            grant: Some(grant),
            keys: vec![self.pseudonym(&verify.key)?],
            reason: verify.reason.clone(),
        };
        self.keep(&record).await?;
        metrics::counter!("hutong_questions_total", "kind" => "verify").increment(1);
        Ok(VerifyAnswer { grant, verdicts })
    }

    /// Reads the views: for one key at once where it is in memory, because waking another thread and
    /// being woken by it costs more than the answer; else by a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        one_key: bool,
        answer: impl Fn(&ViewSnapshot<'_>) -> Result<T, Unanswered> + Send + 'static,
    ) -> Result<T, Refused> {
        let at_once = match one_key {
            true => answer(&self.views.snapshot().in_memory()),
            false => Err(Unanswered::NotInMemory),
        };
        let read = |by| metrics::counter!("hutong_questions_read_total", "by" => by).increment(1);
        let answered = match at_once {
            Err(Unanswered::NotInMemory) => {
                read("reader");
                let views = self.views.clone();
                self.readers.run(move || answer(&views.snapshot())).await?
            }
            answered => {
                read("memory");
                answered
            }
        };
        answered.map_err(|unanswered| match unanswered {
            Unanswered::Refused(refused) => refused,
            Unanswered::NotInMemory => {
                Refused::new(RefusalCode::Internal, "the views were not read from disk")
            }
        })
    }

    fn record(
        &self,
        actor: Actor,
        question: Question,
        reason: &str,
        keys: &[&Key],
        answer: &LookupAnswer,
    ) -> Result<AccessRecord, Refused> {
        let grant =
            self.registry.read().grant(answer.grant).map(|record| record.grant.target.clone());
        let target = grant.ok_or_else(|| not_granted("the target"))?;
        Ok(AccessRecord {
            actor,
            target,
            question,
            grant: Some(answer.grant),
            keys: keys.iter().map(|key| self.pseudonym(key)).collect::<Result<_, _>>()?,
            reason: reason.to_owned(),
        })
    }

    fn pseudonym(&self, key: &Key) -> Result<crate::audit::Pseudonym, Refused> {
        self.access.pseudonym(&key.0, crate::clock::now_ms()).map_err(|error| unrecorded(&error))
    }

    async fn keep(&self, record: &AccessRecord) -> Result<(), Refused> {
        self.access.record(record).await.map_err(|error| unrecorded(&error))
    }
}

fn first_answer(
    snapshot: &ViewSnapshot<'_>,
    permits: &[Permit],
    lookup: &Lookup,
) -> Result<LookupAnswer, Unanswered> {
    let mut last = None;
    for permit in permits {
        let answer = answer::lookup(snapshot, permit, lookup)?;
        if !answer.rows.is_empty() {
            return Ok(answer);
        }
        last = Some(answer);
    }
    last.ok_or_else(|| not_granted("the target").into())
}

fn check_reason(reason: &str) -> Result<(), Refused> {
    if reason.trim().is_empty() {
        let detail = "a question needs a reason: the case or file that it belongs to";
        return Err(Refused::new(RefusalCode::Protocol, detail));
    }
    if reason.len() > REASON_BYTES_MAX {
        let detail =
            format!("the reason has {} bytes, at most {REASON_BYTES_MAX} are kept", reason.len());
        return Err(Refused::new(RefusalCode::Protocol, detail));
    }
    Ok(())
}

fn not_granted(what: &str) -> Refused {
    let detail = format!("no grant in force covers {what}; apply for it at the data authority");
    Refused::new(RefusalCode::NotGranted, detail)
}

fn unrecorded(error: &(dyn std::error::Error + 'static)) -> Refused {
    tracing::error!(error, "a question could not be recorded and was not answered");
    Refused::new(
        RefusalCode::Internal,
        "the question could not be recorded, so it was not answered",
    )
}
