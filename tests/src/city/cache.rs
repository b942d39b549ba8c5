//! The generated city is kept outside the working tree and made again only when it is missing,
//! incomplete, or of another generator version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::plan::{City, GENERATOR_VERSION, Scale};
use super::write::{Check, verify, write};

/// Where cities are kept unless another folder is named: `$XDG_CACHE_HOME/hutong/city`, with
/// `$HOME/.cache` where that variable is not set.
///
/// # Errors
/// When neither variable is set.
pub fn default_root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("hutong").join("city"))
}

/// Folder of a city within a cache folder.
pub fn folder(root: &Path, scale: Scale) -> PathBuf {
    root.join(format!("{GENERATOR_VERSION}-{}", scale.name()))
}

/// The folder of a whole city: the cached one if its files have their sizes, else a new one.
///
/// It is written beside its place and moved there when complete, so that an interrupted run leaves
/// nothing that could be taken for a city.
///
/// # Errors
/// When the files cannot be written.
pub fn ensure(root: &Path, scale: Scale, progress: &ProgressBar) -> Result<PathBuf> {
    let folder = folder(root, scale);
    if verify(&folder, Check::Sizes).is_ok() {
        return Ok(folder);
    }
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(root)?;
    let whole = draft.path().join("city");
    write(&City::plan(scale)?, &whole, progress)?;
    // What stands in the place is broken; a rename does not replace a folder that is not empty.
    if folder.exists() {
        fs::rename(&folder, draft.path().join("broken"))
            .with_context(|| format!("clear {}", folder.display()))?;
    }
    match fs::rename(&whole, &folder) {
        Ok(()) => Ok(folder),
        // Another process was faster: its city is as good as ours, if it is whole.
        Err(_) if verify(&folder, Check::Sizes).is_ok() => Ok(folder),
        Err(error) => Err(error).with_context(|| format!("move into {}", folder.display())),
    }
}
