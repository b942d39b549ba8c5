//! The power-cut harness tried on small programs: exactly what no sync had covered is gone.
//!
//! Each test starts this test binary again as the victim, with the library loaded, lets it run one script below, kills it
//! with SIGKILL and looks at the directory.

#![allow(clippy::unwrap_used, reason = "a test may end where it is surprised")]

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hutong_tests::powercut::{Discarded, PowerCut};

const SCRIPT: &str = "HUTONG_POWERCUT_SCRIPT";
const READY: &str = "script done";

/// A directory, its journal and the victims run on it.
struct Bench {
    folder: tempfile::TempDir,
    cut: PowerCut,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cut =
            PowerCut::new(&folder.path().join("data"), &folder.path().join("journal")).unwrap();
        Bench { folder, cut }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    /// Runs `script` in a victim until its end, then kills it.
    fn run(&self, script: &str) {
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .envs(self.cut.environment())
            .env(SCRIPT, script)
            .current_dir(self.folder.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let done = BufReader::new(victim.stdout.take().unwrap())
            .lines()
            .any(|line| line.is_ok_and(|line| line.ends_with(READY)));
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(done, "the script {script} did not come to its end");
    }

    fn cut(&self) -> Discarded {
        self.cut.discard_unsynced().unwrap()
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.data(name)).ok()
    }
}

fn sync_dir(path: &str) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn put(path: &str, text: &str) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn put_durably(path: &str, text: &str) {
    put(path, text).sync_all().unwrap();
    sync_dir(
        Path::new(path)
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_str()
            .unwrap(),
    );
}

