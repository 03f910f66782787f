//! What scripts and operators change while the queue runs: conditions and suspends with a lifetime.
//!
//! A condition that is set at run time belongs to the policies of the configuration that have
//! exactly its fields; without such a one it makes a policy of its own, after those. Of conditions
//! that fit the same counter the newest counts, and only for the limits that it names.

use std::collections::BTreeSet;
use std::time::Duration;

use super::compiled::{Dynamic, Policy, PolicyError, Suspend};
use super::engine::Policies;
use super::spec::{Block, SuspendSpec, When};
use crate::gate::{Field, FieldSet};
use crate::text::Text;
use crate::time::Timestamp;

/// A condition to be set at run time.
#[derive(Clone, Debug, Default)]
pub struct DynamicSpec {
    /// Its own id; none: a fresh one.
    pub id: Option<Text>,
    /// The fields of its policy.
    pub fields: Vec<Field>,
    /// The values.
    pub when: When,
    /// The limits.
    pub then: Block,
    /// How long; none or zero: until it is deleted.
    pub ttl: Option<Duration>,
    /// Whether one with the same fields and values is brought up to date.
    pub update: bool,
    /// A label for its kind, such as `backoff`.
    pub kind: Option<Text>,
}

/// A suspend to be set at run time.
#[derive(Clone, Debug, Default)]
pub struct DynamicSuspend {
    /// Its own id; none: a fresh one.
    pub id: Option<Text>,
    /// It.
    pub spec: SuspendSpec,
    /// How long; none or zero: until it is deleted.
    pub ttl: Option<Duration>,
    /// Whether one with the same values is brought up to date.
    pub update: bool,
}

/// What the scheduler must be told after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// Limits are others: [`LimitsChanged`](crate::scheduler::Input::LimitsChanged).
    Limits,
    /// Other fields are looked at, or a candidate may be suspended:
    /// [`PoliciesChanged`](crate::scheduler::Input::PoliciesChanged).
    Fields,
}

/// Something that was set at run time and has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBySelf {
    /// A suspend, not a condition.
    pub suspend: bool,
    /// Its id.
    pub id: Text,
}

/// What became of a wish to set something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: Text,
    /// What the scheduler must be told.
    pub change: Change,
    /// What was done.
    pub how: How,
}

/// What became of a wish to set something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is new.
    Added,
    /// One with the same values was brought up to date.
    Updated,
    /// One with the same values was left as it was.
    Kept,
}

impl How {
    /// The word of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            How::Added => "add",
            How::Updated => "update",
            How::Kept => "keep",
        }
    }
}

/// A condition that was set at run time.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: Text,
    /// The fields of its policy.
    pub fields: Vec<Field>,
    /// The values.
    pub when: When,
    /// The limits.
    pub then: Block,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// The label for its kind.
    pub kind: Option<Text>,
}

/// A suspend.
#[derive(Clone, Debug)]
pub struct ListedSuspend {
    /// Its id; none: one of the configuration.
    pub id: Option<Text>,
    /// It.
    pub spec: SuspendSpec,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// Conditions, and suspends, that may be set at run time.
const MOST: usize = 100_000;

impl Policies {
    /// Sets a condition; `fresh` is its id if it brings none and there is none like it.
    ///
    /// # Errors
    /// It cannot be used, or there are too many.
    pub fn set_policy(
        &mut self,
        mut spec: DynamicSpec,
        fresh: Text,
        now: Timestamp,
    ) -> Result<Stored, PolicyError> {
        self.expire(now);
        spec.when.sort_by_key(|(field, _)| *field);
        let wanted = field_set(&spec.fields);
        let alike = self
            .dynamics()
            .find(|(policy, dynamic)| policy.field_set == wanted && dynamic.when == spec.when);
        let alike = alike.map(|(_, dynamic)| dynamic.id.clone());
        if let Some(id) = alike.as_ref().filter(|_| !spec.update) {
            return Ok(Stored {
                id: id.clone(),
                change: Change::None,
                how: How::Kept,
            });
        }
        if alike.is_none() && self.dynamics().count() >= MOST {
            return Err(PolicyError::TooMany(MOST));
        }
        let id = spec.id.or_else(|| alike.clone()).unwrap_or(fresh);
        let mut dynamic = Dynamic {
            id: id.clone(),
            when: spec.when,
            matchers: Vec::new(),
            block: spec.then,
            kind: spec.kind,
            expires: end_of(spec.ttl, now),
        };
        // Laid out once before anything goes away, so that an error changes nothing.
        let same = |policy: &&Policy| policy.field_set == wanted;
        dynamic.matchers = match self.policies.iter().find(same) {
            Some(policy) => policy.condition(&dynamic.when, &self.lists)?,
            None => Policy::only_dynamic(0, &spec.fields)?.condition(&dynamic.when, &self.lists)?,
        };
        let before = self.looked_at();
        if alike.as_ref() != Some(&id) {
            self.remove_policy(&id);
        }
        let how = match alike {
            Some(old) => {
                self.replace(&old, &dynamic);
                How::Updated
            }
            None => {
                self.put_back(&spec.fields, dynamic);
                How::Added
            }
        };
        let change = self.change_since(before);
        Ok(Stored { id, change, how })
    }

