//! Programs whose clock is wrong: libfaketime answers in the system's place when they ask for the time.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian's packages put it, below a folder for the machine's kind.
const FOLDERS: &str = "/usr/lib";
/// The library for programs with several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The environment of a program whose clock is so many days ahead; behind if less than 0. Only the
/// time of day is moved: what measures durations goes on as it is.
///
/// # Errors
/// When the library is not installed.
pub fn ahead_by_days(days: i64) -> Result<[(&'static str, OsString); 3]> {
    Ok([
        ("LD_PRELOAD", library()?.into()),
        ("FAKETIME", format!("{days:+}d").into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ])
}

/// The environment of a program whose clock is right.
pub fn right() -> [(&'static str, OsString); 0] {
    []
}

fn library() -> Result<PathBuf> {
    let folders = fs::read_dir(FOLDERS).with_context(|| format!("list {FOLDERS}"))?;
    let mut found = folders.filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)));
    found
        .find(|path| Path::is_file(path))
        .with_context(|| format!("{LIBRARY} is not below {FOLDERS}: run deploy/setup.sh"))
}
