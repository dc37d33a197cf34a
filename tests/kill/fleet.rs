//! The processes of a case, and their supervisor: it starts the dead anew where the case has it so, wakes those that
//! stand still, and tells of deaths that nobody asked for.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use snorri_kill::{Action, ENVIRONMENT, HANG};
use tokio::process::{Child, Command};

use crate::case::{Case, VICTIM};
use crate::place::{Fired, Place};

/// How long a process may take to end when it is told to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Why a process is expected to end, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It was told to shut down.
    Leaves,
    /// The test killed it, and it stays dead.
    Doomed,
}

struct Process {
    name: String,
    args: Vec<String>,
    /// What its environment says of the point, if the point is on its side.
    armed: Option<String>,
    is_replica: bool,
    child: Option<Child>,
    fate: Fate,
    log: PathBuf,
    /// How often it was started.
    starts: usize,
    address: Option<String>,
}

impl Process {
    fn start(&mut self, place: &Place) {
        self.starts += 1;
        self.log = place.dir.join(format!("{}-{}.log", self.name, self.starts));
        let log = std::fs::File::create(&self.log).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_snorri"))
            .args(&self.args)
            .envs(self.armed.as_ref().map(|armed| (ENVIRONMENT, armed)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("started");
        (self.child, self.fate, self.address) = (Some(child), Fate::Stays, None);
    }

    /// Where its REST API listens, once its log says so.
    fn address(&mut self) -> Option<String> {
        if self.address.is_none() && self.is_replica && self.child.is_some() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            self.address = text
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|line| line["message"] == "the orchestrator is up")
                .and_then(|line| Some(format!("http://{}", line["address"].as_str()?)));
        }
        self.address.clone()
    }
}

pub(crate) struct Fleet {
    case: Case,
    processes: Vec<Process>,
    /// Woken after it stood still.
    is_woken: bool,
    /// The process at the point was killed by the signal.
    pub(crate) died_at_the_point: bool,
}

impl Fleet {
    pub(crate) fn start(case: &Case, place: &Place) -> Self {
        let mut fleet =
            Self { case: *case, processes: Vec::new(), is_woken: false, died_at_the_point: false };
        for name in case.replicas() {
            fleet.add_replica(name, place);
        }
        if case.is_of_participant() {
            fleet.add_victim(place);
        }
        fleet
    }

    pub(crate) fn add_replica(&mut self, name: &str, place: &Place) {
        let lanes = self.case.lanes().to_string();
        let args = [
            "serve",
            "--database-url",
            &place.of.database_url,
            "--nats-url",
            &place.of.nats_url,
            "--namespace",
            place.of.prefix.as_str(),
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--replica",
            name,
            "--lanes",
            &lanes,
            "--stream-bytes",
            "8388608",
            "--until-stdin-closes",
        ];
        self.add(name, &args, true, place);
    }

    fn add_victim(&mut self, place: &Place) {
        let batch = self.case.batch().to_string();
        let args = [
            "participant",
            VICTIM.name(),
            "--database-url",
            place.books.url(VICTIM),
            "--nats-url",
            &place.of.nats_url,
            "--namespace",
            place.of.prefix.as_str(),
            "--batch",
            &batch,
            "--until-stdin-closes",
        ];
        self.add(VICTIM.name(), &args, false, place);
    }

    fn add(&mut self, name: &str, args: &[&str], is_replica: bool, place: &Place) {
        let Case { point, action, hit } = self.case;
        let (point, action, file) = (point.name(), action.name(), place.hits_file());
        let mut process = Process {
            name: name.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            armed: (is_replica != self.case.is_of_participant())
                .then(|| format!("{point}:{action}:{hit}:{}", file.display())),
            is_replica,
            child: None,
            fate: Fate::Stays,
            log: PathBuf::new(),
            starts: 0,
            address: None,
        };
        process.start(place);
        self.processes.push(process);
    }

