//! One stack shared by all test processes of a run.
//!
//! The first process to ask starts the servers and a helper process; each holds a shared lock on the file `users`
//! for as long as it lives; the helper stops the servers when nobody has held it for some seconds. So neither a
//! panicking nor a killed test process leaves servers behind, and none stops them under another.

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Doing, Error};
use crate::find::Tools;
use crate::process::{self, Life};
use crate::{client, install, nats, place, postgres};

/// How long the servers outlive the last test process. The test binaries of one run follow each other at once; the
/// examples in documentation are built in between.
const GRACE_SECONDS: u32 = 15;

/// The servers that the tests of this run share. Each test takes a database and a prefix of its own.
#[derive(Debug)]
pub struct TestStack {
    /// The address of the database `postgres`, as superuser.
    pub pg_admin_url: String,
    /// The address of the nats-server.
    pub nats_url: String,
    pg_port: u16,
    folder: PathBuf,
    /// Held until this process ends.
    _user: File,
}

impl TestStack {
    /// The shared stack: started by the first test process of a run, found by the others.
    ///
    /// It lives in `test-stack` in Cargo's target folder, begins empty, and installs what is missing unless
    /// `SNORRI_NO_INSTALL` is set. Each pair of programs has a stack of its own there: runs that choose other servers
    /// by `SNORRI_STACK_POSTGRES` and `SNORRI_STACK_NATS` neither share nor disturb this one.
    pub fn get() -> Result<&'static Self, Error> {
        static STACK: OnceLock<TestStack> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = STACK.get() {
            return Ok(stack);
        }
        let tools = install::ensure_tools(env::var_os("SNORRI_NO_INSTALL").is_none(), &say)?;
        let folder = target_folder().join("test-stack").join(tools.key());
        let stack = Self::attach(&tools, &folder, GRACE_SECONDS)?;
        Ok(STACK.get_or_init(|| stack))
    }

    /// Attaches to the stack in a folder, starting it if it is not running.
    fn attach(tools: &Tools, dir: &Path, grace: u32) -> Result<Self, Error> {
        fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
        let dir = fs::canonicalize(dir).doing(|| format!("find {}", dir.display()))?;
        let open = |name: &str| {
            let path = dir.join(name);
            File::options().create(true).truncate(false).read(true).write(true).open(&path)
        };
        let start = open("start.lock").doing(|| format!("write in {}", dir.display()))?;
        start.lock().doing(|| "wait for another process that starts the test stack".into())?;
        let user = open("users").doing(|| format!("write in {}", dir.display()))?;
        // Waits while the helper of a former run stops its servers.
        user.lock_shared().doing(|| "wait for the end of a former test stack".into())?;

        let note = dir.join("endpoints");
        let found = Servers::running(&note);
        let guarded = found.is_some() && helper_is_there(&dir)?;
        let servers = found.map_or_else(|| Servers::start(tools, &dir, &note), Ok)?;
        if !guarded {
            servers.guard(&dir, grace)?;
        }
        let Servers { pg_port, nats_port, .. } = servers;
        Ok(Self {
            pg_admin_url: postgres::url(pg_port, "postgres"),
            nats_url: nats::url(nats_port),
            pg_port,
            folder: dir,
            _user: user,
        })
    }

    /// The address of a database of this run's Postgres.
    pub fn url(&self, database: &str) -> String {
        postgres::url(self.pg_port, database)
    }

    /// Makes a new empty database and answers its address. `hint` becomes a part of its name.
    pub fn database(&self, hint: &str) -> Result<String, Error> {
        let name = unique(hint);
        postgres::create_database(self.pg_port, &name, None)?;
        Ok(self.url(&name))
    }

    /// Makes a new database as a copy of `template`, and answers its address.
    ///
    /// The first in the run to name that template makes it: an empty database, filled by `init`, which is given
    /// its address. Others wait for that, and their `init` is not called. A run that soon follows another may find
    /// the other's template, so let the name tell the content (a hash of the migrations, say).
    pub fn database_from<E: From<Error>>(
        &self,
        template: &str,
        hint: &str,
        init: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<String, E> {
        self.ensure_template(template, init)?;
        let name = unique(hint);
        postgres::create_database(self.pg_port, &name, Some(template))?;
        Ok(self.url(&name))
    }

    /// A word that no other test has: for subject prefixes, stream names, keys.
    pub fn prefix(&self, hint: &str) -> String {
        unique(hint)
    }

    /// Runs statements in a database.
    pub fn execute(&self, database: &str, sql: &str) -> Result<(), Error> {
        client::query(self.pg_port, database, sql).map(drop)
    }

    /// Runs a query in a database and answers its rows as text; `None` is NULL.
    pub fn query(&self, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        client::query(self.pg_port, database, sql)
    }

    fn ensure_template<E: From<Error>>(
        &self,
        template: &str,
        init: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let lock_file = self.folder.join("template.lock");
        let lock = File::create(&lock_file).doing(|| format!("write {}", lock_file.display()))?;
        lock.lock().doing(|| format!("lock {}", lock_file.display()))?;
        let literal = template.replace('\'', "''");
        if !self
            .query("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{literal}'"))?
            .is_empty()
        {
            return Ok(());
        }
        // Made under another name and renamed when complete: a failed one is never taken for a template.
        let unfinished = format!("{template}_unfinished");
        let drop_it = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", postgres::quoted(&unfinished));
        self.execute("postgres", &drop_it)?;
        postgres::create_database(self.pg_port, &unfinished, None)?;
        init(&self.url(&unfinished))?;
        let rename = format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{0}_unfinished'; \
             ALTER DATABASE {1} RENAME TO {2}",
            literal,
            postgres::quoted(&unfinished),
            postgres::quoted(template)
        );
        // Two statements in one message are one transaction; the rename may be in one.
        self.execute("postgres", &rename)?;
        Ok(())
    }
}

