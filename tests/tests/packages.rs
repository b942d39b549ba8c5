//! The packages, units and container files: built from the programs of this build, installed, used, updated and
//! removed in a copy of this machine's system, with its real `dpkg`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::installed::System;
use hutong_tests::harness::process::Process;
use hutong_tests::harness::programs::programs;
use hutong_tests::harness::run::{Ran, run_command};
use hutong_tests::harness::service_manager::ServiceManager;
use hutong_tests::harness::{ports, small_disk, until};

const SOON: Duration = Duration::from_secs(60);

/// Most that `systemd-analyze security` may say of a unit, in tenths; 10 is "unsafe for everything".
const EXPOSURE: &str = "--threshold=20";

/// The C library of Debian 12, for which the packages are made, and that of the old hosts.
const GLIBC_OLD: &str = "2.17";

#[test]
fn packages_are_installed_used_updated_and_removed() -> Result<()> {
    small_disk::alone("packages_are_installed_used_updated_and_removed", || {
        let folder = tempfile::tempdir()?;
        let agent = package("agent", "0.1.0-1", folder.path())?;
        let hub = package("hub", "0.1.0-1", folder.path())?;
        let newer = package("agent", "0.1.0-2", folder.path())?;
        container_files_copy_what_is_built(&[&agent, &hub])?;

        let system = System::mount(&folder.path().join("system"))?;
        system.install(&[&agent, &hub])?;
        everything_is_in_its_place(&system)?;
        the_units_are_right(&system)?;
        the_configurations_wait_for_a_person(&system)?;

        let (mut running_hub, mut running_agent) = a_first_exchange(&system, folder.path())?;
        running_agent.stop(SOON)?;
        an_update_keeps_configuration_and_state(&system, &newer, folder.path())?;
        running_hub.stop(SOON)?;
        removal_keeps_and_purging_deletes(&system)
    })
}

/// As `deploy/packages.sh` does, but from the programs under test and quickly.
fn package(name: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    let program = if name == "hub" { &programs()?.hub } else { &programs()?.agent };
    let profile_dir = program.parent().context("a program lies in a folder")?;
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => "dev",
    };
    let tool = tools().join("bin/cargo-deb");
    ensure!(tool.exists(), "{} is missing: deploy/setup.sh --packages", tool.display());
    let output = folder.join(format!("hutong-{name}_{version}.deb"));
    let mut command = Command::new(tool);
    command
        .args(["--no-build", "--no-strip", "--fast", "--quiet", "--locked", "--offline"])
        .args(["--package", &format!("hutong-{name}"), "--deb-version", version])
        .args(["--profile", profile, "--output"])
        .arg(&output)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", profile_dir.parent().context("a profile's folder is in one")?);
    run_command(&mut command)?.ok().with_context(|| format!("package the {name}"))?;
    Ok(output)
}

fn everything_is_in_its_place(system: &System) -> Result<()> {
    for name in ["agent", "hub"] {
        let (package, user) = (format!("hutong-{name}"), format!("hutong-{name}"));
        let expected = [
            (format!("/usr/bin/{package}"), "755 root:root".to_owned()),
            ("/etc/hutong".to_owned(), "755 root:root".to_owned()),
            (format!("/etc/hutong/{name}.toml"), "644 root:root".to_owned()),
            (format!("/usr/lib/systemd/system/{package}.service"), "644 root:root".to_owned()),
            (format!("/usr/share/doc/{package}/copyright"), "644 root:root".to_owned()),
            (format!("/usr/share/doc/{package}/{name}.sample.toml"), "644 root:root".to_owned()),
            (format!("/var/lib/{package}"), format!("700 {user}:{user}")),
        ];
        for (path, mode) in expected {
            let found = system.mode(&path)?;
            ensure!(found == mode, "{path} is {found}, not {mode}");
        }
        let told = system.run("dpkg-query", &["--show", "--showformat=${Conffiles}", &package])?;
        let conffiles = told.ok()?;
        ensure!(conffiles.contains(&format!("/etc/hutong/{name}.toml")), "{conffiles}");
        let changed = system.run("dpkg", &["--verify", &package])?.ok()?;
        ensure!(changed.is_empty(), "files are not as they were packaged: {changed}");
        let started = format!("/etc/systemd/system/multi-user.target.wants/{package}.service");
        ensure!(!system.path(&started).exists(), "{package} is enabled before it is configured");
    }
    let guide = system.path("/usr/share/doc/hutong-agent/agent-guide.md");
    ensure!(guide.exists() && system.path("/usr/share/doc/hutong-hub/README.md").exists());
    Ok(())
}

