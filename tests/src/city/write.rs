//! Writes a planned city as files, and the manifest that tells whether they are still the same.
//!
//! ```text
//! manifest.json           size and BLAKE3 of every other file
//! plan.json               units → nodes → resources → rows, files
//! departments.json        what the hub has to know before the first agent comes
//! units/<unit>/agent.toml             its nodes, with paths relative to this folder
//! units/<unit>/catalogue-<node>.jsonl one catalogue entry per line
//! units/<unit>/data/<entry>.csv       (or .jsonl)
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::agent_config::{catalogue_file, node_tables, to_toml};
use super::data_file::Renderer;
use super::entry::describe;
use super::plan::{City, Resource, Scale, Totals, Unit};
use super::registers::Registers;
use super::units::Role;

/// Rows rendered at once: about half a megabyte of the widest rows.
const PIECE_ROWS: u64 = 2_048;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`super::plan::GENERATOR_VERSION`].
    pub generator: u32,
    /// How much of the city this is.
    pub scale: Scale,
    /// Its figures.
    pub totals: Totals,
    /// Every file but the manifest, by its path with `/` in the city's folder.
    pub files: BTreeMap<String, FileRecord>,
}

/// One written file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, hexadecimal.
    pub blake3: String,
}

/// A line of `departments.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepartmentRecord {
    /// The unit's folder.
    pub unit: String,
    /// Its credit code.
    pub code: String,
    /// Its name.
    pub name: String,
    /// Its part, if it has one.
    pub role: Option<Role>,
    /// Its nodes.
    pub nodes: Vec<String>,
}

/// How thoroughly present files are compared with their manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every file exists and has its size; a few thousand `stat` calls.
    Sizes,
    /// Every byte is as it was written.
    Content,
}

/// Writes all files of a city into `dir`, which should be empty or missing; `progress` counts rows.
///
/// # Errors
/// When a file cannot be written.
pub fn write(city: &City, dir: &Path, progress: &ProgressBar) -> Result<Manifest> {
    let totals = city.totals();
    progress.set_length(totals.rows);
    let mut files = BTreeMap::new();
    for unit in &city.units {
        files.extend(write_unit(unit, dir)?);
    }
    files.extend(write_data(city, dir, progress)?);
    let departments: Vec<_> = city.units.iter().map(department).collect();
    for (name, content) in [
        ("plan.json", serde_json::to_vec_pretty(city)?),
        ("departments.json", serde_json::to_vec_pretty(&departments)?),
    ] {
        files.insert(name.to_owned(), write_file(&dir.join(name), &content)?);
    }
    let manifest = Manifest { generator: city.generator, scale: city.scale, totals, files };
    write_file(&dir.join("manifest.json"), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(manifest)
}

/// Compares the files of a folder with its manifest.
///
/// # Errors
/// Names the first file that is missing or differs.
pub fn verify(dir: &Path, check: Check) -> Result<Manifest> {
    let path = dir.join("manifest.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).context("read the manifest")?;
    for (name, record) in &manifest.files {
        let path = dir.join(name);
        let bytes = fs::metadata(&path).with_context(|| format!("look at {name}"))?.len();
        if bytes != record.bytes {
            bail!("{name} has {bytes} bytes, {} were written", record.bytes);
        }
        if check == Check::Content && hash(&path)? != record.blake3 {
            bail!("{name} is not what was written");
        }
    }
    Ok(manifest)
}

/// Folder of a unit's files within the city's folder.
pub fn unit_folder(dir: &Path, unit: &Unit) -> PathBuf {
    dir.join("units").join(&unit.id)
}

fn department(unit: &Unit) -> DepartmentRecord {
    DepartmentRecord {
        unit: unit.id.clone(),
        code: unit.code.to_string(),
        name: unit.name.clone(),
        role: unit.role,
        nodes: unit.nodes.iter().map(|node| node.name.clone()).collect(),
    }
}

/// Catalogues and the agent's configuration.
fn write_unit(unit: &Unit, dir: &Path) -> Result<Vec<(String, FileRecord)>> {
    let folder = unit_folder(dir, unit);
    fs::create_dir_all(folder.join("data"))
        .with_context(|| format!("create {}", folder.display()))?;
    let mut contents = Vec::with_capacity(unit.nodes.len() + 1);
    for node in &unit.nodes {
        let mut lines = Vec::new();
        for resource in &node.resources {
            serde_json::to_writer(&mut lines, &describe(unit, resource)?)?;
            lines.push(b'\n');
        }
        contents.push((catalogue_file(node), lines));
    }
    let config = to_toml(&node_tables(unit, Path::new("")))?;
    contents.push(("agent.toml".to_owned(), config.into_bytes()));
    let written = contents.into_iter().map(|(name, content)| {
        let record = write_file(&folder.join(&name), &content)?;
        Ok((format!("units/{}/{name}", unit.id), record))
    });
    written.collect()
}

/// Data files, the largest first, on all processors.
fn write_data(
    city: &City,
    dir: &Path,
    progress: &ProgressBar,
) -> Result<Vec<(String, FileRecord)>> {
    let registers = &Registers::new(city.scale);
    let mut resources: Vec<_> = city.resources().map(|(unit, _, each)| (unit, each)).collect();
    resources.sort_by_key(|(_, resource)| std::cmp::Reverse(resource.rows));
    let (resources, next) = (&resources, &AtomicUsize::new(0));
    let work = move || -> Result<Vec<_>> {
        let mut written = Vec::new();
        while let Some((unit, resource)) = resources.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = unit_folder(dir, unit).join(&resource.file);
            let record = write_rows(registers, resource, &path, progress)
                .with_context(|| format!("write {}", path.display()))?;
            written.push((format!("units/{}/{}", unit.id, resource.file), record));
        }
        Ok(written)
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut written = Vec::with_capacity(resources.len());
        for worker in started {
            match worker.join() {
                Ok(files) => written.extend(files?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(written)
    })
}

fn write_rows(
    registers: &Registers,
    resource: &Resource,
    path: &Path,
    progress: &ProgressBar,
) -> Result<FileRecord> {
    let (mut file, mut hasher) = (File::create(path)?, blake3::Hasher::new());
    let mut renderer = Renderer::new(registers, resource);
    let (mut piece, mut bytes, mut from) = (Vec::new(), 0, 0);
    while from < resource.rows {
        let to = resource.rows.min(from + PIECE_ROWS);
        piece.clear();
        renderer.render(from..to, &mut piece)?;
        hasher.update(&piece);
        file.write_all(&piece)?;
        bytes += piece.len() as u64;
        progress.inc(to - from);
        from = to;
    }
    Ok(FileRecord { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

fn write_file(path: &Path, content: &[u8]) -> Result<FileRecord> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
    let blake3 = blake3::hash(content).to_hex().to_string();
    Ok(FileRecord { bytes: content.len() as u64, blake3 })
}

fn hash(path: &Path) -> Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, blake3::Hasher::new());
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            read => hasher.update(&piece[..read]),
        };
    }
}