    /// Where the replicas that take work listen. With a name, of this one only.
    pub(crate) fn doors(&mut self, only: Option<&str>) -> Vec<String> {
        let wanted = |process: &&mut Process| {
            process.fate == Fate::Stays && only.is_none_or(|name| process.name == name)
        };
        self.processes.iter_mut().filter(wanted).filter_map(Process::address).collect()
    }

    /// Tells a replica to shut down, if it is up.
    pub(crate) fn shut_down(&mut self, name: &str) {
        let found = self.processes.iter_mut().find(|process| process.name == name);
        if let Some(process) = found
            && process.address().is_some()
            && let Some(child) = &mut process.child
        {
            process.fate = Fate::Leaves;
            drop(child.stdin.take());
        }
    }

    /// Kills a replica for good.
    pub(crate) fn doom(&mut self, name: &str) {
        let found = self.processes.iter_mut().find(|process| process.name == name);
        if let Some(child) = found.and_then(|process| {
            process.fate = Fate::Doomed;
            process.child.as_mut()
        }) {
            child.start_kill().expect("killed");
        }
    }

    /// One look at all processes. An error is a death that nobody asked for.
    pub(crate) fn look_after(&mut self, place: &Place) -> Result<(), String> {
        let fired = place.fired();
        if let Some(fired) = fired
            && self.case.action == Action::Stop
            && !self.is_woken
            && fired.ago() >= HANG
        {
            wake(fired.pid)?;
            self.is_woken = true;
        }
        for place_in_line in 0..self.processes.len() {
            let others_live = self.processes.iter().enumerate().any(|(other, process)| {
                other != place_in_line && process.is_replica && process.child.is_some()
            });
            let Some(process) = self.processes.get_mut(place_in_line) else { continue };
            let Some(child) = &mut process.child else { continue };
            let pid = child.id();
            let Some(status) = child.try_wait().map_err(|error| error.to_string())? else { continue };
            process.child = None;
            process.address = None;
            let is_the_point = fired.filter(|fired| Some(fired.pid) == pid);
            self.died_at_the_point |=
                is_wanted(&process.name, process.fate, status, is_the_point, self.case)?;
            let stays_dead = process.fate == Fate::Doomed
                || (process.is_replica && others_live && !self.case.starts_anew());
            if !stays_dead {
                process.start(place);
            }
        }
        Ok(())
    }

    /// Ends all processes and sees that they end well.
    pub(crate) async fn end(mut self) -> Result<(), String> {
        for process in &mut self.processes {
            if let Some(child) = &mut process.child {
                drop(child.stdin.take());
            }
        }
        for process in &mut self.processes {
            let Some(child) = &mut process.child else { continue };
            match tokio::time::timeout(END_WITHIN, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => {
                    return Err(format!("{} ended with {status} when told to end", process.name));
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("{} did not end within {END_WITHIN:?}", process.name)),
            }
        }
        Ok(())
    }
}

/// Whether this end is the one at the point. An error if nobody asked for it.
fn is_wanted(
    name: &str,
    fate: Fate,
    status: ExitStatus,
    at_the_point: Option<Fired>,
    case: Case,
) -> Result<bool, String> {
    if at_the_point.is_some() && case.action == Action::Kill {
        return if status.signal() == Some(9) {
            Ok(true)
        } else {
            Err(format!("{name} was to be killed: {status}"))
        };
    }
    match fate {
        Fate::Doomed => Ok(false),
        Fate::Leaves if status.success() => Ok(false),
        Fate::Leaves | Fate::Stays => Err(format!("{name} ended by itself: {status}")),
    }
}

fn wake(pid: u32) -> Result<(), String> {
    let done = std::process::Command::new("kill").args(["-CONT", &pid.to_string()]).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("kill -CONT {pid}: {status}")),
        Err(error) => Err(format!("kill -CONT {pid}: {error}")),
    }
}
