//! Files that cannot be read at all.

use std::fs;
use std::io;
use std::path::Path;

use super::journal::{free_name, hand_over};

/// Moves a file to the folder of failed files and writes beside it why, in both languages.
pub(super) fn set_aside(
    folder: &Path,
    from: &Path,
    name: &str,
    detail: &str,
    taken: u64,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name = free_name(folder, name);
    let text = format!(
        "文件 {name} 无法读取。\n原因：{detail}\n已接收 {taken} 行，其余未接收。\n\
         处理：改正文件后，重新放入接收文件夹；已接收的行可以重复放入。\n\n\
         The file {name} cannot be read.\nReason: {detail}\n{taken} row(s) of it were taken, the rest were not.\n\
         To do: correct the file and drop it into the watched folder again; rows that were taken may be in it \
         once more.\n"
    );
    // First the reason: a file without one would be a riddle.
    fs::write(folder.join(format!("{name}.error.txt")), text)?;
    hand_over(from, &folder.join(&name))
}