fn the_units_are_right(system: &System) -> Result<()> {
    for unit in ["hutong-agent.service", "hutong-hub.service"] {
        verified(system, unit)?;
        let args = ["security", "--offline=true", "--no-pager", EXPOSURE, unit];
        system.run("systemd-analyze", &args)?.ok().with_context(|| format!("{unit} is open"))?;
    }
    // The unit for old hosts is in no package; it names the same user and program.
    let old = "/etc/systemd/system/hutong-agent.service";
    fs::copy(root().join("deploy/systemd/old-hosts/hutong-agent.service"), system.path(old))?;
    verified(system, old)?;
    fs::remove_file(system.path(old))?;
    // What this test would say of a unit with a mistake in it.
    let wrong = "/etc/systemd/system/hutong-wrong.service";
    let text = fs::read_to_string(root().join("deploy/systemd/hutong-hub.service"))?;
    fs::write(system.path(wrong), text.replace("ProtectClock=yes", "ProtectClocks=yes"))?;
    ensure!(verified(system, wrong).is_err(), "a key that systemd does not know is not found");
    fs::remove_file(system.path(wrong))?;

    let hub = fs::read_to_string(root().join("deploy/systemd/hutong-hub.service"))?;
    let status = format!("RestartPreventExitStatus={}", hutong_hub::app::EXIT_DISK_FULL);
    ensure!(hub.lines().any(|line| line == status), "the hub's unit lacks {status}");
    Ok(())
}

/// `systemd-analyze verify` warns of what it does not know and succeeds, so silence is asked for. It also
/// speaks of other units of the machine.
fn verified(system: &System, unit: &str) -> Result<()> {
    let Ran { success, out, err } = system.run("systemd-analyze", &["verify", unit])?;
    let told = format!("{out}{err}");
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("hutong")).collect();
    ensure!(success && ours.is_empty(), "{unit}: {told}");
    Ok(())
}

/// As they are installed they are valid but for what only the department knows.
fn the_configurations_wait_for_a_person(system: &System) -> Result<()> {
    let said = system.run_as("hutong-agent", "hutong-agent", &["check"])?.refused()?;
    ensure!(said.contains("tokens.csv"), "the sheet of tokens is missing: {said}");
    ensure!(said.contains("1 node(s), 0 publication(s)"), "the file was read: {said}");
    ensure!(!said.contains("mistake"), "{said}");

    let commented = fs::read_to_string(system.path("/etc/hutong/agent.toml"))?;
    let setting = |line: &&str| {
        line.starts_with('[') || line.starts_with("# [[node.") || line.contains(" = ")
    };
    let bare = |line: &str| line.trim_start_matches("# ").to_owned() + "\n";
    let whole: String = commented.lines().filter(setting).map(bare).collect();
    fs::write(system.path("/tmp/whole.toml"), whole)?;
    let said =
        system.run_as("hutong-agent", "hutong-agent", &["-c", "/tmp/whole.toml", "check"])?;
    let said = said.refused()?;
    ensure!(said.contains("1 node(s), 1 publication(s)"), "its comments are settings: {said}");

    let init = ["--config", "/etc/hutong/hub.toml", "init"];
    let said = system.run_as("hutong-hub", "hutong-hub", &init)?.refused()?;
    ensure!(said.contains("hub.exchange"), "an exchange without a name is not founded: {said}");
    Ok(())
}

/// Writes what the guide says into the installed configurations, and the samples into `/srv`.
fn configure(system: &System) -> Result<()> {
    let (quic, http) = (ports::own()?, ports::own()?);
    edit(system, "/etc/hutong/hub.toml", |text| {
        text.replace("\"EXCHANGE\"", "\"sample\"")
            .replace("0.0.0.0:7443", &quic.to_string())
            .replace("127.0.0.1:7480", &http.to_string())
    })?;
    edit(system, "/etc/hutong/agent.toml", |text| {
        let publish = "catalogue = \"/srv/catalogue.toml\"\n[[node.publish]]\nresource = \
                       \"303084122704/000001\"\npath = \"/srv/people.csv\"\nrescan_seconds = 1\n";
        text.replace("hub.example:7443", &quic.to_string()).replace("\"n0001\"", "\"n1\"") + publish
    })?;
    for name in ["nodes.csv", "people.csv", "catalogue.toml"] {
        let sample = root().join("deploy/sample").join(name);
        fs::copy(sample, system.path(&format!("/srv/{name}")))?;
    }
    Ok(())
}

