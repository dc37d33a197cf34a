//! A private Postgres in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::client;
use crate::error::{Doing, Error};
use crate::find::Tools;
use crate::process::{self, Life};

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// A free port may be taken by another between finding and using it.
const TRIES: u32 = 5;

/// How Postgres is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the connections, writes a checkpoint, and stops.
    Fast,
    /// Drops everything, as a crash does; the next start recovers from the log.
    Immediate,
}

/// A private Postgres: superuser `snorri`, no password, 127.0.0.1 only. Stops when dropped.
#[derive(Debug)]
pub struct Postgres {
    tools: Tools,
    folder: PathBuf,
    fsync: bool,
    port: u16,
    life: Life,
    child: Mutex<Option<Child>>,
}

impl Postgres {
    /// Starts a server whose data is `<folder>/pg`, making that data if there is none.
    pub(crate) fn start(
        tools: &Tools,
        folder: &Path,
        fsync: bool,
        preferred_port: Option<u16>,
        life: Life,
    ) -> Result<Self, Error> {
        let (tools, folder) = (tools.clone(), folder.to_owned());
        let mut postgres = Self { tools, folder, fsync, port: 0, life, child: Mutex::default() };
        postgres.make_data()?;
        end_leftover(&postgres.folder)?;
        let mut preferred = preferred_port;
        for last in (1..=TRIES).map(|try_number| try_number == TRIES) {
            postgres.port = process::free_port(preferred.take())?;
            match postgres.start_again() {
                Err(Error::NotReady { tail, .. }) if !last && tail.contains("could not bind") => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(postgres)
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// The file it logs to.
    pub fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// Runs statements in a database.
    pub fn execute(&self, database: &str, sql: &str) -> Result<(), Error> {
        client::query(self.port, database, sql).map(drop)
    }

    /// Runs a query in a database and answers its rows as text; `None` is NULL.
    pub fn query(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        client::query(self.port, database, sql)
    }

    /// Makes a database, as a copy of another one if `template` names it.
    pub fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), Error> {
        create_database(self.port, name, template)
    }

    /// Stops it and waits for its end. Stopping what is stopped does nothing.
    pub fn stop(&self, mode: StopMode) {
        // A paused server would not hear the signal.
        self.resume();
        let Some(mut child) = self.child().take() else { return };
        process::signal(child.id(), if mode == StopMode::Fast { libc::SIGINT } else { libc::SIGQUIT });
        if !process::wait_for(&mut child, STOP_LIMIT) {
            process::signal(child.id(), libc::SIGQUIT);
            if !process::wait_for(&mut child, Duration::from_secs(5)) {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    /// Kills the server and all its processes on the spot (`kill -9`).
    pub fn kill(&self) {
        let Some(mut child) = self.child().take() else { return };
        let processes = process::children_of(child.id());
        drop(child.kill());
        for process in processes {
            process::signal(process, libc::SIGKILL);
        }
        drop(child.wait());
    }

    /// Starts it again after a [`stop`](Self::stop), on the same port and data. A running one is left alone.
    pub fn start_again(&self) -> Result<(), Error> {
        let mut slot = self.child();
        if slot.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            return Ok(());
        }
        *slot = None;
        let mut child = self.spawn()?;
        match self.wait_ready(&mut child) {
            Ok(()) => {
                *slot = Some(child);
                Ok(())
            }
            Err(error) => {
                process::signal(child.id(), libc::SIGQUIT);
                if !process::wait_for(&mut child, Duration::from_secs(5)) {
                    drop(child.kill());
                    drop(child.wait());
                }
                Err(error)
            }
        }
    }

    /// Stops it and starts it again on the same port and data.
    pub fn restart(&self, mode: StopMode) -> Result<(), Error> {
        self.stop(mode);
        self.start_again()
    }

    /// Freezes the server and all its connections: it is there, and does not answer. See [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal_all(libc::SIGSTOP);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal_all(libc::SIGCONT);
    }

    fn signal_all(&self, signal: i32) {
        if let Some(pid) = self.pid() {
            // The parent first, so that no further connection starts meanwhile.
            process::signal(pid, signal);
            for child in process::children_of(pid) {
                process::signal(child, signal);
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("pg")
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.tools.pg_bin.join(program));
        // Its own language and zone decide nothing here; PG* variables of the user's belong to another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null()).current_dir("/");
        if let Some(libraries) = &self.tools.library_path {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Makes the data folder unless it is there; in two steps, so that a half-made one is never used.
    fn make_data(&self) -> Result<(), Error> {
        let data = self.data();
        if let Ok(was) = fs::read_to_string(data.join("PG_VERSION")) {
            let (was, is) = (was.trim().to_owned(), self.tools.pg_version.clone());
            if is == was
                || is.strip_prefix(&was).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            {
                return Ok(());
            }
            return Err(Error::OtherVersion { data, was, is });
        }
        let part = self.folder.join("pg.new");
        crate::place::remove(&part)?;
        crate::place::remove(&data)?;
        fs::create_dir(&part).doing(|| format!("make {}", part.display()))?;
        process::give_to_server_user(&part)?;
        let mut initdb = self.command("initdb");
        initdb
            .args(["-U", "snorri", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&part);
        let output = process::output_as_server_user(&mut initdb);
        process::check(&initdb, output)?;
        fs::rename(&part, &data).doing(|| format!("move {} to {}", part.display(), data.display()))
    }

    fn spawn(&self) -> Result<Child, Error> {
        let data = self.data();
        // A socket's path may have 107 bytes; ".s.PGSQL.65535.lock" is the longest name.
        let socket_folder =
            if data.as_os_str().len() + 20 <= 107 { data.display().to_string() } else { String::new() };
        let mut command = self.command("postgres");
        command.arg("-D").arg(&data);
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            format!("unix_socket_directories={socket_folder}"),
            format!("fsync={}", if self.fsync { "on" } else { "off" }),
            "synchronous_commit=on".into(),
            "shared_buffers=64MB".into(),
            "max_connections=200".into(),
            "jit=off".into(),
            "max_wal_size=2GB".into(),
            "checkpoint_timeout=15min".into(),
            "log_line_prefix=%m [%p] %d ".into(),
        ] {
            command.arg("-c").arg(setting);
        }
        let (out, err) = process::open_log(&self.log())?;
        command.stdout(out).stderr(err);
        process::start_server(command, self.life).doing(|| "start Postgres".into())
    }

    /// Ready is when Postgres itself has noted so for this very process, and answers a query.
    fn wait_ready(&self, child: &mut Child) -> Result<(), Error> {
        let start = Instant::now();
        let not_ready = |why: String| {
            let log = self.log();
            let tail = process::tail_of(&log);
            Error::NotReady { server: "Postgres", why, log, tail }
        };
        while start.elapsed() < START_LIMIT {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(not_ready(format!("it ended ({status})")));
            }
            let note = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = note.lines().map(str::trim);
            let own = lines.next() == Some(&child.id().to_string());
            // A standby that can be read says so in its own word.
            if own
                && matches!(lines.nth(6), Some("ready" | "standby"))
                && self.execute("postgres", "select 1").is_ok()
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(not_ready(format!("it was not ready after {} s", START_LIMIT.as_secs())))
    }

    /// Leaves the server running, for somebody else to stop.
    pub(crate) fn leave_running(&self) {
        drop(self.child().take());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop(StopMode::Fast);
    }
}

pub(crate) fn url(port: u16, database: &str) -> String {
    format!("postgres://snorri@127.0.0.1:{port}/{database}")
}

/// Ends a server of this folder that outlived its parent, and removes the note of one that is long gone.
pub(crate) fn end_leftover(folder: &Path) -> Result<(), Error> {
    let data = folder.join("pg");
    let note = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&note) else { return Ok(()) };
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    let of_this_folder = |line: String| line.contains("postgres") && line.contains(&*data.to_string_lossy());
    if let Some(pid) = pid.filter(|pid| process::command_line(*pid).is_some_and(of_this_folder)) {
        process::signal(pid, libc::SIGCONT);
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGKILL] {
            process::signal(pid, signal);
            if process::wait_gone(pid, STOP_LIMIT) {
                break;
            }
        }
    }
    match fs::remove_file(&note) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("delete {}", note.display()))
        }
        _ => Ok(()),
    }
}

/// `CREATE DATABASE`, tried for a while when the template still has connections that are going away.
pub(crate) fn create_database(port: u16, name: &str, template: Option<&str>) -> Result<(), Error> {
    const OBJECT_IN_USE: &str = "55006";
    let template = template.map(|template| format!(" TEMPLATE {}", quoted(template))).unwrap_or_default();
    let sql = format!("CREATE DATABASE {}{template}", quoted(name));
    let start = Instant::now();
    loop {
        match client::query(port, "postgres", &sql) {
            Err(Error::Sql { code, .. })
                if code == OBJECT_IN_USE && start.elapsed() < Duration::from_secs(10) =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => return result.map(drop),
        }
    }
}

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
