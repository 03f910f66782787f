//! Random policies and traffic against a model that keeps every pick-up and counts from the
//! beginning each time.

use std::collections::BTreeMap;

use super::*;
use crate::gate::Memo;
use proptest::prelude::*;

/// The fields that the traffic varies, with a few values each.
const VARIED: [Field; 4] = [
    Field::LocalIp,
    Field::RemoteMx,
    Field::JobId,
    Field::RecipientDomain,
];

#[derive(Clone, Debug)]
struct ModelPolicy {
    /// Which of [`VARIED`].
    fields: [bool; 4],
    /// Limits for one MX, if the MX is a field.
    for_first: Option<ModelLimits>,
    default: Option<ModelLimits>,
}

#[derive(Clone, Copy, Debug)]
struct ModelLimits {
    concurrency: Option<u32>,
    rate: Option<(u32, u64)>,
    interval: Option<u64>,
    stop: bool,
}

/// A pick-up: when, and the values of the varied fields.
#[derive(Clone, Debug)]
struct Event {
    at: u64,
    values: [u8; 4],
    over: bool,
    put_back: bool,
}

fn limits() -> impl Strategy<Value = ModelLimits> {
    let rate = prop::option::of((0u32..5, 1u64..60));
    let few = prop::option::of(0u32..4);
    (
        few,
        rate,
        prop::option::of(1u64..20),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(concurrency, rate, interval, stop)| ModelLimits {
            concurrency,
            rate,
            interval,
            stop,
        })
}

fn policy() -> impl Strategy<Value = ModelPolicy> {
    let some = || prop::option::of(limits());
    (any::<[bool; 4]>(), some(), some()).prop_map(|(fields, for_first, default)| ModelPolicy {
        fields,
        for_first: for_first.filter(|_| fields[1]),
        default,
    })
}

impl ModelLimits {
    fn block(self) -> Block {
        let mut block = block(self.concurrency, self.rate.map(|(n, secs)| rate(n, secs)));
        block.limits.connect_interval = self.interval.map(Duration::from_secs);
        block.stop = Some(self.stop);
        block
    }
}

impl ModelPolicy {
    fn spec(&self) -> PolicySpec {
        let chosen = VARIED.iter().zip(self.fields).filter(|(_, chosen)| *chosen);
        let chosen: Vec<Field> = chosen.map(|(field, _)| *field).collect();
        PolicySpec {
            fields: fields(&chosen),
            conditions: (self.for_first.iter())
                .map(|limits| ConditionSpec {
                    when: when(&[(Field::RemoteMx, "mx0.test")]),
                    then: limits.block(),
                })
                .collect(),
            default: self.default.map(ModelLimits::block),
            name: None,
        }
    }

    fn limits(&self, values: [u8; 4]) -> Option<ModelLimits> {
        self.for_first.filter(|_| values[1] == 0).or(self.default)
    }

    fn same_counter(&self, one: [u8; 4], two: [u8; 4]) -> bool {
        (0..4).all(|n| !self.fields[n] || one[n] == two[n])
    }
}

/// Whether the policies let a pick-up with these values pass. With `strict`, put-backs count.
fn passes(
    policies: &[ModelPolicy],
    algorithm: Algorithm,
    events: &[Event],
    values: [u8; 4],
    now: u64,
    strict: bool,
) -> bool {
    for policy in policies {
        let Some(limits) = policy.limits(values) else {
            continue;
        };
        // A pick-up counts where policies before did not stop the evaluation.
        let reached = |event: &&Event| {
            let before = policies
                .iter()
                .take_while(|other| !std::ptr::eq(*other, policy));
            let mut before = before.filter_map(|other| other.limits(event.values));
            before.all(|limits| !limits.stop) && policy.same_counter(event.values, values)
        };
        let counted: Vec<&Event> = events.iter().filter(reached).collect();
        let going_on = counted.iter().filter(|event| !event.over).count();
        if limits
            .concurrency
            .is_some_and(|most| going_on >= most as usize)
        {
            return false;
        }
        let kept = |event: &&&Event| strict || !event.put_back;
        let last = counted.iter().filter(kept).map(|event| event.at).max();
        if let (Some(interval), Some(last)) = (limits.interval, last)
            && now < last + interval
        {
            return false;
        }
        if let Some((count, secs)) = limits.rate
            && !rate_allows(algorithm, &counted, kept, now, u64::from(count), secs)
        {
            return false;
        }
        if limits.stop {
            break;
        }
    }
    true
}

