//! A bounded queue between many senders, tasks or threads, and one working thread.
//!
//! A full mailbox slows its senders down; nothing is ever dropped. What must never wait (completions,
//! which only name items that are there) passes the bound.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The queue.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, u64)>,
    /// Senders that found no room.
    wakers: Vec<Waker>,
    closed: bool,
    /// Somebody asked the worker to look around.
    nudged: bool,
}

/// How a sender fared.
#[derive(Debug)]
pub(crate) enum Sent<T> {
    /// It is in the mailbox.
    Yes,
    /// There is no room now.
    Full(T),
    /// The mailbox takes nothing any more.
    Closed,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            wakers: Vec::new(),
            closed: false,
            nudged: false,
        };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            capacity,
        }
    }

    /// Puts `message` in if there is room; otherwise `waker`, if any, is called when there may be.
    pub(crate) fn try_send(&self, message: T, size: u64, waker: Option<&Waker>) -> Sent<T> {
        let mut state = self.state();
        if state.closed {
            return Sent::Closed;
        }
        if state.waiting.len() >= self.capacity {
            if let Some(waker) =
                waker.filter(|waker| !state.wakers.iter().any(|known| known.will_wake(waker)))
            {
                state.wakers.push(waker.clone());
            }
            return Sent::Full(message);
        }
        state.waiting.push_back((message, size));
        self.filled.notify_one();
        Sent::Yes
    }

    /// Puts `message` in, waiting for room. Returns whether the mailbox was open.
    pub(crate) fn send(&self, mut message: T, size: u64) -> bool {
        loop {
            match self.try_send(message, size, None) {
                Sent::Yes => return true,
                Sent::Closed => return false,
                Sent::Full(back) => message = back,
            }
            let state = self.state();
            if state.waiting.len() >= self.capacity && !state.closed {
                drop(
                    self.emptied
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            }
        }
    }

    /// Puts `message` in whether or not there is room. Returns whether the mailbox was open.
    pub(crate) fn send_always(&self, message: T, size: u64) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.waiting.push_back((message, size));
        self.filled.notify_one();
        true
    }

    /// Takes what is there, in order, up to `limit` bytes but at least one message.
    pub(crate) fn take(&self, limit: u64) -> Vec<T> {
        self.take_from(self.state(), limit)
    }

    /// Like [`take`](Self::take), but waits until something is there, somebody nudges, the mailbox is
    /// closed or `timeout` has passed. The second part tells whether the mailbox is closed.
    pub(crate) fn wait(&self, limit: u64, timeout: Option<Duration>) -> (Vec<T>, bool) {
        let mut state = self.state();
        while state.waiting.is_empty() && !state.closed && !state.nudged {
            match timeout {
                None => {
                    state = self
                        .filled
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                Some(timeout) => {
                    let result = self.filled.wait_timeout(state, timeout);
                    state = result.unwrap_or_else(PoisonError::into_inner).0;
                    break;
                }
            }
        }
        state.nudged = false;
        let closed = state.closed;
        (self.take_from(state, limit), closed)
    }

    fn take_from(&self, mut state: MutexGuard<'_, State<T>>, limit: u64) -> Vec<T> {
        let mut taken = Vec::new();
        let mut bytes = 0u64;
        while let Some((_, size)) = state.waiting.front() {
            bytes = bytes.saturating_add(*size);
            if bytes > limit && !taken.is_empty() {
                break;
            }
            taken.extend(state.waiting.pop_front().map(|(message, _)| message));
        }
        if !taken.is_empty() {
            let wakers = std::mem::take(&mut state.wakers);
            drop(state);
            self.emptied.notify_all();
            for waker in wakers {
                waker.wake();
            }
        }
        taken
    }

    /// Wakes the worker though there is no message.
    pub(crate) fn nudge(&self) {
        self.state().nudged = true;
        self.filled.notify_one();
    }

    /// Takes nothing any more; what is there can still be taken out.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.filled.notify_all();
        self.emptied.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_until_something_is_taken() {
        let mailbox = Mailbox::new(2);
        assert!(matches!(mailbox.try_send(1, 10, None), Sent::Yes));
        assert!(matches!(mailbox.try_send(2, 10, None), Sent::Yes));
        assert!(matches!(mailbox.try_send(3, 10, None), Sent::Full(3)));
        assert!(mailbox.send_always(4, 10));
        assert_eq!(mailbox.take(20), [1, 2]);
        assert_eq!(mailbox.take(1), [4]);
        assert!(matches!(mailbox.try_send(3, 10, None), Sent::Yes));
    }

    #[test]
    fn a_sender_that_waits_goes_on_when_there_is_room_or_the_mailbox_closes() {
        let mailbox = std::sync::Arc::new(Mailbox::new(1));
        assert!(mailbox.send(1, 1));
        let other = std::sync::Arc::clone(&mailbox);
        let sender = std::thread::spawn(move || (other.send(2, 1), other.send(3, 1)));
        assert_eq!(mailbox.wait(10, None).0, [1]);
        assert_eq!(mailbox.wait(10, None).0, [2]);
        assert_eq!(mailbox.wait(10, None).0, [3]);
        assert_eq!(sender.join().expect("the sender"), (true, true));
        mailbox.close();
        assert!(!mailbox.send(4, 1));
        assert_eq!(mailbox.wait(10, None), (Vec::new(), true));
    }
}
