//! Which servers can be trusted.

/// What to think of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to say.
    Fine,
    /// It works; a newer one has fewer known losses.
    Old,
    /// It has lost whole streams on a plain kill (nats-server issue 6888, fixed in 2.10.23).
    Refused,
}

/// Judges a version such as `2.10.22` or `2.11.0-preview.2`. One that cannot be read passes.
pub(crate) fn judge(version: &str) -> Verdict {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return Verdict::Fine;
    };
    match (major, minor, patch) {
        (2, 10, 20..=22) => Verdict::Refused,
        older if older < (2, 10, 23) => Verdict::Old,
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_versions_that_lose_streams_are_refused_and_older_ones_are_named() {
        for (version, verdict) in [
            ("2.9.10", Verdict::Old),
            ("2.10.19", Verdict::Old),
            ("2.10.20", Verdict::Refused),
            ("2.10.22", Verdict::Refused),
            ("2.10.23", Verdict::Fine),
            ("2.11.0-preview.2", Verdict::Fine),
            ("v2.15.1", Verdict::Fine),
            ("nightly", Verdict::Fine),
        ] {
            assert_eq!(judge(version), verdict, "{version}");
        }
    }
}
