//! A database: does it let us in, does the query run, do its rows fit the entry.

use hutong_schema::catalogue::CatalogueEntry;

use super::super::finding::{Area, Finding, text};
use super::file;
use crate::config::{Rules, SqlSource};
use crate::sources::SqlRows;

pub(super) fn look(
    source: &SqlSource,
    entry: Option<&CatalogueEntry>,
    rules: &Rules,
) -> Vec<Finding> {
    let Some(entry) = entry else {
        return vec![Finding::note(
            Area::Source,
            text("the database was not asked", "未查询数据库"),
            text(
                "the catalogue entry of this resource is not known here yet",
                "本机尚不知道该资源的目录条目",
            ),
            text(
                "name the node's catalogue file in the configuration, or let the agent connect once",
                "在配置中指定该节点的 catalogue 文件，或让代理连接一次",
            ),
        )];
    };
    match SqlRows::all(source, entry, rules) {
        Ok(rows) => file::rows(rows),
        Err(error) => vec![file::unreadable(&error)],
    }
}
