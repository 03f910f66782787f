//! What scripts and operators change while the queue runs: conditions and suspends with a lifetime.
//!
//! A condition that is set at run time belongs to the policies of the configuration that have
//! exactly its fields; without such a one it makes a policy of its own, after those. Of conditions
//! that fit the same counter the newest counts, and only for the limits that it names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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
            .dynamics
            .alike
            .get(&(wanted, spec.when.clone()))
            .copied();
        let known = alike.and_then(|number| Some(self.dynamics.by_number.get(&number)?.id.clone()));
        if let Some(id) = known.as_ref().filter(|_| !spec.update) {
            return Ok(Stored {
                id: id.clone(),
                change: Change::None,
                how: How::Kept,
            });
        }
        if alike.is_none() && self.dynamics.by_number.len() >= MOST {
            return Err(PolicyError::TooMany(MOST));
        }
        // Laid out once before anything goes away, so that an error changes nothing.
        let same = |policy: &&Policy| policy.field_set == wanted;
        let laid_out = match self.policies.iter().find(same) {
            Some(policy) => policy.lay_out(&spec.when, &self.lists)?,
            None => Policy::only_dynamic(0, &spec.fields)?.lay_out(&spec.when, &self.lists)?,
        };
        let id = spec.id.or(known).unwrap_or(fresh);
        let dynamic = Dynamic {
            id: id.clone(),
            fields: spec.fields,
            when: spec.when,
            laid_out,
            block: spec.then,
            kind: spec.kind,
            expires: end_of(spec.ttl, now),
        };
        let before = self.looked;
        // The policies stay where the new one takes an old one's place, and so do their counters.
        let of_id = self.dynamics.ids.get(&id).copied();
        for number in [alike, of_id].into_iter().flatten() {
            self.take_away(number);
        }
        let number = self.number();
        self.put(number, Arc::new(dynamic));
        self.drop_empty();
        let how = match alike {
            Some(_) => How::Updated,
            None => How::Added,
        };
        let change = self.change_since(before);
        Ok(Stored { id, change, how })
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
        let number = *self.dynamics.ids.get(id)?;
        let mut dynamic = Dynamic::clone(self.dynamics.by_number.get(&number)?);
        let before = self.looked;
        if let Some(then) = then {
            dynamic.block = then;
        }
        if ttl.is_some() {
            dynamic.expires = end_of(ttl, now);
        }
        self.take_away(number);
        self.put(number, Arc::new(dynamic));
        Some(self.change_since(before))
    }

    /// Takes a condition away; none: there is none with this id.
    pub fn delete_policy(&mut self, id: &Text) -> Option<Change> {
        let number = *self.dynamics.ids.get(id)?;
        self.take_away(number);
        self.drop_empty();
        Some(Change::Limits)
    }

    /// The conditions that were set at run time, the oldest first.
    pub fn list_policies(&self) -> Vec<Listed> {
        let all = self.dynamics.by_number.values();
        all.map(|dynamic| Listed {
            id: dynamic.id.clone(),
            fields: dynamic.fields.clone(),
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
        let alike = self.suspends.alike(&spec.when);
        if let Some(number) = alike
            && let Some(alike) = self.suspends.get_mut(number)
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
                let old = std::mem::replace(&mut alike.expires, expires);
                alike.spec = spec;
                self.move_end(number, old, expires);
            }
            let how = match update {
                true => How::Updated,
                false => How::Kept,
            };
            return Ok(Stored {
                id: known,
                change,
                how,
            });
        }
        if self.suspends.len() >= MOST {
            return Err(PolicyError::TooMany(MOST));
        }
        let number = self.number();
        let mut suspend = Suspend::new(number, spec, &self.lists)?;
        let id = id.unwrap_or(fresh);
        let replaced = self.suspends.number_of(&id);
        suspend.id = Some(id.clone());
        suspend.expires = expires;
        // Its regular expressions were tried when it was made.
        if let Some(replaced) = replaced {
            self.lift(replaced);
        }
        self.suspends.insert(suspend, &self.lists)?;
        self.move_end(number, None, expires);
        self.look();
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
        let number = self.suspends.number_of(id)?;
        let suspend = self.suspends.get_mut(number)?;
        if tag.is_some() {
            suspend.spec.tag = tag;
        }
        if ttl.is_some() {
            let expires = end_of(ttl, now);
            let old = std::mem::replace(&mut suspend.expires, expires);
            self.move_end(number, old, expires);
        }
        Some(Change::Limits)
    }

    /// Takes a suspend away; none: there is none with this id.
    pub fn delete_suspend(&mut self, id: &Text) -> Option<Change> {
        let number = self.suspends.number_of(id)?;
        self.lift(number);
        Some(Change::Fields)
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
        let mut change = Change::None;
        while let Some((_, number)) = self.ends.first().copied().filter(|(at, _)| *at <= now) {
            if let Some(dynamic) = self.take_away(number) {
                let id = dynamic.id.clone();
                self.ended.push(EndedBySelf { suspend: false, id });
                change = change.max(Change::Limits);
            } else if let Some(id) = self.lift(number).and_then(|suspend| suspend.id) {
                self.ended.push(EndedBySelf { suspend: true, id });
                change = Change::Fields;
            } else {
                // An end belongs to something; without it the loop would not end.
                self.ends.pop_first();
            }
        }
        if change != Change::None {
            self.drop_empty();
        }
        change
    }

    /// Adds a condition to the policies with exactly its fields, or to one of its own.
    pub(super) fn put(&mut self, number: u64, dynamic: Arc<Dynamic>) {
        self.is_new = true;
        self.have_changed();
        let wanted = field_set(&dynamic.fields);
        if self.policies.iter().all(|of| of.field_set != wanted) {
            let id = self.number();
            // The fields were laid out before, so this does not fail.
            self.policies
                .extend(Policy::only_dynamic(id, &dynamic.fields));
        }
        let lists = &self.lists;
        let with_its_fields = self.policies.iter_mut();
        for policy in with_its_fields.filter(|of| of.field_set == wanted) {
            policy.add(number, &dynamic, lists);
        }
        self.move_end(number, None, dynamic.expires);
        let dynamics = &mut self.dynamics;
        dynamics.ids.insert(dynamic.id.clone(), number);
        let alike = (wanted, dynamic.when.clone());
        dynamics.alike.insert(alike, number);
        dynamics.by_number.insert(number, dynamic);
        self.look();
    }

    /// Takes a condition out of everything; policies that existed for it stay until `drop_empty`.
    fn take_away(&mut self, number: u64) -> Option<Arc<Dynamic>> {
        let dynamic = self.dynamics.by_number.remove(&number)?;
        self.have_changed();
        self.dynamics.ids.remove(&dynamic.id);
        let alike = (field_set(&dynamic.fields), dynamic.when.clone());
        self.dynamics.alike.remove(&alike);
        self.move_end(number, dynamic.expires, None);
        for policy in &mut self.policies {
            policy.take_away(number);
        }
        Some(dynamic)
    }

    fn lift(&mut self, number: u64) -> Option<Suspend> {
        let suspend = self.suspends.remove(number)?;
        self.move_end(number, suspend.expires, None);
        Some(suspend)
    }

    /// Drops policies that existed for conditions which are gone.
    fn drop_empty(&mut self) {
        self.have_changed();
        let mut place = 0;
        let configured = self.configured;
        self.policies.retain(|policy| {
            place += 1;
            place <= configured || !policy.dynamics.is_empty()
        });
    }

    pub(super) fn move_end(&mut self, number: u64, old: Option<Timestamp>, new: Option<Timestamp>) {
        if let Some(at) = old {
            self.ends.remove(&(at, number));
        }
        self.ends.extend(new.map(|at| (at, number)));
    }

    fn change_since(&self, before: FieldSet) -> Change {
        if self.looked == before {
            Change::Limits
        } else {
            Change::Fields
        }
    }
}

/// The conditions that were set at run time.
#[derive(Debug, Default)]
pub(super) struct Dynamics {
    pub by_number: BTreeMap<u64, Arc<Dynamic>>,
    ids: HashMap<Text, u64>,
    alike: HashMap<(FieldSet, When), u64>,
}

/// When something with this time to live ends.
fn end_of(ttl: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    ttl.filter(|ttl| !ttl.is_zero()).map(|ttl| now.after(ttl))
}

fn field_set(fields: &[Field]) -> FieldSet {
    let fields = fields.iter();
    fields.fold(FieldSet::default(), |set, field| set.with(*field))
}
