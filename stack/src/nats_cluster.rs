//! Three private nats-servers as one cluster, each with a store of its own.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error};
use crate::find::Tools;
use crate::nats::Nats;
use crate::process::{self, Life};
use crate::stack::{Options, own_folder};
use crate::{install, nats};

const NODES: usize = 3;
/// How long the members may take to find each other and to elect a leader.
const LEADER_LIMIT: Duration = Duration::from_mins(1);
/// A free port may be taken by another between finding and using it.
const TRIES: u32 = 5;

/// A private cluster of three nats-servers with JetStream. All stop when it is dropped, and (on Linux) when
/// this process dies.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Nats>,
    /// Last, so that the folder is free for others only when all servers have stopped.
    _lock: File,
}

impl NatsCluster {
    /// Starts the three in `options.dir`, and waits until JetStream has a leader. The ports in the options are
    /// not used.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let say = &*options.say;
        let tools = install::ensure_tools(options.install, say)?;
        let (data, lock) = own_folder(options)?;
        let mut left = TRIES;
        let nodes = loop {
            left -= 1;
            match start_nodes(&tools, &data) {
                Err(Error::NotReady { tail, .. }) if left > 0 && tail.contains("address already in use") => {}
                result => break result?,
            }
        };
        let cluster = Self { nodes, _lock: lock };
        cluster.wait_for_leader()?;
        say(&format!("nats-server {}: {}", tools.nats_version, cluster.urls().join(", ")));
        Ok(cluster)
    }

    /// The members, to be killed, stopped, paused and started again one by one.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// The member of that name, as JetStream calls it.
    pub fn node(&self, server_name: &str) -> Option<&Nats> {
        self.nodes.iter().find(|node| node.server_name() == server_name)
    }

    /// The addresses of all members, for clients.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Nats::url).collect()
    }

    /// Waits until JetStream as a whole has a leader, and can make streams.
    pub fn wait_for_leader(&self) -> Result<(), Error> {
        let start = Instant::now();
        while start.elapsed() < LEADER_LIMIT {
            let has_leader = |node: &Nats| {
                let answer = ask(node.port(), "$JS.API.INFO");
                answer.is_ok_and(|answer| answer.contains("\"memory\"") && !answer.contains("\"error\""))
            };
            if self.nodes.iter().filter(|node| node.pid().is_some()).any(has_leader) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = self.nodes.first().map(Nats::log).unwrap_or_default();
        let why = format!("JetStream had no leader after {} s", LEADER_LIMIT.as_secs());
        let tail = process::tail_of(&log);
        Err(Error::NotReady { server: "the NATS cluster", why, log, tail })
    }
}

fn start_nodes(tools: &Tools, data: &Path) -> Result<Vec<Nats>, Error> {
    let ports = free_ports(2 * NODES)?;
    let (clients, routes) = ports.split_at(NODES);
    let all: Vec<String> = routes.iter().map(|port| format!("{:?}", nats::url(*port))).collect();
    let mut nodes = Vec::with_capacity(NODES);
    for (number, (client, route)) in clients.iter().zip(routes).enumerate() {
        let folder = data.join(format!("node-{}", number + 1));
        fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
        let more = format!(
            "cluster {{\n  name: snorri\n  listen: \"127.0.0.1:{route}\"\n  routes: [{}]\n}}\n",
            all.join(", ")
        );
        nodes.push(Nats::member(tools, &folder, *client, more, Life::WithParent(libc::SIGTERM)));
    }
    for node in &nodes {
        node.start_again()?;
    }
    Ok(nodes)
}

/// Ports that are free now, all different.
fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let bound: io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let ports = bound.and_then(|all| all.iter().map(|one| Ok(one.local_addr()?.port())).collect());
    ports.doing(|| "find free ports of 127.0.0.1".into())
}

/// Asks a server one thing over plain NATS, and answers what it said.
fn ask(port: u16, subject: &str) -> io::Result<String> {
    const LIMIT: Duration = Duration::from_secs(1);
    let mut socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), LIMIT)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.write_all(
        format!("CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer 0\r\n\r\n").as_bytes(),
    )?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(words) = line.strip_prefix("MSG ") else { continue };
        let bytes = words.split_whitespace().next_back().and_then(|count| count.parse().ok());
        let mut payload = vec![0; bytes.unwrap_or(0)];
        reader.read_exact(&mut payload)?;
        return Ok(String::from_utf8_lossy(&payload).into_owned());
    }
}
