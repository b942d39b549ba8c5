//! Answers in JSON, each with what to do, in both languages.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use hutong_schema::{rules::RejectReason, words::in_full};
use serde_json::{Value, json as value};

use super::{Answer, body::ROWS_MAX};
use crate::changes::HandError;

/// Seconds after which a program should come again when the outbox is full.
const AGAIN_FULL: u32 = 10;
/// The same for what passes by itself soon.
const AGAIN_SOON: u32 = 1;

/// A request that nothing was taken of.
#[derive(Debug)]
pub(super) enum Problem {
    Unauthorized,
    Nowhere,
    Unknown { asked: String, known: Vec<String> },
    ContentType,
    Key,
    KeyReused,
    UnderWay,
    TooLarge(usize),
    TooManyRows,
    Slow,
    Body(String),
    TooMany,
    NoCertificate,
    NoEntry,
    Ending,
    Hand(HandError),
}

/// The rows were taken, or refused and kept.
pub(super) fn accepted(answer: &Answer, repeated: bool) -> Response {
    let refused = answer.refused.iter().map(|fault| {
        let reason = RejectReason::from_code(fault.code);
        value!({
            "index": fault.index,
            "field": fault.field,
            "label": fault.label,
            "code": fault.code,
            "reason_zh": reason.map(RejectReason::zh),
            "reason_en": reason.map(|reason| reason.to_string()),
        })
    });
    let body = value!({
        "accepted": answer.upserts + answer.deletes,
        "upserts": answer.upserts,
        "deletes": answer.deletes,
        "refused": refused.collect::<Vec<_>>(),
        "ignored_fields": answer.ignored,
        "repeated": repeated,
    });
    json(StatusCode::OK, &body)
}

pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{body}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let (status, word, en, zh) = problem.words();
        let mut body = value!({ "error": word, "en": en, "zh": zh });
        if let Problem::Unknown { known, .. } = &problem {
            body["resources"] = value!(known);
        } else if let Problem::TooLarge(max) = &problem {
            body["limit_bytes"] = value!(max);
        } else if let Problem::TooManyRows = &problem {
            body["limit_rows"] = value!(ROWS_MAX);
        }
        let mut response = json(status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = problem.again() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(problem, Problem::TooLarge(_) | Problem::Slow) {
            // The rest of the body is not read.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Problem {
    fn words(&self) -> (StatusCode, &'static str, String, String) {
        let (status, word, en, zh) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "show the token: Authorization: Bearer <token>",
                "请出示令牌:Authorization: Bearer <令牌>",
            ),
            Self::Nowhere => (
                StatusCode::NOT_FOUND,
                "not_found",
                "there is only POST /v1/resources/<class>/<sequence>/rows, GET …/wanted and GET /v1/resources",
                "只有 POST /v1/resources/<分类>/<序号>/rows、GET …/wanted 和 GET /v1/resources",
            ),
            Self::Unknown { asked, known } => {
                let known = known.join(", ");
                return (
                    StatusCode::NOT_FOUND,
                    "unknown_resource",
                    format!("{asked} takes no pushed rows here; these do: {known}"),
                    format!("{asked} 未配置为推送；可推送的资源：{known}"),
                );
            }
            Self::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type",
                "send Content-Type: application/x-ndjson for one object a line, application/json for an array",
                "每行一个对象请用 Content-Type: application/x-ndjson，数组请用 application/json",
            ),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "idempotency_key",
                "an Idempotency-Key has 1 to 255 bytes",
                "Idempotency-Key 须为 1 至 255 字节",
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with other rows before; take a new one for new rows",
                "该 Idempotency-Key 已用于其他数据；新数据请使用新的键",
            ),
            Self::UnderWay => (
                StatusCode::CONFLICT,
                "under_way",
                "the request with this Idempotency-Key is not answered yet; ask again",
                "使用该 Idempotency-Key 的请求尚未处理完；请稍后再试",
            ),
            Self::TooLarge(max) => {
                return (
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    format!("a request has at most {max} bytes; send the rows in several"),
                    format!("单次请求最多 {max} 字节；请分多次发送"),
                );
            }
            Self::TooManyRows => {
                return (
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_many_rows",
                    format!("a request has at most {ROWS_MAX} rows; send them in several"),
                    format!("单次请求最多 {ROWS_MAX} 行；请分多次发送"),
                );
            }
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "slow",
                "the body did not arrive in time",
                "请求内容未能及时到达",
            ),
            Self::Body(detail) => {
                return (
                    StatusCode::BAD_REQUEST,
                    "body",
                    format!("{detail}; nothing was taken"),
                    format!("请求内容无法读取，未接收任何数据：{detail}"),
                );
            }
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many",
                "too many requests at once; come again",
                "同时请求过多；请稍后再试",
            ),
            Self::NoCertificate => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no_certificate",
                "the node has no certificate yet; see: hutong-agent status",
                "节点尚无证书；请查看：hutong-agent status",
            ),
            Self::NoEntry => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no_entry",
                "the catalogue entry is not known yet; see: hutong-agent status",
                "尚不知该资源的目录；请查看：hutong-agent status",
            ),
            Self::Ending => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ending",
                "the agent is stopping; nothing was taken",
                "前置程序正在停止；未接收任何数据",
            ),
            Self::Hand(error) => {
                let (word, zh) = hand_words(error);
                return (StatusCode::SERVICE_UNAVAILABLE, word, in_full(error), zh.to_owned());
            }
        };
        (status, word, en.to_owned(), zh.to_owned())
    }

    /// After how many seconds the same request may succeed.
    fn again(&self) -> Option<u32> {
        match self {
            Self::Hand(HandError::NewEpoch | HandError::Overtaken)
            | Self::TooMany
            | Self::UnderWay => Some(AGAIN_SOON),
            Self::Hand(
                HandError::Full
                | HandError::NoEpoch
                | HandError::Quarantine(_)
                | HandError::Store(_),
            )
            | Self::NoCertificate
            | Self::NoEntry
            | Self::Ending => Some(AGAIN_FULL),
            Self::Unauthorized
            | Self::Nowhere
            | Self::Unknown { .. }
            | Self::ContentType
            | Self::Key
            | Self::KeyReused
            | Self::TooLarge(_)
            | Self::TooManyRows
            | Self::Slow
            | Self::Body(_) => None,
        }
    }
}

fn hand_words(error: &HandError) -> (&'static str, &'static str) {
    match error {
        HandError::NoEpoch => ("no_epoch", "中心尚未为该资源开启批次；请稍后再试"),
        HandError::NewEpoch => ("new_epoch", "批次正在重新开始；请稍后再试"),
        HandError::Full => ("outbox_full", "待发区已满；请稍后再试"),
        HandError::Overtaken => ("overtaken", "发布已重新开始；请再试"),
        HandError::Quarantine(_) => ("quarantine", "无法保存被退回的数据；请检查隔离目录"),
        HandError::Store(_) => ("store", "本地存储出错；请重启前置程序"),
    }
}