    /// Brings a condition with the same fields and values up to date. Its policies stay as they
    /// are, and so do their counters; among the conditions it becomes the newest.
    fn replace(&mut self, old: &Text, by: &Dynamic) {
        for policy in &mut self.policies {
            if let Some(place) = policy.dynamics.iter().position(|of| of.id == *old) {
                let mut dynamic = policy.dynamics.remove(place);
                dynamic.id.clone_from(&by.id);
                dynamic.block.clone_from(&by.block);
                dynamic.kind.clone_from(&by.kind);
                dynamic.expires = by.expires;
                policy.dynamics.push(dynamic);
                policy.version += 1;
            }
        }
        self.collect_ends();
    }

    /// Gives a condition new limits, a new time to live (zero: no end), or both. None: there is none
    /// with this id.
    pub fn update_policy(
        &mut self,
        id: &Text,
        then: Option<Block>,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Option<Change> {
        let mut found = false;
        for policy in &mut self.policies {
            for dynamic in policy.dynamics.iter_mut().filter(|of| of.id == *id) {
                found = true;
                policy.version += 1;
                if let Some(then) = &then {
                    dynamic.block = then.clone();
                }
                if ttl.is_some() {
                    dynamic.expires = end_of(ttl, now);
                }
            }
        }
        self.collect_ends();
        found.then_some(Change::Limits)
    }

    /// Takes a condition away; none: there is none with this id.
    pub fn delete_policy(&mut self, id: &Text) -> Option<Change> {
        let before = self.looked_at();
        let found = self.remove_policy(id);
        self.collect_ends();
        found.then(|| self.change_since(before))
    }

    /// The conditions that were set at run time.
    pub fn list_policies(&self) -> Vec<Listed> {
        let mut seen = BTreeSet::new();
        self.dynamics()
            .filter(|(_, dynamic)| seen.insert(dynamic.id.clone()))
            .map(|(policy, dynamic)| Listed {
                id: dynamic.id.clone(),
                fields: policy.fields.iter().map(|of| of.field).collect(),
                when: dynamic.when.clone(),
                then: dynamic.block.clone(),
                expires: dynamic.expires,
                kind: dynamic.kind.clone(),
            })
            .collect()
    }

    /// Suspends what fits; like [`set_policy`](Self::set_policy).
    ///
    /// # Errors
    /// It cannot be used, or there are too many.
    pub fn set_suspend(
        &mut self,
        suspend: DynamicSuspend,
        fresh: Text,
        now: Timestamp,
    ) -> Result<Stored, PolicyError> {
        let DynamicSuspend {
            id,
            mut spec,
            ttl,
            update,
        } = suspend;
        self.expire(now);
        spec.when.sort_by_key(|(field, _)| *field);
        let expires = end_of(ttl, now);
        let mut dynamic = self.suspends.iter_mut().filter(|of| of.id.is_some());
        let alike = dynamic.find(|of| of.spec.when == spec.when);
        if let Some(alike) = alike
            && let Some(known) = alike.id.clone()
            && id.as_ref().is_none_or(|id| *id == known)
        {
            let mut change = Change::None;
            if update {
                let never = Timestamp::NEVER;
                if expires.unwrap_or(never) < alike.expires.unwrap_or(never) {
                    // What waits for the old end must be asked again at the new one.
                    change = Change::Limits;
                }
                alike.expires = expires;
                alike.spec = spec;
                self.collect_ends();
            }
            let how = match update {
                true => How::Updated,
                false => How::Kept,
            };
            let id = known;
            return Ok(Stored { id, change, how });
        }
        if self.suspends.len() >= MOST {
            return Err(PolicyError::TooMany(MOST));
        }
        let number = self.number();
        let mut suspend = Suspend::new(number, spec, &self.lists)?;
        let id = id.unwrap_or(fresh);
        suspend.id = Some(id.clone());
        suspend.expires = expires;
        self.suspends.retain(|of| of.id.as_ref() != Some(&id));
        self.suspends.push(suspend);
        self.collect_ends();
        Ok(Stored {
            id,
            change: Change::Fields,
            how: How::Added,
        })
    }

    /// Gives a suspend a new label, a new time to live (zero: no end), or both. None: there is none
    /// with this id.
    pub fn update_suspend(
        &mut self,
        id: &Text,
        tag: Option<Text>,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Option<Change> {
        let mut suspends = self.suspends.iter_mut();
        let suspend = suspends.find(|of| of.id.as_ref() == Some(id))?;
        if tag.is_some() {
            suspend.spec.tag = tag;
        }
        if ttl.is_some() {
            suspend.expires = end_of(ttl, now);
        }
        self.collect_ends();
        Some(Change::Limits)
    }

    /// Takes a suspend away; none: there is none with this id.
    pub fn delete_suspend(&mut self, id: &Text) -> Option<Change> {
        let before = self.suspends.len();
        self.suspends.retain(|of| of.id.as_ref() != Some(id));
        self.collect_ends();
        (self.suspends.len() < before).then_some(Change::Fields)
    }

    /// The suspends, those of the configuration too.
    pub fn list_suspends(&self) -> Vec<ListedSuspend> {
        let suspends = self.suspends.iter();
        suspends
            .map(|suspend| ListedSuspend {
                id: suspend.id.clone(),
                spec: suspend.spec.clone(),
                expires: suspend.expires,
            })
            .collect()
    }

    /// What ended by itself since this was last asked, for the log.
    pub fn take_ended(&mut self) -> Vec<EndedBySelf> {
        std::mem::take(&mut self.ended)
    }

    /// Takes away what has ended by `now`.
    pub fn expire(&mut self, now: Timestamp) -> Change {
        if self.ends.first().is_none_or(|at| *at > now) {
            return Change::None;
        }
        let before = self.looked_at();
        let ended = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let conditions: BTreeSet<Text> = (self.dynamics())
            .filter(|(_, dynamic)| ended(dynamic.expires))
            .map(|(_, dynamic)| dynamic.id.clone())
            .collect();
        let lifted = (self.suspends.iter())
            .filter(|suspend| ended(suspend.expires))
            .filter_map(|suspend| suspend.id.clone());
        let named = |suspend: bool| move |id: Text| EndedBySelf { suspend, id };
        let gone = conditions.into_iter().map(named(false));
        let gone: Vec<EndedBySelf> = gone.chain(lifted.map(named(true))).collect();
        self.ended.extend(gone);
        for policy in &mut self.policies {
            let count = policy.dynamics.len();
            policy.dynamics.retain(|dynamic| !ended(dynamic.expires));
            policy.version += u64::from(policy.dynamics.len() < count);
        }
        let suspends = self.suspends.len();
        self.suspends.retain(|suspend| !ended(suspend.expires));
        self.drop_empty();
        self.collect_ends();
        if self.suspends.len() < suspends {
            return Change::Fields;
        }
        self.change_since(before)
    }

    /// Adds a condition to the policies with exactly these fields, or to one of its own.
    pub(super) fn put_back(&mut self, fields: &[Field], dynamic: Dynamic) {
        let wanted = field_set(fields);
        if self.policies.iter().all(|of| of.field_set != wanted) {
            let id = self.number();
            // The fields were laid out before, so this does not fail.
            self.policies.extend(Policy::only_dynamic(id, fields));
        }
        let lists = &self.lists;
        for policy in self.policies.iter_mut().filter(|of| of.field_set == wanted) {
            // A reload may have taken a list or group away that the condition names; the one that
            // was laid out before then goes on.
            let matchers = policy.condition(&dynamic.when, lists);
            let mut dynamic = dynamic.clone();
            dynamic.matchers = matchers.unwrap_or(dynamic.matchers);
            policy.dynamics.push(dynamic);
            policy.version += 1;
        }
        self.collect_ends();
    }

    fn dynamics(&self) -> impl Iterator<Item = (&Policy, &Dynamic)> {
        let policies = self.policies.iter();
        policies.flat_map(|policy| policy.dynamics.iter().map(move |dynamic| (policy, dynamic)))
    }

    fn remove_policy(&mut self, id: &Text) -> bool {
        let mut found = false;
        for policy in &mut self.policies {
            let count = policy.dynamics.len();
            policy.dynamics.retain(|dynamic| dynamic.id != *id);
            if policy.dynamics.len() < count {
                policy.version += 1;
                found = true;
            }
        }
        self.drop_empty();
        found
    }

    /// Drops policies that existed for conditions which are gone.
    fn drop_empty(&mut self) {
        let mut place = 0;
        let configured = self.configured;
        self.policies.retain(|policy| {
            place += 1;
            place <= configured || !policy.dynamics.is_empty()
        });
    }

    fn collect_ends(&mut self) {
        let dynamics = self.dynamics().filter_map(|(_, dynamic)| dynamic.expires);
        let suspends = self.suspends.iter().filter_map(|suspend| suspend.expires);
        self.ends = dynamics.chain(suspends).collect();
    }

    fn looked_at(&self) -> FieldSet {
        crate::gate::Gate::fields(self)
    }

    fn change_since(&self, before: FieldSet) -> Change {
        if self.looked_at() == before {
            Change::Limits
        } else {
            Change::Fields
        }
    }
}

/// When something with this time to live ends.
fn end_of(ttl: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| now.after(ttl))
}

fn field_set(fields: &[Field]) -> FieldSet {
    let fields = fields.iter();
    fields.fold(FieldSet::default(), |set, field| set.with(*field))
}
