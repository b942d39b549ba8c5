//! A watched folder: is it there, can files be handed over.

use std::path::Path;

use super::super::finding::{Area, Finding, text};
use crate::config::FolderSource;

pub(super) fn look(folder: &FolderSource) -> Vec<Finding> {
    let problems = problems(folder);
    if problems.is_empty() {
        let said =
            text("the folder can be read, and files handed over", "文件夹可以读取，文件可以移交");
        return vec![Finding::fine(Area::Source, said)];
    }
    let finding = |problem: String| {
        Finding::person(
            Area::Source,
            text(problem.clone(), problem),
            text(
                "files that are dropped in are not taken; what the hub has stays as it is",
                "放入的文件不会被接收；枢纽已有的数据保持不变",
            ),
            text(
                "make the folder, give the agent's user the right to write in it, and keep done and failed on the same file system",
                "建立该文件夹，给予运行代理的用户写入权限，并使 done 和 failed 与其位于同一文件系统",
            ),
        )
    };
    problems.into_iter().map(finding).collect()
}

/// Folders must be there and on one file system, so that a file can be handed over in one step.
pub(crate) fn problems(folder: &FolderSource) -> Vec<String> {
    let inbox = match std::fs::read_dir(&folder.folder).and_then(|_| device(&folder.folder)) {
        Ok(device) => device,
        Err(error) => return vec![format!("{}: {error}", folder.folder.display())],
    };
    let mut problems = Vec::new();
    for path in [&folder.done, &folder.failed] {
        // The agent makes them when they are needed.
        let there = path.ancestors().find(|each| each.exists()).unwrap_or(path);
        match device(there) {
            Ok(other) if other == inbox => {}
            Ok(_) => problems.push(format!(
                "{}: is on another file system than {}",
                path.display(),
                folder.folder.display()
            )),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    problems
}

/// The file system that a path is on.
fn device(path: &Path) -> std::io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path)?))
}