/// Founded, served, enrolled, published: by the installed programs, each as its own user.
fn a_first_exchange(system: &System, folder: &Path) -> Result<(Process, Process)> {
    configure(system)?;
    let config = ["--config", "/etc/hutong/hub.toml"];
    system.run_as("hutong-hub", "hutong-hub", &[&config[..], &["init"]].concat())?.ok()?;

    let manager = ServiceManager::listen(&system.path("/run/notify-hub"))?;
    let mut serve = system.command_as("hutong-hub", "/usr/bin/hutong-hub");
    serve.args(config).arg("serve").envs(manager.environment_at(Path::new("/run/notify-hub")));
    let hub = Process::start("hub", &mut serve, &folder.join("logs"))?;
    manager.until("READY=1", SOON).with_context(|| hub.tail())?;

    let sheet = ["token", "sheet", "/srv/nodes.csv", "--out", "/srv/tokens.csv"];
    system.run("hutong-hub", &[&config[..], &sheet[..]].concat())?.ok()?;
    let place = ["-o", "hutong-agent", "-g", "hutong-agent", "-m", "600"];
    let files = ["/srv/tokens.csv", "/var/lib/hutong-agent/tokens.csv"];
    system.run("install", &[&place[..], &files[..]].concat())?.ok()?;
    let check = system.run_as("hutong-agent", "hutong-agent", &["check"])?.ok()?;
    ensure!(check.contains("0 problem(s)"), "{check}");
    let agent = start_agent(system, folder, "/run/notify-agent")?;
    accepted(system, 3)?;
    Ok((hub, agent))
}

fn start_agent(system: &System, folder: &Path, notify: &str) -> Result<Process> {
    let manager = ServiceManager::listen(&system.path(notify))?;
    let mut run = system.command_as("hutong-agent", "/usr/bin/hutong-agent");
    run.args(["--config", "/etc/hutong/agent.toml", "run"]);
    run.envs(manager.environment_at(Path::new(notify)));
    let agent = Process::start("agent", &mut run, &folder.join("logs"))?;
    manager.until("READY=1", SOON).with_context(|| agent.tail())?;
    Ok(agent)
}

/// Waits until the hub has accepted so many changes in all; asked as the administrator does, who is root.
fn accepted(system: &System, rows: u64) -> Result<()> {
    let mut last = String::new();
    let reached = until(SOON, &format!("{rows} rows are accepted"), || {
        last = system.run("hutong-agent", &["status", "--json"])?.ok()?;
        let status: serde_json::Value = serde_json::from_str(&last)?;
        let publication = &status["nodes"][0]["publications"][0];
        Ok((publication["accepted"] == rows).then_some(()))
    });
    reached.with_context(|| last)
}

fn an_update_keeps_configuration_and_state(
    system: &System,
    newer: &Path,
    folder: &Path,
) -> Result<()> {
    let before = fs::read_to_string(system.path("/etc/hutong/agent.toml"))?;
    system.install(&[newer])?;
    let version =
        system.run("dpkg-query", &["--show", "--showformat=${Version}", "hutong-agent"])?;
    ensure!(version.ok()? == "0.1.0-2");
    ensure!(fs::read_to_string(system.path("/etc/hutong/agent.toml"))? == before);
    let mut agent = start_agent(system, folder, "/run/notify-newer")?;
    // One row more: the three that were accepted are not sent again.
    let people = fs::read_to_string(system.path("/srv/people.csv"))?;
    fs::write(system.path("/srv/people.csv"), people.replace("张示例", "章示例"))?;
    accepted(system, 4)?;
    agent.stop(SOON)
}

fn removal_keeps_and_purging_deletes(system: &System) -> Result<()> {
    system.run("dpkg", &["--remove", "hutong-agent", "hutong-hub"])?.ok()?;
    ensure!(!system.path("/usr/bin/hutong-agent").exists());
    ensure!(!system.path("/usr/lib/systemd/system/hutong-agent.service").exists());
    for kept in ["/etc/hutong/agent.toml", "/var/lib/hutong-agent/store", "/var/lib/hutong-hub/log"]
    {
        ensure!(system.path(kept).exists(), "{kept} went with the package");
    }
    system.run("dpkg", &["--purge", "hutong-agent"])?.ok()?;
    let said = system.run("dpkg", &["--purge", "hutong-hub"])?.ok()?;
    ensure!(!system.path("/var/lib/hutong-agent").exists() && !system.path("/etc/hutong").exists());
    // Nobody can make an exchange's log and authority again.
    ensure!(system.path("/var/lib/hutong-hub/ca").exists(), "the exchange is gone");
    ensure!(said.contains("/var/lib/hutong-hub is left"), "{said}");
    Ok(())
}

