//! The queue behind real policies: no wake-up is lost, whatever blocks and whatever changes.

use super::*;
use crate::gate::Field;
use crate::matcher::Pattern;
use crate::policy::rate::Rate;
use crate::policy::spec::{Block, FieldSpec, Limits as PolicyLimits, PolicySpec, SuspendSpec};
use crate::policy::{self, DynamicSpec, DynamicSuspend, Policies, Setup};
use crate::transport::Sources;
use proptest::prelude::*;

fn block(concurrency: Option<u32>, rate: Option<(u32, u64)>, interval: Option<u64>) -> Block {
    Block {
        limits: PolicyLimits {
            concurrency,
            rate: rate.map(|(count, of)| Rate {
                count,
                interval: secs(of),
            }),
            connect_interval: interval.map(secs),
        },
        ..Block::default()
    }
}

fn pool(addresses: &[&str], ordered: bool) -> Sources {
    let source = |ip: &&str| SourceIp {
        id: None,
        address: ip.parse().unwrap(),
        helo: None,
    };
    Sources {
        addresses: addresses.iter().map(source).collect(),
        ordered,
    }
}

fn a_block() -> impl Strategy<Value = Block> {
    let rate = prop::option::of((1u32..4, 1u64..200));
    let few = prop::option::of(1u32..3);
    (few, rate, prop::option::of(1u64..50)).prop_map(|(c, r, i)| block(c, r, i))
}

fn some_fields() -> impl Strategy<Value = Vec<Field>> {
    let all = vec![
        Field::LocalIp,
        Field::RemoteMx,
        Field::JobId,
        Field::RecipientDomain,
    ];
    prop::sample::subsequence(all, 0..4)
}

fn a_policy() -> impl Strategy<Value = PolicySpec> {
    (some_fields(), a_block()).prop_map(|(fields, default)| PolicySpec {
        fields: (fields.into_iter())
            .map(|field| FieldSpec {
                field,
                groups: vec![],
            })
            .collect(),
        default: Some(default),
        ..PolicySpec::default()
    })
}

fn start(policies: Vec<PolicySpec>) -> Service<Policies> {
    let gate = Policies::new(Setup {
        policies,
        ..Setup::default()
    });
    let transport = Transport {
        sources: pool(&["198.51.100.1", "198.51.100.2", "2001:db8::1"], false),
        ..mx()
    };
    let limits = Limits {
        deliveries: 8,
        ..Limits::default()
    };
    Service::new(transport, gate.unwrap(), limits)
}

fn tell(service: &mut Service<Policies>, change: Option<policy::Change>) {
    match change {
        Some(policy::Change::Fields) => service.give(Input::PoliciesChanged),
        Some(policy::Change::Limits) => service.give(Input::LimitsChanged),
        Some(policy::Change::None) | None => {}
    }
}

