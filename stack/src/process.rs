//! Child processes: as whom they run, how they end with their parent, how they are signalled.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Doing, Error};

/// The user that servers run as when this process is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// `None` for an ordinary user, who runs the servers as himself. Postgres refuses to run as root, so root hands
/// both servers to `postgres`, or to `nobody` where that user does not exist.
pub(crate) fn server_user() -> Option<User> {
    if sys::euid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (found, _, uid, gid) = (fields.next()?, fields.next(), fields.next()?, fields.next()?);
            (found == name).then_some(())?;
            Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    };
    Some(entry("postgres").or_else(|| entry("nobody")).unwrap_or(User { uid: 65534, gid: 65534 }))
}

pub(crate) fn is_root() -> bool {
    sys::euid() == 0
}

pub(crate) fn uid() -> u32 {
    sys::euid()
}

/// How long a server lives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Life {
    /// Receives this signal when the process that started it ends (on Linux; elsewhere only `Drop` stops it).
    WithParent(i32),
    /// Outlives the process that started it; somebody else sees to its end.
    Own,
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a server as [`server_user`].
///
/// A parent-death signal fires when the *thread* that started the child ends, so all servers are started from one
/// thread that lives as long as the process.
pub(crate) fn start_server(mut command: Command, life: Life) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<SyncSender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = sync_channel::<Order>(0);
        std::thread::Builder::new()
            .name("snorri-stack".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    // The asker waits for the answer, so there is always someone to send it to.
                    drop(answer.send(command.spawn()));
                }
            })
            .expect("a thread can be started");
        Mutex::new(orders)
    });
    sys::prepare(&mut command, server_user(), life);
    let (answer, result) = sync_channel(1);
    let gone = || io::Error::other("the thread that starts servers is gone");
    starter.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// Runs a short command as [`server_user`] and waits for it.
pub(crate) fn output_as_server_user(command: &mut Command) -> io::Result<Output> {
    sys::drop_rights(command, server_user());
    command.stdin(Stdio::null()).output()
}

/// Turns a failed run into an error that shows the command and the end of what it printed.
pub(crate) fn check(command: &Command, output: io::Result<Output>) -> Result<Output, Error> {
    let output = output.doing(|| format!("run {}", command.get_program().to_string_lossy()))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Command {
        command: line_of(command),
        status: output.status.to_string(),
        output: last_lines(&text, 20),
    })
}

/// The command as it could be typed.
pub(crate) fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

pub(crate) fn tail_of(file: &Path) -> String {
    last_lines(
        &fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
        15,
    )
}

/// Waits for a child to end; `false` when it has not in that time.
pub(crate) fn wait_for(child: &mut Child, limit: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}

/// Waits for a process that is not our child to end; `false` when it has not in that time.
pub(crate) fn wait_gone(pid: u32, limit: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if command_line(pid).is_none_or(|line| line.is_empty()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A signal that a test sends to a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Freeze: the process is there, and does nothing (`SIGSTOP`).
    Stop,
    /// Go on after [`Signal::Stop`] (`SIGCONT`).
    Continue,
    /// Please end (`SIGTERM`).
    Terminate,
}

/// Sends a signal to a process; one that is already gone is no error. Process 1 and groups are never reached.
pub fn send_signal(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
        Signal::Terminate => libc::SIGTERM,
    };
    sys::signal(pid, number);
}

/// Sends a signal; a process that is already gone is no error.
pub(crate) fn signal(pid: u32, signal: i32) {
    sys::signal(pid, signal);
}

/// The command line of a live process; `None` when there is none, empty for a zombie.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The processes whose parent this one is.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    if !cfg!(target_os = "linux") {
        let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        return text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    }
    let parent_of = |child: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        // "pid (name) state parent …"; the name may hold anything, so count from its closing bracket.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.filter(|child| parent_of(*child) == Some(pid)).collect()
}

/// Gives a file or folder to [`server_user`].
pub(crate) fn give_to_server_user(path: &Path) -> Result<(), Error> {
    let Some(user) = server_user() else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
        .doing(|| format!("chown {}", path.display()))
}

/// Opens a server's log for appending.
pub(crate) fn open_log(path: &Path) -> Result<(Stdio, Stdio), Error> {
    let file =
        File::options().create(true).append(true).open(path).doing(|| format!("write {}", path.display()))?;
    let second = file.try_clone().doing(|| format!("write {}", path.display()))?;
    Ok((file.into(), second.into()))
}

/// A port of 127.0.0.1 that is free now: the preferred one if possible.
pub(crate) fn free_port(preferred: Option<u16>) -> Result<u16, Error> {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port)).and_then(|socket| socket.local_addr());
    let preferred = preferred.and_then(|port| bind(port).ok());
    let address = preferred.map_or_else(|| bind(0), Ok).doing(|| "find a free port of 127.0.0.1".into())?;
    Ok(address.port())
}

