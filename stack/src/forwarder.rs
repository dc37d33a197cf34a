//! An address that stays the same while the server behind it changes: what a load balancer, a proxy or a
//! virtual IP does for a database in production.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Doing, Error};

/// How long a connection to the server may take; then the client is sent away.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// The most connections at a time; more are sent away. Each takes two threads.
const CONNECTIONS_MAX: usize = 512;

/// Forwards TCP connections to a port of this machine, which can be changed. Ends when dropped.
#[derive(Debug)]
pub struct Forwarder {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: AtomicU16,
    is_over: AtomicBool,
    next: AtomicU64,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, [TcpStream; 2]>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forwarder {
    /// Listens on a free port of 127.0.0.1, and forwards to the given one.
    pub fn to(target: u16) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).doing(|| "listen on 127.0.0.1".into())?;
        let port = listener.local_addr().doing(|| "listen on 127.0.0.1".into())?.port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            is_over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::Builder::new()
            .name("forwarder".into())
            .spawn(move || accept(&listener, &accepting))
            .doing(|| "start a thread".into())?;
        Ok(Self { port, shared })
    }

    /// The port that stays the same.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends new connections to another port. Those that are open stay where they are, as after a change of a
    /// name in DNS; see [`cut`](Self::cut).
    pub fn switch(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    /// Closes all connections, and says how many there were.
    pub fn cut(&self) -> usize {
        let open = self.shared.open();
        for [client, server] in open.values() {
            // One that is closed already is as wanted. Its threads notice, and take it off the list.
            drop((client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)));
        }
        open.len()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.open().len()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.cut();
        // So that the listener looks.
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        drop(TcpStream::connect_timeout(&address, CONNECT_LIMIT));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.open().len() >= CONNECTIONS_MAX {
            continue;
        }
        let shared = shared.clone();
        // Without a thread the client is sent away: it is closed when it is dropped.
        drop(std::thread::Builder::new().name("forwarded".into()).spawn(move || forward(client, &shared)));
    }
}

/// Carries both ways until either side ends.
fn forward(client: TcpStream, shared: &Arc<Shared>) {
    let target = SocketAddr::from(([127, 0, 0, 1], shared.target.load(Ordering::Relaxed)));
    let Ok(server) = TcpStream::connect_timeout(&target, CONNECT_LIMIT) else { return };
    let carried = || -> io::Result<_> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        shared.open().insert(number, [client.try_clone()?, server.try_clone()?]);
        Ok((number, client.try_clone()?, server.try_clone()?))
    };
    let Ok((number, mut client_reader, mut server_writer)) = carried() else { return };
    let up = std::thread::Builder::new().name("forwarded".into()).spawn(move || {
        drop(io::copy(&mut client_reader, &mut server_writer));
        drop((client_reader.shutdown(Shutdown::Both), server_writer.shutdown(Shutdown::Both)));
    });
    let (mut server_reader, mut client_writer) = (server, client);
    if let Ok(up) = up {
        drop(io::copy(&mut server_reader, &mut client_writer));
        drop((server_reader.shutdown(Shutdown::Both), client_writer.shutdown(Shutdown::Both)));
        drop(up.join());
    }
    shared.open().remove(&number);
}
