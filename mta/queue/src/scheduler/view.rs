//! Looking at items: for lists, filters and reports, without copying anything.

use std::net::IpAddr;

use super::{Route, Scheduler, Work};
use crate::destination::Candidate;
use crate::gate::{Fields, Gate};
use crate::index::{Slot, State};
use crate::item::{Item, ItemId};
use crate::text::Text;
use crate::time::Timestamp;

/// An item with what the queue knows about it beside what is stored.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The item.
    pub item: &'a Item,
    /// Its state.
    pub state: State,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Whether it goes to UPDATE when what runs for it is over.
    pub freezing: bool,
    /// When its age ends its wait, if it waits.
    pub expires: Option<Timestamp>,
    /// In ACTIVE: the values that decide on its pick-up.
    pub fields: Option<&'a Fields>,
    route: Option<&'a Route>,
}

impl<'a> View<'a> {
    /// In ACTIVE and SENDING: where it goes.
    pub fn candidate(&self) -> Option<&'a Candidate> {
        let route = self.route?;
        route.candidates.get(route.walk.place())
    }

    /// In ACTIVE and SENDING: the grouping of its destination.
    pub fn grouping(&self) -> Option<&'a Text> {
        self.route?.grouping.as_ref()
    }

    /// In ACTIVE: the source addresses to choose from; in SENDING: the one that was chosen.
    pub fn localips(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        let chosen = self.route.and_then(|route| route.grant.as_deref());
        let chosen = chosen.and_then(|grant| grant.source.as_ref());
        let list = self.fields.map_or(&[][..], |of| &of.sources.addresses);
        chosen.into_iter().chain(list).map(|source| source.address)
    }

    /// In ACTIVE: whether the source addresses are used in their order.
    pub fn localips_ordered(&self) -> bool {
        self.fields.is_some_and(|of| of.sources.ordered)
    }

    /// In SENDING: the labels of the policies that applied.
    pub fn tags(&self) -> &'a [Text] {
        let grant = self.route.and_then(|route| route.grant.as_deref());
        grant.map_or(&[], |grant| &grant.tags)
    }
}

impl<G: Gate> Scheduler<G> {
    /// The item with this id.
    pub fn view(&self, id: ItemId) -> Option<View<'_>> {
        self.index.slot(id).map(|slot| self.view_of(slot))
    }

    /// The items after this one, in the order of ids; none: from the first. Who looks at many of them
    /// in several steps goes on after the last one seen: what stays is seen once.
    pub fn views(&self, after: Option<ItemId>) -> impl Iterator<Item = View<'_>> {
        self.index.after(after).map(|(slot, _)| self.view_of(slot))
    }

    /// The items from a place on in the order in which they lie in memory, several times as quick to go
    /// over as that of their ids. Each comes with the place behind it, from which a later step goes on:
    /// what stays is seen once, what comes meanwhile may be seen.
    pub fn views_lying_from(&self, place: u32) -> impl Iterator<Item = (u32, View<'_>)> {
        let items = self.index.lying_from(place);
        items.map(|(slot, _)| (slot.next(), self.view_of(slot)))
    }

    fn view_of(&self, slot: Slot) -> View<'_> {
        let route = match self.work.get(slot) {
            Some(Work::Routed(route)) => Some(&**route),
            _ => None,
        };
        View {
            item: self.index.item(slot),
            state: self.index.state(slot),
            since: self.index.since(slot),
            freezing: self.index.is_freezing(slot),
            expires: self.index.expires(slot),
            fields: self.index.fields(slot),
            route,
        }
    }
}
