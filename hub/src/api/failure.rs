//! Failures as answers.

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use hutong_schema::wire::v1::{RefusalCode, Refused};
use hutong_schema::words::in_full;

use super::types::Failure;
use crate::{
    govern::{Denied, Problem},
    views::ViewError,
};

/// Why a command is answered with an error.
#[derive(Debug)]
pub(super) struct Failed {
    status: StatusCode,
    failure: Failure,
}

pub(super) type Answer<T> = Result<Json<T>, Failed>;

impl Failed {
    /// The request has mistakes.
    pub(super) fn mistakes(problems: Vec<Problem>) -> Self {
        let message = Problem::list(&problems);
        let failure = Failure { code: code(RefusalCode::Catalogue), message, problems };
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, failure }
    }

    /// The request has one mistake.
    pub(super) fn mistake(
        subject: &str,
        field: &str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::mistakes(vec![Problem {
            subject: subject.to_owned(),
            field: field.to_owned(),
            expected: expected.into(),
            found: found.to_string(),
        }])
    }

    /// The hub failed; the operator of the hub is told here and in the log.
    pub(super) fn internal(what: &str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error = in_full(error), "{what}");
        let message = format!("{what}: {}; see the hub's log", in_full(error));
        let failure = Failure { code: code(RefusalCode::Internal), message, problems: vec![] };
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, failure }
    }
}

fn code(code: RefusalCode) -> String {
    format!("HT-{}", code.number())
}

impl From<Denied> for Failed {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Problems(problems) => Self::mistakes(problems),
            Denied::Refused(refused) => refused.into(),
        }
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        let status = match refused.reason() {
            Some(RefusalCode::NotReady) => StatusCode::SERVICE_UNAVAILABLE,
            Some(RefusalCode::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
            Some(_) | None => StatusCode::CONFLICT,
        };
        let failure = Failure {
            code: format!("HT-{}", refused.code),
            message: refused.detail,
            problems: vec![],
        };
        Self { status, failure }
    }
}

impl From<ViewError> for Failed {
    fn from(error: ViewError) -> Self {
        Self::internal("the views cannot be read", &error)
    }
}

impl From<JsonRejection> for Failed {
    fn from(rejection: JsonRejection) -> Self {
        Self::mistake("request", "body", "the JSON of this command", rejection.body_text())
    }
}

impl From<tokio::task::JoinError> for Failed {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal("the command broke off", &error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.status, Json(self.failure)).into_response()
    }
}
