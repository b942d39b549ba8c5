//! A web service: is the token there. It is not called: what is sent to it counts.

use hutong_schema::words::in_full;

use super::super::finding::{Area, Finding, text};
use crate::config::{Secret, WebhookSink};

pub(super) fn look(sink: &WebhookSink) -> Vec<Finding> {
    let finding = match sink.token.as_ref().map(Secret::read).transpose() {
        Ok(_) => Finding::fine(
            Area::Sink,
            text(
                "what is needed to call the web service is there; it was not called",
                "调用该网络服务所需的信息齐备；未实际调用",
            ),
        ),
        Err(error) => Finding::person(
            Area::Sink,
            text(in_full(&error), format!("令牌无法读取：{}", in_full(&error))),
            text(
                "what is delivered waits at the hub; nothing is lost",
                "已授权的数据在枢纽等待，不会丢失",
            ),
            text("correct the token's file", "修正令牌文件"),
        ),
    };
    vec![finding.of(&sink.url)]
}
