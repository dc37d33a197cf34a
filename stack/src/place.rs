//! Where files go: folders that the servers' user can enter, and the cache of installed programs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Doing, Error};
use crate::process;

/// Names, in a folder that the servers' user cannot enter, the folder used in its place.
const POINTER: &str = "data-is-elsewhere";

/// Makes the folder for a stack's data and answers the path the servers can use.
///
/// That is `dir` itself, unless this process is root and a parent of `dir` is closed to the servers' user: then it
/// is a folder under `/var/tmp`, and `dir` gets a file that names it.
pub(crate) fn data_folder(dir: &Path, say: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).doing(|| format!("make the folder {}", dir.display()))?;
    let dir = fs::canonicalize(dir).doing(|| format!("find the folder {}", dir.display()))?;
    if can_enter(&dir) {
        return Ok(dir);
    }
    let other = stand_in(&dir);
    make_own(&other, 0o755)?;
    let pointer = dir.join(POINTER);
    fs::write(&pointer, format!("{}\n", other.display())).doing(|| format!("write {}", pointer.display()))?;
    say(&format!(
        "{} is closed to the user the servers run as; their data is in {}",
        dir.display(),
        other.display()
    ));
    Ok(other)
}

/// Deletes a stack's folder, and the one that stands in for it.
pub(crate) fn wipe(dir: &Path) -> Result<(), Error> {
    if let Ok(dir) = fs::canonicalize(dir) {
        if dir.join(POINTER).exists() {
            remove(&stand_in(&dir))?;
        }
        remove(&dir)?;
    }
    Ok(())
}

/// Deletes a folder with all that is in it; one that is not there is no error.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.doing(|| format!("delete {}", dir.display())),
    }
}

/// The folder of programs that this crate installed without the system's package manager; made when missing.
pub(crate) fn cache() -> Result<PathBuf, Error> {
    if let Some(dir) = home_cache()
        && fs::create_dir_all(&dir).is_ok()
        && writable(&dir)
    {
        return Ok(dir);
    }
    let dir = shared_cache();
    make_own(&dir, 0o755)?;
    Ok(dir)
}

/// That folder, if there is one already.
pub(crate) fn existing_cache() -> Option<PathBuf> {
    let own =
        |dir: &PathBuf| fs::symlink_metadata(dir).is_ok_and(|it| it.is_dir() && it.uid() == process::uid());
    home_cache().into_iter().chain([shared_cache()]).find(own)
}

/// Root's home is closed to the servers' user, so root has none there.
fn home_cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    (!process::is_root()).then(|| caches.join("snorri"))
}

fn shared_cache() -> PathBuf {
    if process::is_root() {
        return "/var/cache/snorri".into();
    }
    format!("/var/tmp/snorri-cache-{}", process::uid()).into()
}

fn stand_in(dir: &Path) -> PathBuf {
    PathBuf::from(format!("/var/tmp/snorri-{:016x}", hash_of([dir.as_os_str()])))
}

/// A number for words that is the same on every run (FNV-1a), for names of folders.
pub(crate) fn hash_of<const N: usize>(words: [&OsStr; N]) -> u64 {
    // No path has a zero byte, so words that differ stay different when they are joined.
    let bytes = words.iter().map(|word| word.as_encoded_bytes()).collect::<Vec<_>>().join(&0);
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Makes a folder in a place that others can write to, and refuses one that somebody else has put there.
fn make_own(dir: &Path, mode: u32) -> Result<(), Error> {
    let doing = || format!("use {} as a folder of this user's own", dir.display());
    fs::DirBuilder::new().recursive(true).mode(mode).create(dir).doing(doing)?;
    let found = fs::symlink_metadata(dir).doing(doing)?;
    if !found.is_dir() || found.uid() != process::uid() {
        return Err(std::io::Error::other("it belongs to somebody else")).doing(doing);
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).doing(doing)
}

fn writable(dir: &Path) -> bool {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, "").is_ok() && fs::remove_file(&probe).is_ok()
}

fn can_enter(dir: &Path) -> bool {
    if process::server_user().is_none() {
        return true;
    }
    let mut enter = Command::new("/bin/sh");
    enter.args(["-c", "cd \"$0\""]).arg(dir).current_dir("/");
    process::output_as_server_user(&mut enter).is_ok_and(|output| output.status.success())
}
