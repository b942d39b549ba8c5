//! The hub's configuration: a file, and `HUTONG_<SECTION>__<KEY>` variables above it.

mod gate;
mod quota;
mod reader;

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Environment, File, FileFormat};
use hutong_schema::ids::ExchangeName;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::Offset as UtcOffset};

pub use reader::Mistake;
use reader::Reader;

use crate::{
    gate::GateLimits,
    intake::{IntakeOptions, disk::DiskOptions},
    log::LogOptions,
    pki::PkiOptions,
    views::ViewOptions,
};

/// Name of the file in a data folder.
pub const FILE: &str = "hub.toml";

/// The commented file that `init` writes. All values in it are the defaults.
pub const SAMPLE: &str = include_str!("sample.toml");

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the exchange.
    pub exchange: ExchangeName,
    /// Where the hub keeps everything.
    pub data_dir: PathBuf,
    /// QUIC address for nodes.
    pub listen: SocketAddr,
    /// HTTP address for health, readiness and metrics.
    pub http: SocketAddr,
    /// Host names and addresses in the hub's certificate.
    pub names: Vec<String>,
    /// How long shutting down may take.
    pub grace: Duration,
    /// Number of data partitions: fixed when the exchange is founded, and checked against that.
    pub partitions: u16,
    /// The log.
    pub log: LogOptions,
    /// The views.
    pub views: ViewOptions,
    /// The intake.
    pub intake: IntakeOptions,
    /// Commands that may wait for the governor.
    pub governor_queue: usize,
    /// Commands that share one append.
    pub governor_group: usize,
    /// Slices of delivery work at once.
    pub route_turns: usize,
    /// The gate.
    pub gate: GateLimits,
    /// The watch over the disk.
    pub disk: DiskOptions,
    /// How long a join token is good unless the operator says otherwise.
    pub token_lifetime: SignedDuration,
    /// How long a node's certificate is valid.
    pub certificate_validity: SignedDuration,
    /// How long the hub's own certificate is valid.
    pub hub_certificate_validity: SignedDuration,
    /// How long one step of an enrolment may take.
    pub enrolment_timeout: Duration,
    /// The exchange's time zone: days begin there.
    pub utc_offset: UtcOffset,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    #[error("the configuration {} cannot be read; `hutong-hub init` makes one", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<config::ConfigError>,
    },
    /// What it says has mistakes; all of them.
    #[error("the configuration {} has mistakes:\n{}", path.display(), list(mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// The mistakes.
        mistakes: Vec<Mistake>,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
    lines.join("\n")
}

impl Config {
    /// Reads a file and the process's environment.
    ///
    /// # Errors
    /// When the file cannot be read, or with all mistakes at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_sources(path, std::env::vars().collect())
    }

    /// Reads a file and the given variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_sources(
        path: &Path,
        variables: HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        // Variables without a section are other programs' or the command line's.
        let variables = variables.into_iter().filter(|(name, _)| name.contains("__")).collect();
        let environment = Environment::with_prefix("HUTONG")
            .prefix_separator("_")
            .separator("__")
            .try_parsing(true)
            .source(Some(variables));
        let unreadable =
            |source| ConfigError::File { path: path.to_owned(), source: Box::new(source) };
        let root = config::Config::builder()
            .add_source(File::from(path).format(FileFormat::Toml))
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize::<serde_json::Value>)
            .map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut reader = Reader::new(root);
        let config = read(&mut reader, folder);
        let mistakes = reader.finish();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigError::Mistakes { path: path.to_owned(), mistakes }),
        }
    }

    /// The day at the exchange.
    #[must_use]
    pub fn today(&self, now: Timestamp) -> Date {
        self.utc_offset.to_datetime(now).date()
    }

    /// Where keys and certificates are, and what stands in the hub's own.
    #[must_use]
    pub fn pki(&self, authority: &str, hub: &str) -> PkiOptions {
        PkiOptions {
            exchange: self.exchange.clone(),
            authority: self.path(authority),
            hub: self.path(hub),
            names: self.names.clone(),
            validity: self.hub_certificate_validity,
        }
    }

    /// A file or folder in the data folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }
}

const MIB: usize = 1024 * 1024;

