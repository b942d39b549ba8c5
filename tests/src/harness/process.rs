//! One child process: its output in files, its end by signal, its peak of memory.
//!
//! All children join one process group led by a guardian, a shell that waits for the end of its
//! standard input and then kills the group. So they die with the harness however that dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::wait::until;

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 40;

/// A running or ended child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
    /// Where this start's output begins: the files are continued from start to start.
    out_from: u64,
}

impl Process {
    /// Starts a program; its output goes to `<logs>/<name>.out` and `<logs>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("create {}", logs.display()))?;
        let (out, log) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.log")));
        let open = |path: &Path| -> Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let (stdout, stderr) = (open(&out)?, open(&log)?);
        let out_from = stdout.metadata()?.len();
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(guardian()?)
            .spawn()
            .with_context(|| format!("start {name}: {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, out, log, out_from })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it was started as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for a line of its standard output that begins with `prefix`, and returns its rest.
    ///
    /// # Errors
    /// When it ends before, or the deadline passes.
    pub fn line(&mut self, prefix: &str, within: Duration) -> Result<String> {
        let what = format!("{} prints a line that begins with {prefix:?}", self.name);
        until(within, &what, || {
            let ended = self.ended()?;
            let text = read_from(&self.out, self.out_from)?;
            let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(rest) = complete.lines().find_map(|line| line.strip_prefix(prefix)) {
                return Ok(Some(rest.to_owned()));
            }
            match ended {
                Some(status) => bail!("{} ended with {status}\n{}", self.name, self.tail()),
                None => Ok(None),
            }
        })
        .with_context(|| self.tail())
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        match self.child.kill() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error).with_context(|| format!("kill {}", self.name)),
        }
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Sends SIGTERM without waiting.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn ask_to_end(&mut self) -> Result<()> {
        self.signal("TERM")
    }

    /// Sends a signal by its name without `SIG`; nothing if the process has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the number is still this process's.
        let status = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status()?;
        if !status.success() {
            bail!("kill -s {signal} {} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the deadline passes; it is killed then.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let ended = until(within, &what, || self.ended());
        if ended.is_err() {
            self.kill()?;
        }
        ended.with_context(|| self.tail())
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not end in time, or not with success.
    pub fn stop(&mut self, within: Duration) -> Result<()> {
        self.ask_to_end()?;
        let status = self.wait(within)?;
        if !status.success() {
            bail!("{} ended with {status}\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Its peak of resident memory in bytes; `None` once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        memory(self.id(), "VmHWM:")
    }

    /// Its resident memory now, bytes; `None` once it has ended.
    pub fn memory(&self) -> Option<u64> {
        memory(self.id(), "VmRSS:")
    }

    /// Processor time that it has used, of its own and the system's; `None` once it has ended.
    pub fn processor_time(&self) -> Option<Duration> {
        processor_time(self.id())
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.kill();
    }
}

/// The last lines of a log file, headed by its name.
pub fn tail(log: &Path) -> String {
    let text = read_from(log, 0).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!("--- the end of {}\n{}", log.display(), lines[from..].join("\n"))
}

/// A field of `/proc/<id>/status` in bytes.
fn memory(id: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

/// `utime` and `stime` of `/proc/<id>/stat`. The kernel shows both in hundredths of a second,
/// whatever its own clock is (`USER_HZ`, proc(5)).
fn processor_time(id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

fn read_from(path: &Path, from: u64) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The process group that every child joins.
fn guardian() -> Result<i32> {
    static GUARDIAN: OnceLock<Result<Child, String>> = OnceLock::new();
    let guardian = GUARDIAN.get_or_init(|| {
        // Signals of the terminal do not reach the group; the harness stops its children itself.
        // The pipe ends with this process, whatever ends it.
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r _; kill -KILL 0"]).stdin(Stdio::piped()).process_group(0);
        shell.spawn().map_err(|error| error.to_string())
    });
    match guardian {
        Ok(shell) => Ok(i32::try_from(shell.id())?),
        Err(error) => bail!("cannot start the guardian of the processes: {error}"),
    }
}
