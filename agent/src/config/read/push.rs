//! `[push]`

use std::net::SocketAddr;

use super::super::section::Section;
use super::super::{DEFAULT_PUSH_BODY, NodeConfig, PushConfig, SourceConfig};
use super::MIB;

/// `None` if there is no such section, or a mistake was reported.
pub(super) fn push(root: &Section<'_>, nodes: &[NodeConfig]) -> Option<PushConfig> {
    let pushed = nodes.iter().flat_map(|node| &node.publish);
    let pushed = pushed.filter(|each| each.source == SourceConfig::Push).count();
    if !root.has("push") {
        if pushed > 0 {
            let hint = "with listen = \"127.0.0.1:7480\" and token_file = \"push.token\"";
            root.report("push", "is missing, but some source is \"push\"", hint);
        }
        return None;
    }
    let section = root.section("push");
    section.only(&["listen", "token_file", "body_bytes_max"]);
    let listen: Option<SocketAddr> = section.parsed("listen", LISTEN);
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
    {
        section.report("listen", format!("is {listen}, which other machines reach"), LISTEN);
    }
    let bounds = MIB / 16..=64 * MIB;
    let body_bytes_max = section.number("body_bytes_max", bounds, DEFAULT_PUSH_BODY) as usize;
    let token = section.secret("token");
    if !section.has("token_file") {
        section.report("token_file", "is missing", TOKEN);
    }
    Some(PushConfig { listen: listen?, token: token?, body_bytes_max })
}

const LISTEN: &str = "a loopback address with a port, such as \"127.0.0.1:7480\"";
const TOKEN: &str =
    "write the token into a file and name it here, or credential:<name> of the service";