/// Servers that outlive the process that started them.
#[derive(Debug)]
struct Servers {
    pg_port: u16,
    nats_port: u16,
    pg_pid: u32,
    nats_pid: u32,
    /// Where that Postgres has its data; tells it from any other at that port.
    pg_data: String,
}

impl Servers {
    /// The servers noted by the process that started them, if both still answer.
    fn running(note: &Path) -> Option<Self> {
        let text = fs::read_to_string(note).ok()?;
        let mut lines = text.lines();
        let [pg_port, nats_port] = [lines.next()?.parse().ok()?, lines.next()?.parse().ok()?];
        let [pg_pid, nats_pid] = [lines.next()?.parse().ok()?, lines.next()?.parse().ok()?];
        let pg_data = lines.next()?.to_owned();
        let answer = client::query(pg_port, "postgres", "SHOW data_directory").ok()?;
        let ours = answer.first()?.first()?.as_deref()? == pg_data;
        (ours && nats::is_ready(&nats::greeting(nats_port)?)).then_some(Self {
            pg_port,
            nats_port,
            pg_pid,
            nats_pid,
            pg_data,
        })
    }

    /// Starts both on empty data, and notes them.
    fn start(tools: &Tools, dir: &Path, note: &Path) -> Result<Self, Error> {
        let data = place::data_folder(&dir.join("servers"), &say)?;
        // Only a run whose helper was killed, or one whose servers broke, leaves any.
        postgres::end_leftover(&data)?;
        nats::end_leftover(&data);
        for folder in ["pg", "nats"] {
            place::remove(&data.join(folder))?;
        }
        let postgres = postgres::Postgres::start(tools, &data, false, None, Life::Own)?;
        let nats = nats::Nats::start(tools, &data, None, Life::Own)?;
        let servers = Self {
            pg_port: postgres.port(),
            nats_port: nats.port(),
            pg_pid: postgres.pid().unwrap_or(0),
            nats_pid: nats.pid().unwrap_or(0),
            pg_data: data.join("pg").display().to_string(),
        };
        let Self { pg_port, nats_port, pg_pid, nats_pid, pg_data } = &servers;
        fs::write(note, format!("{pg_port}\n{nats_port}\n{pg_pid}\n{nats_pid}\n{pg_data}\n"))
            .doing(|| format!("write {}", note.display()))?;
        // The next process finds them even if this one is killed here, and sees to a helper.
        postgres.leave_running();
        nats.leave_running();
        Ok(servers)
    }

    /// Starts the helper that ends these servers; it first waits for the end of a helper of earlier ones.
    fn guard(&self, dir: &Path, grace: u32) -> Result<(), Error> {
        let doing = || "start the helper that ends the test stack".to_owned();
        File::create(dir.join("helper")).doing(doing)?;
        let path = |name: &str| {
            let bytes = dir.join(name).into_os_string().into_encoded_bytes();
            CString::new(bytes).map_err(|_| io::Error::other("a zero byte in a path")).doing(doing)
        };
        let servers = [(self.pg_pid, libc::SIGINT), (self.nats_pid, libc::SIGTERM)];
        process::guard_until_unused(&path("users")?, &path("helper")?, servers, grace).doing(doing)
    }
}

fn say(line: &str) {
    eprintln!("test stack: {line}");
}

fn helper_is_there(dir: &Path) -> Result<bool, Error> {
    let file = File::create(dir.join("helper")).doing(|| format!("write in {}", dir.display()))?;
    Ok(file.try_lock().is_err())
}

fn unique(hint: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let hint: String = hint
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '_')
        .take(30)
        .collect::<String>()
        .to_ascii_lowercase();
    // Process ids come round again; together with the time they do not.
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() & 0xff_ffff;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("t_{hint}_{}_{millis:x}_{number}", std::process::id())
}

/// Cargo's target folder.
fn target_folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(named) if named.is_absolute() => named,
        Some(named) => beside.join(named),
        None if beside.exists() => beside.join("target"),
        None => env::temp_dir().join(format!("snorri-test-{}", process::uid())),
    }
}
