//! The way to the hub: its name, UDP, QUIC, its certificate, its clock.

use std::{net::SocketAddr, time::Duration};

use hutong_certs::{
    enrol::EnrolError,
    tls::{AgentTls, By},
};
use hutong_schema::words::in_full;

use super::finding::{Area, Finding, text};
use crate::link::{Answered, Dialler, EnrolFailure, LinkError, probe};

/// How long an address is given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// A clock difference that a person should know of: certificates and reports depend on it.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// Looks from the name to the hub's clock, and ends at the first thing that does not work: what comes
/// after it cannot. `tls` is that of any enrolled node.
pub(super) async fn look(address: &str, tls: Option<&AgentTls>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let found = match resolve(address).await {
        Ok(found) => found,
        Err(unresolved) => return vec![*unresolved],
    };
    let shown = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    findings.push(
        Finding::fine(
            Area::Network,
            text(format!("the name gives {shown}"), format!("解析为 {shown}")),
        )
        .of(address),
    );
    // The agent dials the first one.
    let Some(first) = found.first() else { return findings };
    if let Some(unanswered) = reach(*first).await {
        findings.push(unanswered);
        return findings;
    }
    findings.push(
        Finding::fine(
            Area::Network,
            text("a QUIC server answers over UDP", "UDP 可达，有 QUIC 服务应答"),
        )
        .of(first),
    );
    match tls {
        Some(tls) => findings.extend(greet(address, tls).await),
        None => findings.push(Finding::note(
            Area::Network,
            text("whose server it is was not checked", "未核对对方身份"),
            text(
                "no node has a certificate yet, so nothing says which authority to trust",
                "还没有任何节点取得证书，无从判断应信任哪个机构",
            ),
            text(
                "enrol a node: hutong-agent enrol --token FILE",
                "先注册节点：hutong-agent enrol --token 文件",
            ),
        )),
    }
    findings
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, Box<Finding>> {
    let failed = |why: String| {
        let found = text(
            format!("the hub's name cannot be resolved: {why}"),
            format!("无法解析枢纽的名称：{why}"),
        );
        Box::new(
            Finding::person(
                Area::Network,
                found,
                text("no node can reach the hub", "所有节点都无法连接枢纽"),
                text(
                    "correct [hub] address, or this machine's name resolution (/etc/resolv.conf, /etc/hosts)",
                    "修正 [hub] address，或本机的域名解析（/etc/resolv.conf、/etc/hosts）",
                ),
            )
            .of(address),
        )
    };
    match tokio::net::lookup_host(address).await {
        Err(error) => Err(failed(error.to_string())),
        Ok(found) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() { Err(failed("no address".to_owned())) } else { Ok(found) }
        }
    }
}

/// `None` if a QUIC server answers.
async fn reach(address: SocketAddr) -> Option<Finding> {
    let nothing = || text("no node can reach the hub", "所有节点都无法连接枢纽");
    let finding = match probe(address, ANSWER_WITHIN).await {
        Answered::Quic => return None,
        Answered::Closed => Finding::person(
            Area::Network,
            text(
                "the machine answers that nobody listens at this UDP port",
                "对方主机应答：该 UDP 端口无人监听",
            ),
            nothing(),
            text(
                "check the port in [hub] address; if it is right, the hub is not running: ask its operator",
                "核对 [hub] address 中的端口；若无误，则枢纽未运行，请联系其管理员",
            ),
        ),
        Answered::Nobody => Finding::person(
            Area::Network,
            text("no answer at all over UDP", "UDP 完全没有应答"),
            nothing(),
            text(
                "let UDP to this address and port through all firewalls (QUIC needs UDP, an open TCP port does not help); check the address; or the hub's machine is down",
                "请在沿途防火墙放行到该地址和端口的 UDP（QUIC 使用 UDP，只开放 TCP 无效）；核对地址；或枢纽主机已停机",
            ),
        ),
        Answered::Other => Finding::person(
            Area::Network,
            text("what answers does not speak QUIC", "应答方不是 QUIC 服务"),
            nothing(),
            text("correct the port in [hub] address", "修正 [hub] address 中的端口"),
        ),
        Answered::Unsent(why) => Finding::person(
            Area::Network,
            text(
                format!("this machine cannot send there: {why}"),
                format!("本机无法向该地址发送：{why}"),
            ),
            nothing(),
            text(
                "check this machine's network, routes and local firewall",
                "检查本机网络、路由和本地防火墙",
            ),
        ),
    };
    Some(finding.of(address))
}

