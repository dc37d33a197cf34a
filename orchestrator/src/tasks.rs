//! The orchestrator's tasks. One that ends before it is told to, by a panic or by mistake, ends the whole
//! process: a replica with a dead lane would keep its heartbeat, and nobody would take its sagas over.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one orchestrator, and word of those that ended too early.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Ends all of them at once.
    end: CancellationToken,
    died: mpsc::Sender<&'static str>,
}

impl Tasks {
    /// No tasks yet. The receiver is told the name of each that ends too early.
    pub(crate) fn new() -> (Self, mpsc::Receiver<&'static str>) {
        let (died, word) = mpsc::channel(16);
        (Self { tracker: TaskTracker::new(), end: CancellationToken::new(), died }, word)
    }

    /// Runs a task that ends only after `stop`.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        stop: &CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (died, stop) = (self.died.clone(), stop.clone());
        let mut task = tokio::spawn(task);
        let end = self.end.clone();
        self.tracker.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = end.cancelled() => {
                    task.abort();
                    return;
                }
                ended = &mut task => ended,
            };
            if let Err(error) = &ended {
                tracing::error!(task = name, %error, "a task panicked");
            }
            if ended.is_err() || !stop.is_cancelled() {
                // The first word is enough; a full channel has it already.
                let _ = died.try_send(name);
            }
        });
    }

    /// Ends them wherever they are, and says nothing of it.
    pub(crate) fn abort(&self) {
        self.end.cancel();
    }

    /// Waits for all of them.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_too_early_is_told_of_and_one_that_was_stopped_is_not() {
        let (tasks, mut died) = Tasks::new();
        let stop = CancellationToken::new();
        tasks.spawn("panics", &stop, async { panic!("on purpose") });
        assert_eq!(died.recv().await, Some("panics"));
        tasks.spawn("ends", &stop, async {});
        assert_eq!(died.recv().await, Some("ends"));
        let told = stop.clone();
        tasks.spawn("stops", &stop, async move { told.cancelled().await });
        stop.cancel();
        tasks.ended().await;
        assert!(died.try_recv().is_err());
    }
}
