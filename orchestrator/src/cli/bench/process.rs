//! The processes under measurement: starting and ending them, and what they use by `/proc`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use super::Error;
use super::report::float;

/// The ticks of a second in `/proc`: fixed by the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// A child process of this executable. It is killed when this is dropped, and when this process dies.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: std::process::Child,
    /// Waits for this process's end, of which its standard input tells, and then kills the child.
    guard: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `snorri` with the given arguments and its log appended to a file.
    pub(super) fn start(name: &'static str, args: &[String], log: &Path) -> Result<Self, Error> {
        Self::begin(name, args, log, Stdio::null())
    }

    /// The same with a pipe as its standard input; see [`Self::take_input`].
    pub(super) fn start_with_input(name: &'static str, args: &[String], log: &Path) -> Result<Self, Error> {
        Self::begin(name, args, log, Stdio::piped())
    }

    fn begin(name: &'static str, args: &[String], log: &Path, input: Stdio) -> Result<Self, Error> {
        let io = |source| Error::Io { what: format!("start the {name}"), source };
        let file = File::options().create(true).append(true).open(log).map_err(io)?;
        let mut command = Command::new(std::env::current_exe().map_err(io)?);
        // What the user has set for a production of his own must not reach this one.
        let foreign = |key: &str| key.starts_with("SNORRI_") || key.starts_with("OTEL_");
        for (key, _) in std::env::vars_os().filter(|(key, _)| foreign(&key.to_string_lossy())) {
            command.env_remove(key);
        }
        command.args(args).stdin(input).stdout(Stdio::null()).stderr(file);
        let mut child = alone(&mut command).spawn().map_err(io)?;
        let mut watch = Command::new("sh");
        watch.args(["-c", "cat >/dev/null; kill -9 \"$0\" 2>/dev/null", &child.id().to_string()]);
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        match alone(&mut watch).spawn() {
            Ok(guard) => Ok(Self { name, process: child, guard, log: log.to_owned() }),
            Err(error) => {
                end(&mut child);
                Err(io(error))
            }
        }
    }

    /// The pipe to its standard input, once.
    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Error::Ended { name: self.name, status: status.to_string(), tail: self.tail() })
            }
            Err(source) => Err(Error::Io { what: format!("look after the {}", self.name), source }),
        }
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
    }

    /// Kills it (`kill -9`) and waits for its end.
    pub(super) fn kill(&mut self) {
        // The guard first: a process id may be used again once its process has ended.
        end(&mut self.guard);
        end(&mut self.process);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: &mut std::process::Child) {
    if child.kill().is_ok()
        && let Err(error) = child.wait()
    {
        tracing::debug!(%error, "a child's end could not be awaited");
    }
}

/// In a process group of its own, so that Ctrl-C in the terminal reaches this process only.
fn alone(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0)
}

/// Which processes count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// One process.
    One(u32),
    /// A process with its children, of now and those that have ended: Postgres.
    Family(u32),
    /// Somebody else's, or on a system without `/proc`.
    Unknown,
}

impl Who {
    /// The processor time used so far, or nothing when it cannot be known.
    pub(super) fn cpu(self) -> Option<Duration> {
        let ticks = match self {
            Self::Unknown => return None,
            Self::One(pid) => stat(pid)?.own,
            Self::Family(pid) => {
                let parent = stat(pid)?;
                let living: u64 = children_of(pid).filter_map(stat).map(|child| child.own).sum();
                parent.own + parent.ended_children + living
            }
        };
        Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// The most memory it had resident since the last [`Self::forget_peak`]; of a family, what it has now
    /// with shared pages counted once.
    pub(super) fn memory_mb(self) -> Option<u64> {
        let kb = match self {
            Self::Unknown => return None,
            Self::One(pid) => field_kb(&format!("/proc/{pid}/status"), "VmHWM:")?,
            Self::Family(pid) => {
                let share = |pid| field_kb(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
                share(pid)? + children_of(pid).filter_map(share).sum::<u64>()
            }
        };
        Some(kb.div_ceil(1024))
    }

    /// The memory it has resident now, shared pages counted once.
    pub(super) fn resident_mb(self) -> Option<f64> {
        let kb = match self {
            Self::Unknown => return None,
            Self::One(pid) => field_kb(&format!("/proc/{pid}/status"), "VmRSS:")?,
            Self::Family(_) => return self.memory_mb().map(float),
        };
        Some(float(kb) / 1024.0)
    }

    /// Begins the peak of memory anew, where the kernel lets us.
    pub(super) fn forget_peak(self) {
        if let Self::One(pid) = self
            && let Err(error) = fs::write(format!("/proc/{pid}/clear_refs"), "5")
        {
            tracing::debug!(%error, "the peak of memory is since the process's start");
        }
    }
}

#[derive(Debug)]
struct Stat {
    parent: u32,
    own: u64,
    ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// "pid (name) state parent …": the name may hold anything, so fields are counted from its closing bracket.
fn read_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        own: number(11)? + number(12)?,
        ended_children: number(13)? + number(14)?,
    })
}

fn children_of(pid: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(move |child| stat(*child).is_some_and(|stat| stat.parent == pid))
}

fn field_kb(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The processor time that all processes of this machine have used so far.
pub(super) fn machine_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: u64 = fields.iter().take(8).sum::<u64>() - fields.get(3)? - fields.get(4)?;
    Some(Duration::from_millis(busy * 1000 / TICKS_PER_SECOND))
}

/// How many files and connections this process may have open.
pub(super) fn open_files_max() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A port of this machine that is free just now.
pub(super) fn free_port() -> Result<u16, Error> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    let address: io::Result<std::net::SocketAddr> = listener;
    Ok(address.map_err(|source| Error::Io { what: "find a free port".to_owned(), source })?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 1 0 5";
        let stat = read_stat(text).expect("a stat");
        assert_eq!((stat.parent, stat.own, stat.ended_children), (3, 23, 27));
    }
}