/// Reads everything; `None` when something without a default is missing.
fn read(reader: &mut Reader, folder: &Path) -> Option<Config> {
    let exchange: Option<ExchangeName> = reader.required(
        "hub.exchange",
        "the name that the exchange was founded with, such as \"tieling\"",
    );
    let data_dir: PathBuf = reader.value("hub.data_dir", PathBuf::from("."));
    let address = "an address with a port, such as \"0.0.0.0:7443\"";
    let listen = reader.parsed("hub.listen", address).unwrap_or(([0, 0, 0, 0], 7443).into());
    let http = reader.parsed("hub.http", address).unwrap_or(([127, 0, 0, 1], 7480).into());
    let names = reader.value("hub.names", Vec::new());
    let grace = seconds(reader, "hub.grace_seconds", 20, 1..=3_600);
    let partitions = reader.number("log.partitions", 4, 1..=1_024);
    let log = log(reader, partitions);
    let views = views(reader);
    let intake = intake(reader);
    let settle: String = reader.value("log.settle", "flushed".to_owned());
    if settle != "flushed" {
        let what = format!("\"{settle}\" is not available; this version knows \"flushed\" only");
        reader.wrong("log.settle", what);
    }
    let governor_queue = reader.number("governor.queue", 1_024, 1..=65_536);
    let governor_group = reader.number("governor.group", 256, 1..=4_096);
    let route_turns = reader.number("routes.turns", 4, 1..=256);
    let gate = gate::read(reader);
    let disk = disk(reader);
    let token_lifetime = hours(reader, "enrolment.token_hours", 168, 1..=8_760);
    let certificate_validity = life(reader, "enrolment.certificate", 2_160);
    let hub_certificate_validity = life(reader, "enrolment.hub_certificate", 8_760);
    let enrolment_timeout = seconds(reader, "enrolment.timeout_seconds", 10, 1..=300);
    let utc_offset_hours: i32 = reader.number("clock.utc_offset_hours", 8, -12..=14);
    Some(Config {
        exchange: exchange?,
        // Joining drops the dot of ".", so that paths in messages stay readable.
        data_dir: folder.join(data_dir).components().collect(),
        listen,
        http,
        names,
        grace,
        partitions,
        log,
        views,
        intake,
        governor_queue,
        governor_group,
        route_turns,
        gate,
        disk,
        token_lifetime,
        certificate_validity,
        hub_certificate_validity,
        enrolment_timeout,
        utc_offset: UtcOffset::from_seconds(utc_offset_hours * 3_600).unwrap_or(UtcOffset::UTC),
    })
}

fn log(reader: &mut Reader, partitions: u16) -> LogOptions {
    let default = LogOptions::default();
    LogOptions {
        data_partitions: partitions,
        queue_requests: reader.number("log.queue_requests", default.queue_requests, 1..=1 << 20),
        queue_bytes: mib(reader, "log.queue_mib", default.queue_bytes, 1..=4_096),
        write_buffer_bytes: mib(
            reader,
            "log.write_buffer_mib",
            default.write_buffer_bytes,
            1..=4_096,
        ),
        ..default
    }
}

fn views(reader: &mut Reader) -> ViewOptions {
    let default = ViewOptions::default();
    ViewOptions {
        block_cache_bytes: mib(
            reader,
            "views.block_cache_mib",
            default.block_cache_bytes,
            8..=65_536,
        ),
        write_buffer_bytes: mib(
            reader,
            "views.write_buffer_mib",
            default.write_buffer_bytes,
            8..=65_536,
        ),
        feed_cache_bytes: mib(reader, "views.feed_cache_mib", default.feed_cache_bytes, 1..=65_536),
        flush_rows: reader.number("views.flush_rows", default.flush_rows, 1_000..=10_000_000),
        flush_interval: {
            let default = default.flush_interval.as_secs();
            seconds(reader, "views.flush_seconds", default, 1..=3_600)
        },
        ..default
    }
}

fn intake(reader: &mut Reader) -> IntakeOptions {
    let default = IntakeOptions::default();
    let backlog = usize::try_from(default.backlog_bytes).unwrap_or(usize::MAX);
    IntakeOptions {
        queue_batches: reader.number("intake.queue_batches", default.queue_batches, 1..=1 << 20),
        queue_bytes: mib(reader, "intake.queue_mib", default.queue_bytes, 4..=4_096),
        group: reader.number("intake.group", default.group, 1..=4_096),
        backlog_bytes: mib(reader, "intake.backlog_mib", backlog, 1..=1 << 20) as u64,
        retry_ms: reader.number("intake.retry_ms", default.retry_ms, 10..=600_000),
        quotas: quota::read(reader),
    }
}

fn disk(reader: &mut Reader) -> DiskOptions {
    let default = DiskOptions::default();
    let options = DiskOptions {
        low_percent: reader.number("disk.low_percent", default.low_percent, 0..=100),
        full_percent: reader.number("disk.full_percent", default.full_percent, 0..=100),
        every: seconds(reader, "disk.check_seconds", default.every.as_secs(), 1..=3_600),
    };
    if options.full_percent > options.low_percent {
        reader.wrong("disk.full_percent", "is above disk.low_percent");
    }
    options
}

fn mib(
    reader: &mut Reader,
    key: &str,
    default_bytes: usize,
    range: std::ops::RangeInclusive<usize>,
) -> usize {
    reader.number(key, default_bytes / MIB, range).saturating_mul(MIB)
}

fn seconds(
    reader: &mut Reader,
    key: &str,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Duration {
    Duration::from_secs(reader.number(key, default, range))
}

/// The life of a certificate: `<key>_hours`, or `<key>_seconds` for drills.
fn life(reader: &mut Reader, key: &str, default_hours: i64) -> SignedDuration {
    let of_hours = hours(reader, &format!("{key}_hours"), default_hours, 24..=87_600);
    let none = 0;
    match reader.number(&format!("{key}_seconds"), none, 0..=86_400) {
        0 => of_hours,
        seconds => SignedDuration::from_secs(seconds),
    }
}

fn hours(
    reader: &mut Reader,
    key: &str,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> SignedDuration {
    SignedDuration::from_hours(reader.number(key, default, range))
}

#[cfg(test)]
mod tests;
