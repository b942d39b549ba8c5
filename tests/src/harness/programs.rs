//! Where the programs are. They belong to other packages, so Cargo does not tell their paths.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Paths of the programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `hutong-hub`
    pub hub: PathBuf,
    /// `hutong-agent`
    pub agent: PathBuf,
    /// `hutong-city`
    pub city: PathBuf,
}

/// The programs: those in `HUTONG_BIN_DIR` if it is set, else those of this build, brought up to
/// date by Cargo (once per process).
///
/// # Errors
/// When they cannot be built or found.
pub fn programs() -> Result<&'static Programs> {
    static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
    let found = PROGRAMS.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn find() -> Result<Programs> {
    if let Some(dir) = env::var_os("HUTONG_BIN_DIR") {
        return in_folder(Path::new(&dir));
    }
    let own = env::current_exe().context("find this program's path")?;
    let folder = own.parent().context("a program lies in a folder")?;
    // A program lies beside the others; a test lies in `deps` below them.
    let Some(profile_dir) = folder.parent().filter(|_| folder.ends_with("deps")) else {
        return in_folder(folder);
    };
    build(profile_dir)?;
    in_folder(profile_dir)
}

/// Builds all programs in the profile that this test was built in.
fn build(profile_dir: &Path) -> Result<()> {
    let name = profile_dir.file_name().and_then(|name| name.to_str());
    let profile = match name.context("a profile's folder has a name")? {
        "debug" => "dev",
        name => name,
    };
    // The same selection as `make test`, so that features and thus fingerprints are the same.
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--all-targets", "--profile", profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("the programs do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn in_folder(folder: &Path) -> Result<Programs> {
    let program = |name: &str| -> Result<PathBuf> {
        let path = folder.join(name);
        if !path.is_file() {
            bail!("{} is missing: build the workspace's programs first", path.display());
        }
        Ok(path)
    };
    Ok(Programs {
        hub: program("hutong-hub")?,
        agent: program("hutong-agent")?,
        city: program("hutong-city")?,
    })
}
