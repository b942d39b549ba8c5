//! What only the running agent knows.

use super::finding::{Area, Finding, text};
use crate::app::report::{AgentReport, NodeReport, PublicationReport, SubscriptionReport};

/// States of a publication that do not pass by themselves.
const NEEDS_PERSON: [&str; 2] = ["stands still", "waiting for confirmation"];

/// What its report says of nodes, publications and subscriptions.
pub(super) fn look(report: &AgentReport) -> Vec<Finding> {
    let mut findings = vec![Finding::fine(
        Area::Agent,
        text(format!("{} is running", report.software), format!("{} 正在运行", report.software)),
    )];
    for node in &report.nodes {
        findings.push(connection(node).of(&node.name));
        findings.extend(certificate(node).map(|finding| finding.of(&node.name)));
        findings.extend(node.catalogue_trouble.iter().map(|why| catalogue(why).of(&node.name)));
        findings.extend(node.publications.iter().flat_map(publication));
        findings.extend(node.subscriptions.iter().filter_map(subscription));
    }
    findings
}

fn connection(node: &NodeReport) -> Finding {
    if node.link == "connected" {
        let since = node.since.as_deref().unwrap_or_default();
        return Finding::fine(
            Area::Node,
            text(format!("connected since {since}"), format!("已连接，自 {since}")),
        );
    }
    let means = text("nothing is sent or received", "无法发送和接收");
    match &node.reason {
        Some(reason) => {
            let act = text("see what was found about the network", "请看本报告中关于网络的结果");
            Finding::told(Area::Node, reason, means, act)
        }
        None => Finding::note(
            Area::Node,
            text(
                format!("not connected yet ({})", node.link),
                format!("尚未连接（{}）", node.link),
            ),
            means,
            text("wait a moment and ask again", "稍候再试"),
        ),
    }
}

fn certificate(node: &NodeReport) -> Option<Finding> {
    let why = node.renewal_trouble.as_deref()?;
    let act = text(
        "let the node connect; if it is too late, ask the hub's operator for a join token: hutong-agent enrol --anew --token FILE",
        "让节点连接；若已过期太久，请向枢纽管理员索取注册令牌：hutong-agent enrol --anew --token 文件",
    );
    let means = text("the node is out when the certificate ends", "证书到期后该节点将无法连接");
    Some(Finding::told(
        Area::Node,
        &format!("the certificate could not be renewed: {why}"),
        means,
        act,
    ))
}

fn catalogue(why: &str) -> Finding {
    Finding::told(
        Area::Node,
        &format!("the catalogue was not applied: {why}"),
        text("new and changed resources are not published", "新增和变更的资源不会发布"),
        text(
            "correct the entries named and start again, or: hutong-agent catalogue apply FILE",
            "修正所列条目后重新启动，或执行 hutong-agent catalogue apply 文件",
        ),
    )
}

fn publication(each: &PublicationReport) -> Vec<Finding> {
    let person = NEEDS_PERSON.contains(&each.state.as_str());
    let finding = |why: &String| {
        let act = if each.state == "waiting for confirmation" {
            text(
                format!(
                    "look at the source; if it is meant: hutong-agent confirm {}",
                    each.resource
                ),
                format!("检查数据源；若本意如此：hutong-agent confirm {}", each.resource),
            )
        } else {
            text("correct what is named", "按所述修正")
        };
        let means = text("nothing new is published of it", "该资源不会发布新的数据");
        if person {
            Finding::told(Area::Source, why, means, act).of(&each.resource)
        } else {
            Finding::note(Area::Source, text(why, why), means, act).of(&each.resource)
        }
    };
    each.troubles.iter().map(finding).collect()
}

fn subscription(each: &SubscriptionReport) -> Option<Finding> {
    let reason = each.reason.as_deref().unwrap_or_default();
    let subject = format!("grant {}", each.grant);
    match each.state.as_str() {
        "stands still" => {
            let means = text("nothing new is written", "不会写入新的数据");
            let act = text(
                "correct what is named; it is tried again by itself",
                "按所述修正；之后会自动重试",
            );
            Some(Finding::told(Area::Sink, reason, means, act).of(subject))
        }
        "ended" => {
            let found = text(format!("the grant ended: {reason}"), format!("授权已终止：{reason}"));
            let means = text("nothing more is delivered", "不再交付数据");
            let act = text("nothing; or apply for a new grant", "无需处理；或重新申请授权");
            Some(Finding::note(Area::Sink, found, means, act).of(subject))
        }
        _ => None,
    }
}
