//! Commands that the running hub carries out.

use std::{io::IsTerminal, path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use hutong_certs::join::{
    JoinToken,
    sheet::{self, SheetRow},
};
use indicatif::ProgressBar;
use serde::{Serialize, de::IgnoredAny};

use super::{
    DIFFERENT,
    args::{self, Cli, Command, Grant, GrantAdd, Lookup, Node, Reconcile, Token},
    client::{Client, query},
    report,
};
use crate::{
    api::types::{
        GrantDone, GrantLine, GrantOrder, LookupAnswer, LookupBy, LookupOrder, NodeLine,
        ReconcileOrder, RetireOrder, RevokeOrder, Status, TokenLine, TokenOrder, TokensIssued,
        TokensOrder, WithdrawOrder,
    },
    app::files,
    config::Config,
    reconcile::Report,
};

pub(super) async fn carry_out(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Config::load(&cli.config())?;
    let client = Client::new(&config.path(files::SOCKET));
    match &cli.command {
        Command::Token(command) => token(cli, &client, command).await?,
        Command::Node(command) => node(cli, &client, command).await?,
        Command::Grant(command) => grant(cli, &client, command).await?,
        Command::Status(wanted) => {
            let mut pairs = vec![("resources", if wanted.resources { "true" } else { "false" })];
            pairs.extend(wanted.resource.as_deref().map(|code| ("resource", code)));
            let status: Status = client.get(&format!("/admin/status{}", query(&pairs)?)).await?;
            print(cli, &status, report::status)?;
        }
        Command::Lookup(question) => lookup(cli, &client, question).await?,
        Command::Reconcile(wanted) => return reconcile(cli, &client, wanted).await,
        Command::Flush => {
            let _: IgnoredAny = client.post("/admin/flush", &()).await?;
        }
        Command::Init(_)
        | Command::Serve(_)
        | Command::Ca(_)
        | Command::Rebuild
        | Command::VerifyLog => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer: as JSON, or in lines for a person.
pub(super) fn print<T: Serialize>(
    cli: &Cli,
    answer: &T,
    lines: impl FnOnce(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if cli.json {
        println!("{}", serde_json::to_string_pretty(answer)?);
    } else {
        lines(answer).iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

async fn token(cli: &Cli, client: &Client, command: &Token) -> anyhow::Result<()> {
    match command {
        Token::Add { department, department_name, node, hours } => {
            let node = TokenOrder {
                department: *department,
                department_name: department_name.clone(),
                node: node.clone(),
            };
            let order = TokensOrder { nodes: vec![node], hours: *hours };
            let issued: TokensIssued = client.post("/admin/tokens", &order).await?;
            print(cli, &issued, |issued| {
                issued.tokens.iter().map(|issued| issued.token.clone()).collect()
            })
        }
        Token::Sheet { nodes, out, hours } => {
            let order = TokensOrder { nodes: read_nodes(nodes)?, hours: *hours };
            let issued: TokensIssued = client.post("/admin/tokens", &order).await?;
            let row = |issued: &crate::api::types::IssuedToken| -> anyhow::Result<SheetRow> {
                let token: JoinToken =
                    issued.token.parse().context("the hub issued an unreadable token")?;
                Ok(SheetRow { department_name: issued.department_name.clone(), token })
            };
            let rows = issued.tokens.iter().map(row).collect::<anyhow::Result<Vec<_>>>()?;
            sheet::save(out, &rows)?;
            if !cli.json {
                println!("{} tokens written to {}; keep it secret", rows.len(), out.display());
            }
            Ok(())
        }
        Token::List => {
            let tokens: Vec<TokenLine> = client.get("/admin/tokens").await?;
            print(cli, &tokens, |tokens| report::tokens(tokens))
        }
    }
}

/// Reads the nodes that need tokens: columns by name, in any order.
fn read_nodes(path: &Path) -> anyhow::Result<Vec<TokenOrder>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("read {}", path.display()))?;
    // A byte order mark of a spreadsheet program is no part of the first column's name.
    let headings =
        reader.headers()?.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned());
    let headings: csv::StringRecord = headings.collect();
    reader.set_headers(headings);
    let mut nodes = Vec::new();
    for (index, node) in reader.deserialize().enumerate() {
        let mut node: TokenOrder =
            node.with_context(|| format!("{}, line {} of the nodes", path.display(), index + 2))?;
        node.department_name = node.department_name.filter(|name| !name.is_empty());
        nodes.push(node);
    }
    Ok(nodes)
}

async fn node(cli: &Cli, client: &Client, command: &Node) -> anyhow::Result<()> {
    match command {
        Node::List => {
            let nodes: Vec<NodeLine> = client.get("/admin/nodes").await?;
            print(cli, &nodes, |nodes| report::nodes(nodes))
        }
        Node::Retire { department, node, reason } => {
            let order =
                RetireOrder { department: *department, node: node.clone(), reason: reason.clone() };
            let done: RetireOrder = client.post("/admin/nodes/retire", &order).await?;
            print(cli, &done, |done| {
                vec![format!("node {} of {} is retired", done.node, done.department)]
            })
        }
        Node::Revoke { department, node, all: _, reason } => {
            let order =
                RevokeOrder { department: *department, node: node.clone(), reason: reason.clone() };
            let done: RevokeOrder = client.post("/admin/nodes/revoke", &order).await?;
            print(cli, &done, |done| {
                let whose = match &done.node {
                    Some(node) => format!("node {node} of {}", done.department),
                    None => format!("all nodes of {}", done.department),
                };
                vec![
                    format!("the certificates of {whose} are revoked"),
                    "to let one in again: hutong-hub token add, and on its machine \
                     hutong-agent enrol --anew --token FILE"
                        .to_owned(),
                ]
            })
        }
    }
}

async fn grant(cli: &Cli, client: &Client, command: &Grant) -> anyhow::Result<()> {
    match command {
        Grant::Add(add) => {
            let done: GrantDone = client.post("/admin/grants", &order(add)).await?;
            print(cli, &done, |done| vec![format!("grant {}", done.id)])
        }
        Grant::List => {
            let grants: Vec<GrantLine> = client.get("/admin/grants").await?;
            print(cli, &grants, |grants| report::grants(grants))
        }
        Grant::Withdraw { id, reason } => {
            let order = WithdrawOrder { id: *id, reason: reason.clone() };
            let done: GrantDone = client.post("/admin/grants/withdraw", &order).await?;
            print(cli, &done, |done| vec![format!("grant {} is withdrawn", done.id)])
        }
    }
}

fn order(add: &GrantAdd) -> GrantOrder {
    GrantOrder {
        target: add.target.clone(),
        grantee: add.to,
        fields: add.fields.clone(),
        filter: add.filter.clone(),
        purpose: add.purpose.clone(),
        modes: args::modes(&add.modes),
        from: add.from,
        until: add.until,
    }
}

async fn lookup(cli: &Cli, client: &Client, question: &Lookup) -> anyhow::Result<()> {
    let order = LookupOrder {
        target: question.target.clone(),
        by: by(question)?,
        limit: question.limit,
        reason: question.reason.clone(),
        operator: operator(),
    };
    let answer: LookupAnswer = client.post("/admin/lookup", &order).await?;
    print(cli, &answer, report::found)
}

/// The command line has exactly one of them.
fn by(question: &Lookup) -> anyhow::Result<LookupBy> {
    let key = question.key.clone().map(LookupBy::Key);
    let index = question.by.clone().map(|(field, value)| LookupBy::Index { field, value });
    let area = question.area.map(LookupBy::Box);
    let near = question.near.map(LookupBy::Nearest);
    key.or(index).or(area).or(near).context("say what to look up: a key, --by, --box or --near")
}

/// The account that asks, as the system calls it.
fn operator() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let known =
        names.iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    known.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

async fn reconcile(cli: &Cli, client: &Client, wanted: &Reconcile) -> anyhow::Result<ExitCode> {
    let order = ReconcileOrder { subject: wanted.subject.clone(), repair: wanted.repair };
    let shown = !cli.json && std::io::stderr().is_terminal();
    let spinner = if shown { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.set_message("asking sources and subscribers");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let found: Report = client.post("/admin/reconcile", &order).await?;
    spinner.finish_and_clear();
    print(cli, &found, report::reconciled)?;
    Ok(if found.all_equal() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}
