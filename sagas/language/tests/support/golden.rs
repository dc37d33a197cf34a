//! Files that are made by the program and kept beside it: they are compared, and made anew when asked for.

use std::path::PathBuf;

/// The environment variable that has them made anew.
const RENEW: &str = "SNORRI_RENEW";

/// A path of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// Reads a file of the repository.
#[expect(clippy::disallowed_methods, reason = "tests read the files that the crate is about")]
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts of all definitions among the examples, by file name.
#[expect(clippy::disallowed_methods, reason = "tests read the files that the crate is about")]
#[allow(dead_code, reason = "not every test looks at all of them")]
pub(crate) fn examples() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(repository("sagas/definitions")).expect("the examples");
    let mut names: Vec<String> =
        folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.rsplit_once('.').is_some_and(|(_, kind)| kind == "yaml"));
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    names.into_iter().map(|name| (name.clone(), read(&format!("sagas/definitions/{name}")))).collect()
}

/// Compares what was made with the file that is kept. With `SNORRI_RENEW=1` in the environment the file is written instead.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "tests renew the files that the crate makes")]
pub(crate) fn is_kept(path: &str, made: &str) {
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(repository(path), made).expect("written");
        return;
    }
    let kept = std::fs::read_to_string(repository(path)).unwrap_or_default();
    if kept != made {
        let line = kept.lines().zip(made.lines()).take_while(|(kept, made)| kept == made).count();
        panic!(
            "{path} is not what the program makes, from line {} on: look at the difference after\n    \
             {RENEW}=1 cargo test -p snorri-language\n{:?}\nis now\n{:?}",
            line + 1,
            kept.lines().nth(line),
            made.lines().nth(line),
        );
    }
}
