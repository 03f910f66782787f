//! A result that is handed over once, from the thread that works to whoever waits: a task or a thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::CommitError;

/// What a commit ends with.
pub(crate) type Outcome = Result<(), CommitError>;

/// The waiting side.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
}

/// The working side. Dropped without a result it reports that the spool is closed.
#[derive(Debug)]
pub(crate) struct Completer {
    shared: Arc<Shared>,
    done: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// Makes both sides.
pub(crate) fn pair() -> (Ticket, Completer) {
    let shared = Arc::new(Shared::default());
    (
        Ticket {
            shared: Arc::clone(&shared),
        },
        Completer {
            shared,
            done: false,
        },
    )
}

impl Ticket {
    /// Waits as a task.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.shared.state();
        match &state.outcome {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits as a thread.
    pub(crate) fn wait(&self) -> Outcome {
        let mut state = self.shared.state();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the result if it is there.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.shared.state().outcome.clone()
    }
}

impl Completer {
    /// Hands the result over.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let waker = {
            let mut state = self.shared.state();
            state.outcome = Some(outcome);
            state.waker.take()
        };
        self.shared.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(Err(CommitError::Closed));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_reaches_a_waiting_thread() {
        let (ticket, completer) = pair();
        let waiter = std::thread::spawn(move || ticket.wait());
        completer.complete(Ok(()));
        assert!(waiter.join().expect("the thread").is_ok());
    }

    #[test]
    fn a_dropped_completer_reports_the_close() {
        let (ticket, completer) = pair();
        assert!(ticket.outcome().is_none());
        drop(completer);
        assert!(matches!(ticket.wait(), Err(CommitError::Closed)));
    }
}
