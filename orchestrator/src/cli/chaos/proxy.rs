//! A TCP proxy that stands between one process and one server, and can hurt just that link: cut it, swallow or hold
//! one direction of it, delay it, or close it slowly. What it did is counted where it was done, as evidence.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// The most connections of one process to one server; a pool of Postgres has 36.
const CONNECTIONS_MAX: usize = 256;
/// How long the server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// How many chunks may be on their way in one direction; then the sender is made to wait.
const CHUNKS_MAX: usize = 256;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// What the process says.
    ToServer,
    /// What the server says.
    ToProcess,
}

/// What is done to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Harm {
    /// Connections are reset, and new ones are reset at once.
    Cut,
    /// One direction is swallowed while the connections stay open. Those with a hole are reset at the end.
    Swallow(Way),
    /// One direction is held up, and arrives in full at the end, as after a partition that TCP outlived.
    Hold(Way),
    /// Everything arrives later by this.
    Delay(Duration),
    /// The process is told that its connections are closed; the server is not, until the end.
    SlowClose,
}

/// What a proxy has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    /// Connections that were hurt, each once for each harm.
    pub(super) hurt: u64,
    /// Connections that were reset while they were open.
    pub(super) reset: u64,
    /// Connections that were reset when they came.
    pub(super) refused: u64,
    /// Bytes swallowed.
    pub(super) swallowed: u64,
    /// Pieces that were held up or delayed.
    pub(super) late: u64,
}

#[derive(Debug, Default)]
struct Counts {
    hurt: AtomicU64,
    reset: AtomicU64,
    refused: AtomicU64,
    swallowed: AtomicU64,
    late: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    harm: watch::Sender<Option<Harm>>,
    counts: Counts,
}

