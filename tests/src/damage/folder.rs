//! Copies of folders, and the places in them that can be damaged.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Damage;
use crate::city::rng::Rng;

/// All regular files below a folder with their lengths, in the order of their names.
///
/// # Errors
/// When it cannot be listed.
pub fn files(root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let (path, kind) = {
                let entry = entry?;
                (entry.path(), entry.file_type()?)
            };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let length = fs::metadata(&path)?.len();
                found.push((path.strip_prefix(root)?.to_owned(), length));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a folder with everything in it; sockets are left out.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if !kind.is_socket() {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Puts a copy of `from` in the place of `to`.
///
/// # Errors
/// As [`copy`].
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("remove {}", to.display()))?;
    }
    copy(from, to)
}

/// Damages a file below `root`.
///
/// # Errors
/// When it is not there, or the place is behind its end.
pub fn damage(root: &Path, damage: &Damage) -> Result<()> {
    let path = root.join(damage.file());
    let failed = || format!("damage {}", path.display());
    match damage {
        Damage::Gone { .. } => fs::remove_file(&path).with_context(failed)?,
        Damage::Cut { keep, .. } => {
            let file = fs::OpenOptions::new().write(true).open(&path).with_context(failed)?;
            if *keep >= file.metadata()?.len() {
                bail!("{damage}: it is no longer than that");
            }
            file.set_len(*keep)?;
        }
        Damage::Flip { byte, bit, .. } => {
            let mut bytes = fs::read(&path).with_context(failed)?;
            let at = bytes.get_mut(usize::try_from(*byte)?).with_context(failed)?;
            *at ^= 1 << bit;
            fs::write(&path, bytes).with_context(failed)?;
        }
    }
    Ok(())
}

/// `count` single bits, each bit of all files being as likely as any other.
///
/// # Errors
/// When the folder cannot be listed, or holds nothing.
pub fn flips(root: &Path, rng: &mut Rng, count: u64) -> Result<Vec<Damage>> {
    let files = files(root)?;
    let total: u64 = files.iter().map(|(_, length)| length).sum();
    let flip = |mut at: u64, bit: u64| {
        for (file, length) in &files {
            if at < *length {
                return Some(Damage::Flip { file: file.clone(), byte: at, bit: bit as u8 });
            }
            at -= length;
        }
        None
    };
    let flips = (0..count).map(|_| flip(rng.below(total), rng.below(8)));
    flips.collect::<Option<_>>().context("no file has a bit")
}

/// `count` single bits, each file being as likely as any other: small ones are met as often.
///
/// # Errors
/// As [`flips`].
pub fn flips_by_file(root: &Path, rng: &mut Rng, count: u64) -> Result<Vec<Damage>> {
    let files: Vec<_> = files(root)?.into_iter().filter(|(_, length)| *length > 0).collect();
    let flip = |_| {
        let (file, length) = files.get(rng.below(files.len() as u64) as usize)?;
        let file = file.clone();
        Some(Damage::Flip { file, byte: rng.below(*length), bit: rng.below(8) as u8 })
    };
    (0..count).map(flip).collect::<Option<_>>().context("no file has a bit")
}

/// Bytes of a file up to its last that is not zero: what was reserved behind is none of its data.
///
/// # Errors
/// When it cannot be read.
pub fn data_end(path: &Path) -> Result<u64> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

/// Files below `root` that are new or longer, or whose bytes differ, since they were copied to `before`.
///
/// # Errors
/// When something cannot be read.
pub fn changed(before: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (file, _) in files(root)? {
        let old = fs::read(before.join(&file)).ok();
        if old.as_ref() != Some(&fs::read(root.join(&file))?) {
            found.push(file);
        }
    }
    Ok(found)
}
