//! One private Postgres and one private nats-server in one folder.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Doing, Error};
use crate::nats::Nats;
use crate::postgres::Postgres;
use crate::process::Life;
use crate::{Say, install, place};

/// How a private stack is to be run.
#[derive(Clone)]
pub struct Options {
    /// The folder of the stack's data; made when missing, used again when there.
    pub dir: PathBuf,
    /// Whether missing programs may be installed.
    pub install: bool,
    /// Whether Postgres waits for the disk. Without it data survives a killed process, but not a power cut.
    pub fsync: bool,
    /// The port wanted for Postgres, used when free.
    pub pg_port: Option<u16>,
    /// The port wanted for nats-server, used when free.
    pub nats_port: Option<u16>,
    /// Told what is done.
    pub say: Say,
}

impl Options {
    /// Installs what is missing, waits for the disk, takes any free ports, and says nothing.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let say: Say = Arc::new(|_| {});
        Self { dir: dir.into(), install: true, fsync: true, pg_port: None, nats_port: None, say }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options")
            .field("dir", &self.dir)
            .field("install", &self.install)
            .field("fsync", &self.fsync)
            .field("pg_port", &self.pg_port)
            .field("nats_port", &self.nats_port)
            .finish_non_exhaustive()
    }
}

/// A private Postgres and nats-server. Both stop when it is dropped, and (on Linux) when this process dies.
#[derive(Debug)]
pub struct Stack {
    /// The database server.
    pub postgres: Postgres,
    /// The message broker.
    pub nats: Nats,
    data: PathBuf,
    /// Last, so that the folder is free for others only when both servers have stopped.
    _lock: File,
}

impl Stack {
    /// Finds or installs the programs, then starts both servers in `options.dir`.
    ///
    /// Servers that a killed process left running in that folder are stopped first; a folder that another live
    /// process uses is refused with [`Error::InUse`].
    pub fn start(options: &Options) -> Result<Self, Error> {
        let say = &*options.say;
        let tools = install::ensure_tools(options.install, say)?;
        let (data, lock) = own_folder(options)?;
        let postgres =
            Postgres::start(&tools, &data, options.fsync, options.pg_port, Life::WithParent(libc::SIGINT))?;
        say(&format!("Postgres {} at {}", tools.pg_version, postgres.url("postgres")));
        let nats = Nats::start(&tools, &data, options.nats_port, Life::WithParent(libc::SIGTERM))?;
        say(&format!("nats-server {} at {}", tools.nats_version, nats.url()));
        Ok(Self { postgres, nats, data, _lock: lock })
    }

    /// The folder the servers' data is in: the one asked for, or the one that stands in for it.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Deletes a stopped stack's folder with all its data.
    pub fn wipe(dir: &Path) -> Result<(), Error> {
        place::wipe(dir)
    }
}

/// Makes the folder of the servers' data, and holds it for this process while the lock lives.
pub(crate) fn own_folder(options: &Options) -> Result<(PathBuf, File), Error> {
    let data = place::data_folder(&options.dir, &*options.say)?;
    let lock_file = data.join("lock");
    let lock = File::create(&lock_file).doing(|| format!("write {}", lock_file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok((data, lock)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(data)),
        Err(TryLockError::Error(error)) => Err(error).doing(|| format!("lock {}", lock_file.display())),
    }
}
