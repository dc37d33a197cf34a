//! The folder of a command that deletes it at its end: claimed, so that nobody else's files are deleted.

use std::path::{Path, PathBuf};

use super::private::Error;

fn marker(dir: &Path, what: &str) -> PathBuf {
    dir.join(format!("snorri-{what}.pid"))
}

/// Takes the folder for this run of `what`. Refuses one that holds anything else, or in which another runs.
pub(crate) fn claim(dir: &Path, what: &str) -> Result<(), Error> {
    let marker = marker(dir, what);
    if let Ok(text) = std::fs::read_to_string(&marker) {
        let pid: u32 = text.trim().parse().unwrap_or(0);
        if pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists() {
            let dir = dir.display();
            return Err(Error::Api(format!(
                "`snorri {what}` runs in {dir} already (process {pid}): give this one --dir"
            )));
        }
        clear(dir);
    } else if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let dir = dir.display();
        return Err(Error::Api(format!(
            "{dir} is not empty and not of `snorri {what}`, which deletes its folder at the end: give it one of its \
             own by --dir"
        )));
    }
    let mark =
        std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&marker, std::process::id().to_string()));
    mark.map_err(|error| Error::Api(format!("cannot write in {}: {error}", dir.display())))
}

/// Deletes a folder that was claimed.
pub(crate) fn clear(dir: &Path) {
    if let Err(error) = snorri_stack::Stack::wipe(&dir.join("servers")) {
        eprintln!("could not delete {}: {error}", dir.display());
    }
    // Never there, or gone: both are as wanted.
    let _ = std::fs::remove_dir_all(dir);
    if let Some(parent) = dir.parent() {
        let _ = std::fs::remove_dir(parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_somebody_elses_files_is_refused_and_left_alone() {
        let dir = std::env::temp_dir().join(format!("snorri-claim-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("thesis.txt"), "years of work").expect("a file");
        assert!(claim(&dir, "demo").is_err());
        assert!(dir.join("thesis.txt").exists());
        std::fs::remove_file(dir.join("thesis.txt")).expect("deleted");
        claim(&dir, "demo").expect("an empty folder is taken");
        claim(&dir, "demo").expect("and its own taken again");
        // The first process of a machine is always alive.
        std::fs::write(marker(&dir, "demo"), "1").expect("a marker");
        assert!(claim(&dir, "demo").is_err(), "a demo runs there");
        std::fs::remove_dir_all(&dir).expect("deleted");
    }
}
