//! A folder of files.

use super::super::{
    disk,
    finding::{Area, Finding, text},
};
use crate::config::FilesSink;

pub(super) fn look(sink: &FilesSink) -> Vec<Finding> {
    let path = &sink.folder;
    let writable = if path.exists() && !path.is_dir() {
        disk::folder_to_be(Area::Sink, path)
    } else if path.exists() {
        let fine = || {
            let said = text("the folder can be written to", "该目录可以写入");
            Finding::fine(Area::Sink, said).of(path.display())
        };
        disk::not_writable(Area::Sink, path).unwrap_or_else(fine)
    } else {
        disk::folder_to_be(Area::Sink, path)
    };
    vec![writable, disk::room(Area::Sink, path, 0)]
}
