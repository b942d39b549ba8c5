//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hutong_schema::{
    grant::{GrantId, Modes},
    ids::{CreditCode, ExchangeName, NodeName},
};
use jiff::civil::Date;

/// The hub of an exchange: takes what departments publish, makes it searchable, delivers what was
/// granted, and proves that all hold the same.
#[derive(Debug, Parser)]
#[command(name = "hutong-hub", version, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Folder of the hub; its configuration is hub.toml in it.
    #[arg(long, global = true, env = "HUTONG_DATA", value_name = "DIR", default_value = "data")]
    pub(super) data: PathBuf,
    /// Configuration, when it lies elsewhere.
    #[arg(long, global = true, env = "HUTONG_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.data.join(crate::config::FILE))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Found an exchange: folders, authority, configuration, first entry of the log.
    Init(Init),
    /// Run the hub.
    Serve(Serve),
    /// Join tokens for nodes.
    #[command(subcommand)]
    Token(Token),
    /// Nodes and their connections.
    #[command(subcommand)]
    Node(Node),
    /// The authority that issues certificates, and the roots that are trusted.
    #[command(subcommand)]
    Ca(Ca),
    /// Grants: who may receive what.
    #[command(subcommand)]
    Grant(Grant),
    /// How the hub stands.
    Status(Status),
    /// Look up rows as the operator. Recorded in the access log before it is answered.
    Lookup(Lookup),
    /// Compare source, hub and subscribers; status 1 when something differs.
    Reconcile(Reconcile),
    /// Write the views out, so that other programs can read them.
    Flush,
    /// Make the views anew from the log, with the hub stopped.
    Rebuild,
    /// Check every entry of the log against its chain, with the hub stopped.
    VerifyLog,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Name of the exchange, such as "tieling"; it stands in every certificate.
    #[arg(long)]
    pub(super) exchange: Option<ExchangeName>,
    /// Number of data partitions; cannot be changed later.
    #[arg(long)]
    pub(super) partitions: Option<u16>,
    /// Host name or address of the hub, for its certificate; may be repeated.
    #[arg(long = "name", value_name = "HOST")]
    pub(super) names: Vec<String>,
    /// Write the root's key into this folder, to be kept offline; an intermediate issues here.
    #[arg(long, value_name = "DIR")]
    pub(super) offline_root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// What issues until when, which roots are trusted, and how many nodes know them.
    Show,
    /// Make a new root in a folder that is kept offline.
    NewRoot {
        /// Name of the exchange.
        #[arg(long)]
        exchange: ExchangeName,
        /// Folder for its key and certificate.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make the key that will issue next, and a request for it to be signed. The key stays here.
    Request {
        /// File for the request.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign a request where the root's key is.
    Sign {
        /// Folder of the root.
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
        /// The request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// File for the certificate.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How long it is valid.
        #[arg(long, default_value_t = 1_825, value_parser = clap::value_parser!(i64).range(1..=7_300))]
        days: i64,
    },
    /// Issue with a signed certificate from now on.
    Install {
        /// What `ca sign` wrote.
        file: PathBuf,
        /// Even if nodes do not trust its root yet: they have to enrol anew.
        #[arg(long)]
        force: bool,
    },
    /// Trust one more root; connected nodes are told at once.
    Trust {
        /// Its certificate: `ca.crt` in the folder of the root.
        file: PathBuf,
    },
    /// Trust a root no more; certificates that come from it are refused from then on.
    Distrust {
        /// Its SHA-256 fingerprint, see `ca show`.
        fingerprint: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Log lines as JSON.
    #[arg(long)]
    pub(super) log_json: bool,
    /// What is logged, such as "info" or "info,hutong_hub::gate=debug".
    #[arg(long, value_name = "LEVELS", env = "HUTONG_LOG", default_value = "info")]
    pub(super) log: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Issue one token, printed this once.
    Add {
        /// The department's unified social credit code.
        #[arg(long)]
        department: CreditCode,
        /// The department's name, when it is new.
        #[arg(long)]
        department_name: Option<String>,
        /// The node's name.
        #[arg(long)]
        node: NodeName,
        /// How long it is good, hours.
        #[arg(long)]
        hours: Option<i64>,
    },
    /// Issue tokens for many nodes.
    Sheet {
        /// CSV with the columns department, department_name, node.
        nodes: PathBuf,
        /// CSV to write: the same with token and expires. Keep it secret.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How long they are good, hours.
        #[arg(long)]
        hours: Option<i64>,
    },
    /// Tokens that were issued; never their secrets.
    List,
}

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    /// All nodes with their connections.
    List,
    /// Take a node out of service: its leases are free, its connection is refused from now on.
    Retire {
        /// The department's unified social credit code.
        #[arg(long)]
        department: CreditCode,
        /// The node's name.
        #[arg(long)]
        node: NodeName,
        /// Why; stays in the log.
        #[arg(long)]
        reason: String,
    },
    /// Revoke certificates: connections end within seconds, and nothing is taken from the node until
    /// it enrols with a new join token. It keeps its publications, unlike a retired one.
    Revoke {
        /// The department's unified social credit code.
        #[arg(long)]
        department: CreditCode,
        /// The node's name.
        #[arg(long, required_unless_present = "all")]
        node: Option<NodeName>,
        /// All nodes that the department has.
        #[arg(long, conflicts_with = "node")]
        all: bool,
        /// Why; stays in the log, and the node is told.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Grant {
    /// Make a grant.
    Add(GrantAdd),
    /// All grants.
    List,
    /// End a grant.
    Withdraw {
        /// Its number.
        #[arg(value_parser = grant_id)]
        id: GrantId,
        /// Why; stays in the log.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct GrantAdd {
    /// Department that receives, by its unified social credit code.
    #[arg(long, value_name = "CODE")]
    pub(super) to: CreditCode,
    /// Resource code, or library: population, legal_person, geospatial.
    #[arg(long)]
    pub(super) target: String,
    /// Fields by machine name or label, joined by commas; all when absent. The key is always granted.
    #[arg(long, value_delimiter = ',')]
    pub(super) fields: Option<Vec<String>>,
    /// Which rows, such as: hjqh = "211221" and age(csrq) >= 18
    #[arg(long)]
    pub(super) filter: Option<String>,
    /// For what purpose; stays in the log.
    #[arg(long)]
    pub(super) purpose: String,
    /// In which ways it may be used.
    #[arg(long, value_delimiter = ',', default_value = "deliver,lookup,verify")]
    pub(super) modes: Vec<Mode>,
    /// First day, such as 2026-11-21; today when absent.
    #[arg(long)]
    pub(super) from: Option<Date>,
    /// Last day; open when absent.
    #[arg(long)]
    pub(super) until: Option<Date>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Standing delivery of rows.
    Deliver,
    /// Single lookups that show values.
    Lookup,
    /// Verification that shows only match, mismatch or absent.
    Verify,
}

/// The chosen modes together.
pub(super) fn modes(chosen: &[Mode]) -> Modes {
    Modes {
        deliver: chosen.contains(&Mode::Deliver),
        lookup: chosen.contains(&Mode::Lookup),
        verify: chosen.contains(&Mode::Verify),
    }
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Also one line per resource.
    #[arg(long)]
    pub(super) resources: bool,
    /// Also the line of this resource.
    #[arg(long, value_name = "CODE")]
    pub(super) resource: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Lookup {
    /// Resource code, or library: population, legal_person, geospatial.
    pub(super) target: String,
    /// The key; parts of a composite key joined by '|'.
    #[arg(required_unless_present_any = ["by", "area", "near"], conflicts_with_all = ["by", "area", "near"])]
    pub(super) key: Option<String>,
    /// An indexed field and its value, such as name=张示例 or division=2112.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = field_value, conflicts_with_all = ["area", "near"])]
    pub(super) by: Option<(String, String)>,
    /// Features that meet a box, in degrees.
    #[arg(long = "box", value_name = "W,S,E,N", value_parser = degrees::<4>, allow_hyphen_values = true, conflicts_with = "near")]
    pub(super) area: Option<[f64; 4]>,
    /// Features nearest to a point, in degrees.
    #[arg(long, value_name = "LON,LAT", value_parser = degrees::<2>, allow_hyphen_values = true)]
    pub(super) near: Option<[f64; 2]>,
    /// Most rows shown.
    #[arg(long, default_value_t = 20)]
    pub(super) limit: u16,
    /// Case or file that the question belongs to; stays in the access log.
    #[arg(long)]
    pub(super) reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// Only this resource, or grants on this resource or library.
    pub(super) subject: Option<String>,
    /// Mend what differs: the source sends the keys again, subscribers get them again.
    #[arg(long)]
    pub(super) repair: bool,
}

fn grant_id(text: &str) -> Result<GrantId, String> {
    text.parse().map(GrantId).map_err(|_| "the number of a grant, see `grant list`".to_owned())
}

fn field_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), value.to_owned())),
        _ => Err("a field and its value, such as name=张示例".to_owned()),
    }
}

fn degrees<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let expected = || format!("{N} numbers in degrees joined by commas");
    let numbers = text.split(',').map(|part| part.trim().parse::<f64>());
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().map_err(|_| expected())?;
    let numbers: [f64; N] = numbers.try_into().map_err(|_| expected())?;
    if numbers.iter().all(|number| number.is_finite() && number.abs() <= 360.0) {
        Ok(numbers)
    } else {
        Err(expected())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_lookup_asks_exactly_one_question() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let good = [
            "hub lookup population 11010519491231002X --reason x",
            "hub lookup population --by name=x --reason x",
            "hub lookup geospatial --near 123.85,42.29 --limit 3 --reason x",
            "hub lookup geospatial --box -1.5,40,1.5,41 --reason x",
        ];
        for line in good {
            assert!(matches!(parse(line), Ok(Command::Lookup(_))), "{line}: {:?}", parse(line));
        }
        let bad = [
            "hub lookup population --reason x",
            "hub lookup population k",
            "hub lookup population k --by name=x --reason x",
            "hub lookup geospatial --near 123.85 --reason x",
            "hub lookup geospatial --box 1,2,3 --reason x",
            "hub lookup population --by name --reason x",
        ];
        for line in bad {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
