//! A real file system of a few megabytes, to be filled: ext4 in a file, mounted where only the test
//! and its children see it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::run::{run, run_command};
use crate::damage::folder;

/// Set in a test that runs in a mount namespace of its own.
const ALONE: &str = "HUTONG_TEST_ALONE";
/// Set by a person to leave out what needs mounting.
const SKIP: &str = "HUTONG_SKIP_MOUNTS";

/// Runs the body of the test of this name in a mount namespace of its own: the test starts itself
/// again in it. What is mounted there is gone when it ends, however it ends.
///
/// # Errors
/// The body's; or when this user may not mount and `HUTONG_SKIP_MOUNTS` is not set.
pub fn alone(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    if env::var_os(SKIP).is_some() {
        let words = format!("{test} was left out, for {SKIP} is set: nothing was tested\n");
        return Ok(std::io::stdout().write_all(words.as_bytes())?);
    }
    let unshare = ["--mount", "--propagation", "private"];
    let able = run(Path::new("unshare"), [&unshare[..], &["true"]].concat())?;
    ensure!(
        able.success,
        "this test mounts a small file system, which needs root and `unshare` (said: {}); \
         {SKIP}=1 leaves it out",
        able.err.trim()
    );
    // Removed only when the mounts in it are gone.
    let mut folder = tempfile::Builder::new().prefix("hutong-mounts-").tempdir()?;
    folder.disable_cleanup(true);
    let mut again = Command::new("unshare");
    again.args(unshare).arg(env::current_exe()?).args(["--exact", test, "--nocapture"]);
    again.env(ALONE, "1").env("TMPDIR", folder.path());
    let ran = run_command(&mut again).context("start the test in its namespace")?;
    if !ran.success {
        let why =
            ran.out.lines().chain(ran.err.lines()).skip_while(|line| !line.starts_with("Error:"));
        let why: Vec<_> = why.collect();
        bail!("in its mount namespace: {}\n{}", why.join("\n"), ran.err);
    }
    folder.disable_cleanup(false);
    Ok(())
}

/// A mounted file system that can be filled.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Puts a file system of `mebibytes` in the place of a folder, with what the folder holds.
    ///
    /// # Errors
    /// When it cannot be made or mounted.
    pub fn replace(at: &Path, mebibytes: u64) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| format!("create {}", at.display()))?;
        let (image, before) = (beside(at, "image"), beside(at, "before"));
        let file = fs::File::create(&image).with_context(|| format!("{}", image.display()))?;
        file.set_len(mebibytes << 20)?;
        // Nothing is kept back for root: the tests run as root, and others do not.
        call("mkfs.ext4", ["-q".as_ref(), "-m".as_ref(), "0".as_ref(), image.as_os_str()])?;
        fs::rename(at, &before)?;
        fs::create_dir(at)?;
        call("mount", ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), at.as_os_str()])?;
        let _ = fs::remove_dir(at.join("lost+found"));
        folder::copy(&before, at)?;
        Ok(Self { at: at.to_owned() })
    }

    /// How much is free, percent of all.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free_percent(&self) -> Result<u64> {
        let (free, all, _) = self.blocks()?;
        Ok(free * 100 / all)
    }

    /// Fills it until so much is free, percent of all; or makes room until then.
    ///
    /// # Errors
    /// When it cannot be filled.
    pub fn leave(&self, percent: u64) -> Result<()> {
        self.make_room()?;
        let (free, all, size) = self.blocks()?;
        // The middle of the percent that is asked for: the programs write meanwhile.
        let left = (all * percent + all / 2) / 100;
        ensure!(free > left, "{} has less than {percent} % free", self.at.display());
        let bytes = ((free - left) * size).to_string();
        call("fallocate", ["-l".as_ref(), bytes.as_ref(), self.ballast().as_os_str()])
    }

    /// Fills it to the last block, and again as soon as something is given back, until the guard is
    /// dropped or room is made.
    ///
    /// # Errors
    /// When it cannot be filled.
    pub fn fill(&self) -> Result<()> {
        self.leave(1)?;
        for block in [1 << 20, 64 << 10, 4 << 10] {
            // Ends when there is no room for another block.
            loop {
                let (free, _, size) = self.blocks()?;
                let (length, offset) =
                    (block.min(free * size), fs::metadata(self.ballast())?.len());
                let grow =
                    ["-o", &offset.to_string(), "-l", &length.to_string()].map(str::to_owned);
                let grow = grow.iter().map(OsStr::new).map(OsStr::to_owned);
                let ballast = self.ballast().into_os_string();
                if length == 0 || !run(Path::new("fallocate"), grow.chain([ballast]))?.success {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes away what fills it.
    ///
    /// # Errors
    /// When that cannot be removed.
    pub fn make_room(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Free blocks, all blocks, and the bytes of one.
    fn blocks(&self) -> Result<(u64, u64, u64)> {
        let told = run(Path::new("stat"), ["-f", "-c", "%a %b %S", &self.at.to_string_lossy()])?;
        let told = told.ok()?;
        let numbers: Vec<u64> =
            told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [free, all, size] if all > 0 => Ok((free, all, size)),
            _ => bail!("stat -f said {told:?}"),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn call<'a>(program: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    run(Path::new(program), args)?.ok().with_context(|| program.to_owned())?;
    Ok(())
}
