//! A node's certificate and files, and whether the hub takes it.

use std::{os::unix::fs::PermissionsExt, path::Path};

use hutong_certs::{clock, enrol::NodeFolder, tls::AgentTls};
use hutong_schema::{ids::NodeName, words::in_full};

use super::finding::{Area, Finding, text};
use crate::{
    link::{Dialler, LinkError, Session},
    spool::Store,
};

/// Rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What a node's files say; its certificate, if it can be used.
pub(super) fn files(name: &NodeName, folder: &NodeFolder) -> (Vec<Finding>, Option<AgentTls>) {
    if !folder.is_enrolled() {
        let finding = Finding::person(
            Area::Node,
            text("the node has no certificate", "该节点没有证书"),
            text("the hub does not let it in", "枢纽不会接纳该节点"),
            text(
                "ask the hub's operator for a join token, then: hutong-agent enrol --token FILE (or put it into [enrol] sheet)",
                "向枢纽管理员索取注册令牌，然后执行 hutong-agent enrol --token 文件（或写入 [enrol] sheet）",
            ),
        );
        return (vec![finding.of(name)], None);
    }
    let mut findings = rights(name, folder.path());
    match folder.load() {
        Ok(material) => {
            findings.push(life(&material).of(name));
            (findings, Some(material.into_tls()))
        }
        Err(error) => {
            let why = in_full(&error);
            let finding = Finding::person(
                Area::Node,
                text(
                    format!("the certificate files cannot be used: {why}"),
                    format!("证书文件无法使用：{why}"),
                ),
                text("the node cannot connect", "该节点无法连接"),
                text(
                    "make the files readable for the agent's user; if they are damaged, ask the hub's operator for a join token, then: hutong-agent enrol --anew --token FILE",
                    "让运行代理的用户能读取这些文件；若已损坏，向枢纽管理员索取注册令牌，然后执行 hutong-agent enrol --anew --token 文件",
                ),
            );
            findings.push(finding.of(name));
            (findings, None)
        }
    }
}

/// Key files that others may read.
fn rights(name: &NodeName, folder: &Path) -> Vec<Finding> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let keys = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "key"));
    let open = keys.filter(|entry| {
        entry.metadata().is_ok_and(|facts| facts.permissions().mode() & OTHERS != 0)
    });
    open.map(|entry| {
        let path = entry.path().display().to_string();
        Finding::person(
            Area::Node,
            text(
                format!("other users of this machine may read the key {path}"),
                format!("本机其他用户可以读取密钥 {path}"),
            ),
            text(
                "whoever has the key can act as this node",
                "得到密钥者可以冒充该节点",
            ),
            text(
                format!("chmod 600 {path}; if somebody may have read it: a new key, hutong-agent enrol --anew --token FILE"),
                format!("chmod 600 {path}；若可能已被他人读取，请更换密钥：hutong-agent enrol --anew --token 文件"),
            ),
        )
        .of(name)
    })
    .collect()
}

fn life(material: &hutong_certs::enrol::NodeMaterial) -> Finding {
    let life = material.credentials.facts().lifetime();
    let (now, ends) = (clock::now(), life.ends());
    let days = life.left(now).as_secs() / 86_400;
    if life.left(now).is_zero() {
        return Finding::told(
            Area::Node,
            &format!("HT-2001: the certificate ended at {ends}"),
            text("the node cannot connect", "该节点无法连接"),
            text("renew it", "续期"),
        );
    }
    if life.is_short(now) {
        return Finding::note(
            Area::Node,
            text(
                format!("the certificate ends at {ends}, in {days} days"),
                format!("证书将于 {ends} 到期，剩余 {days} 天"),
            ),
            text(
                "it should have been renewed at two thirds of its life",
                "证书应在有效期的三分之二处自动续期",
            ),
            text(
                "let the agent run and be connected; why it could not renew stands in: hutong-agent status",
                "保持代理运行并连接；续期失败的原因见 hutong-agent status",
            ),
        );
    }
    Finding::fine(
        Area::Node,
        text(
            format!("the certificate is good until {ends}, for {days} days"),
            format!("证书有效期至 {ends}，剩余 {days} 天"),
        ),
    )
}

/// Whether the hub lets the node in. Only while no agent runs: it would lose its connection by that.
pub(super) async fn visit(
    name: &NodeName,
    tls: &AgentTls,
    store: &Store,
    address: &str,
) -> Finding {
    let visited = async {
        let dialler = Dialler::open(address)?;
        let visitor = Session::visit(&dialler, tls, store.instance()).await;
        let hub = visitor.map(|visitor| visitor.session().welcome().clone());
        dialler.idle().await;
        hub
    };
    let finding = match Box::pin(visited).await {
        Ok(hub) => Finding::fine(
            Area::Node,
            text(
                format!("the hub lets it in: exchange {}, {}", hub.exchange, hub.software),
                format!("枢纽已接纳：交换平台 {}，{}", hub.exchange, hub.software),
            ),
        ),
        Err(error) => not_let_in(&error),
    };
    finding.of(name)
}

fn not_let_in(error: &LinkError) -> Finding {
    let (said, advice) = (in_full(error), error.advice().unwrap_or("it is tried again"));
    Finding::told(
        Area::Node,
        &said,
        text("the hub does not let the node in", "枢纽不接纳该节点"),
        text(advice, format!("按提示处理：{advice}")),
    )
}
