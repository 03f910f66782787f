//! The suspends in force, found by what they are about.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::compiled::{KeyPart, PolicyError, Suspend, part};
use super::spec::When;
use super::table::{Choose, Table};
use crate::gate::{Field, FieldSet, Fields};
use crate::matcher::Lists;
use crate::text::Text;

/// The suspends.
#[derive(Debug, Default)]
pub(super) struct Suspends {
    by_number: BTreeMap<u64, Suspend>,
    table: Table,
    /// Those that were set at run time, by id.
    ids: HashMap<Text, u64>,
    /// The same, by their values.
    alike: HashMap<When, u64>,
}

impl Suspends {
    /// All of them, the configuration's first.
    pub fn iter(&self) -> impl Iterator<Item = &Suspend> {
        self.by_number.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// The suspend with a number.
    pub fn get(&self, number: u64) -> Option<&Suspend> {
        self.by_number.get(&number)
    }

    /// The same, to be changed in what it does not match by.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Suspend> {
        self.by_number.get_mut(&number)
    }

    /// The number of the one with this id.
    pub fn number_of(&self, id: &Text) -> Option<u64> {
        self.ids.get(id).copied()
    }

    /// The number of one that was set at run time with these values.
    pub fn alike(&self, when: &When) -> Option<u64> {
        self.alike.get(when).copied()
    }

    /// Adds one.
    ///
    /// # Errors
    /// It cannot be used; nothing has changed.
    pub fn insert(&mut self, suspend: Suspend, lists: &Lists) -> Result<(), PolicyError> {
        let number = suspend.number;
        self.table.insert(number, &suspend.resolved(lists))?;
        if let Some(id) = &suspend.id {
            self.ids.insert(id.clone(), number);
            self.alike.insert(suspend.spec.when.clone(), number);
        }
        self.by_number.insert(number, suspend);
        Ok(())
    }

    /// Takes one away.
    pub fn remove(&mut self, number: u64) -> Option<Suspend> {
        let suspend = self.by_number.remove(&number)?;
        self.table.remove(number);
        if let Some(id) = &suspend.id {
            self.ids.remove(id);
        }
        if self.alike.get(&suspend.spec.when) == Some(&number) {
            self.alike.remove(&suspend.spec.when);
        }
        Some(suspend)
    }

    /// The first one that keeps what has these values.
    pub fn covering(&self, fields: &Fields, local: Option<IpAddr>) -> Option<&Suspend> {
        if self.by_number.is_empty() {
            return None;
        }
        let named = self.table.fields();
        let parts: Vec<(Field, KeyPart)> = Field::ALL
            .into_iter()
            .filter(|field| named.has(*field))
            .map(|field| (field, part(field, fields, local)))
            .collect();
        let values: Vec<(Field, &KeyPart)> =
            parts.iter().map(|(field, part)| (*field, part)).collect();
        let number = self.table.find(&values, Choose::First, |_| true)?;
        let found = self.by_number.get(&number);
        debug_assert!(found.is_some_and(|suspend| suspend.covers(fields, local)));
        found
    }

    /// The fields that they look at, or looked at.
    pub fn field_set(&self) -> FieldSet {
        self.table.fields()
    }
}
