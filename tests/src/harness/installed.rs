//! A copy of this machine's system to install packages in: an overlay over its root, which only this
//! process's mount namespace has, with the package database, users and libraries of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::run::{Ran, run, run_command};

/// Where `chroot` itself is found as well.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The system that packages are installed in.
#[derive(Debug)]
pub struct System {
    root: PathBuf,
}

impl System {
    /// Mounts it in a new folder. What is written to it lies in memory, and is gone with the namespace.
    ///
    /// # Errors
    /// When something cannot be mounted.
    pub fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let place = at.display();
        call("mount", &["-t", "tmpfs", "tmpfs", &place.to_string()])?;
        for folder in ["upper", "work", "root"] {
            fs::create_dir(at.join(folder))?;
        }
        let layers = format!("lowerdir=/,upperdir={place}/upper,workdir={place}/work");
        let root = at.join("root");
        let inside = |path: &str| root.join(path).display().to_string();
        call("mount", &["-t", "overlay", "overlay", "-o", &layers, &inside("")])?;
        // Programs need these; they are the machine's own.
        for path in ["dev", "proc"] {
            call("mount", &["--bind", &format!("/{path}"), &inside(path)])?;
        }
        Ok(Self { root })
    }

    /// Where a path of the system lies.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// A command in it, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program).env("PATH", PATH);
        command
    }

    /// A command in it, as another user and nothing else.
    pub fn command_as(&self, user: &str, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}:{user}")).arg(&self.root).arg(program);
        command.env("PATH", PATH).env_remove("HOME");
        command
    }

    /// Runs a command in it to its end, as root.
    ///
    /// # Errors
    /// When it cannot be started; a command that fails is an answer.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Ran> {
        run_command(self.command(program).args(args))
    }

    /// Runs a command in it to its end, as another user.
    ///
    /// # Errors
    /// As [`System::run`].
    pub fn run_as(&self, user: &str, program: &str, args: &[&str]) -> Result<Ran> {
        run_command(self.command_as(user, program).args(args))
    }

    /// Installs packages, or newer versions of them, by `dpkg --install`.
    ///
    /// # Errors
    /// With what dpkg said.
    pub fn install(&self, packages: &[&Path]) -> Result<()> {
        let folder = self.path("/var/cache/hutong-test");
        fs::create_dir_all(&folder)?;
        let mut command = self.command("dpkg");
        command.arg("--install").env("DEBIAN_FRONTEND", "noninteractive");
        for package in packages {
            let name = package.file_name().context("a package is a file")?;
            fs::copy(package, folder.join(name))?;
            command.arg(Path::new("/var/cache/hutong-test").join(name));
        }
        run_command(&mut command)?.ok().context("dpkg --install")?;
        Ok(())
    }

    /// Mode, owner and group of a path, such as `644 root:root`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn mode(&self, inside: &str) -> Result<String> {
        let told = self.run("stat", &["-c", "%a %U:%G", inside])?.ok()?;
        Ok(told.trim().to_owned())
    }
}

fn call(program: &str, args: &[&str]) -> Result<()> {
    let ran = run(Path::new(program), args)?;
    ensure!(ran.success, "{program} {}: {}", args.join(" "), ran.err.trim());
    Ok(())
}
