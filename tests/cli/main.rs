//! The commands that need no server, as their users meet them: what they print and with what they exit.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "tests")]

mod check;
