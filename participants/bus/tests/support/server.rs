//! A private nats-server that tests may kill, restart and rob of its store.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A nats-server on a free port with a store of its own. Killed when dropped.
#[derive(Debug)]
pub(crate) struct NatsServer {
    child: Option<Child>,
    port: u16,
    store: PathBuf,
    config: String,
    program: PathBuf,
}

impl NatsServer {
    /// Starts one.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with more in its configuration file.
    pub(crate) fn start_with(config: impl Into<String>) -> Self {
        let (program, config) = (tools().nats_server, config.into());
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let store = std::env::temp_dir().join(format!("snorri-bus-test-{}-{port}", std::process::id()));
        let mut server = Self { child: None, port, store, config, program };
        server.up();
        server
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its address for one of its users.
    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("nats://{user}:{user}@127.0.0.1:{}", self.port)
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("waited for");
        }
    }

    /// Forgets all that is stored. To be called while it is down.
    pub(crate) fn wipe(&self) {
        remove(&self.store);
    }

    /// Starts it again on the same port, with what is stored.
    pub(crate) fn up(&mut self) {
        std::fs::create_dir_all(&self.store).expect("a folder");
        let config = self.store.join("server.conf");
        std::fs::write(&config, &self.config).expect("written");
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(&self.store)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nats-server does not come up");
    }
}

fn tools() -> snorri_stack::Tools {
    snorri_stack::ensure_tools(true, &|_| {}).expect("a nats-server")
}

/// The version of the servers that tests start, such as (2, 15).
pub(crate) fn version() -> (u32, u32) {
    let version = tools().nats_version;
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let both = numbers.next().zip(numbers.next());
    both.unwrap_or_else(|| panic!("{version} is no version"))
}

fn remove(path: &Path) {
    if path.exists() {
        std::fs::remove_dir_all(path).expect("removed");
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        remove(&self.store);
    }
}
