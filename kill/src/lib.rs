//! Kill points: named places in the code at which a test has this process die, hang or fail.
//!
//! They are there in builds with `debug_assertions`, which is to say in every build for development and tests, and
//! nowhere else: in a release build the two macros leave nothing behind, and there is nothing else to call.
//! `docs/kill-points.md` has the list with what is lost at each place and who notices; `tests/kill` runs it.
//!
//! A point does nothing unless the environment names it: `SNORRI_KILL_POINT=committed:kill:1` kills the process
//! at the first batch that it commits. The form is `<point>:<action>:<hit>[:<file>]`; see [`Action`]. With a
//! file the hits of all processes that name it are counted together, from the moment when it is there.

#[cfg(debug_assertions)]
mod action;
#[cfg(debug_assertions)]
mod point;

#[cfg(debug_assertions)]
pub use action::{Action, ENVIRONMENT, HANG, error, reached, reached_after, under_way};
#[cfg(debug_assertions)]
pub use point::{Point, Side};

/// A place to die at. The last argument is what "it fails" means there, and is run when an error is asked for:
/// mostly a `return Err(…)`. With `if` only what meets a condition is a hit. With `after` a future is awaited
/// first, such as the flush that makes sure that what was sent before is really out.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! point {
    ($point:ident $(if $here:expr)? => after $before:expr, $fails:expr) => {
        if $($here &&)? $crate::reached_after($crate::Point::$point, $before).await {
            $fails
        }
    };
    ($point:ident if $here:expr, $fails:expr) => {
        if $here && $crate::reached($crate::Point::$point).await {
            $fails
        }
    };
    ($point:ident, $fails:expr) => {
        if $crate::reached($crate::Point::$point).await {
            $fails
        }
    };
}

/// A place to die at while a request is on its way: sent, and its answer not read. Gives the future's own result
/// unless an error is asked for.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! under_way {
    ($point:ident, $work:expr) => {
        $crate::under_way($crate::Point::$point, $work)
    };
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! point {
    ($($any:tt)*) => {};
}

/// The future itself in a release build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! under_way {
    ($point:ident, $work:expr) => {
        $work
    };
}
