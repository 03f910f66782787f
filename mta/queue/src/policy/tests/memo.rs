//! What is kept with a sub-queue, so that the gate need not find it again, never changes an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::gate::Memo;
use proptest::prelude::*;

/// What happens between two questions.
#[derive(Clone, Debug)]
enum Step {
    /// A sub-queue is asked for: its MX and how many source addresses it may use.
    Admit(u8, usize),
    /// A delivery ends.
    Release(usize, bool),
    /// A condition is set for an MX, or for each value that a policy of its own counts by.
    Set(u8, bool, u32, u64),
    Delete(u8),
    Suspend(u8, u64),
    /// The configuration is read again; the groups of its second policy are others each time.
    Configure(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..12, 0usize..4).prop_map(|(mx, pool)| Step::Admit(mx, pool)),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, back)| Step::Release(which, back)),
        2 => (0u8..12, any::<bool>(), 0u32..4, 1u64..20)
            .prop_map(|(mx, own, most, ttl)| Step::Set(mx, own, most, ttl)),
        1 => (0u8..12).prop_map(Step::Delete),
        1 => (0u8..12, 1u64..10).prop_map(|(mx, ttl)| Step::Suspend(mx, ttl)),
        1 => (0u8..4).prop_map(Step::Configure),
        4 => (0u64..5).prop_map(Step::Wait),
    ]
}

/// Has an idle connection for every third question.
#[derive(Debug, Default)]
struct EveryThird(AtomicUsize);

impl IdleDoor for EveryThird {
    fn field(&self) -> Field {
        Field::RemoteMx
    }

    fn reserve(&self, _: &Fields, _: Option<IpAddr>) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) % 3 == 2
    }
}

fn setup(members: u8) -> Setup {
    let members: Vec<String> = (0..members).map(|n| format!("mx{n}.test")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let mut connections = block(None, Some(rate(3, 2)));
    connections.limits.connect_interval = Some(Duration::from_secs(3));
    let by_address = PolicySpec {
        fields: fields(&[Field::LocalIp, Field::RemoteMx]),
        conditions: vec![ConditionSpec {
            when: when(&[(Field::RemoteMx, "mx1.test")]),
            then: connections,
        }],
        default: Some(block(Some(2), None)),
        ..PolicySpec::default()
    };
    let by_group = PolicySpec {
        fields: vec![grouped(Field::RemoteMx, "g", &members)],
        conditions: vec![ConditionSpec {
            when: when(&[(Field::RemoteMx, "#g")]),
            then: block(Some(3), None),
        }],
        ..PolicySpec::default()
    };
    Setup {
        policies: vec![by_address, by_group],
        ..Setup::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_was_found_before_changes_no_answer(
        idle in any::<bool>(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut with = Policies::new(setup(2)).unwrap();
        let mut without = Policies::new(setup(2)).unwrap();
        if idle {
            with.use_idle(Arc::new(EveryThird::default()));
            without.use_idle(Arc::new(EveryThird::default()));
        }
        let mut memos: BTreeMap<(u8, usize), Memo> = BTreeMap::new();
        let mut open = Vec::new();
        let mut now = 0;
        let pool = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
        for (number, step) in steps.into_iter().enumerate() {
            let name = |mx: u8| format!("mx{mx}.test");
            match step {
                Step::Admit(mx, count) => {
                    let mut fields = to(&name(mx));
                    fields.sources = sources(&pool[..count], false);
                    let memo = memos.entry((mx, count)).or_default();
                    let given = with.admit_known(&fields, memo, at(now));
                    prop_assert_eq!(&given, &without.admit(&fields, at(now)));
                    open.extend(given.ok().map(|grant| (grant.ticket, now)));
                }
                Step::Release(which, back) if !open.is_empty() => {
                    let (ticket, begun) = open.swap_remove(which % open.len());
                    let how = if back && begun == now { Release::PutBack } else { Release::Finished };
                    let (mut one, mut two) = (Vec::new(), Vec::new());
                    with.release(ticket, how, at(now), &mut one);
                    without.release(ticket, how, at(now), &mut two);
                    prop_assert_eq!(one, two);
                }
                Step::Release(..) => {}
                Step::Set(mx, own, most, ttl) => {
                    let mut spec = DynamicSpec {
                        fields: vec![Field::RemoteMx],
                        when: when(&[(Field::RemoteMx, &name(mx))]),
                        then: block(Some(most), None),
                        ttl: Some(Duration::from_secs(ttl)),
                        update: true,
                        ..DynamicSpec::default()
                    };
                    if own {
                        spec.fields.push(Field::RecipientDomain);
                    }
                    for gate in [&mut with, &mut without] {
                        let id = format!("{mx}").as_str().into();
                        gate.set_policy(spec.clone(), id, at(now)).unwrap();
                    }
                }
                Step::Delete(mx) => {
                    for gate in [&mut with, &mut without] {
                        gate.delete_policy(&format!("{mx}").as_str().into());
                    }
                }
                Step::Suspend(mx, ttl) => {
                    let spec = SuspendSpec {
                        when: when(&[(Field::RemoteMx, &name(mx))]),
                        ..SuspendSpec::default()
                    };
                    let suspend = suspend_of(spec, None, Some(Duration::from_secs(ttl)));
                    for gate in [&mut with, &mut without] {
                        let id = format!("s{number}").as_str().into();
                        gate.set_suspend(suspend.clone(), id, at(now)).unwrap();
                    }
                }
                Step::Configure(members) => {
                    for gate in [&mut with, &mut without] {
                        gate.configure(setup(members)).unwrap();
                    }
                }
                Step::Wait(secs) => now += secs,
            }
        }
    }
}
