//! What a change means to one grant: compare the row before and after with the filter, keep only
//! the granted fields.

use hutong_schema::{
    grant::{AsOf, CompiledFilter},
    row::{FieldId, Fields, RowRef},
};

/// What the receiver is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The row as it is now.
    Upsert,
    /// The row is gone, or left the grant.
    Delete,
    /// Nothing: the row was not and is not covered, so not even its key is named.
    Nothing,
}

/// Judges a change by the row before and after it.
pub(super) fn judge(
    filter: &CompiledFilter,
    as_of: AsOf,
    key: &[u8],
    before: Option<RowRef<'_>>,
    after: Option<RowRef<'_>>,
) -> Told {
    if after.is_some_and(|row| filter.matches(key, row, as_of)) {
        return Told::Upsert;
    }
    match before {
        Some(row) if filter.matches(key, row, as_of) => Told::Delete,
        Some(_) | None => Told::Nothing,
    }
}

/// Judges a row that did not change while the date moved from one day to another.
pub(super) fn judge_date(
    filter: &CompiledFilter,
    (from, to): (AsOf, AsOf),
    key: &[u8],
    row: RowRef<'_>,
) -> Told {
    match (filter.matches(key, row, from), filter.matches(key, row, to)) {
        (false, true) => Told::Upsert,
        (true, false) => Told::Delete,
        (true, true) | (false, false) => Told::Nothing,
    }
}

/// The granted fields of a row, one value per column; both run in ascending field id.
pub fn project<'a>(row: RowRef<'a>, columns: &'a [FieldId]) -> Projection<'a> {
    Projection { fields: row.iter(), ahead: None, columns: columns.iter() }
}

/// Iterator of [`project`].
#[derive(Clone, Debug)]
pub struct Projection<'a> {
    fields: Fields<'a>,
    ahead: Option<(FieldId, &'a [u8])>,
    columns: std::slice::Iter<'a, FieldId>,
}

impl<'a> Iterator for Projection<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let column = self.columns.next()?;
        loop {
            let Some((field, value)) = self.ahead.take().or_else(|| self.fields.next()) else {
                return Some(None);
            };
            match field.cmp(column) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(Some(value)),
                std::cmp::Ordering::Greater => {
                    self.ahead = Some((field, value));
                    return Some(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hutong_schema::{
        grant::{RowFilter, Scalar},
        row::RowBuf,
    };

    fn row(fields: &[(u16, &str)]) -> RowBuf {
        let mut row = RowBuf::new();
        for (field, value) in fields {
            row.push(FieldId(*field), value.as_bytes());
        }
        row
    }

    #[test]
    fn a_row_enters_leaves_and_never_shows_outside() {
        let here = RowFilter::In(FieldId(6), vec![Scalar::Text("211221".into())]);
        let filter = CompiledFilter::new(Some(&here), &[FieldId(1)]);
        let (inside, outside) = (row(&[(6, "211221")]), row(&[(6, "211202")]));
        let (inside, outside) = (Some(inside.as_ref()), Some(outside.as_ref()));
        let day = AsOf::from_number(20261121).unwrap();
        for (before, after, told) in [
            (None, inside, Told::Upsert),
            (None, outside, Told::Nothing),
            (inside, inside, Told::Upsert),
            (inside, outside, Told::Delete),
            (inside, None, Told::Delete),
            (outside, inside, Told::Upsert),
            (outside, outside, Told::Nothing),
            (outside, None, Told::Nothing),
        ] {
            assert_eq!(judge(&filter, day, b"k", before, after), told, "{before:?} {after:?}");
        }
    }

    #[test]
    fn projection_keeps_the_granted_fields_in_place() {
        let row = row(&[(2, "a"), (4, "b"), (9, "c")]);
        let columns = [2, 3, 9, 10].map(FieldId);
        let values: Vec<_> = project(row.as_ref(), &columns).collect();
        assert_eq!(values, [Some(&b"a"[..]), None, Some(b"c"), None]);
    }
}
