//! Where the programs are: the environment, PATH, the usual places, and what was installed by this crate.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::choice::{self, Choice, Choices};
use crate::error::Error;
use crate::{apt, place, process, wheels};

const OLDEST_POSTGRES: u32 = 14;
const OLDEST_NATS: (u32, u32) = (2, 9);

/// The programs of a stack: found, and seen to run as the user they will run as.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tools {
    /// The folder with `postgres` and `initdb`.
    pub pg_bin: PathBuf,
    /// The version of that Postgres, such as `15.18`.
    pub pg_version: String,
    /// The program `nats-server`.
    pub nats_server: PathBuf,
    /// Its version, such as `2.9.10`.
    pub nats_version: String,
    pub(crate) library_path: Option<OsString>,
}

impl Tools {
    /// A word for a folder's name that no other pair of programs has: two builds of one version differ in it too.
    pub(crate) fn key(&self) -> String {
        let Self { pg_bin, pg_version, nats_server, nats_version, library_path: _ } = self;
        let paths = place::hash_of([pg_bin.as_os_str(), nats_server.as_os_str()]);
        format!("postgres-{pg_version}-nats-{nats_version}-{paths:016x}")
    }
}

/// One program found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
    pub(crate) library_path: Option<OsString>,
}

/// Looks for both programs; `None` when one is missing. Installs nothing.
pub fn find_tools() -> Result<Option<Tools>, Error> {
    let choices = Choices::of_environment()?;
    Ok(both(postgres(&choices.postgres)?, nats_server(&choices.nats)?))
}

pub(crate) fn both(postgres: Option<Found>, nats: Option<Found>) -> Option<Tools> {
    let (postgres, nats) = (postgres?, nats?);
    Some(Tools {
        pg_bin: postgres.path,
        pg_version: postgres.version,
        nats_server: nats.path,
        nats_version: nats.version,
        library_path: postgres.library_path,
    })
}

/// The folder of the first usable Postgres that is the one asked for.
pub(crate) fn postgres(wanted: &Choice) -> Result<Option<Found>, Error> {
    if let Choice::Path(bin) = wanted {
        return try_postgres(bin, None).map(Some).ok_or_else(|| unusable(choice::POSTGRES, bin));
    }
    let usable =
        |bin: &PathBuf, libraries| try_postgres(bin, libraries).filter(|found| wanted.fits(&found.version));
    let mut bins: Vec<PathBuf> = on_path("postgres").into_iter().filter_map(|file| parent(&file)).collect();
    bins.extend(numbered("/usr/lib/postgresql", "", "bin"));
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        bins.extend(numbered(prefix, "postgresql@", "bin"));
    }
    bins.extend(numbered("/usr", "pgsql-", "bin"));
    bins.extend(numbered("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    if let Some(found) = bins.iter().find_map(|bin| usable(bin, None)) {
        return Ok(Some(found));
    }
    let Some(cache) = place::existing_cache() else { return Ok(None) };
    let tree = apt::postgres_tree(&cache);
    let libraries = apt::library_path(&tree);
    let unpacked = numbered(&tree.join("usr/lib/postgresql").to_string_lossy(), "", "bin");
    let found = unpacked.iter().find_map(|bin| usable(bin, libraries.as_ref()));
    Ok(found.or_else(|| usable(&wheels::postgres_bin(&cache), None)))
}

/// The first usable `nats-server` that is the one asked for.
pub(crate) fn nats_server(wanted: &Choice) -> Result<Option<Found>, Error> {
    if let Choice::Path(file) = wanted {
        return try_nats(file).map(Some).ok_or_else(|| unusable(choice::NATS, file));
    }
    let mut files = on_path("nats-server");
    // Debian puts it where an ordinary user's PATH does not look.
    for folder in ["/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"] {
        files.push(Path::new(folder).join("nats-server"));
    }
    if let Some(cache) = place::existing_cache() {
        files.extend([apt::nats_server(&cache), wheels::nats_server(&cache)]);
    }
    Ok(files.iter().find_map(|file| try_nats(file).filter(|found| wanted.fits(&found.version))))
}

fn try_postgres(bin: &Path, library_path: Option<&OsString>) -> Option<Found> {
    let mut ask = Command::new(bin.join("postgres"));
    ask.arg("--version");
    if let Some(libraries) = library_path {
        ask.env("LD_LIBRARY_PATH", libraries);
    }
    let version = version_told_by(ask)?;
    let complete = bin.join("initdb").is_file() && choice::numbers(&version).next()? >= OLDEST_POSTGRES;
    complete.then(|| Found { path: bin.to_owned(), version, library_path: library_path.cloned() })
}

fn try_nats(file: &Path) -> Option<Found> {
    let mut ask = Command::new(file);
    ask.arg("--version");
    let version = version_told_by(ask)?;
    let new_enough = {
        let mut numbers = choice::numbers(&version);
        (numbers.next()?, numbers.next()?) >= OLDEST_NATS
    };
    new_enough.then(|| Found { path: file.to_owned(), version, library_path: None })
}

/// Runs a program as the user it will run as, and takes the first word with a digit in front for its version.
fn version_told_by(mut ask: Command) -> Option<String> {
    if !Path::new(ask.get_program()).is_file() {
        return None;
    }
    let output = process::output_as_server_user(ask.current_dir("/")).ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let words = text.split_whitespace().map(|word| word.trim_start_matches('v'));
    let version =
        words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned).next();
    version.filter(|_| output.status.success())
}

fn unusable(variable: &str, path: &Path) -> Error {
    let reason =
        format!("{variable}={}: not there, too old, or not usable by the servers' user", path.display());
    Error::Missing { what: path.display().to_string(), tried: vec![reason] }
}

fn on_path(program: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .filter(|file| file.is_file())
        // A link may lead into a folder that holds the other programs too.
        .map(|file| fs::canonicalize(&file).unwrap_or(file))
        .collect()
}

fn parent(file: &Path) -> Option<PathBuf> {
    file.parent().map(Path::to_owned)
}

/// `<folder>/<prefix><number>/<inner>` for each number there is, highest first.
fn numbered(folder: &str, prefix: &str, inner: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(inner)))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}
