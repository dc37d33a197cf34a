//! What happens at a point: which one is armed, how its hits are counted, and the ways to go wrong.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Seek as _, Write as _};
use std::pin::pin;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use crate::Point;

/// The variable that arms a point.
pub const ENVIRONMENT: &str = "SNORRI_KILL_POINT";
/// How long a hang lasts.
pub const HANG: Duration = Duration::from_secs(10);

/// What happens at the armed point, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `kill`: SIGKILL to this process.
    Kill,
    /// `hang`: the task that is there stands still for [`HANG`]; the rest of the process goes on.
    Hang,
    /// `stop`: SIGSTOP to this process, until somebody sends it SIGCONT: nothing of it goes on.
    Stop,
    /// `error`: what is done there fails.
    Error,
}

impl Action {
    /// Its name in the environment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Stop => "stop",
            Self::Error => "error",
        }
    }
}

/// A point that is armed.
#[derive(Debug)]
struct Armed {
    point: Point,
    action: Action,
    /// At which hit, from 1.
    at: u64,
    /// Where the hits are counted when several processes are to count together.
    file: Option<String>,
    hits: AtomicU64,
    /// It was acted on.
    is_over: AtomicBool,
}

impl FromStr for Armed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(4, ':');
        let (name, action, at) =
            (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or("1"));
        let point = Point::ALL.iter().find(|point| point.name() == name);
        let actions = [Action::Kill, Action::Hang, Action::Stop, Action::Error];
        Ok(Self {
            point: *point.ok_or_else(|| format!("there is no point `{name}`"))?,
            action: *actions
                .iter()
                .find(|known| known.name() == action)
                .ok_or_else(|| format!("`{action}` is not kill, hang, stop or error"))?,
            at: at
                .parse()
                .ok()
                .filter(|at| *at > 0)
                .ok_or_else(|| format!("`{at}` is no number of a hit, from 1"))?,
            file: parts.next().map(str::to_owned),
            hits: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }
}

impl Armed {
    /// Counts a hit of the point and answers its number; 0 when it does not count.
    fn count(&self, point: Point) -> u64 {
        if self.point != point {
            return 0;
        }
        match &self.file {
            None => self.hits.fetch_add(1, Ordering::Relaxed) + 1,
            Some(file) => match count_in(file) {
                Ok(number) => number,
                // Not there yet: hits do not count yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => panic!("{ENVIRONMENT}: cannot count in {file}: {error}"),
            },
        }
    }

    /// Counts a hit of the point; says whether it is the one to act at.
    fn hit(&self, point: Point) -> bool {
        self.count(point) == self.at
    }

    /// Whether nobody has acted yet; from now on somebody has.
    fn claim(&self) -> bool {
        let is_first = !self.is_over.swap(true, Ordering::Relaxed);
        is_first && self.file.as_ref().is_none_or(|file| File::create_new(format!("{file}.claimed")).is_ok())
    }

    /// Says aloud, and in a file for whoever waits for it, that it happens now.
    fn say(&self) {
        let Self { point, action, at, file, .. } = self;
        let pid = std::process::id();
        let said = format!("kill point {}: {} at hit {at}, process {pid}", point.name(), action.name());
        eprintln!("{said}");
        if let Some(file) = file {
            let ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
            // Whole or not at all, since it is read while it is written.
            let (new, fired) = (format!("{file}.new"), format!("{file}.fired"));
            std::fs::write(&new, format!("{pid} {ms}"))
                .and_then(|()| std::fs::rename(&new, &fired))
                .unwrap_or_else(|error| panic!("{ENVIRONMENT}: cannot write {fired}: {error}"));
        }
    }

    /// Acts. Returns whether what is done there is to fail.
    async fn act(&self) -> bool {
        self.say();
        match self.action {
            Action::Kill => signal(libc::SIGKILL),
            Action::Stop => signal(libc::SIGSTOP),
            Action::Hang => tokio::time::sleep(HANG).await,
            Action::Error => return true,
        }
        false
    }
}

/// Adds one byte to the file and answers its new length: the hit's number, whoever else counts there.
fn count_in(file: &str) -> io::Result<u64> {
    let mut file = File::options().append(true).open(file)?;
    file.write_all(b".")?;
    file.stream_position()
}

#[expect(unsafe_code, reason = "a process cannot signal itself by std alone")]
fn signal(signal: libc::c_int) {
    // SAFETY: getpid and kill have no preconditions.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let text = std::env::var(ENVIRONMENT).ok()?;
            match text.parse() {
                Ok(armed) => Some(armed),
                Err(why) => panic!("{ENVIRONMENT}={text}: {why}"),
            }
        })
        .as_ref()
}

/// The process is at a point. Returns whether what is done there is to fail.
pub async fn reached(point: Point) -> bool {
    match armed() {
        Some(armed) if armed.hit(point) => armed.act().await,
        _ => false,
    }
}

/// The same, but awaits something else first when this is the hit to act at.
pub async fn reached_after<T>(point: Point, before: impl Future<Output = T>) -> bool {
    match armed() {
        Some(armed) if armed.hit(point) => {
            before.await;
            armed.act().await
        }
        _ => false,
    }
}

/// The process is at a point while `work` is on its way: begun, with its answer not there yet. It is given up when
/// it is to fail. One that is answered at once is never on its way; then it is the next hit that counts.
pub async fn under_way<T, E: From<io::Error>>(
    point: Point,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(armed) = armed().filter(|armed| armed.count(point) >= armed.at) else { return work.await };
    let mut work = pin!(work);
    if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return result;
    }
    if armed.claim() && armed.act().await { Err(error().into()) } else { work.await }
}

/// The error of an operation that is to fail: one of the kind that another try may mend.
pub fn error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "asked for at a kill point")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_armed_is_read_and_what_cannot_be_is_refused() {
        let armed: Armed = "committed:hang:3:/tmp/some:where".parse().expect("armed");
        assert_eq!((armed.point, armed.action, armed.at), (Point::Committed, Action::Hang, 3));
        assert_eq!(armed.file.as_deref(), Some("/tmp/some:where"));
        for bad in
            ["", "committed", "committed:explode", "comitted:kill", "committed:kill:0", "committed:kill:x"]
        {
            assert!(bad.parse::<Armed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_unlike() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn hits_are_counted_from_when_the_file_is_there_and_by_all_together() {
        let file = std::env::temp_dir().join(format!("snorri-kill-{}", std::process::id()));
        let armed = || -> Armed { format!("committed:error:2:{}", file.display()).parse().expect("armed") };
        let (one, other) = (armed(), armed());
        assert!(!one.hit(Point::Committed) && !one.hit(Point::Committed), "there is no file yet");
        std::fs::write(&file, "").expect("written");
        assert!(!one.hit(Point::Published) && !one.hit(Point::Committed));
        assert!(other.hit(Point::Committed), "the second hit, of another process");
        assert!(!one.hit(Point::Committed));
        assert!(one.claim() && !one.claim() && !other.claim(), "one of them acts, once");
        std::fs::remove_file(&file).expect("deleted");
        std::fs::remove_file(file.with_extension("claimed")).expect("deleted");
    }

    #[tokio::test]
    async fn nothing_happens_when_nothing_is_armed() {
        assert!(!reached(Point::Committed).await);
        assert_eq!(under_way(Point::CommitUnderWay, async { Ok::<_, io::Error>(7) }).await.expect("done"), 7);
    }
}
