//! Every arrow from every state, by hand and at random.

use super::*;
use crate::gate::OpenGate;
use crate::item::Address;
use proptest::prelude::*;

fn item(n: u64) -> Box<Item> {
    let id = ItemId {
        transaction: uuid::Uuid::from_u128(u128::from(n)),
        queue: 1,
    };
    let mut item = Item::new(
        id,
        Timestamp::ZERO,
        Address::default(),
        Address::default(),
        "mx".into(),
    );
    item.size = 10;
    item.quotas = [Text::from("q")].into();
    Box::new(item)
}

const LATER: Timestamp = Timestamp::from_secs(100);

/// Brings a fresh item into a state by legal arrows.
fn in_state(index: &mut Index, n: u64, state: State) -> Slot {
    let slot = index.insert(item(n)).unwrap();
    match state {
        State::Unknown => Ok(()),
        State::Active => index.activate(slot, Fields::default(), LATER),
        State::Defer => index.defer(slot, LATER, LATER),
        State::Hold => index.hold(slot, None),
        State::Update => index.freeze(slot, LATER),
        State::Sending => {
            index.activate(slot, Fields::default(), LATER).unwrap();
            assert_eq!(index.pick(&mut OpenGate, LATER).unwrap().0, slot);
            Ok(())
        }
    }
    .unwrap();
    slot
}

type Arrow = (&'static str, fn(&mut Index, Slot) -> Result<(), WrongState>);

const ARROWS: [Arrow; 11] = [
    ("remove", |i, s| i.remove(s).map(drop)),
    ("activate", |i, s| i.activate(s, Fields::default(), LATER)),
    ("put_back", |i, s| i.put_back(s, Fields::default(), LATER)),
    ("attempted", |i, s| i.attempted(s)),
    ("withdraw", |i, s| i.withdraw(s)),
    ("defer", |i, s| i.defer(s, LATER, LATER)),
    ("due", |i, s| i.due(s)),
    ("hold", |i, s| i.hold(s, None)),
    ("release", |i, s| i.release(s)),
    ("freeze", |i, s| i.freeze(s, LATER)),
    ("thaw", |i, s| i.thaw(s)),
];

#[test]
fn only_the_arrows_of_the_picture_exist() {
    let mut table = String::new();
    for from in State::ALL {
        for (name, arrow) in ARROWS {
            let mut index = Index::default();
            let slot = in_state(&mut index, 1, from);
            if arrow(&mut index, slot).is_ok() {
                let to = index
                    .slot(item(1).id)
                    .map(|slot| index.state(slot).as_str());
                table += &format!("{from} {name} -> {}\n", to.unwrap_or("gone"));
            } else {
                assert_eq!(index.state(slot), from, "a refused arrow changes nothing");
            }
            index.check().unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn quotas_follow_the_items() {
    let mut index = Index::default();
    let slot = in_state(&mut index, 1, State::Unknown);
    in_state(&mut index, 2, State::Hold);
    assert_eq!(
        index.quota(b"q"),
        QuotaUse {
            count: 2,
            bytes: 20
        }
    );
    index.change(slot, |item| item.size = 30).unwrap();
    assert_eq!(
        index.quota(b"q"),
        QuotaUse {
            count: 2,
            bytes: 40
        }
    );
    index.remove(slot).unwrap();
    assert_eq!(
        index.quota(b"q"),
        QuotaUse {
            count: 1,
            bytes: 10
        }
    );
    assert_eq!(
        (index.quota(b"none"), index.quotas()),
        (QuotaUse::default(), 1)
    );
}

#[test]
fn deferred_items_become_due_in_the_order_of_time() {
    let mut index = Index::default();
    for (n, at) in [(1, 30), (2, 10), (3, 20)] {
        let slot = index.insert(item(n)).unwrap();
        index.defer(slot, Timestamp::from_secs(at), LATER).unwrap();
    }
    let mut order = Vec::new();
    while let Some(slot) = index.next_due(Timestamp::from_secs(25)) {
        order.push(index.item(slot).id.transaction.as_u128());
        index.due(slot).unwrap();
    }
    assert_eq!(order, [2, 3]);
    assert_eq!(index.next_timer(), Some(Timestamp::from_secs(30)));
}

#[test]
fn regrouping_keeps_the_order() {
    let mut index = Index::default();
    for n in 0..6 {
        in_state(&mut index, n, State::Active);
    }
    index.regroup(|_, item| {
        let odd = item.id.transaction.as_u128() % 2;
        Some(Fields {
            remotemx: Some(format!("d{odd}").into()),
            ..Fields::default()
        })
    });
    index.check().unwrap();
    let mut order = Vec::new();
    while let Some((slot, _)) = index.pick(&mut OpenGate, LATER) {
        order.push(index.item(slot).id.transaction.as_u128());
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

proptest! {
    #[test]
    fn any_arrows_in_any_order_leave_every_item_in_one_place(
        steps in prop::collection::vec((0u64..5, 0usize..13), 0..100),
    ) {
        let mut index = Index::default();
        for (n, step) in steps {
            match (index.slot(item(n).id), ARROWS.get(step)) {
                (None, _) => { index.insert(item(n)); }
                (Some(slot), Some((_, arrow))) => { let _ = arrow(&mut index, slot); }
                (Some(_), None) => { index.pick(&mut OpenGate, LATER); }
            }
            prop_assert_eq!(index.check(), Ok(()));
        }
    }
}
