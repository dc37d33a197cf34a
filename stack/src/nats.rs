//! A private nats-server with JetStream in a folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Doing, Error};
use crate::find::Tools;
use crate::process::{self, Life};

/// How many threads nats-server runs on. It shares its machine with everything else here: with one for each processor it
/// mostly wakes threads that find nothing to do, a fifth of its processor time in `snorri bench` on two processors.
const GO_THREADS: &str = "GOMAXPROCS";
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// A free port may be taken by another between finding and using it.
const TRIES: u32 = 5;

/// A private nats-server: JetStream on, no password, 127.0.0.1 only. Stops when dropped.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    folder: PathBuf,
    /// Tells this server from any other that listens on the same port.
    name: String,
    port: u16,
    /// The rest of its configuration: of a member of a cluster, the cluster.
    more: String,
    life: Life,
    child: Mutex<Option<Child>>,
}

impl Nats {
    /// Starts a server whose store is `<folder>/nats`.
    pub(crate) fn start(
        tools: &Tools,
        folder: &Path,
        preferred_port: Option<u16>,
        life: Life,
    ) -> Result<Self, Error> {
        let mut nats = Self::prepare(tools, folder, String::new(), life);
        let mut preferred = preferred_port;
        for last in (1..=TRIES).map(|try_number| try_number == TRIES) {
            nats.port = process::free_port(preferred.take())?;
            match nats.start_again() {
                Err(Error::NotReady { tail, .. }) if !last && tail.contains("address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(nats)
    }

    /// A member of a cluster, which is not started yet. `more` is what its configuration says of the cluster.
    pub(crate) fn member(tools: &Tools, folder: &Path, port: u16, more: String, life: Life) -> Self {
        let mut nats = Self::prepare(tools, folder, more, life);
        nats.port = port;
        nats
    }

    fn prepare(tools: &Tools, folder: &Path, more: String, life: Life) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("snorri-{}-{count}-{}", std::process::id(), now.as_nanos());
        let (program, folder) = (tools.nats_server.clone(), folder.to_owned());
        end_leftover(&folder);
        Self { program, folder, name, port: 0, more, life, child: Mutex::default() }
    }

    /// The name by which it tells itself from others, such as in what JetStream says of its leaders.
    pub fn server_name(&self) -> &str {
        &self.name
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// What the server says of itself to a client that connects: a line of JSON, with `server_id`, which is another
    /// one after each start, and `version`. Nothing while it does not answer.
    pub fn info(&self) -> Option<String> {
        greeting(self.port)?.strip_prefix("INFO ").map(|info| info.trim().to_owned())
    }

    /// The file it logs to.
    pub fn log(&self) -> PathBuf {
        self.folder.join("nats.log")
    }

    /// Stops it in good order and waits for its end. Stopping what is stopped does nothing.
    pub fn stop(&self) {
        let Some(mut child) = self.child().take() else { return };
        process::signal(child.id(), libc::SIGCONT);
        process::signal(child.id(), libc::SIGTERM);
        if !process::wait_for(&mut child, STOP_LIMIT) {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Kills it on the spot (`kill -9`).
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            process::signal(child.id(), libc::SIGKILL);
            drop(child.wait());
        }
    }

    /// Deletes all streams with all they hold, as a lost disk does. Stops the server first if it runs.
    pub fn wipe_store(&self) -> Result<(), Error> {
        self.stop();
        crate::place::remove(&self.store())
    }

    /// Freezes the server: it is there, and does not answer. See [`resume`](Self::resume).
    pub fn pause(&self) {
        if let Some(pid) = self.pid() {
            process::signal(pid, libc::SIGSTOP);
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        if let Some(pid) = self.pid() {
            process::signal(pid, libc::SIGCONT);
        }
    }

    /// Starts it again after a stop or kill, on the same port. A running one is left alone.
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
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> PathBuf {
        self.folder.join("nats")
    }

    fn spawn(&self) -> Result<Child, Error> {
        let store = self.store();
        fs::create_dir_all(&store).doing(|| format!("make {}", store.display()))?;
        process::give_to_server_user(&store)?;
        let config = config(&self.folder);
        // Streams reserve what they may hold at most, and a test run makes hundreds of them: the limits are of
        // reservations, and far beyond what is used.
        let text = format!(
            "host: 127.0.0.1\nport: {}\nserver_name: {:?}\nmax_payload: 1MB\n\
             jetstream {{\n  store_dir: {:?}\n  max_memory_store: 64GB\n  max_file_store: 256GB\n}}\n{}",
            self.port,
            self.name,
            store.to_string_lossy(),
            self.more,
        );
        fs::write(&config, text).doing(|| format!("write {}", config.display()))?;
        let (out, err) = process::open_log(&self.log())?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
        if std::env::var_os(GO_THREADS).is_none() {
            let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            command.env(GO_THREADS, processors.div_ceil(2).to_string());
        }
        let child = process::start_server(command, self.life).doing(|| "start nats-server".into())?;
        let note = pid_note(&self.folder);
        fs::write(&note, child.id().to_string()).doing(|| format!("write {}", note.display()))?;
        Ok(child)
    }

    fn wait_ready(&self, child: &mut Child) -> Result<(), Error> {
        let start = Instant::now();
        let not_ready = |why: String| {
            let log = self.log();
            let tail = process::tail_of(&log);
            Error::NotReady { server: "nats-server", why, log, tail }
        };
        while start.elapsed() < START_LIMIT {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(not_ready(format!("it ended ({status})")));
            }
            let greeting = greeting(self.port).unwrap_or_default();
            if greeting.contains(&self.name) {
                if is_ready(&greeting) {
                    return Ok(());
                }
            } else if !greeting.is_empty() && start.elapsed() > Duration::from_secs(5) {
                return Err(not_ready(format!(
                    "another server answers at port {}: address already in use",
                    self.port
                )));
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

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(folder: &Path) -> PathBuf {
    folder.join("nats.conf")
}

fn pid_note(folder: &Path) -> PathBuf {
    folder.join("nats.pid")
}

/// Ends a server of this folder that outlived its parent.
pub(crate) fn end_leftover(folder: &Path) {
    let config = config(folder);
    let pid = fs::read_to_string(pid_note(folder)).ok().and_then(|text| text.trim().parse().ok());
    let of_this_folder =
        |line: String| line.contains("nats-server") && line.contains(&*config.to_string_lossy());
    if let Some(pid) = pid.filter(|pid| process::command_line(*pid).is_some_and(of_this_folder)) {
        process::signal(pid, libc::SIGCONT);
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            process::signal(pid, signal);
            if process::wait_gone(pid, STOP_LIMIT) {
                break;
            }
        }
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// The first line a nats-server says to a client.
pub(crate) fn greeting(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).ok()?;
    Some(line)
}

pub(crate) fn is_ready(greeting: &str) -> bool {
    greeting.starts_with("INFO ") && greeting.contains("\"jetstream\":true")
}
