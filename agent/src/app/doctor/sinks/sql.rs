//! A database: does it let us in to write. Whether the table fits is said when rows come.

use hutong_schema::words::in_full;
use tokio::runtime::Handle;

use super::super::finding::{Area, Finding, text};
use crate::config::SqlSink;
use crate::sql::{Access, connect};

pub(super) fn look(sink: &SqlSink) -> Vec<Finding> {
    let Ok(runtime) = Handle::try_current() else { return Vec::new() };
    let connected = runtime.block_on(async {
        connect(&sink.database, Access::Write).await?.close().await;
        Ok::<_, crate::sql::SqlError>(())
    });
    let finding = match connected {
        Ok(()) => {
            Finding::fine(Area::Sink, text("the database lets the agent in", "数据库允许代理登录"))
        }
        Err(error) => Finding::person(
            Area::Sink,
            text(
                format!("the database does not let the agent in: {}", in_full(&error)),
                format!("数据库不允许代理登录：{}", in_full(&error)),
            ),
            text(
                "what is delivered waits at the hub; nothing is lost",
                "已授权的数据在枢纽等待，不会丢失",
            ),
            text(
                "see that the database runs and lets this login in from this machine; correct the address or the password's file",
                "确认数据库正在运行并允许该账号从本机登录；修正地址或口令文件",
            ),
        ),
    };
    vec![finding.of(format!("{} {}", sink.database.url, sink.table))]
}
