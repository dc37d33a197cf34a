//! A private Postgres with a standby, and an address that stays the same whichever of the two is the primary.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Doing, Error};
use crate::find::Tools;
use crate::forwarder::Forwarder;
use crate::postgres::{self, Postgres, StopMode};
use crate::process::{self, Life};
use crate::stack::{Options, own_folder};
use crate::{install, place};

/// How long a standby may take to be level with its primary.
const LEVEL_LIMIT: Duration = Duration::from_mins(1);
/// The name by which a standby tells the primary who it is.
const STANDBY: &str = "standby";

/// Whether the primary waits for its standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// A commit is answered when the standby has it on its disk too: nothing answered is ever lost.
    Synchronous,
    /// A commit is answered when the primary has it: the last moments are lost with the primary.
    Asynchronous,
}

/// Two private Postgres servers, a primary and its standby, and the one address of the primary. Both stop when it is
/// dropped, and (on Linux) when this process dies.
#[derive(Debug)]
pub struct PostgresPair {
    tools: Tools,
    data: PathBuf,
    replication: Replication,
    address: Forwarder,
    first: Postgres,
    second: Postgres,
    /// Which of the two is the primary.
    is_second_primary: AtomicBool,
    /// Last, so that the folder is free for others only when both servers have stopped.
    _lock: File,
}

impl PostgresPair {
    /// Starts a primary in `options.dir`, copies it, starts the copy as its standby, and waits until that is
    /// level. The folder must be a new one; the ports in the options are not used.
    pub fn start(options: &Options, replication: Replication) -> Result<Self, Error> {
        let say = &*options.say;
        let tools = install::ensure_tools(options.install, say)?;
        let (data, lock) = own_folder(options)?;
        let start = |name| start_in(&tools, &data.join(name), options.fsync);
        let first = start("first")?;
        // A standby that was away finds what it missed.
        first.execute("postgres", "ALTER SYSTEM SET wal_keep_size = '1GB'")?;
        first.execute("postgres", "SELECT pg_reload_conf()")?;
        copy(&first, &data.join("second"))?;
        let second = start("second")?;
        let address = Forwarder::to(first.port())?;
        let pair = Self {
            tools,
            data,
            replication,
            address,
            first,
            second,
            is_second_primary: AtomicBool::new(false),
            _lock: lock,
        };
        pair.wait_for_commits(replication)?;
        say(&format!("Postgres {} and its standby at {}", pair.tools.pg_version, pair.url("postgres")));
        Ok(pair)
    }

    /// The address of a database on whichever is the primary.
    pub fn url(&self, database: &str) -> String {
        postgres::url(self.address.port(), database)
    }

    /// What stands between clients and the servers.
    pub fn address(&self) -> &Forwarder {
        &self.address
    }

    /// The primary.
    pub fn primary(&self) -> &Postgres {
        if self.is_second_primary.load(Ordering::Relaxed) { &self.second } else { &self.first }
    }

    /// The standby; after a [`promote`](Self::promote), what was the primary before it.
    pub fn standby(&self) -> &Postgres {
        if self.is_second_primary.load(Ordering::Relaxed) { &self.first } else { &self.second }
    }