/// A proxy. It ends with all its connections when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where the process is to connect.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of this machine for connections to the server.
    pub(super) async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (harm, _) = watch::channel(None);
        let shared = Arc::new(Shared { server, harm, counts: Counts::default() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Begins a harm.
    pub(super) fn hurt(&self, harm: Harm) {
        self.shared.harm.send_replace(Some(harm));
    }

    /// Ends it.
    pub(super) fn heal(&self) {
        self.shared.harm.send_replace(None);
    }

    /// What was done so far.
    pub(super) fn done(&self) -> Done {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { hurt, reset, refused, swallowed, late } = &self.shared.counts;
        Done {
            hurt: read(hurt),
            reset: read(reset),
            refused: read(refused),
            swallowed: read(swallowed),
            late: read(late),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Ordering::Relaxed);
}

/// Closes a connection by a reset instead of a farewell.
fn reset(stream: TcpStream) {
    // Not set, it is closed politely: a milder fault.
    let _ = stream.set_zero_linger();
    drop(stream);
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((process, _)) => {
                    if *shared.harm.borrow() == Some(Harm::Cut) {
                        add(&shared.counts.refused, 1);
                        add(&shared.counts.hurt, 1);
                        reset(process);
                    } else {
                        connections.spawn(carry(process, shared.clone()));
                    }
                }
                // Out of file descriptors, say: the others' end gives some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

/// One connection.
struct Link<'a> {
    shared: &'a Shared,
    /// It was hurt by the harm that is on.
    is_hurt: AtomicBool,
    /// It cannot go on when the harm ends: bytes are missing, or the process was told that it is closed.
    is_broken: AtomicBool,
    /// Told when that happens, since the harm may end at the same moment.
    broke: Notify,
    /// It came while others were being closed, and is not.
    is_spared: AtomicBool,
}

impl Link<'_> {
    fn breaks(&self) {
        self.hurt();
        self.is_broken.store(true, Ordering::Relaxed);
        self.broke.notify_one();
    }

    fn hurt(&self) {
        if !self.is_hurt.swap(true, Ordering::Relaxed) {
            add(&self.shared.counts.hurt, 1);
        }
    }

    fn harm(&self) -> watch::Receiver<Option<Harm>> {
        self.shared.harm.subscribe()
    }

    /// Resolves when the connection must be reset.
    async fn must_be_reset(&self) {
        let mut harm = self.harm();
        loop {
            match *harm.borrow_and_update() {
                Some(Harm::Cut) => {
                    self.hurt();
                    return;
                }
                None if self.is_broken.load(Ordering::Relaxed) => return,
                None => {
                    self.is_hurt.store(false, Ordering::Relaxed);
                    self.is_spared.store(false, Ordering::Relaxed);
                }
                Some(_) => {}
            }
            tokio::select! {
                changed = harm.changed() => if changed.is_err() { return },
                () = self.broke.notified() => {}
            }
        }
    }
}

async fn carry(mut process: TcpStream, shared: Arc<Shared>) {
    let Ok(Ok(mut server)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(shared.server)).await else {
        return reset(process);
    };
    // A small packet that waits for another one would be a delay that nobody asked for.
    let _ = (process.set_nodelay(true), server.set_nodelay(true));
    let link = Link {
        shared: &shared,
        is_hurt: AtomicBool::new(false),
        is_broken: AtomicBool::new(false),
        broke: Notify::new(),
        is_spared: AtomicBool::new(*shared.harm.borrow() == Some(Harm::SlowClose)),
    };
    let is_reset = {
        let (from_process, to_process) = process.split();
        let (from_server, to_server) = server.split();
        let there = pump(&link, Way::ToServer, from_process, to_server);
        let back = pump(&link, Way::ToProcess, from_server, to_process);
        tokio::select! {
            () = link.must_be_reset() => true,
            _ = async { tokio::join!(there, back) } => false,
        }
    };
    if is_reset {
        add(&shared.counts.reset, 1);
        reset(process);
        reset(server);
    }
}

type Piece = (Instant, Vec<u8>);

/// Carries one direction until its sender has said all.
async fn pump(link: &Link<'_>, way: Way, from: ReadHalf<'_>, to: WriteHalf<'_>) {
    let (queue, pieces) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(take(link, way, from, queue), give(link, way, to, pieces));
}

async fn take(link: &Link<'_>, way: Way, mut from: ReadHalf<'_>, queue: mpsc::Sender<Piece>) {
    let counts = &link.shared.counts;
    let mut harm = link.harm();
    let mut buffer = vec![0; CHUNK_BYTES];
    // An error is an end like any other: the connection is gone.
    while let Ok(read) = from.read(&mut buffer).await
        && read > 0
    {
        let now = *harm.borrow();
        let mut due = Instant::now();
        match now {
            Some(Harm::Swallow(of)) if of == way => {
                link.breaks();
                add(&counts.swallowed, read);
                continue;
            }
            Some(Harm::Hold(of)) if of == way => {
                link.hurt();
                add(&counts.late, 1);
                if harm.wait_for(|harm| *harm != now).await.is_err() {
                    return;
                }
            }
            Some(Harm::Delay(by)) => {
                link.hurt();
                add(&counts.late, 1);
                due += by;
            }
            _ => {}
        }
        let piece = buffer.get(..read).unwrap_or_default().to_vec();
        if queue.send((due, piece)).await.is_err() {
            return;
        }
    }
    // The farewell is part of what is said: where that is kept back, so is this.
    let keeps_back = |harm: &Option<Harm>| match harm {
        Some(Harm::Swallow(of) | Harm::Hold(of)) => *of == way,
        Some(Harm::SlowClose) => way == Way::ToServer && !link.is_spared.load(Ordering::Relaxed),
        _ => false,
    };
    // The sender of harms lives as long as the proxy.
    let _ = harm.wait_for(|harm| !keeps_back(harm)).await;
}

async fn give(link: &Link<'_>, way: Way, mut to: WriteHalf<'_>, mut pieces: mpsc::Receiver<Piece>) {
    let mut harm = link.harm();
    let is_spared = || link.is_spared.load(Ordering::Relaxed);
    let closes_slowly = async {
        let begins = |harm: &Option<Harm>| *harm == Some(Harm::SlowClose) && !is_spared();
        harm.wait_for(|harm| way == Way::ToProcess && begins(harm)).await.is_ok()
    };
    tokio::pin!(closes_slowly);
    loop {
        tokio::select! {
            biased;
            true = &mut closes_slowly => {
                link.breaks();
                break;
            }
            piece = pieces.recv() => {
                let Some((due, piece)) = piece else { break };
                sleep_until(due).await;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
    }
    // It may be gone already.
    let _ = to.shutdown().await;
    // What still comes is for nobody; it is taken so that the other side can finish.
    while pieces.recv().await.is_some() {}
}

#[cfg(test)]
mod tests;
