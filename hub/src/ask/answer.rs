//! Answers from one snapshot of the views, within one permit.

use hutong_schema::{
    geometry::BoundingBox,
    grant::Target,
    library::LibraryId,
    row::{RowBuf, RowRef, key_parts},
    wire::v1::{
        RefusalCode, Refused,
        ask::{FoundRow, Lookup, LookupAnswer, LookupBy, Verdict, Verify},
        control::Key,
    },
};

use super::{not_granted, permit::Permit};
use crate::views::{Found, ViewError, ViewSnapshot};

/// How many more matches are looked at than are asked for: some may lie outside the grant.
const LOOK_FURTHER: usize = 20;

/// Rows that match and are covered by the permit, with its fields only.
///
/// # Errors
/// [`Unanswered::NotInMemory`] when the snapshot looks only there.
pub(super) fn lookup(
    snapshot: &ViewSnapshot<'_>,
    permit: &Permit,
    lookup: &Lookup,
) -> Result<LookupAnswer, Unanswered> {
    let limit = usize::from(lookup.limit);
    let (candidates, more_behind) = candidates(snapshot, permit, lookup, limit * LOOK_FURTHER)?;
    let mut covered = candidates
        .iter()
        .filter(|(key, row)| permit.filter.matches(key, row.as_ref(), permit.as_of));
    let rows =
        covered.by_ref().take(limit).map(|(key, row)| shown(permit, key, row.as_ref())).collect();
    let more = covered.next().is_some() || more_behind;
    Ok(LookupAnswer { grant: permit.grant.id, rows, more })
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It has to be read from disk.
    NotInMemory,
    /// Whoever asks is to be told.
    Refused(Refused),
}

impl From<Refused> for Unanswered {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<ViewError> for Unanswered {
    fn from(error: ViewError) -> Self {
        if matches!(error, ViewError::NotInMemory) {
            return Self::NotInMemory;
        }
        Self::Refused(failed(error))
    }
}

type Candidates = (Vec<(Vec<u8>, RowBuf)>, bool);

fn candidates(
    snapshot: &ViewSnapshot<'_>,
    permit: &Permit,
    lookup: &Lookup,
    limit: usize,
) -> Result<Candidates, Unanswered> {
    let library = match (&lookup.by, &lookup.target) {
        (LookupBy::Key(key), _) => {
            let row = snapshot.row(permit.place, &key.0)?;
            return Ok((row.map(|row| (key.0.clone(), row)).into_iter().collect(), false));
        }
        (_, Target::Library(library)) => *library,
        (_, Target::Resource(_)) => {
            let detail = "a resource is looked up by its key; only libraries have indexes";
            return Err(Refused::new(RefusalCode::Protocol, detail).into());
        }
    };
    let (found, more) = search(snapshot, permit, library, &lookup.by, limit)?;
    Ok((found.into_iter().map(|found| (found.key, found.row)).collect(), more))
}

fn search(
    snapshot: &ViewSnapshot<'_>,
    permit: &Permit,
    library: LibraryId,
    by: &LookupBy,
    limit: usize,
) -> Result<(Vec<Found>, bool), Unanswered> {
    match by {
        LookupBy::Key(_) => Ok((Vec::new(), false)),
        LookupBy::Index { field, value } => {
            // What may not be read must not be guessed either.
            if !permit.shows(*field) {
                return Err(not_granted("the field that is searched").into());
            }
            Ok(snapshot.by_index(library, *field, value, limit)?)
        }
        LookupBy::Box { bounds: [west, south, east, north] } => {
            if !(west <= east && south <= north) {
                let detail =
                    "a box is west,south,east,north in degrees, west <= east and south <= north";
                return Err(Refused::new(RefusalCode::Protocol, detail).into());
            }
            let bounds = BoundingBox { west: *west, south: *south, east: *east, north: *north };
            Ok(snapshot.in_box(library, &bounds, limit)?)
        }
        LookupBy::Nearest { point: [longitude, latitude] } => {
            let found = snapshot.nearest(library, *longitude, *latitude, limit)?;
            let more = found.len() == limit;
            Ok((found.into_iter().map(|(_, found)| found).collect(), more))
        }
    }
}

/// The row with granted fields only.
fn shown(permit: &Permit, key: &[u8], row: RowRef<'_>) -> FoundRow {
    let mut fields = RowBuf::new();
    for (field, value) in row.iter().filter(|(field, _)| permit.shows(*field)) {
        fields.push(field, value);
    }
    FoundRow { key: Key(key.to_vec()), row: fields.into_bytes() }
}

/// One verdict per claim. A row outside the grant is as absent as one that does not exist.
///
/// # Errors
/// As [`lookup`].
pub(super) fn verify(
    snapshot: &ViewSnapshot<'_>,
    permit: &Permit,
    verify: &Verify,
) -> Result<Vec<Verdict>, Unanswered> {
    let key = &verify.key.0;
    let row = snapshot.row(permit.place, key)?;
    let row = row.filter(|row| permit.filter.matches(key, row.as_ref(), permit.as_of));
    let verdict = |field, claimed: &[u8]| {
        let Some(row) = &row else { return Verdict::Absent };
        let found = match permit.keys.iter().position(|part| *part == field) {
            Some(part) => key_parts(key).nth(part),
            None => row.as_ref().get(field),
        };
        match found {
            None => Verdict::Absent,
            Some(value) if value == claimed => Verdict::Match,
            Some(_) => Verdict::Mismatch,
        }
    };
    Ok(verify.claims.iter().map(|claim| verdict(claim.field, &claim.value)).collect())
}

fn failed(error: ViewError) -> Refused {
    if matches!(error, ViewError::UnknownTarget(_) | ViewError::UnknownResource(_)) {
        return Refused::new(RefusalCode::NotRegistered, error.to_string());
    }
    tracing::error!(error = &error as &dyn std::error::Error, "the views cannot be read");
    Refused::new(RefusalCode::Internal, "the views cannot be read; the operator was told")
}