    /// Makes the standby the primary, and waits until it takes writes. The address is not switched. The new
    /// primary waits for nobody until [`attach_standby`](Self::attach_standby).
    pub fn promote(&self) -> Result<(), Error> {
        self.standby().execute("postgres", "SELECT pg_promote(true, 60)")?;
        self.is_second_primary.fetch_xor(true, Ordering::Relaxed);
        let primary = self.primary();
        primary.execute("postgres", "ALTER SYSTEM RESET synchronous_standby_names")?;
        primary.execute("postgres", "SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Sends new connections to the primary, and closes those that are open, as a load balancer does with those
    /// of a server that it takes out.
    pub fn switch(&self) {
        self.address.switch(self.primary().port());
        self.address.cut();
    }

    /// Exchanges the two in good order: the primary stops and hands over everything, the standby is promoted,
    /// and what was the primary comes back as the standby. It answers then, and takes no writes. The address is not
    /// switched.
    pub fn exchange(&self) -> Result<(), Error> {
        let before = self.primary();
        before.stop(StopMode::Fast);
        self.promote()?;
        follow(before, self.primary())?;
        before.start_again()
    }

    /// Deletes what the standby has, gives it a fresh copy of the primary, and starts it. Commits wait for it from
    /// then on if they did before.
    pub fn attach_standby(&self) -> Result<(), Error> {
        let standby = self.standby();
        standby.stop(StopMode::Immediate);
        place::remove(&standby.data())?;
        copy(self.primary(), standby.data().parent().unwrap_or(&self.data))?;
        standby.start_again()?;
        self.wait_for_commits(self.replication)
    }

    /// Sets whether commits wait for the standby; returns when it is level and they do.
    pub fn wait_for_commits(&self, replication: Replication) -> Result<(), Error> {
        let (names, state) = match replication {
            Replication::Synchronous => (format!("ANY 1 ({STANDBY})"), "quorum"),
            Replication::Asynchronous => (String::new(), "async"),
        };
        let primary = self.primary();
        primary.execute("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"))?;
        primary.execute("postgres", "SELECT pg_reload_conf()")?;
        let level = format!(
            "SELECT 1 FROM pg_stat_replication WHERE application_name = '{STANDBY}' AND state = 'streaming'
                AND sync_state = '{state}' AND flush_lsn >= pg_current_wal_flush_lsn()"
        );
        let start = Instant::now();
        while start.elapsed() < LEVEL_LIMIT {
            if !primary.query("postgres", &level)?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = self.standby().log();
        let why = format!("it was not level with its primary after {} s", LEVEL_LIMIT.as_secs());
        let tail = process::tail_of(&log);
        Err(Error::NotReady { server: "the standby", why, log, tail })
    }
}

fn start_in(tools: &Tools, folder: &Path, fsync: bool) -> Result<Postgres, Error> {
    fs::create_dir_all(folder).doing(|| format!("make {}", folder.display()))?;
    Postgres::start(tools, folder, fsync, None, Life::WithParent(libc::SIGINT))
}

/// Where a standby finds its primary.
fn source(primary: &Postgres) -> String {
    format!("host=127.0.0.1 port={} user=snorri application_name={STANDBY}", primary.port())
}

/// Copies a running primary into a folder, as what a standby starts with.
fn copy(primary: &Postgres, folder: &Path) -> Result<(), Error> {
    let data = folder.join("pg");
    place::remove(&data)?;
    fs::create_dir_all(folder).doing(|| format!("make {}", folder.display()))?;
    // Postgres wants its data closed to others.
    fs::DirBuilder::new().mode(0o700).create(&data).doing(|| format!("make {}", data.display()))?;
    process::give_to_server_user(&data)?;
    let mut backup = primary.command("pg_basebackup");
    backup.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream"]);
    backup.arg("--dbname").arg(source(primary)).arg("--pgdata").arg(&data);
    let output = process::output_as_server_user(&mut backup);
    process::check(&backup, output).map(drop)
}

/// Makes a stopped server, which has all that the primary had, follow that primary when it starts.
fn follow(server: &Postgres, primary: &Postgres) -> Result<(), Error> {
    let settings = server.data().join("postgresql.auto.conf");
    let line = format!("primary_conninfo = '{}'\nsynchronous_standby_names = ''\n", source(primary));
    let written =
        File::options().append(true).open(&settings).and_then(|mut file| file.write_all(line.as_bytes()));
    written.doing(|| format!("write {}", settings.display()))?;
    let signal = server.data().join("standby.signal");
    File::create(&signal).doing(|| format!("write {}", signal.display()))?;
    process::give_to_server_user(&signal)
}
