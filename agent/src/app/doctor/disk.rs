//! Folders: may we write there, and is there room.

use std::path::Path;

use rustix::fs::{Access, StatVfs, access, statvfs};

use super::finding::{Area, Finding, text};

/// Below this nothing works well any more, bytes.
const LEAST: u64 = 64 * 1024 * 1024;

/// A folder that does not exist yet: whether it can be made.
pub(super) fn folder_to_be(area: Area, path: &Path) -> Finding {
    let Some(parent) = existing(path) else { return no_folder(area, path) };
    if !parent.is_dir() {
        return no_folder(area, path);
    }
    match not_writable(area, parent) {
        Some(refused) => refused,
        None => Finding::fine(
            area,
            text("the folder will be made when it is needed", "该目录将在需要时创建"),
        )
        .of(path.display()),
    }
}

/// `None` if this user may make files in an existing folder.
pub(super) fn not_writable(area: Area, path: &Path) -> Option<Finding> {
    let error = access(path, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let finding = Finding::person(
        area,
        text(
            format!("the folder cannot be written to: {error}"),
            format!("无法写入该目录：{error}"),
        ),
        text("nothing can be kept there", "无法在其中保存任何内容"),
        text(
            "give the agent's user the right to write there (chown, chmod); under systemd also: ReadWritePaths=",
            "给予运行代理的用户写权限（chown、chmod）；由 systemd 启动时还需 ReadWritePaths=",
        ),
    );
    Some(finding.of(path.display()))
}

/// How much room the disk of a folder has; `wanted` is what may come to lie there, bytes.
pub(super) fn room(area: Area, path: &Path, wanted: u64) -> Finding {
    let Some(found) = existing(path).and_then(|path| statvfs(path).ok()) else {
        return no_folder(area, path);
    };
    judge_room(area, free(&found), has_files_left(&found), wanted).of(path.display())
}

fn free(found: &StatVfs) -> u64 {
    found.f_bavail.saturating_mul(found.f_frsize)
}

/// Some file systems have no fixed number of files.
fn has_files_left(found: &StatVfs) -> bool {
    found.f_files == 0 || found.f_favail > 0
}

fn judge_room(area: Area, free: u64, files_left: bool, wanted: u64) -> Finding {
    let mib = free / (1024 * 1024);
    let found = text(format!("{mib} MiB are free on its disk"), format!("所在磁盘剩余 {mib} MiB"));
    if free < LEAST || !files_left {
        return Finding::person(
            area,
            if files_left {
                found
            } else {
                text("its disk has no room for further files", "所在磁盘已无可用的文件数（inode）")
            },
            text(
                "the agent pauses until there is room; nothing is lost",
                "代理会暂停，直到有空间；数据不会丢失",
            ),
            text("delete what is not needed, or enlarge the disk", "删除不需要的内容，或扩大磁盘"),
        );
    }
    if free < wanted {
        return Finding::note(
            area,
            found,
            text(
                format!("less than the outbox may grow to ({} MiB)", wanted / (1024 * 1024)),
                format!("小于发件箱的上限（{} MiB）", wanted / (1024 * 1024)),
            ),
            text(
                "enlarge the disk, or lower [outbox] cap_bytes",
                "扩大磁盘，或调小 [outbox] cap_bytes",
            ),
        );
    }
    Finding::fine(area, found)
}

fn no_folder(area: Area, path: &Path) -> Finding {
    Finding::person(
        area,
        text("the folder cannot be made", "无法创建该目录"),
        text("something on its path is not a folder", "路径中有一段不是目录"),
        text("correct the path in the configuration", "修正配置中的路径"),
    )
    .of(path.display())
}

/// The nearest folder on the way up that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn little_room_is_worth_knowing_and_none_needs_a_person() {
        let level = |free, files| judge_room(Area::State, free, files, 4 * LEAST).level;
        assert_eq!(level(8 * LEAST, true), Level::Fine);
        assert_eq!(level(2 * LEAST, true), Level::Note);
        assert_eq!(level(LEAST - 1, true), Level::Person);
        assert_eq!(level(8 * LEAST, false), Level::Person);
    }

    #[test]
    fn a_folder_below_a_file_can_never_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(folder_to_be(Area::Sink, &file.join("out")).level, Level::Person);
        assert_eq!(folder_to_be(Area::Sink, &folder.path().join("a/b")).level, Level::Fine);
        assert!(not_writable(Area::Sink, folder.path()).is_none());
    }
}
