//! Which servers the environment asks for: any, those of one version, or a program at a path.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::error::Error;

/// Names the Postgres to use: a version such as `18`, or the folder with `postgres` and `initdb`.
pub(crate) const POSTGRES: &str = "SNORRI_STACK_POSTGRES";
/// Names the nats-server to use: a version such as `2.15`, or the program's path.
pub(crate) const NATS: &str = "SNORRI_STACK_NATS";

/// One server, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first usable one.
    Any,
    /// One whose version begins with these numbers.
    Version(Vec<u32>),
    /// This one and no other.
    Path(PathBuf),
}

/// Both servers, as they were asked for.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    pub(crate) postgres: Choice,
    pub(crate) nats: Choice,
}

impl Choices {
    /// What the environment asks for.
    pub(crate) fn of_environment() -> Result<Self, Error> {
        let read = |variable| Choice::read(variable, env::var_os(variable));
        Ok(Self { postgres: read(POSTGRES)?, nats: read(NATS)? })
    }
}

impl Choice {
    /// Reads a variable's value. Unset and empty ask for nothing. A path must be absolute: Cargo runs each test in
    /// the folder of its package, where a relative one would lead elsewhere.
    fn read(variable: &'static str, value: Option<OsString>) -> Result<Self, Error> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(Self::Any) };
        let path = PathBuf::from(&value);
        if path.is_absolute() {
            return Ok(Self::Path(path));
        }
        let text = value.to_string_lossy().into_owned();
        let numbers: Result<Vec<u32>, _> =
            text.trim_start_matches('v').split('.').map(str::parse::<u32>).collect();
        numbers.map(Self::Version).map_err(|_| Error::Choice { variable, value: text })
    }

    /// Whether a server of this version was asked for. Versions are compared number by number: `2.1` is not `2.15`.
    pub(crate) fn fits(&self, version: &str) -> bool {
        match self {
            Self::Any | Self::Path(_) => true,
            Self::Version(wanted) => numbers(version).take(wanted.len()).eq(wanted.iter().copied()),
        }
    }

    /// The major version, if one was asked for.
    pub(crate) fn major(&self) -> Option<u32> {
        match self {
            Self::Version(wanted) => wanted.first().copied(),
            Self::Any | Self::Path(_) => None,
        }
    }
}

/// As it was written.
impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Path(path) => path.display().fmt(out),
            Self::Version(wanted) => {
                let words: Vec<String> = wanted.iter().map(u32::to_string).collect();
                out.write_str(&words.join("."))
            }
        }
    }
}

/// The numbers a version begins with: 18 of `18beta1`; 2, 15 and 1 of `2.15.1-RC.2`.
pub(crate) fn numbers(version: &str) -> impl Iterator<Item = u32> {
    let end = version.find(|other: char| !other.is_ascii_digit() && other != '.').unwrap_or(version.len());
    version[..end].split('.').map_while(|number| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Choice, Error> {
        Choice::read(NATS, Some(value.into()))
    }

    #[test]
    fn a_value_is_a_version_or_an_absolute_path() {
        assert_eq!(Choice::read(NATS, None).expect("nothing asked for"), Choice::Any);
        assert_eq!(read("").expect("nothing asked for"), Choice::Any);
        assert_eq!(read("v2.15").expect("a version"), Choice::Version(vec![2, 15]));
        assert_eq!(read("/opt/nats-server").expect("a path"), Choice::Path("/opt/nats-server".into()));
        for wrong in ["latest", "bin/nats-server", "2.x", "2.", "-1", "~/nats-server"] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains(&format!("{NATS}={wrong}")), "{error}");
        }
    }

    #[test]
    fn a_version_fits_by_its_numbers() {
        for (wanted, version, fits) in [
            ("18", "18.6", true),
            ("18.6", "18.6", true),
            ("18.6.3", "18.6", false),
            ("18", "18beta1", true),
            ("1", "18.6", false),
            ("2.1", "2.15.1", false),
            ("2.15", "2.15.1-RC.2", true),
            ("2.15", "nightly", false),
        ] {
            assert_eq!(read(wanted).expect("a version").fits(version), fits, "{wanted} {version}");
        }
        assert!(Choice::Any.fits("nightly"));
    }
}