/// Every item that a limit stops is stopped by a limit that holds now.
fn check(service: &mut Service<Policies>) -> Result<(), TestCaseError> {
    let queue = &service.queue;
    if queue.running().deliveries >= queue.limits.deliveries {
        return Ok(());
    }
    let waiting: Vec<(Slot, ItemId)> = (queue.index.iter())
        .filter(|(slot, _)| queue.index.state(*slot) == State::Active)
        .map(|(slot, item)| (slot, item.id))
        .collect();
    for (slot, id) in waiting {
        let fields = service.queue.index.fields(slot).unwrap().clone();
        let now = service.queue_time;
        prop_assert!(
            !service.queue.gate_mut().would_admit(&fields, now),
            "{id} could go: {:?}",
            service.queue.why(id)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_waits_behind_a_limit_that_has_room(
        list in prop::collection::vec(a_policy(), 1..4),
        dynamic in prop::collection::vec((some_fields(), a_block(), 1u64..500), 4),
        steps in prop::collection::vec((any::<u64>(), 0u8..24), 1..150),
    ) {
        let mut service = start(list);
        let mut next = 0;
        let mut open: Vec<(ItemId, Candidate)> = Vec::new();
        for (choice, what) in steps {
            match what {
                0..10 => {
                    let mut item = item_to(next, ["a.test", "b.test"][choice as usize % 2]);
                    item.jobid = (choice & 2 != 0).then(|| "job".into());
                    item.received = service.now;
                    item.aging_from = service.now;
                    next += 1;
                    service.give(Input::Committed(item));
                }
                10..16 if !open.is_empty() => {
                    let (id, _) = open.remove(choice as usize % open.len());
                    let attempt = match what {
                        10 => None,
                        11 => Some(refused()),
                        _ => Some(reply(250, SmtpState::Eod)),
                    };
                    match attempt {
                        None => service.give(Input::PutBack { id }),
                        Some(mut attempt) => {
                            if choice & 4 != 0 && let Some(of) = &mut attempt.connection {
                                of.transactions = 2;
                            }
                            service.ends(id, attempt);
                        }
                    }
                }
                16 => {
                    let (fields, then, ttl) = dynamic[choice as usize % 4].clone();
                    let spec = DynamicSpec {
                        fields,
                        then,
                        ttl: Some(secs(ttl)),
                        update: true,
                        ..DynamicSpec::default()
                    };
                    let now = service.now;
                    let fresh = Text::from(format!("p{}", choice % 4));
                    let stored = service.queue.gate_mut().set_policy(spec, fresh, now).unwrap();
                    tell(&mut service, Some(stored.change));
                }
                17 => {
                    let id = Text::from(format!("p{}", choice % 4));
                    let change = service.queue.gate_mut().delete_policy(&id);
                    tell(&mut service, change);
                }
                18 => {
                    let mx = Pattern::parse(Field::RemoteMx, "mx1.a.test").unwrap();
                    let spec = SuspendSpec {
                        when: vec![(Field::RemoteMx, vec![mx])],
                        ..SuspendSpec::default()
                    };
                    let now = service.now;
                    let ttl = Some(secs(choice % 300 + 1));
                    let gate = service.queue.gate_mut();
                    let suspend = DynamicSuspend { spec, ttl, update: true, id: None };
                    let stored = gate.set_suspend(suspend, "s".into(), now).unwrap();
                    tell(&mut service, Some(stored.change));
                }
                19 => {
                    let change = service.queue.gate_mut().delete_suspend(&"s".into());
                    tell(&mut service, change);
                }
                _ => {
                    service.now = service.now.after(secs(choice % 60));
                    if service.timer.is_some_and(|at| at <= service.now) {
                        service.give(Input::Tick);
                    }
                }
            }
            // What the service owes is done at once, but for deliveries.
            while let Some(output) = service.run() {
                match output {
                    Output::StartAttempt { id, candidate, source, .. } => {
                        let source = source.map(|source| source.address.is_ipv4());
                        prop_assert_eq!(source, Some(candidate.ip.is_ipv4()));
                        open.push((id, candidate));
                    }
                    Output::RunPostdelivery { id, .. } => {
                        let verdict = Verdict::Default;
                        let (metadata, announced) = (None, None);
                        service.give(Input::PostdeliveryVerdict { id, verdict, metadata, announced });
                    }
                    other => panic!("not expected: {other:?}"),
                }
            }
            check(&mut service)?;
        }
    }
}

#[test]
fn a_hundred_hanging_destinations_at_their_limit_leave_the_others_their_rate() {
    // Four messages to each of a hundred domains that never answer, two at once allowed; then
    // messages to a domain that answers at once.
    let mut service = start(vec![PolicySpec {
        fields: vec![FieldSpec {
            field: Field::RecipientDomain,
            groups: vec![],
        }],
        default: Some(block(Some(2), None, None)),
        ..PolicySpec::default()
    }]);
    service.queue.limits.deliveries = 1000;
    for n in 0..400 {
        service.give(Input::Committed(item_to(
            n,
            &format!("hang{}.test", n % 100),
        )));
    }
    let mut hanging = 0;
    while let Some(output) = service.run() {
        assert!(matches!(output, Output::StartAttempt { .. }));
        hanging += 1;
    }
    assert_eq!(hanging, 200);
    let before = service.queue.skips_and_misses().0;
    for n in 10_000..10_200 {
        service.give(Input::Committed(item_to(n, "quick.test")));
        assert_eq!(service.attempt().0, id(n));
        service.ends(id(n), reply(250, SmtpState::Eod));
        service.postdelivery();
        assert!(service.run().is_none());
    }
    let asked = service.queue.skips_and_misses().0 - before;
    assert_eq!(asked, 0, "no blocked sub-queue was asked on the way");
}

/// Picks of messages to ten quick domains in ten seconds of virtual time, two at once to each
/// domain and a second for each message; with `hanging`, beside a hundred domains that never answer.
fn quick_picks(hanging: bool) -> usize {
    let mut service = start(vec![PolicySpec {
        fields: vec![FieldSpec {
            field: Field::RecipientDomain,
            groups: vec![],
        }],
        default: Some(block(Some(2), None, None)),
        ..PolicySpec::default()
    }]);
    service.queue.limits.deliveries = 1000;
    if hanging {
        for n in 0..300 {
            let domain = format!("hang{}.test", n % 100);
            service.give(Input::Committed(item_to(n, &domain)));
        }
    }
    for n in 10_000..10_300 {
        let domain = format!("quick{}.test", n % 10);
        service.give(Input::Committed(item_to(n, &domain)));
    }
    let mut running: VecDeque<(u32, ItemId)> = VecDeque::new();
    let mut picks = 0;
    for tenth in 0..100 {
        while let Some((_, id)) = running.front().copied().filter(|(ends, _)| *ends <= tenth) {
            running.pop_front();
            service.ends(id, reply(250, SmtpState::Eod));
        }
        while let Some(output) = service.run() {
            match output {
                Output::StartAttempt { id, candidate, .. } => {
                    if candidate.mx.to_str().contains("quick") {
                        picks += 1;
                        running.push_back((tenth + 10, id));
                    }
                }
                Output::RunPostdelivery { id, .. } => service.give(Input::PostdeliveryVerdict {
                    id,
                    verdict: Verdict::Default,
                    metadata: None,
                    announced: None,
                }),
                other => panic!("not expected: {other:?}"),
            }
        }
        service.now = service.now.after(Duration::from_millis(100));
    }
    picks
}

#[test]
fn beside_a_hundred_hanging_destinations_the_others_keep_their_quiet_rate() {
    let quiet = quick_picks(false);
    assert_eq!(quiet, 10 * 2 * 10);
    let beside = quick_picks(true);
    assert!(beside * 100 >= quiet * 95, "{beside} of {quiet}");
}

#[test]
fn a_limit_that_is_set_meanwhile_counts_the_deliveries_that_go_on() {
    let mut service = start(Vec::new());
    for n in 0..3 {
        service.give(Input::Committed(item_to(n, "a.test")));
        assert_eq!(service.attempt().0, id(n), "nothing limits it yet");
    }
    // The field is one that nobody looked at before.
    let spec = DynamicSpec {
        fields: vec![Field::RecipientDomain],
        when: vec![(
            Field::RecipientDomain,
            vec![Pattern::parse(Field::RecipientDomain, "a.test").unwrap()],
        )],
        then: block(Some(2), None, None),
        ..DynamicSpec::default()
    };
    let now = service.queue_time;
    let policies = service.queue.gate_mut();
    let stored = policies.set_policy(spec, "p".into(), now).unwrap();
    // Before the queue is told: what comes now is under the limit already.
    service.give(Input::Committed(item_to(3, "a.test")));
    tell(&mut service, Some(stored.change));
    assert!(service.run().is_none(), "three go on, two may");
    service.ends(id(0), reply(250, SmtpState::Eod));
    service.postdelivery();
    assert!(service.run().is_none(), "two go on");
    service.ends(id(1), reply(250, SmtpState::Eod));
    service.postdelivery();
    assert_eq!(service.attempt().0, id(3));
}

#[test]
fn a_limit_by_a_new_field_holds_for_what_waits_before_the_queue_is_told() {
    let mut service = start(Vec::new());
    service.queue.limits.deliveries = 2;
    for n in 0..4 {
        service.give(Input::Committed(item_to(n, "a.test")));
    }
    assert_eq!((service.attempt().0, service.attempt().0), (id(0), id(1)));
    assert!(service.run().is_none(), "two at once in all");
    let spec = DynamicSpec {
        fields: vec![Field::RecipientDomain],
        then: block(Some(1), None, None),
        ..DynamicSpec::default()
    };
    let now = service.queue_time;
    let stored = service
        .queue
        .gate_mut()
        .set_policy(spec, "p".into(), now)
        .unwrap();
    service.ends(id(0), reply(250, SmtpState::Eod));
    service.postdelivery();
    assert!(service.run().is_none(), "one goes on, one may");
    tell(&mut service, Some(stored.change));
    assert!(service.run().is_none());
    service.ends(id(1), reply(250, SmtpState::Eod));
    service.postdelivery();
    assert_eq!(service.attempt().0, id(2));
    assert!(service.run().is_none());
}

#[test]
fn a_reload_with_policies_and_room_picks_nothing_up_under_the_old_fields() {
    let mut service = start(Vec::new());
    service.queue.limits.deliveries = 1;
    for n in 0..3 {
        service.give(Input::Committed(item_to(n, "a.test")));
    }
    assert_eq!(service.attempt().0, id(0));
    let policies = vec![PolicySpec {
        fields: vec![FieldSpec {
            field: Field::RecipientDomain,
            groups: vec![],
        }],
        default: Some(block(Some(1), None, None)),
        ..PolicySpec::default()
    }];
    let setup = Setup {
        policies,
        ..Setup::default()
    };
    service.queue.gate_mut().configure(setup).unwrap();
    service.give(Input::Configure {
        transports: transports(mx()),
        own: Arc::default(),
        limits: Limits::default(),
        policies: true,
    });
    assert!(service.run().is_none(), "one goes on, one may");
}