fn rate_allows(
    algorithm: Algorithm,
    counted: &[&Event],
    kept: impl Fn(&&&Event) -> bool,
    now: u64,
    count: u64,
    secs: u64,
) -> bool {
    match algorithm {
        // From each pick-up on, no more than the burst and what flowed back meanwhile.
        Algorithm::TokenBucket => {
            let times: Vec<u64> = counted.iter().filter(kept).map(|event| event.at).collect();
            let fits = |(n, from): (usize, &u64)| {
                let with_this = (times.len() - n) as u64 + 1;
                with_this * secs <= count * secs + (now - from) * count
            };
            count > 0 && times.iter().enumerate().all(fits)
        }
        // A put-back leaves the window that it began.
        Algorithm::FixedWindow => {
            let mut window = None;
            let mut used = 0;
            for event in counted {
                if window.is_none_or(|begin| event.at >= begin + secs) {
                    (window, used) = (Some(event.at), 0);
                }
                used += u64::from(kept(&event));
            }
            count > 0 && (used < count || window.is_none_or(|begin| now >= begin + secs))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// With put-backs counted the model is at least as strict, without them at most.
    #[test]
    fn the_gate_agrees_with_a_model_that_counts_from_the_beginning(
        list in prop::collection::vec(policy(), 0..4),
        fixed in any::<bool>(),
        steps in prop::collection::vec((0u64..8, any::<[u8; 4]>(), 0u8..8), 1..120),
    ) {
        let algorithm = if fixed { Algorithm::FixedWindow } else { Algorithm::TokenBucket };
        let mut gate = Policies::new(Setup {
            algorithm,
            policies: list.iter().map(ModelPolicy::spec).collect(),
            ..Setup::default()
        })
        .unwrap();
        let mut events: Vec<Event> = Vec::new();
        let mut open: Vec<(usize, Grant)> = Vec::new();
        let mut memos: BTreeMap<[u8; 4], Memo> = BTreeMap::new();
        let mut now = 0;
        for (pause, values, what) in steps {
            now += pause;
            let values = values.map(|value| value % 2);
            if what < 3 && !open.is_empty() {
                let (event, grant) = open.remove(usize::from(values[0]) % open.len());
                // Put back at once, or finished.
                let put_back = what == 0 && events[event].at == now;
                let how = if put_back { Release::PutBack } else { Release::Finished };
                gate.release(grant.ticket, how, at(now), &mut Vec::new());
                events[event].over = true;
                events[event].put_back = put_back;
                continue;
            }
            let mut fields = to(&format!("mx{}.test", values[1]));
            fields.jobid = Some(format!("job{}", values[2]).into());
            fields.recipientdomain = Some(format!("d{}.test", values[3]).into());
            fields.sources = sources(&[["198.51.100.1", "198.51.100.2"][usize::from(values[0])]], true);
            let strict = passes(&list, algorithm, &events, values, now, true);
            let lenient = passes(&list, algorithm, &events, values, now, false);
            match gate.admit_known(&fields, memos.entry(values).or_default(), at(now)) {
                Ok(grant) => {
                    prop_assert!(lenient, "passed beyond a limit");
                    open.push((events.len(), grant));
                    events.push(Event { at: now, values, over: false, put_back: false });
                }
                Err(blocked) => {
                    prop_assert!(!strict, "blocked without a reason: {:?}", blocked);
                    prop_assert!(blocked.until.is_none_or(|until| until > at(now)));
                    prop_assert!(gate.explain(blocked.limit).is_some());
                }
            }
        }
        for (_, grant) in open {
            gate.release(grant.ticket, Release::Finished, at(now), &mut Vec::new());
        }
    }
}

/// A condition that was set at run time, as the model keeps it.
#[derive(Clone, Debug)]
struct ModelDynamic {
    id: u64,
    fields: [bool; 4],
    /// For one of the MX (by number, or for both of the group), or for all.
    mx: Option<u8>,
    concurrency: u32,
    ends: u64,
    /// What the counters of a policy of its own begin with.
    born: usize,
}

/// A pick-up with the counters that it was counted under.
#[derive(Clone, Debug)]
struct Counted {
    values: [u8; 4],
    over: bool,
    /// Static policies by place; those that exist for conditions by their fields and birth.
    under: Vec<(Option<usize>, [bool; 4], usize)>,
}

const GROUPED: [u8; 2] = [2, 3];

/// Values 2 and 3 of the MX are one group in static policies that group.
fn rolled(policy_groups: bool, values: [u8; 4]) -> [u8; 4] {
    let mut values = values;
    if policy_groups && GROUPED.contains(&values[1]) {
        values[1] = GROUPED[0];
    }
    values
}

fn same(fields: [bool; 4], one: [u8; 4], two: [u8; 4]) -> bool {
    (0..4).all(|n| !fields[n] || one[n] == two[n])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Concurrency under conditions and suspends that come, change, go and end meanwhile, with
    /// groups: the gate passes exactly what a model passes that keeps every pick-up.
    #[test]
    fn changes_at_run_time_agree_with_the_model(
        list in prop::collection::vec((any::<[bool; 4]>(), any::<bool>(), prop::option::of(0u32..4)), 0..3),
        steps in prop::collection::vec(
            (0u64..5, any::<[u8; 4]>(), 0u8..16, any::<[bool; 4]>(), 0u32..4, 1u64..30), 1..150),
    ) {
        let specs = list.iter().map(|(fields, groups, most)| {
            let chosen = VARIED.iter().zip(*fields).filter(|(_, chosen)| *chosen);
            PolicySpec {
                fields: chosen
                    .map(|(field, _)| match (field, groups) {
                        (Field::RemoteMx, true) => grouped(*field, "g", &["mx2.test", "mx3.test"]),
                        _ => FieldSpec { field: *field, groups: vec![] },
                    })
                    .collect(),
                default: most.map(|most| block(Some(most), None)),
                ..PolicySpec::default()
            }
        });
        let mut gate = policies(specs.collect());
        let (mut now, mut next_id) = (0u64, 0u64);
        let mut dynamics: Vec<ModelDynamic> = Vec::new();
        let mut suspended: Vec<(u8, u64)> = Vec::new();
        let mut events: Vec<Counted> = Vec::new();
        let mut open: Vec<(usize, Grant)> = Vec::new();
        let mut memos: BTreeMap<[u8; 4], Memo> = BTreeMap::new();
        for (pause, values, what, fields, most, ttl) in steps {
            now += pause;
            let values = values.map(|value| value % 4);
            dynamics.retain(|of| of.ends > now);
            suspended.retain(|(_, ends)| *ends > now);
            match what {
                0 | 1 => {
                    let mx = (fields[1] && ttl % 3 != 0).then_some(values[1]);
                    let chosen = VARIED.iter().zip(fields).filter(|(_, chosen)| *chosen);
                    let spec = DynamicSpec {
                        fields: chosen.map(|(field, _)| *field).collect(),
                        when: mx.map_or_else(Vec::new, |mx| when(&[(Field::RemoteMx, &format!("mx{mx}.test"))])),
                        then: block(Some(most), None),
                        ttl: Some(Duration::from_secs(ttl)),
                        update: true,
                        ..DynamicSpec::default()
                    };
                    gate.set_policy(spec, format!("p{next_id}").as_str().into(), at(now)).unwrap();
                    // A policy of its own lives as long as there are conditions for its fields.
                    let kin = dynamics.iter().find(|of| of.fields == fields);
                    let born = kin.map_or(events.len(), |of| of.born);
                    let known = dynamics.iter().position(|of| of.fields == fields && of.mx == mx);
                    let id = known.map_or(next_id, |place| dynamics.remove(place).id);
                    next_id += 1;
                    dynamics.push(ModelDynamic { id, fields, mx, concurrency: most, ends: now + ttl, born });
                    continue;
                }
                2 if !dynamics.is_empty() => {
                    let gone = dynamics.remove(usize::from(values[0]) % dynamics.len());
                    let id = format!("p{}", gone.id);
                    prop_assert!(gate.delete_policy(&id.as_str().into()).is_some());
                    continue;
                }
                3 => {
                    let spec = SuspendSpec {
                        when: when(&[(Field::RemoteMx, &format!("mx{}.test", values[1]))]),
                        ..SuspendSpec::default()
                    };
                    let suspend = suspend_of(spec, None, Some(Duration::from_secs(ttl)));
                    gate.set_suspend(suspend, format!("s{next_id}").as_str().into(), at(now)).unwrap();
                    next_id += 1;
                    suspended.retain(|(mx, _)| *mx != values[1]);
                    suspended.push((values[1], now + ttl));
                    continue;
                }
                4..8 if !open.is_empty() => {
                    let (event, grant) = open.remove(usize::from(values[0]) % open.len());
                    gate.release(grant.ticket, Release::Finished, at(now), &mut Vec::new());
                    events[event].over = true;
                    continue;
                }
                _ => {}
            }
            // What applies: the newest condition that fits, else the default; then policies of
            // conditions without a static one.
            let fits = |of: &&ModelDynamic, groups: bool| of.mx.is_none_or(|mx| {
                let one = rolled(groups, [0, mx, 0, 0])[1];
                one == rolled(groups, values)[1]
            });
            let mut passes = suspended.iter().all(|(mx, _)| *mx != values[1]);
            let mut under = Vec::new();
            for (place, (fields, groups, default)) in list.iter().enumerate() {
                let mine = dynamics.iter().filter(|of| of.fields == *fields);
                let newest = mine.rev().find(|of| fits(of, *groups)).map(|of| of.concurrency);
                let Some(most) = newest.or(*default) else { continue };
                let name = (Some(place), *fields, 0);
                let in_use = events.iter().filter(|event| !event.over && event.under.contains(&name)
                    && same(*fields, rolled(*groups, event.values), rolled(*groups, values))).count();
                passes &= in_use < most as usize;
                under.push(name);
            }
            let mut own: Vec<&ModelDynamic> = dynamics
                .iter()
                .filter(|of| list.iter().all(|(fields, ..)| *fields != of.fields))
                .collect();
            own.reverse();
            let mut seen = Vec::new();
            for of in own {
                if seen.contains(&of.fields) || !fits(&of, false) {
                    continue;
                }
                seen.push(of.fields);
                let name = (None, of.fields, of.born);
                let in_use = events.iter().filter(|event| !event.over && event.under.contains(&name)
                    && same(of.fields, event.values, values)).count();
                passes &= in_use < of.concurrency as usize;
                under.push(name);
            }
            let mut fields = to(&format!("mx{}.test", values[1]));
            fields.jobid = Some(format!("job{}", values[2]).into());
            fields.recipientdomain = Some(format!("d{}.test", values[3]).into());
            let local = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"];
            fields.sources = sources(&[local[usize::from(values[0])]], true);
            match gate.admit_known(&fields, memos.entry(values).or_default(), at(now)) {
                Ok(grant) => {
                    prop_assert!(passes, "passed beyond a limit: {:?}", dynamics);
                    open.push((events.len(), grant));
                    events.push(Counted { values, over: false, under });
                }
                Err(blocked) => {
                    prop_assert!(!passes, "blocked without a reason: {:?} {:?}", blocked, dynamics);
                    prop_assert!(gate.explain(blocked.limit).is_some());
                }
            }
        }
    }
}
