//! Join tokens.

use std::sync::Arc;

use axum::{Json, extract::State};
use hutong_certs::{
    clock,
    join::{TokenState, TokenStatus},
};
use jiff::SignedDuration;

use super::{
    admin::Body,
    failure::{Answer, Failed},
    office::Office,
    types::{IssuedToken, TokenLine, TokensIssued, TokensOrder},
};
use crate::govern::Command;

/// Longest life of a token, hours: a year.
const HOURS_MAX: i64 = 8_760;

/// Registers departments that are new, and issues one token per node.
pub(super) async fn issue(
    State(office): State<Arc<Office>>,
    Body(order): Body<TokensOrder>,
) -> Answer<TokensIssued> {
    let lifetime = match order.hours {
        None => office.token_lifetime,
        Some(hours @ 1..=HOURS_MAX) => SignedDuration::from_hours(hours),
        Some(hours) => {
            return Err(Failed::mistake("token", "hours", format!("1 to {HOURS_MAX}"), hours));
        }
    };
    let mut names = Vec::with_capacity(order.nodes.len());
    for node in &order.nodes {
        let known =
            office.registry.read().department(node.department).map(|known| known.name.clone());
        let name = match (known, &node.department_name) {
            // A known department keeps its name: a sheet is no place to rename one.
            (Some(known), _) => known,
            (None, given) => {
                let name = given.clone().unwrap_or_else(|| node.department.to_string());
                let command =
                    Command::RegisterDepartment { department: node.department, name: name.clone() };
                office.governor.order(command).await?;
                name
            }
        };
        names.push(name);
    }
    let nodes: Vec<_> =
        order.nodes.iter().map(|node| (node.department, node.node.clone())).collect();
    let issued = office
        .tokens
        .issue(&nodes, office.pki.authority.current().fingerprint(), clock::now(), lifetime)
        .await
        .map_err(|error| Failed::internal("no tokens were issued", &error))?;
    tracing::info!(count = issued.len(), "join tokens issued");
    let tokens = issued
        .iter()
        .zip(names)
        .map(|(token, department_name)| IssuedToken { department_name, token: token.to_text() })
        .collect();
    Ok(Json(TokensIssued { tokens }))
}

/// All tokens that are remembered; never their secrets.
pub(super) async fn list(State(office): State<Arc<Office>>) -> Answer<Vec<TokenLine>> {
    let lines = office.tokens.list(clock::now()).into_iter().map(line).collect();
    Ok(Json(lines))
}

fn line(state: TokenState) -> TokenLine {
    let status = match state.status {
        TokenStatus::Open => "open".to_owned(),
        TokenStatus::Used(at) => format!("used {at:.0}"),
        TokenStatus::Expired => "expired".to_owned(),
    };
    TokenLine { department: state.department, node: state.node, expires: state.expires, status }
}