/// Not a test of its own: what the victim does.
#[test]
#[ignore = "run by the other tests as their victim"]
fn victim() {
    let Ok(script) = env::var(SCRIPT) else { return };
    match script.as_str() {
        "append" => {
            put_durably("log", "one\n");
            let mut log = OpenOptions::new().append(true).open("log").unwrap();
            log.write_all(b"two\n").unwrap();
            log.sync_data().unwrap();
            log.write_all(b"three\n").unwrap();
            log.write_all(b"four\n").unwrap();
        }
        "overwrite" => {
            put_durably("page", "aaaabbbbcccc");
            let page = OpenOptions::new().write(true).open("page").unwrap();
            page.write_all_at(b"XX", 2).unwrap();
            page.write_all_at(b"YYYYYY", 10).unwrap();
            page.write_all_at(b"ZZ", 2).unwrap();
        }
        "overwrite, synced" => {
            put_durably("page", "aaaabbbbcccc");
            let mut page = OpenOptions::new().write(true).open("page").unwrap();
            page.seek(SeekFrom::Start(4)).unwrap();
            page.write_all(b"XXXX").unwrap();
            page.sync_all().unwrap();
            page.write_all(b"YYYY").unwrap();
        }
        "truncate" => {
            put_durably("shrunk", "aaaabbbbcccc");
            put_durably("emptied", "all of it");
            let shrunk = OpenOptions::new().write(true).open("shrunk").unwrap();
            shrunk.set_len(4).unwrap();
            shrunk.write_all_at(b"zzzzzzzzzzzzzzzz", 4).unwrap();
            put("emptied", "new");
        }
        "create" => {
            put_durably("kept", "kept");
            put("content synced, name not", "lost").sync_all().unwrap();
            put("neither", "lost");
        }
        "name synced, content not" => {
            put("file", "lost");
            sync_dir(".");
        }
        "unlink during a sync" => {
            put_durably("removed", "back");
            let folder = File::open(".").unwrap();
            let (sender, begins) = mpsc::sync_channel(1);
            let syncing = thread::spawn(move || {
                sender.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
                folder.sync_all().unwrap();
            });
            let stat = Path::new("/proc").join(begins.recv().unwrap()).join("stat");
            let end = Instant::now() + Duration::from_secs(20);
            // All that it sleeps for is the slow disk.
            while !fs::read_to_string(&stat).unwrap().contains(") S ") {
                assert!(Instant::now() < end, "the sync does not begin");
                thread::yield_now();
            }
            fs::remove_file("removed").unwrap();
            syncing.join().unwrap();
        }
        "rename" => {
            put_durably("CURRENT", "1");
            put_durably("CURRENT.new", "2");
            fs::rename("CURRENT.new", "CURRENT").unwrap();
        }
        "rename, synced" => {
            put_durably("CURRENT", "1");
            put_durably("CURRENT.new", "2");
            fs::rename("CURRENT.new", "CURRENT").unwrap();
            sync_dir(".");
            put("CURRENT.new", "3").sync_all().unwrap();
            fs::rename("CURRENT.new", "CURRENT").unwrap();
        }
        "unlink" => {
            put_durably("gone", "was synced gone");
            fs::remove_file("gone").unwrap();
            sync_dir(".");
            put_durably("back", "comes back");
            fs::remove_file("back").unwrap();
            put("back", "another file of that name").sync_all().unwrap();
        }
        "folders" => {
            fs::create_dir_all("a/b").unwrap();
            put_durably("a/b/file", "kept");
            fs::create_dir("empty").unwrap();
            fs::create_dir("unsynced").unwrap();
            put("unsynced/file", "lost");
        }
        "copy" => {
            put_durably("from", "0123456789");
            fs::copy("from", "to").unwrap();
        }
        "restart, first" => {
            put_durably("log", "one\n");
            OpenOptions::new().append(true).open("log").unwrap().write_all(b"two\n").unwrap();
        }
        "restart, second" => {
            OpenOptions::new().append(true).open("log").unwrap().write_all(b"three\n").unwrap();
        }
        "restart, third" => {
            let mut log = OpenOptions::new().append(true).open("log").unwrap();
            log.write_all(b"four\n").unwrap();
            log.sync_all().unwrap();
        }
        "threads" => {
            std::thread::scope(|scope| {
                for n in 0..4 {
                    scope.spawn(move || {
                        let name = format!("log{n}");
                        put_durably(&name, "");
                        let mut log = OpenOptions::new().append(true).open(&name).unwrap();
                        for line in 0..500 {
                            writeln!(log, "{line}").unwrap();
                            if line == 400 {
                                log.sync_data().unwrap();
                            }
                        }
                    });
                }
            });
        }
        other => panic!("no script {other}"),
    }
    let mut out = std::io::stdout();
    writeln!(out, "{READY}").unwrap();
    out.flush().unwrap();
    // Until the kill.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn appended_bytes_last_up_to_the_last_sync() {
    let bench = Bench::new();
    bench.run("append");
    assert_eq!(bench.text("log").unwrap(), "one\ntwo\nthree\nfour\n");
    let lost = bench.cut();
    assert_eq!(bench.text("log").unwrap(), "one\ntwo\n");
    assert_eq!(lost, Discarded { files: 1, bytes: 11, names: 0 });
}

#[test]
fn overwritten_bytes_return() {
    let bench = Bench::new();
    bench.run("overwrite");
    assert_eq!(bench.text("page").unwrap(), "aaZZbbbbccYYYYYY");
    bench.cut();
    assert_eq!(bench.text("page").unwrap(), "aaaabbbbcccc");
}

#[test]
fn a_synced_overwrite_stays_and_the_one_after_it_returns() {
    let bench = Bench::new();
    bench.run("overwrite, synced");
    bench.cut();
    assert_eq!(bench.text("page").unwrap(), "aaaaXXXXcccc");
}

#[test]
fn truncated_bytes_return() {
    let bench = Bench::new();
    bench.run("truncate");
    bench.cut();
    assert_eq!(bench.text("shrunk").unwrap(), "aaaabbbbcccc");
    assert_eq!(bench.text("emptied").unwrap(), "all of it");
}

