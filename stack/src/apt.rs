//! Debian's and Ubuntu's packages: installed as root, or unpacked into the cache without being root.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Doing, Error};
use crate::install::{Missing, fill_folder, run_quietly};

/// Installs the packages named by its arguments. No server is started and no cluster is made by the packages: a
/// `policy-rc.d` is put in place for the time of the installation unless there is one, and `createcluster.conf` is
/// written unless there is one.
const SCRIPT: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
fi
if [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
set -- -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@"
if ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 && apt-get "$@"; then exit 0; fi
apt-get -q update
apt-get "$@"
"#;

pub(crate) fn as_root(missing: Missing, _cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    install(Command::new("sh"), missing, say)
}

pub(crate) fn by_sudo(missing: Missing, _cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "sh"]);
    install(sudo, missing, say)
}

fn install(mut shell: Command, missing: Missing, say: &dyn Fn(&str)) -> Result<(), Error> {
    let packages = packages(missing);
    say(&format!("  apt-get install --no-install-recommends {}", packages.join(" ")));
    shell.args(["-c", SCRIPT, "apt"]).args(packages);
    run_quietly(&mut shell).map(drop)
}

fn packages(missing: Missing) -> Vec<&'static str> {
    let postgres = missing.postgres.then_some("postgresql");
    postgres.into_iter().chain(missing.nats.then_some("nats-server")).collect()
}

/// Downloads the packages by apt, which checks their signatures, and unpacks them into the cache. Needs no root:
/// apt is given lists and a cache of its own.
pub(crate) fn unpack(missing: Missing, cache: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
    let own = Own::new(cache)?;
    say(&format!("  apt-get update, with lists of its own in {}", own.root.display()));
    run_quietly(own.apt_get().args(["-q", "update"]))?;
    if missing.postgres {
        own.fetch("postgresql", &postgres_tree(cache), say)?;
    }
    if missing.nats {
        own.fetch("nats-server", &nats_tree(cache), say)?;
    }
    crate::place::remove(&own.root)
}

/// An apt with lists and a cache of its own.
struct Own {
    root: PathBuf,
}

impl Own {
    fn new(cache: &Path) -> Result<Self, Error> {
        let root = cache.join("apt");
        for folder in ["state", "lists/partial", "cache/archives/partial"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).doing(|| format!("make {}", folder.display()))?;
        }
        Ok(Self { root })
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        for (option, folder) in
            [("Dir::State", "state"), ("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")]
        {
            command.arg("-o").arg(format!("{option}={}", self.root.join(folder).display()));
        }
        for option in [
            "Dir::State::status=/var/lib/dpkg/status",
            "Debug::NoLocking=1",
            "APT::Sandbox::User=",
            "Acquire::Languages=none",
            "APT::Update::Post-Invoke::=",
            "DPkg::Post-Invoke::=",
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }

    /// Downloads a package with the libraries that this machine lacks, and unpacks all of them into `tree`.
    fn fetch(&self, package: &str, tree: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        let mut plan = self.apt_get();
        plan.args(["-s", "-q", "--no-install-recommends", "install", package]);
        let needed = needed(&run_quietly(&mut plan)?);
        say(&format!("  apt-get download {}", needed.join(" ")));
        fill_folder(tree, |part| {
            let debs = part.join("debs");
            fs::create_dir_all(&debs).doing(|| format!("make {}", debs.display()))?;
            run_quietly(self.apt_get().args(["-q", "download"]).args(&needed).current_dir(&debs))?;
            say(&format!("  dpkg-deb -x, {} packages into {}", needed.len(), tree.display()));
            let entries = fs::read_dir(&debs).doing(|| format!("read {}", debs.display()))?;
            for deb in entries.flatten().map(|entry| entry.path()) {
                run_quietly(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(part))?;
            }
            crate::place::remove(&debs)
        })
    }
}

/// The packages, of those that a simulated installation names, which the servers need to run.
fn needed(plan: &str) -> Vec<String> {
    // Not loaded by the servers; the C library must stay the one that this machine's loader belongs to.
    const LEFT_OUT: [&str; 7] = ["libllvm", "libz3", "libperl", "libgdbm", "libjson", "libc-", "libc6"];
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let wanted = |name: &&str| {
        let numbered = |prefix| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest: &str| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        let library = name.starts_with("lib") && !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        library || *name == "nats-server" || numbered("postgresql-") || numbered("postgresql-client-")
    };
    names.filter(wanted).map(str::to_owned).collect()
}

pub(crate) fn postgres_tree(cache: &Path) -> PathBuf {
    cache.join("debian-postgres")
}

fn nats_tree(cache: &Path) -> PathBuf {
    cache.join("debian-nats")
}

/// Where the unpacked `nats-server` is.
pub(crate) fn nats_server(cache: &Path) -> PathBuf {
    nats_tree(cache).join("usr/sbin/nats-server")
}

/// The folders of libraries in an unpacked tree.
pub(crate) fn library_path(tree: &Path) -> Option<OsString> {
    let lib = fs::read_dir(tree.join("usr/lib")).into_iter().flatten();
    let more = fs::read_dir(tree.join("lib")).into_iter().flatten();
    let folders = lib.chain(more).flatten().map(|entry| entry.path());
    let libraries = folders.filter(|folder| folder.to_string_lossy().contains("-linux-"));
    std::env::join_paths(libraries).ok().filter(|paths| !paths.is_empty())
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn only_what_the_servers_load_is_fetched() {
        let plan = "Reading package lists...\nInst perl (5.36 Debian)\nInst libllvm14 (1:14 Debian)\n\
                    Inst libpq5 (15.20 Debian)\nInst postgresql-15 (15.20 Debian)\nInst postgresql (15+248 Debian)\n\
                    Inst postgresql-client-common (248 Debian)\nConf libpq5 (15.20 Debian)\n";
        assert_eq!(needed(plan), ["libpq5", "postgresql-15"]);
    }
}
