//! A program that is run to its end, such as a command line.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Whether its exit status is zero.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// With its standard error, if it did not.
    pub fn ok(self) -> Result<String> {
        if !self.success {
            bail!("the command failed\n{}{}", self.out, self.err);
        }
        Ok(self.out)
    }

    /// Everything printed by a command that must fail.
    ///
    /// # Errors
    /// If it succeeded.
    pub fn refused(self) -> Result<String> {
        if self.success {
            bail!("the command succeeded, and should not have\n{}{}", self.out, self.err);
        }
        Ok(format!("{}{}", self.out, self.err))
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run<S: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = S>) -> Result<Ran> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(&mut command)
}

/// Runs a prepared command to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run_command(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { success: status.success(), out: text(stdout), err: text(stderr) })
}