/// A handshake with whoever answers, as for enrolment: it needs no identity, so it disturbs no
/// connection of a running agent.
async fn greet(address: &str, tls: &AgentTls) -> Vec<Finding> {
    let dialler = match Dialler::open(address) {
        Ok(dialler) => dialler,
        Err(error) => return vec![broken(&in_full(&error))],
    };
    let told = dialler.clock_difference_ms(tls).await;
    dialler.idle().await;
    match told {
        Ok(ahead_ms) => vec![
            Finding::fine(
                Area::Network,
                text("it is a hub of this exchange", "对方是本交换平台的枢纽"),
            )
            .of(address),
            clock(ahead_ms.saturating_neg()),
        ],
        Err(failure) => vec![handshake(&failure).of(address)],
    }
}

fn handshake(failure: &EnrolFailure) -> Finding {
    let EnrolFailure::Enrol(EnrolError::Connection(failure)) = failure else {
        return broken(&match failure {
            EnrolFailure::Link(error @ LinkError::Silent { .. }) => in_full(error),
            EnrolFailure::Link(error) => in_full(error),
            EnrolFailure::Enrol(error) => in_full(error),
        });
    };
    match (&failure.code, failure.by) {
        (Some(_), _) => Finding::told(
            Area::Network,
            &failure.text,
            text("the hub's certificate is not accepted", "枢纽的证书未被接受"),
            text("check [hub] address", "核对 [hub] address"),
        ),
        (None, By::Peer | By::Us) => Finding::person(
            Area::Network,
            text(
                format!("a QUIC server answers, but it is no Hutong hub: {}", failure.text),
                format!("有 QUIC 服务应答，但不是互通枢纽：{}", failure.text),
            ),
            text("no node can connect", "所有节点都无法连接"),
            text("correct host and port in [hub] address", "修正 [hub] address 中的主机和端口"),
        ),
        (None, By::Network) => broken(&failure.text),
    }
}

fn broken(why: &str) -> Finding {
    Finding::person(
        Area::Network,
        text(
            format!("the handshake did not come to its end: {why}"),
            format!("握手未能完成：{why}"),
        ),
        text(
            "small packets pass, larger or later ones do not",
            "小的数据包可以通过，较大的或后续的不能",
        ),
        text(
            "look for a firewall that limits UDP, or a line whose packets may have less than 1,200 bytes",
            "检查是否有限制 UDP 的防火墙，或单包不足 1200 字节的线路",
        ),
    )
}

fn clock(ahead_ms: i64) -> Finding {
    let seconds = ahead_ms / 1_000;
    if ahead_ms.abs() <= CLOCKS_DIFFER_MS {
        return Finding::fine(
            Area::Clock,
            text(
                format!("this machine's clock and the hub's differ by {} s", seconds.abs()),
                format!("本机时钟与枢纽相差 {} 秒", seconds.abs()),
            ),
        );
    }
    let (side, zh) = if ahead_ms < 0 { ("behind", "慢") } else { ("ahead of", "快") };
    Finding::person(
        Area::Clock,
        text(
            format!("this machine's clock is {} s {side} the hub's", seconds.abs()),
            format!("本机时钟比枢纽{zh} {} 秒", seconds.abs()),
        ),
        text(
            "certificates are judged by the clock: the node may be refused, or refuse the hub",
            "证书按时钟判断：节点可能被拒绝，或拒绝枢纽",
        ),
        text(
            "set the clock and let it be kept (timedatectl set-ntp true); if this one is right, tell the hub's operator",
            "校正时钟并启用自动对时（timedatectl set-ntp true）；若本机无误，请告知枢纽管理员",
        ),
    )
}

#[cfg(test)]
mod tests {
    use hutong_certs::tls::HandshakeFailure;

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn another_server_another_certificate_and_a_broken_line_get_different_advice() {
        let failed = |by, code: Option<&str>, text: &str| {
            let failure = HandshakeFailure { by, code: code.map(str::to_owned), text: text.into() };
            handshake(&EnrolFailure::Enrol(EnrolError::Connection(failure)))
        };
        let other = failed(By::Peer, None, "no application protocol");
        assert!(
            other.found.of(hutong_schema::explain::Language::English).contains("no Hutong hub")
        );
        let certificate = failed(By::Us, Some("HT-2003"), "HT-2003: no authority");
        assert_eq!(certificate.code, Some("HT-2003".parse().unwrap()));
        let line = failed(By::Network, None, "timed out");
        assert_ne!(line.act, other.act);
        for finding in [other, certificate, line] {
            assert_eq!(finding.level, Level::Person);
        }
    }

    #[test]
    fn a_clock_is_told_with_its_side() {
        assert_eq!(clock(-59_000).level, Level::Fine);
        let behind = clock(-120_000);
        assert!(
            behind.found.of(hutong_schema::explain::Language::English).contains("120 s behind")
        );
        assert!(clock(120_000).found.of(hutong_schema::explain::Language::Chinese).contains("快"));
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_ends_the_look() {
        let findings = look("nowhere.invalid:7443", None).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Person);
    }
}