#[test]
fn a_created_file_needs_its_directory_synced() {
    let bench = Bench::new();
    bench.run("create");
    let lost = bench.cut();
    assert_eq!(bench.text("kept").unwrap(), "kept");
    assert_eq!(bench.text("content synced, name not"), None);
    assert_eq!(bench.text("neither"), None);
    assert_eq!(lost.names, 2);
}

#[test]
fn a_synced_name_does_not_carry_its_content() {
    let bench = Bench::new();
    bench.run("name synced, content not");
    bench.cut();
    assert_eq!(bench.text("file").unwrap(), "");
}

#[test]
fn a_rename_without_directory_sync_is_undone() {
    let bench = Bench::new();
    bench.run("rename");
    assert_eq!(bench.text("CURRENT").unwrap(), "2");
    bench.cut();
    assert_eq!(bench.text("CURRENT").unwrap(), "1");
    assert_eq!(bench.text("CURRENT.new").unwrap(), "2");
}

#[test]
fn a_synced_rename_stays_and_the_one_after_it_is_undone() {
    let bench = Bench::new();
    bench.run("rename, synced");
    assert_eq!(bench.text("CURRENT").unwrap(), "3");
    bench.cut();
    assert_eq!(bench.text("CURRENT").unwrap(), "2");
    assert_eq!(bench.text("CURRENT.new"), None);
}

#[test]
fn an_unlink_without_directory_sync_is_undone() {
    let bench = Bench::new();
    bench.run("unlink");
    bench.cut();
    assert_eq!(bench.text("gone"), None);
    assert_eq!(bench.text("back").unwrap(), "comes back");
}

#[test]
fn an_unlink_while_a_sync_is_under_way_is_undone() {
    let Bench { folder, cut } = Bench::new();
    let bench = Bench { folder, cut: cut.slow_disk(Duration::from_millis(300)) };
    bench.run("unlink during a sync");
    bench.cut();
    assert_eq!(bench.text("removed").as_deref(), Some("back"));
}

#[test]
fn a_new_directory_stays_when_something_in_it_was_synced() {
    let bench = Bench::new();
    bench.run("folders");
    bench.cut();
    assert_eq!(bench.text("a/b/file").unwrap(), "kept");
    assert!(!bench.data("empty").exists());
    assert!(!bench.data("unsynced").exists());
}

#[test]
fn a_copy_made_by_the_kernel_is_seen_as_well() {
    let bench = Bench::new();
    bench.run("copy");
    assert_eq!(bench.text("to").unwrap(), "0123456789");
    bench.cut();
    assert_eq!(bench.text("to"), None);
}

#[test]
fn what_a_killed_process_left_unsynced_is_lost_by_a_later_cut() {
    let bench = Bench::new();
    bench.run("restart, first");
    bench.run("restart, second");
    assert_eq!(bench.text("log").unwrap(), "one\ntwo\nthree\n");
    bench.cut();
    assert_eq!(bench.text("log").unwrap(), "one\n");
}

#[test]
fn a_later_process_syncs_for_an_earlier_one() {
    let bench = Bench::new();
    bench.run("restart, first");
    bench.run("restart, third");
    bench.cut();
    assert_eq!(bench.text("log").unwrap(), "one\ntwo\nfour\n");
}

#[test]
fn the_directory_is_usable_again_after_a_cut() {
    let bench = Bench::new();
    bench.run("restart, first");
    bench.cut();
    bench.run("restart, third");
    assert_eq!(bench.cut(), Discarded::default());
    assert_eq!(bench.text("log").unwrap(), "one\nfour\n");
}

#[test]
fn writers_in_several_threads_are_kept_apart() {
    let bench = Bench::new();
    bench.run("threads");
    bench.cut();
    let expected: String = (0..=400).map(|line| format!("{line}\n")).collect();
    for n in 0..4 {
        assert_eq!(bench.text(&format!("log{n}")).unwrap(), expected);
    }
}