/// Booted with a real systemd: all restrictions of the units, its watchdog, its restarts.
#[test]
fn the_services_live_under_a_real_systemd() -> Result<()> {
    small_disk::alone("the_services_live_under_a_real_systemd", || {
        let folder = tempfile::tempdir()?;
        let packages = [
            package("agent", "0.1.0-1", folder.path())?,
            package("hub", "0.1.0-1", folder.path())?,
        ];
        let system = System::mount(&folder.path().join("system"))?;
        system.install(&[&packages[0], &packages[1]])?;
        configure(&system)?;
        let scripts = root().join("tests/systemd");
        fs::copy(scripts.join("test.sh"), system.path("/test.sh"))?;
        let mut boot = Command::new("timeout");
        // The first process of its namespace: with it, everything in it ends.
        boot.args(["--signal=KILL", "400", "unshare", "--pid", "--fork", "--kill-child"])
            .args(["--mount", "--cgroup", "--uts", "--ipc", "--propagation", "private", "bash"])
            .arg(scripts.join("boot.sh"))
            .arg(system.path("/"));
        let ran = run_command(&mut boot)?;
        let read = |name: &str| fs::read_to_string(system.path(name)).unwrap_or_default();
        let (log, console) = (read("/test.log"), read("/test.console"));
        let passed = log.lines().next_back() == Some("passed");
        ensure!(passed, "{log}\n--- {console}\n{}{}", ran.out, ran.err);
        Ok(())
    })
}

fn container_files_copy_what_is_built(packages: &[&Path]) -> Result<()> {
    // As `make packages` names them.
    let built: Vec<String> =
        packages.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    for name in ["agent", "hub"] {
        let path = root().join(format!("deploy/container/{name}.Containerfile"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let logical = text.replace("\\\n", " ");
        let instructions: Vec<(&str, &str)> = logical
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter_map(|line| line.trim().split_once(' '))
            .collect();
        let known = [
            "FROM",
            "COPY",
            "RUN",
            "USER",
            "WORKDIR",
            "VOLUME",
            "EXPOSE",
            "STOPSIGNAL",
            "HEALTHCHECK",
            "ENTRYPOINT",
            "CMD",
        ];
        for (word, rest) in &instructions {
            ensure!(known.contains(word), "{}: {word} {rest}", path.display());
            if *word == "COPY" {
                let source = rest.split_whitespace().next().unwrap_or_default();
                let prefix = source.strip_suffix("*.deb").context("a package is copied")?;
                let found = built.iter().any(|each| each.starts_with(prefix));
                ensure!(found, "{}: nothing makes {source}", path.display());
            }
        }
        let user = instructions.iter().find(|(word, _)| *word == "USER").map(|(_, user)| *user);
        ensure!(user == Some(format!("hutong-{name}").as_str()), "{}: {user:?}", path.display());
        ensure!(instructions.iter().any(|(word, _)| *word == "HEALTHCHECK"));
    }
    Ok(())
}

#[test]
fn an_agent_for_old_hosts_needs_no_newer_library_if_it_was_built() -> Result<()> {
    let script = root().join("deploy/check-glibc.sh");
    let check =
        |program: &Path, newest: &str| run_command(Command::new(&script).arg(program).arg(newest));
    // The script sees a library that is too new: the programs under test are made for this machine.
    let said = check(&programs()?.agent, GLIBC_OLD)?.refused()?;
    ensure!(said.contains("needs more than GLIBC_2.17"), "{said}");
    check(&programs()?.agent, "99.0")?.ok()?;

    let target = programs()?.agent.parent().and_then(Path::parent).context("a target folder")?;
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let old = target.join("old-hosts").join(triple).join("release/hutong-agent");
    if old.exists() {
        check(&old, GLIBC_OLD)?.ok()?;
    }
    Ok(())
}

fn edit(system: &System, path: &str, change: impl FnOnce(String) -> String) -> Result<()> {
    let text = fs::read_to_string(system.path(path))?;
    let changed = change(text.clone());
    ensure!(changed != text, "{path} has not what is to be changed");
    Ok(fs::write(system.path(path), changed)?)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where deploy/setup.sh puts tools.
fn tools() -> PathBuf {
    let cache = env::var_os("HUTONG_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/hutong");
    cache.unwrap_or_else(home).join("tools")
}
