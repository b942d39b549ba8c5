//! A file: is it there, may we read it, does it fit its entry, are its characters what is configured.

use hutong_schema::{catalogue::CatalogueEntry, rules::RejectReason, words::in_full};

use super::super::finding::{Area, Finding, text};
use crate::{
    config::{FileSource, Rules, SourceMode},
    sources::{Next, Row, Rows, Source, SourceError, SourceOptions},
};

/// Rows that are tried: enough to see a wrong encoding or a column of wrong dates.
const ROWS_TRIED: u64 = 1_000;

pub(super) fn look(
    source: &FileSource,
    entry: Option<&CatalogueEntry>,
    rules: &Rules,
) -> Vec<Finding> {
    let Some(entry) = entry else { return without_entry(source) };
    let options = SourceOptions {
        path: &source.path,
        form: &source.form,
        rules,
        encoding: source.encoding,
        from: None,
        whole_lines: source.mode == SourceMode::Append,
    };
    match Source::open(options, entry) {
        Ok(opened) => rows(opened),
        Err(error) => vec![unreadable(&error)],
    }
}

fn without_entry(source: &FileSource) -> Vec<Finding> {
    match std::fs::File::open(&source.path) {
        Ok(_) => vec![Finding::note(
            Area::Source,
            text(
                "the file can be read; its columns were not compared",
                "文件可以读取；未核对其列名",
            ),
            text(
                "the catalogue entry of this resource is not known here yet",
                "本机尚不知道该资源的目录条目",
            ),
            text(
                "name the node's catalogue file in the configuration, or let the agent connect once",
                "在配置中指定该节点的 catalogue 文件，或让代理连接一次",
            ),
        )],
        Err(error) => vec![unreadable(&SourceError::of_open(&source.path, error))],
    }
}

pub(super) fn unreadable(error: &SourceError) -> Finding {
    let stays = || {
        text(
            "nothing new is published; what the hub has stays as it is",
            "不会发布新的数据；枢纽已有的数据保持不变",
        )
    };
    match error {
        SourceError::Missing(_) => Finding::person(
            Area::Source,
            text("the file does not exist", "文件不存在"),
            stays(),
            text(
                "correct the path in the configuration, or see why the program that writes the file did not",
                "修正配置中的路径，或检查生成该文件的程序为何没有写出",
            ),
        ),
        SourceError::Read { source, .. } => Finding::person(
            Area::Source,
            text(format!("the file cannot be read: {source}"), format!("文件无法读取：{source}")),
            stays(),
            text(
                "give the agent's user the right to read it, and to enter the folders above it",
                "给予运行代理的用户读取该文件和进入上级目录的权限",
            ),
        ),
        SourceError::Database(error) => Finding::person(
            Area::Source,
            text(
                format!("the database cannot be asked: {}", in_full(error)),
                format!("无法查询数据库：{}", in_full(error)),
            ),
            stays(),
            text(
                "see that the database runs and lets this login in from this machine; correct the address, the password's file or the query",
                "确认数据库正在运行并允许该账号从本机登录；修正地址、口令文件或查询语句",
            ),
        ),
        SourceError::Query { detail, .. } => Finding::person(
            Area::Source,
            text(format!("the query does not fit: {detail}"), format!("查询结果不符：{detail}")),
            stays(),
            text(
                "correct the query, or give its columns the names of the entry's items (SELECT … AS …)",
                "修正查询语句，或用 AS 将列名改为目录条目的信息项名称",
            ),
        ),
        SourceError::Form { detail, .. } => Finding::person(
            Area::Source,
            text(
                format!("the file does not fit its entry: {detail}"),
                format!("文件与目录条目不符：{detail}"),
            ),
            stays(),
            text(
                "correct the file or its encoding in the configuration; if the columns were renamed, change the catalogue entry",
                "修正文件或配置中的 encoding；若列名有变，请修改目录条目",
            ),
        ),
    }
}

pub(super) fn rows(mut source: impl Rows) -> Vec<Finding> {
    let (mut row, mut tried, mut refused) = (Row::default(), 0, 0);
    let (mut encoding, mut first) = (0u64, None);
    while tried < ROWS_TRIED {
        match source.next(&mut row) {
            Ok(Next::Row) => tried += 1,
            Ok(Next::Refused(refusal)) => {
                (tried, refused) = (tried + 1, refused + 1);
                encoding += u64::from(refusal.reason == RejectReason::Encoding);
                first.get_or_insert((row.number, refusal.reason));
            }
            Ok(Next::End) => break,
            Err(error) => return vec![unreadable(&error)],
        }
    }
    let unknown = source.unknown_columns().join(", ");
    let mut findings = vec![match first {
        None => Finding::fine(
            Area::Source,
            text(
                format!("readable, and the first {tried} rows are good"),
                format!("可以读取，前 {tried} 行均合格"),
            ),
        ),
        Some((number, reason)) => bad_rows(tried, refused, encoding, number, reason),
    }];
    if !unknown.is_empty() {
        findings.push(Finding::note(
            Area::Source,
            text(
                format!("columns that the entry does not have: {unknown}"),
                format!("目录条目中没有的列：{unknown}"),
            ),
            text("they are not published", "这些列不会发布"),
            text(
                "nothing, if that is meant; else correct their names in the header",
                "若本意如此则无需处理；否则修正表头中的列名",
            ),
        ));
    }
    findings
}

fn bad_rows(tried: u64, refused: u64, encoding: u64, number: u64, reason: RejectReason) -> Finding {
    let found = text(
        format!(
            "{refused} of the first {tried} rows are refused, the first is row {number}: {}",
            reason
        ),
        format!("前 {tried} 行中有 {refused} 行不合格，首个为第 {number} 行：{}", reason.zh()),
    );
    if encoding * 2 > tried {
        return Finding::person(
            Area::Source,
            found,
            text("the file is not in the encoding that is configured", "文件的字符编码与配置不符"),
            text(
                "set encoding to utf-8 or gb18030, as the file was written",
                "将 encoding 设为文件实际的编码：utf-8 或 gb18030",
            ),
        );
    }
    let means = text(
        "they are put into quarantine, the others are published",
        "不合格的行进入隔离区，其余照常发布",
    );
    let act = text(
        "correct them at their source; details stand in the quarantine files",
        "在源头修正；详情见隔离文件",
    );
    if refused == tried {
        return Finding::person(Area::Source, found, means, act);
    }
    Finding::note(Area::Source, found, means, act)
}
