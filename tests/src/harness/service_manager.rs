//! The part of a service manager that listens to what its services say (sd_notify(3)).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Services are to give signs of life within this time: they do four times as often.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Listens to one service.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    /// Listens at a path that does not exist yet.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).with_context(|| format!("{}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// What a service is told in its environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        self.environment_at(&self.path)
    }

    /// The same for a service that sees the socket at another path.
    pub fn environment_at(&self, path: &Path) -> [(&'static str, String); 2] {
        [
            ("NOTIFY_SOCKET", path.display().to_string()),
            ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()),
        ]
    }

    /// Waits until the service says a line that begins so, and returns what it said with it.
    ///
    /// # Errors
    /// When it does not in time, with what it said instead.
    pub fn until(&self, line: &str, within: Duration) -> Result<String> {
        let (end, mut heard) = (Instant::now() + within, Vec::new());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not within {within:?}: the service says {line:?}; it said {heard:?}");
            }
            self.socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|each| each.starts_with(line)) {
                return Ok(said);
            }
            heard.push(said);
        }
    }
}
