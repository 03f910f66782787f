//! Whether the server has started, and whether it takes mail.

use std::sync::atomic::{AtomicBool, Ordering};

use angarium_effects::Monotonic;
use angarium_effects::system::descriptors;

use crate::control::Backend;

/// Descriptors that have to be free.
const FREE: u64 = 32;

/// How the server is watched (`monitor` in smtpd-app.yaml).
#[derive(Clone, Debug)]
pub struct Monitoring {
    /// Keys of which a reader of the metrics shows one; empty: none is needed.
    pub apikeys: Vec<String>,
    /// What the names of metrics begin with.
    pub prefix: String,
    /// Unhealthy above so many messages …
    pub upper: Option<u64>,
    /// … until there are fewer than so many.
    pub lower: Option<u64>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Monitoring {
            apikeys: Vec::new(),
            prefix: crate::openmetrics::PREFIX.to_owned(),
            upper: None,
            lower: None,
        }
    }
}

/// What the process is at.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    stopping: AtomicBool,
    /// There were too many messages, and there are not few enough yet.
    crowded: AtomicBool,
}

/// Why the server is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// It has not started yet.
    #[error("not ready")]
    NotReady,
    /// It is about to end.
    #[error("shutting down")]
    Stopping,
    /// There are too many messages.
    #[error("max messages")]
    Messages,
    /// The spool takes nothing: there is no room, or it cannot be written.
    #[error("disk")]
    Disk,
    /// There are next to no descriptors left.
    #[error("descriptors")]
    Descriptors,
}

impl Health {
    /// The server has started.
    pub fn started(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The server ends.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether it has started; that is never taken back.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// What can be said without asking anybody.
    ///
    /// # Errors
    /// It has not started, or it ends.
    pub fn early(&self) -> Result<(), Unhealthy> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Unhealthy::Stopping);
        }
        match self.is_ready() {
            true => Ok(()),
            false => Err(Unhealthy::NotReady),
        }
    }

    /// Whether it takes mail.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        backend: &Backend,
        monitoring: &Monitoring,
        now: Monotonic,
    ) -> Result<(), Unhealthy> {
        self.early()?;
        let held = u64::try_from(backend.queue.held()).unwrap_or(u64::MAX);
        if self.is_crowded(held, monitoring) || !backend.queue.has_room() {
            return Err(Unhealthy::Messages);
        }
        if backend.spool.accepting(now).is_err() {
            return Err(Unhealthy::Disk);
        }
        match descriptors() {
            Some((open, most)) if open.saturating_add(FREE) > most => Err(Unhealthy::Descriptors),
            _ => Ok(()),
        }
    }

    fn is_crowded(&self, held: u64, monitoring: &Monitoring) -> bool {
        let Some(upper) = monitoring.upper else {
            self.crowded.store(false, Ordering::Relaxed);
            return false;
        };
        if held > upper {
            self.crowded.store(true, Ordering::Relaxed);
        } else if monitoring.lower.is_none_or(|lower| held < lower) {
            self.crowded.store(false, Ordering::Relaxed);
        }
        self.crowded.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_messages_are_so_until_they_are_few() {
        let health = Health::default();
        let bounds = |upper, lower| Monitoring {
            upper,
            lower,
            ..Monitoring::default()
        };
        let both = bounds(Some(10), Some(5));
        let seen = [9, 10, 11, 10, 5, 4, 10].map(|held| health.is_crowded(held, &both));
        assert_eq!(seen, [false, false, true, true, true, false, false]);
        let one = bounds(Some(10), None);
        assert_eq!(
            [11, 10].map(|held| health.is_crowded(held, &one)),
            [true, false]
        );
        assert!(health.is_crowded(11, &one));
        assert!(!health.is_crowded(u64::MAX, &bounds(None, Some(5))));
    }

    #[test]
    fn ready_is_never_taken_back() {
        let health = Health::default();
        assert_eq!(health.early(), Err(Unhealthy::NotReady));
        health.started();
        assert_eq!(health.early(), Ok(()));
        health.stopping();
        assert_eq!(health.early(), Err(Unhealthy::Stopping));
        assert!(health.is_ready());
    }
}
