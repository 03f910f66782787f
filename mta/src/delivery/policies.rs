//! What scripts and operators change in policies and suspends while the queue runs.
//!
//! Every change carries its origin (file and line, script and line, control call) in the `origin` of
//! its [`Block`] or [`SuspendSpec`](angarium_queue::policy::spec::SuspendSpec); answers to "why does
//! this message wait" name it. Changes are lost when the process ends.

use std::time::Duration;

use angarium_queue::gate::{Field, Fields};
use angarium_queue::policy::spec::Block;
use angarium_queue::policy::{
    Applied, Change, DynamicSpec, DynamicSuspend, EndedBySelf, How, KeyPart, Listed, ListedSuspend,
    Policies, PolicyError, Stored,
};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use tokio::sync::oneshot;

use super::Line;
use super::handle::{Handle, Stopped};

/// A change of policies, made on the queue's thread.
pub(super) type Alter = Box<dyn FnOnce(&mut Policies, Moment) -> Altered + Send>;

/// What a change may need.
pub(super) struct Moment {
    pub now: Timestamp,
    /// An id that nothing has yet.
    pub fresh: Text,
}

/// What follows from a change.
#[derive(Default)]
pub(super) struct Altered {
    /// What the scheduler must be told.
    pub change: Change,
    /// For the log.
    pub line: Option<Line>,
}

/// Why nothing was set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// It cannot be used.
    #[error(transparent)]
    Refused(#[from] PolicyError),
    /// There is no queue.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Handle {
    /// Sets a condition at run time; gives its id. The limits hold from the next pick-up on.
    ///
    /// # Errors
    /// It cannot be used, there are too many, or the queue has stopped.
    pub async fn set_policy(&self, spec: DynamicSpec) -> Result<Text, SetError> {
        let origin = spec.then.origin.clone();
        let tag = spec.then.tag.clone();
        let set = move |policies: &mut Policies, moment: Moment| {
            policies.set_policy(spec, moment.fresh, moment.now)
        };
        self.set("policy", origin, tag, set).await
    }

    /// Gives a condition new limits, a new time to live (zero: no end), or both; whether there is one
    /// with this id.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn update_policy(
        &self,
        id: Text,
        then: Option<Block>,
        ttl: Option<Duration>,
    ) -> Result<bool, Stopped> {
        self.touch("policy update", id, move |policies, id, now| {
            policies.update_policy(id, then, ttl, now)
        })
        .await
    }

    /// Takes a condition away; whether there was one with this id.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn delete_policy(&self, id: Text) -> Result<bool, Stopped> {
        self.touch("policy delete", id, |policies, id, _| {
            policies.delete_policy(id)
        })
        .await
    }

    /// The conditions that were set at run time.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn list_policies(&self) -> Result<Vec<Listed>, Stopped> {
        self.inspect(|queue| queue.gate().policies().list_policies())
            .await
    }

    /// The policies that apply to these values, in order.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn matching_policies(&self, fields: Fields) -> Result<Vec<Applied>, Stopped> {
        self.inspect_at(move |queue, now| {
            let local = fields.sources.addresses.first().map(|of| of.address);
            queue.gate().policies().describe(&fields, local, now)
        })
        .await
    }

    /// Suspends what fits; gives the suspend's id.
    ///
    /// # Errors
    /// It cannot be used, there are too many, or the queue has stopped.
    pub async fn set_suspend(&self, suspend: DynamicSuspend) -> Result<Text, SetError> {
        let origin = suspend.spec.origin.clone();
        let tag = suspend.spec.tag.clone();
        let set = move |policies: &mut Policies, moment: Moment| {
            policies.set_suspend(suspend, moment.fresh, moment.now)
        };
        self.set("suspend", origin, tag, set).await
    }

    /// Gives a suspend a new label, a new time to live (zero: no end), or both; whether there is one
    /// with this id.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn update_suspend(
        &self,
        id: Text,
        tag: Option<Text>,
        ttl: Option<Duration>,
    ) -> Result<bool, Stopped> {
        self.touch("suspend update", id, move |policies, id, now| {
            policies.update_suspend(id, tag, ttl, now)
        })
        .await
    }

    /// Takes a suspend away; whether there was one with this id.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn delete_suspend(&self, id: Text) -> Result<bool, Stopped> {
        self.touch("suspend delete", id, |policies, id, _| {
            policies.delete_suspend(id)
        })
        .await
    }

    /// The suspends, those of the configuration too.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn list_suspends(&self) -> Result<Vec<ListedSuspend>, Stopped> {
        self.inspect(|queue| queue.gate().policies().list_suspends())
            .await
    }

    /// Changes policies and suspends, or looks at them, in one step. `work` runs on the service's
    /// thread and must be quick; it is told the queue's time, and says what it changed besides its
    /// answer. The queue then looks again at what waits. Prefer the operations above, which log.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn policies<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Policies, Timestamp) -> (T, Change) + Send + 'static,
    ) -> Result<T, Stopped> {
        self.asked(move |policies, moment| {
            let (result, change) = work(policies, moment.now);
            (result, Altered { change, line: None })
        })
        .await
    }

    /// Puts tokens into the buckets of the rates whose counters `fits` chooses, by fields and values;
    /// gives the number of buckets.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn refill(
        &self,
        tokens: f64,
        fits: impl FnMut(&[Field], &[KeyPart]) -> bool + Send + 'static,
    ) -> Result<usize, Stopped> {
        self.asked(move |policies, _| {
            let (found, _) = policies.refill(tokens, fits);
            let change = match found {
                0 => Change::None,
                _ => Change::Limits,
            };
            (found, Altered { change, line: None })
        })
        .await
    }

    async fn set(
        &self,
        what: &'static str,
        origin: Text,
        tag: Option<Text>,
        set: impl FnOnce(&mut Policies, Moment) -> Result<Stored, PolicyError> + Send + 'static,
    ) -> Result<Text, SetError> {
        let stored = self.asked(move |policies, moment| match set(policies, moment) {
            Ok(Stored { id, change, how }) => {
                let line = Line::new(&format!("{what} {}", how.as_str()))
                    .with("id", &id)
                    .maybe("tag", tag)
                    .with("origin", origin);
                let line = (how != How::Kept).then_some(line);
                (Ok(id), Altered { change, line })
            }
            Err(error) => (Err(error), Altered::default()),
        });
        Ok(stored.await??)
    }

    async fn touch(
        &self,
        event: &'static str,
        id: Text,
        touch: impl FnOnce(&mut Policies, &Text, Timestamp) -> Option<Change> + Send + 'static,
    ) -> Result<bool, Stopped> {
        self.asked(move |policies, moment| {
            policies.expire(moment.now);
            match touch(policies, &id, moment.now) {
                Some(change) => {
                    let line = Some(Line::new(event).with("id", &id));
                    (true, Altered { change, line })
                }
                None => (false, Altered::default()),
            }
        })
        .await
    }

    async fn asked<T: Send + 'static>(
        &self,
        alter: impl FnOnce(&mut Policies, Moment) -> (T, Altered) + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let alter: Alter = Box::new(move |policies, moment| {
            let (result, altered) = alter(policies, moment);
            let _ = reply.send(result);
            altered
        });
        self.alter(alter).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// The line of the log for something that ended by itself.
pub(super) fn ended_line(ended: &EndedBySelf) -> Line {
    let what = match ended.suspend {
        true => "suspend expire",
        false => "policy expire",
    };
    Line::new(what).with("id", &ended.id)
}
