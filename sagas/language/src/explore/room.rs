//! How much of its time and memory an exploration has left. What follows from one state may be more than both: twenty steps
//! that begin at once, each with a condition, can begin in a million ways. So it is looked at with each of them.

use std::time::Duration;

use super::Stopped;
use super::world::World;

/// An exploration stops in the middle of a layer when it has taken its time and this part of it more.
const PATIENCE: u32 = 4;
/// The most that the states which are kept may take, roughly, in bytes.
const KEPT_MAX: usize = 256 * 1024 * 1024;
/// The most that what follows from one state may take.
const FOLLOWING_MAX: usize = 64 * 1024 * 1024;

pub(super) struct Room<'a> {
    elapsed: &'a dyn Fn() -> Duration,
    time: Duration,
    /// A story is told: what was walked once is walked again.
    is_telling: bool,
    kept: usize,
    following: usize,
    stopped: Option<Stopped>,
}

impl<'a> Room<'a> {
    pub(super) fn new(time: Duration, elapsed: &'a dyn Fn() -> Duration) -> Self {
        Self { elapsed, time, is_telling: false, kept: 0, following: 0, stopped: None }
    }

    pub(super) fn elapsed(&self) -> Duration {
        (self.elapsed)()
    }

    /// From now on neither time nor memory is looked at.
    pub(super) fn tell(&mut self) {
        self.is_telling = true;
        self.stopped = None;
    }

    /// Whether nothing more may be walked.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.is_telling && self.stopped.is_none() && self.elapsed() > self.time + self.time / PATIENCE {
            self.stopped = Some(Stopped::Time);
        }
        self.stopped.is_some()
    }

    /// Why nothing more may be walked, if that is so.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// What follows from a state is looked for.
    pub(super) fn begin(&mut self) {
        self.following = 0;
    }

    /// Something that takes so much follows from it. Answers whether there is room for it.
    pub(super) fn follows(&mut self, bytes: usize) -> bool {
        self.following = self.following.saturating_add(bytes);
        if !self.is_telling && self.following > FOLLOWING_MAX {
            self.stopped = Some(Stopped::States);
        }
        !self.is_over()
    }

    pub(super) fn keep(&mut self, world: &World) {
        self.kept += world.weight();
        if self.kept > KEPT_MAX {
            self.stopped = Some(Stopped::States);
        }
    }

    pub(super) fn forget(&mut self, world: &World) {
        self.kept = self.kept.saturating_sub(world.weight());
    }
}