pub(crate) use sys::guard_until_unused;

/// The calls that need `unsafe`, and nothing else.
#[expect(unsafe_code, reason = "signals, users and parent-death are not in std")]
mod sys {
    use super::{Life, User};
    use std::ffi::CString;
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    pub(super) fn euid() -> u32 {
        // SAFETY: has no preconditions.
        unsafe { libc::geteuid() }
    }

    pub(super) fn signal(pid: u32, signal: i32) {
        let Ok(pid) = libc::pid_t::try_from(pid) else { return };
        if pid > 1 {
            // SAFETY: has no preconditions; 0, 1 and negative numbers would mean others, and are excluded.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Between fork and exec: only async-signal-safe calls, no allocation.
    fn become_user(user: Option<User>) -> io::Result<()> {
        let Some(user) = user else { return Ok(()) };
        // SAFETY: plain system calls on plain numbers.
        let done = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(user.gid) == 0
                && libc::setuid(user.uid) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn drop_rights(command: &mut Command, user: Option<User>) {
        // SAFETY: `become_user` is async-signal-safe.
        unsafe { command.pre_exec(move || become_user(user)) };
    }

    pub(super) fn prepare(command: &mut Command, user: Option<User>, life: Life) {
        let parent = std::process::id();
        let ready = move || {
            // A session of its own, so that Ctrl-C in the terminal reaches the parent only, which stops in order.
            // SAFETY: plain system call.
            unsafe { libc::setsid() };
            become_user(user)?;
            // After the change of user, which clears it.
            #[cfg(target_os = "linux")]
            if let Life::WithParent(signal) = life {
                // SAFETY: plain system calls on plain numbers.
                let parent_now = unsafe {
                    if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    libc::getppid()
                };
                if u32::try_from(parent_now) != Ok(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            #[cfg(not(target_os = "linux"))]
            let _ = (life, parent);
            Ok(())
        };
        // SAFETY: the closure makes system calls only.
        unsafe { command.pre_exec(ready) };
    }

    /// Forks a helper that waits until nobody holds a lock on `users` any more and then stops the servers.
    ///
    /// Each user of the servers holds a shared lock on that file; the helper tries once a second for an exclusive
    /// one, and takes being alone for `grace` seconds in a row as the end of the run. It keeps the lock while it
    /// stops the servers, so that nobody attaches to servers that are going away.
    ///
    /// It holds a lock on `helper` while it lives; one that finds another there waits for that one's end.
    pub(crate) fn guard_until_unused(
        users: &CString,
        helper: &CString,
        servers: [(u32, i32); 2],
        grace: u32,
    ) -> io::Result<()> {
        let servers = servers.map(|(pid, signal)| (libc::pid_t::try_from(pid).unwrap_or(0), signal));
        // SAFETY: the child makes async-signal-safe calls only, on memory made before the fork, and leaves by _exit.
        unsafe {
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => watch(users, helper, servers, grace),
                _ => Ok(()),
            }
        }
    }

    /// # Safety
    /// Only for the child of a fork.
    unsafe fn watch(users: &CString, helper: &CString, servers: [(libc::pid_t, i32); 2], grace: u32) -> ! {
        // SAFETY: async-signal-safe calls only; every pointer comes from a live `CString` or literal.
        unsafe {
            libc::setsid();
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_IGN);
            }
            // Keep nothing that was inherited: a lock or a pipe held here would never end.
            for fd in 0..4096 {
                libc::close(fd);
            }
            for _ in 0..3 {
                libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            }
            libc::chdir(c"/".as_ptr());
            let own = libc::open(helper.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            libc::flock(own, libc::LOCK_EX);
            let fd = libc::open(users.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            let mut alone = 0;
            while fd >= 0 && alone < grace {
                libc::sleep(1);
                if libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) == 0 {
                    alone += 1;
                    if alone < grace {
                        libc::flock(fd, libc::LOCK_UN);
                    }
                } else {
                    alone = 0;
                }
            }
            for (pid, signal) in servers {
                if pid > 1 {
                    libc::kill(pid, signal);
                }
            }
            for _ in 0..10 {
                // Reaps them where they are this process's to reap; harmless where they are not.
                while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
                if servers.iter().all(|(pid, _)| *pid <= 1 || libc::kill(*pid, 0) != 0) {
                    libc::_exit(0);
                }
                libc::sleep(1);
            }
            for (pid, _) in servers {
                if pid > 1 {
                    libc::kill(pid, libc::SIGKILL);
                }
            }
            libc::_exit(0)
        }
    }
}
