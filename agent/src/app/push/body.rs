//! From the body of a request to rows.

use std::borrow::Cow;

use hutong_schema::rules::RejectReason;
use serde_json::value::RawValue;

use crate::changes::HandedRow;

/// Rows in one request: they are one commit, and each refused one stands in the answer.
pub(super) const ROWS_MAX: usize = 20_000;

/// How rows stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One object a line.
    Lines,
    /// An array of objects, or one object.
    Array,
}

/// A body that cannot be read as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body has more than {ROWS_MAX} rows; send it in several requests")]
    TooManyRows,
    #[error("the body is neither a JSON array of objects nor one object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the body is not UTF-8")]
    Encoding,
}

impl Form {
    /// From a `Content-Type`.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/json-lines"
            | "application/x-jsonlines" => Some(Self::Lines),
            "application/json" => Some(Self::Array),
            _ => None,
        }
    }
}

/// A row and what is wrong with its text.
pub(super) struct BodyRow<'b>(Cow<'b, str>, Option<RejectReason>);

impl BodyRow<'_> {
    pub(super) fn as_handed(&self) -> HandedRow<'_> {
        HandedRow { text: &self.0, wrong: self.1 }
    }
}

/// The rows of a body.
pub(super) fn rows(form: Form, body: &[u8]) -> Result<Vec<BodyRow<'_>>, BodyError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let mut rows = Vec::new();
    match form {
        Form::Lines => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            for line in lines.filter(|line| !line.is_empty()) {
                if rows.len() == ROWS_MAX {
                    return Err(BodyError::TooManyRows);
                }
                rows.push(match str::from_utf8(line) {
                    Ok(text) => BodyRow(text.into(), None),
                    Err(_) => BodyRow(String::from_utf8_lossy(line), Some(RejectReason::Encoding)),
                });
            }
        }
        Form::Array => {
            let text = str::from_utf8(body).map_err(|_| BodyError::Encoding)?.trim_ascii();
            if text.starts_with('{') {
                let _: &RawValue = serde_json::from_str(text)?;
                rows.push(BodyRow(text.into(), None));
            } else {
                let objects: Vec<&RawValue> = serde_json::from_str(text)?;
                if objects.len() > ROWS_MAX {
                    return Err(BodyError::TooManyRows);
                }
                rows.extend(objects.into_iter().map(|row| BodyRow(row.get().into(), None)));
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(form: Form, body: &[u8]) -> Vec<String> {
        rows(form, body).unwrap().iter().map(|row| row.as_handed().text.to_owned()).collect()
    }

    #[test]
    fn lines_arrays_and_single_objects_are_rows() {
        let lines = b"\xEF\xBB\xBF{\"id\":\"1\"}\r\n\n{\"id\":\"2\"}";
        assert_eq!(texts(Form::Lines, lines), ["{\"id\":\"1\"}", "{\"id\":\"2\"}"]);
        assert_eq!(texts(Form::Array, b" [ {\"id\":1}, 7 ]\n"), ["{\"id\":1}", "7"]);
        assert_eq!(texts(Form::Array, b"{\"id\":1}"), ["{\"id\":1}"]);
        assert!(texts(Form::Lines, b"").is_empty());
    }

    #[test]
    fn one_wrong_line_costs_its_row_and_half_an_array_the_request() {
        let read = rows(Form::Lines, b"{\"id\":\"\xFF\"}\n{\"id\":\"2\"}\n").unwrap();
        let wrong: Vec<_> = read.iter().map(|row| row.as_handed().wrong).collect();
        assert_eq!(wrong, [Some(RejectReason::Encoding), None]);
        assert!(matches!(rows(Form::Array, b"[{\"id\":1},"), Err(BodyError::Json(_))));
        assert!(matches!(rows(Form::Array, b"\xFF"), Err(BodyError::Encoding)));
        let many = "{}\n".repeat(ROWS_MAX + 1);
        assert!(matches!(rows(Form::Lines, many.as_bytes()), Err(BodyError::TooManyRows)));
    }

    #[test]
    fn the_form_is_told_by_the_content_type_alone() {
        assert_eq!(Form::of("application/json; charset=utf-8"), Some(Form::Array));
        assert_eq!(Form::of("Application/X-NDJSON"), Some(Form::Lines));
        assert_eq!(Form::of("text/csv"), None);
    }
}
