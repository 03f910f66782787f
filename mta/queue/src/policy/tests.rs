//! The examples of the documentation, and random traffic against a model that keeps every event.

mod memo;
mod model;

use std::net::IpAddr;
use std::time::Duration;

use super::rate::{Algorithm, Rate};
use super::spec::{Block, ConditionSpec, FieldSpec, Limits, PolicySpec, SuspendSpec, When};
use super::{Applied, Change, DynamicSpec, DynamicSuspend, IdleDoor, Policies, PolicyError, Setup};
use crate::gate::{BlockKind, Blocked, Field, Fields, Gate, Grant, Release, Reuse};
use crate::matcher::Pattern;
use crate::time::Timestamp;
use crate::transport::{SourceIp, Sources};

const T0: Timestamp = Timestamp::from_secs(1_000_000);

fn at(secs: u64) -> Timestamp {
    T0.after(Duration::from_secs(secs))
}

fn patterns(field: Field, texts: &[&str]) -> Vec<Pattern> {
    let texts = texts.iter();
    texts
        .map(|text| Pattern::parse(field, text).unwrap())
        .collect()
}

fn when(list: &[(Field, &str)]) -> When {
    let list = list.iter();
    list.map(|(field, text)| (*field, patterns(*field, &[text])))
        .collect()
}

fn fields(list: &[Field]) -> Vec<FieldSpec> {
    let list = list.iter();
    list.map(|field| FieldSpec {
        field: *field,
        groups: vec![],
    })
    .collect()
}

fn grouped(field: Field, name: &str, members: &[&str]) -> FieldSpec {
    FieldSpec {
        field,
        groups: vec![(name.into(), patterns(field, members))],
    }
}

fn rate(count: u32, secs: u64) -> Rate {
    Rate {
        count,
        interval: Duration::from_secs(secs),
    }
}

fn block(concurrency: Option<u32>, rate: Option<Rate>) -> Block {
    Block {
        limits: Limits {
            concurrency,
            rate,
            connect_interval: None,
        },
        ..Block::default()
    }
}

fn suspend_of(spec: SuspendSpec, id: Option<&str>, ttl: Option<Duration>) -> DynamicSuspend {
    DynamicSuspend {
        id: id.map(Into::into),
        spec,
        ttl,
        update: true,
    }
}

fn policies(list: Vec<PolicySpec>) -> Policies {
    Policies::new(Setup {
        policies: list,
        ..Setup::default()
    })
    .unwrap()
}

fn source(ip: &str) -> SourceIp {
    SourceIp {
        id: None,
        address: ip.parse().unwrap(),
        helo: None,
    }
}

fn sources(list: &[&str], ordered: bool) -> Sources {
    Sources {
        addresses: list.iter().map(|ip| source(ip)).collect(),
        ordered,
    }
}

fn to(mx: &str) -> Fields {
    Fields {
        transportid: "mx".into(),
        remotemx: Some(mx.into()),
        remoteip: Some("192.0.2.9".parse().unwrap()),
        recipientdomain: Some("d.test".into()),
        sources: sources(&["198.51.100.1"], false),
        ..Fields::default()
    }
}

/// As many as pass at once.
fn burst(policies: &mut Policies, fields: &Fields, now: Timestamp) -> Vec<Grant> {
    let grants = std::iter::from_fn(|| policies.admit(fields, now).ok());
    grants.take(10_000).collect()
}

fn release(policies: &mut Policies, grants: Vec<Grant>, now: Timestamp) {
    for grant in grants {
        policies.release(grant.ticket, Release::Finished, now, &mut Vec::new());
    }
}

/// The two policies that stand in mta.md 1.5.
fn documented() -> Policies {
    let google = &["*.google.com", "*.googlemail.com", "*.smtp.goog"];
    let first = PolicySpec {
        fields: vec![
            FieldSpec {
                field: Field::LocalIp,
                groups: vec![],
            },
            grouped(Field::RemoteMx, "gsuite", google),
        ],
        conditions: vec![ConditionSpec {
            when: when(&[(Field::RemoteMx, "#gsuite")]),
            then: block(Some(10), Some(rate(50, 1))),
        }],
        default: Some(block(Some(5), Some(rate(10, 1)))),
        ..PolicySpec::default()
    };
    let second = PolicySpec {
        fields: vec![
            FieldSpec {
                field: Field::LocalIp,
                groups: vec![],
            },
            grouped(Field::RemoteMx, "o365", &["*.protection.outlook.com"]),
            FieldSpec {
                field: Field::RemoteIp,
                groups: vec![],
            },
        ],
        conditions: vec![ConditionSpec {
            when: when(&[(Field::RemoteMx, "#o365")]),
            then: block(Some(10), Some(rate(30, 1))),
        }],
        ..PolicySpec::default()
    };
    policies(vec![first, second])
}

#[test]
fn the_documented_policies_limit_groups_together_and_the_rest_one_by_one() {
    let mut policies = documented();
    let google = burst(&mut policies, &to("aspmx.l.google.com"), T0);
    assert_eq!(google.len(), 10);
    let other = burst(&mut policies, &to("mx.smtp.goog"), T0);
    assert_eq!(other.len(), 0, "hosts of a group share its counter");
    let plain = burst(&mut policies, &to("mx.example"), T0);
    assert_eq!(plain.len(), 5);
    assert_eq!(burst(&mut policies, &to("mx.example.org"), T0).len(), 5);
    // The rate of the rest is 10 a second: the other five pass, then none until one flows back.
    release(&mut policies, plain, T0);
    let more = burst(&mut policies, &to("mx.example"), T0);
    assert_eq!(more.len(), 5);
    release(&mut policies, more, T0);
    let blocked = policies.admit(&to("mx.example"), T0).unwrap_err();
    assert_eq!(blocked.kind, BlockKind::Rate);
    assert_eq!(blocked.until, Some(T0.after(Duration::from_millis(100))));
    // The second policy counts by the peer's address inside its group, and the first's default
    // (5 at once for each host) holds as well.
    let mut o365 = to("a.mail.protection.outlook.com");
    assert_eq!(burst(&mut policies, &o365, T0).len(), 5);
    o365.remotemx = Some("b.mail.protection.outlook.com".into());
    let held = burst(&mut policies, &o365, T0);
    assert_eq!(held.len(), 5);
    o365.remotemx = Some("c.mail.protection.outlook.com".into());
    assert_eq!(
        burst(&mut policies, &o365, T0).len(),
        0,
        "ten to this address of the group"
    );
    o365.remoteip = Some("192.0.2.10".parse().unwrap());
    assert_eq!(burst(&mut policies, &o365, T0).len(), 5);
    assert_eq!(policies.describe(&o365, None, T0).len(), 2);
}

#[test]
fn what_a_policy_says_is_shown_with_the_grant() {
    let mut first = block(Some(1), None);
    first.tag = Some("one".into());
    first.origin = "smtpd-policy.yaml:3".into();
    let mut second = block(Some(2), None);
    second.stop = Some(true);
    let third = block(Some(0), None);
    let of = |default: Block| PolicySpec {
        fields: fields(&[Field::RemoteMx]),
        default: Some(default),
        ..PolicySpec::default()
    };
    let mut policies = policies(vec![of(first), of(second), of(third)]);
    let grant = policies.admit(&to("a"), T0).unwrap();
    assert_eq!(grant.policies.len(), 2, "`stop` leaves the third out");
    assert_eq!(grant.tags, ["one"]);
    let blocked = policies.admit(&to("a"), T0).unwrap_err();
    let limited = policies.explain(blocked.limit).unwrap();
    assert_eq!(limited.values, [(Field::RemoteMx, "a".to_owned())]);
    assert_eq!(limited.origin, "smtpd-policy.yaml:3");
    assert_eq!((limited.kind, limited.in_use), (BlockKind::Concurrency, 1));
}

#[test]
fn a_condition_set_at_run_time_restricts_only_what_it_names_and_ends_by_itself() {
    let mut policies = policies(vec![PolicySpec {
        fields: fields(&[Field::LocalIp, Field::RemoteMx]),
        default: Some(block(Some(3), Some(rate(1000, 1)))),
        ..PolicySpec::default()
    }]);
    // The call of the documentation, with the fields in another order.
    let backoff = DynamicSpec {
        fields: vec![Field::RemoteMx, Field::LocalIp],
        when: when(&[(Field::RemoteMx, "slow.test")]),
        then: block(None, Some(rate(10, 60))),
        ttl: Some(Duration::from_secs(300)),
        update: true,
        ..DynamicSpec::default()
    };
    let stored = policies
        .set_policy(backoff.clone(), "id".into(), T0)
        .unwrap();
    assert_eq!((stored.id, stored.change), ("id".into(), Change::Limits));
    let mut passed = 0;
    for second in 0..300 {
        let now = at(second);
        let grants = burst(&mut policies, &to("slow.test"), now);
        assert!(grants.len() <= 3, "the concurrency stays the static one's");
        passed += grants.len();
        release(&mut policies, grants, now);
    }
    assert_eq!(
        passed,
        10 + 299 / 6,
        "a burst of ten, then one each six seconds"
    );
    assert_eq!(burst(&mut policies, &to("fast.test"), at(1)).len(), 3);
    // The same again only moves the end.
    let again = policies.set_policy(backoff.clone(), "other".into(), at(290));
    assert_eq!(again.unwrap().id, "id");
    let grants = burst(&mut policies, &to("slow.test"), at(301));
    assert!(grants.len() < 3);
    release(&mut policies, grants, at(301));
    assert_eq!(policies.next_end(), Some(at(590)));
    assert_eq!(burst(&mut policies, &to("slow.test"), at(590)).len(), 3);
    assert!(policies.list_policies().is_empty());
}

#[test]
fn the_newest_condition_counts_and_its_own_fields_make_a_policy() {
    let mut policies = policies(vec![]);
    let set = |policies: &mut Policies, value: &str, most: u32, id: &str| {
        let spec = DynamicSpec {
            fields: vec![Field::JobId],
            when: when(&[(Field::JobId, value)]),
            then: block(Some(most), None),
            update: true,
            ..DynamicSpec::default()
        };
        policies.set_policy(spec, id.into(), T0).unwrap().change
    };
    assert_eq!(set(&mut policies, "/./", 4, "all"), Change::Fields);
    assert_eq!(set(&mut policies, "news", 2, "one"), Change::Limits);
    let of = |job: &str| Fields {
        jobid: Some(job.into()),
        ..to("a")
    };
    assert_eq!(burst(&mut policies, &of("news"), T0).len(), 2);
    assert_eq!(burst(&mut policies, &of("bills"), T0).len(), 4);
    assert_eq!(burst(&mut policies, &to("a"), T0).len(), 10_000);
    // `update` off leaves what is there.
    let spec = DynamicSpec {
        fields: vec![Field::JobId],
        when: when(&[(Field::JobId, "news")]),
        then: block(Some(9), None),
        ..DynamicSpec::default()
    };
    let stored = policies.set_policy(spec, "x".into(), T0).unwrap();
    assert_eq!((stored.id, stored.change), ("one".into(), Change::None));
    assert_eq!(policies.delete_policy(&"one".into()), Some(Change::Limits));
    assert_eq!(
        burst(&mut policies, &of("news"), T0).len(),
        2,
        "two more make four"
    );
    assert_eq!(policies.delete_policy(&"one".into()), None);
    assert_eq!(policies.delete_policy(&"all".into()), Some(Change::Limits));
    assert_eq!(
        set(&mut policies, "/./", 4, "all"),
        Change::Limits,
        "the field is looked at until the next configuration"
    );
}

#[test]
fn an_exact_value_in_a_group_stands_for_the_group() {
    let mut policies = policies(vec![PolicySpec {
        fields: vec![grouped(Field::RemoteMx, "big", &["*.big.test"])],
        ..PolicySpec::default()
    }]);
    let spec = DynamicSpec {
        fields: vec![Field::RemoteMx],
        when: when(&[(Field::RemoteMx, "mx1.big.test")]),
        then: block(Some(1), None),
        ..DynamicSpec::default()
    };
    policies.set_policy(spec, "x".into(), T0).unwrap();
    assert_eq!(burst(&mut policies, &to("mx2.big.test"), T0).len(), 1);
    assert_eq!(burst(&mut policies, &to("mx1.big.test"), T0).len(), 0);
}

#[test]
fn a_day_s_limit_on_the_first_address_sends_the_rest_from_the_next() {
    let warm = PolicySpec {
        fields: fields(&[Field::LocalIp]),
        conditions: vec![ConditionSpec {
            when: when(&[(Field::LocalIp, "198.51.100.1")]),
            then: block(None, Some(rate(100, 86_400))),
        }],
        ..PolicySpec::default()
    };
    let mut policies = Policies::new(Setup {
        algorithm: Algorithm::FixedWindow,
        policies: vec![warm],
        ..Setup::default()
    })
    .unwrap();
    let mut fields = to("mx.test");
    fields.sources = sources(&["198.51.100.1", "198.51.100.2"], true);
    let grants: Vec<Grant> = (0..150)
        .map(|n| policies.admit(&fields, at(n)).unwrap())
        .collect();
    let from = |grant: &Grant| grant.source.as_ref().unwrap().address.to_string();
    let second = grants.iter().position(|g| from(g) == "198.51.100.2");
    assert_eq!(second, Some(100), "message 101 leaves from the second");
    let next_day = policies.admit(&fields, at(86_400)).unwrap();
    assert_eq!(from(&next_day), "198.51.100.1");
}

#[test]
fn addresses_take_turns_for_each_destination() {
    let mut policies = policies(vec![]);
    let pool = sources(&["198.51.100.1", "198.51.100.2", "198.51.100.2"], false);
    let mut used = std::collections::BTreeMap::new();
    for round in 0..300 {
        let mut fields = to(if round % 2 == 0 { "a.test" } else { "b.test" });
        fields.sources = pool.clone();
        let grant = policies.admit(&fields, T0).unwrap();
        let name = (fields.remotemx, grant.source.unwrap().address.to_string());
        *used.entry(name).or_insert(0) += 1;
    }
    let counts: Vec<i32> = used.into_values().collect();
    assert_eq!(
        counts,
        [50, 100, 50, 100],
        "an address listed twice has twice the share"
    );
}

#[test]
fn an_item_is_stopped_only_if_each_of_its_addresses_is() {
    let only = |ip: &str| when(&[(Field::LocalIp, ip)]);
    let suspend = SuspendSpec {
        when: only("198.51.100.1"),
        ..SuspendSpec::default()
    };
    let mut policies = Policies::new(Setup {
        suspends: vec![suspend],
        policies: vec![PolicySpec {
            fields: fields(&[Field::LocalIp]),
            default: Some(block(Some(1), None)),
            ..PolicySpec::default()
        }],
        ..Setup::default()
    })
    .unwrap();
    let mut fields = to("a");
    fields.sources = sources(&["198.51.100.1", "198.51.100.2", "198.51.100.3"], false);
    let grants = burst(&mut policies, &fields, T0);
    assert_eq!(grants.len(), 2);
    let blocked = policies.admit(&fields, T0).unwrap_err();
    assert_eq!(policies.limits_behind(blocked.limit).len(), 3);
    let mut freed = Vec::new();
    policies.release(grants[0].ticket, Release::Finished, T0, &mut freed);
    assert!(
        freed.contains(&blocked.limit),
        "one of the three wakes the item"
    );
    assert!(policies.admit(&fields, T0).is_ok());
    assert!(!policies.is_suspended(&fields));
    fields.sources = sources(&["198.51.100.1"], false);
    assert!(policies.is_suspended(&fields));
}

#[test]
fn suspends_match_all_their_fields_and_end() {
    let mut policies = policies(vec![]);
    let spec = SuspendSpec {
        when: when(&[(Field::RemoteMx, "*.down.test"), (Field::TransportId, "mx")]),
        tag: Some("maintenance".into()),
        ..SuspendSpec::default()
    };
    let ttl = Some(Duration::from_secs(60));
    let stored = policies
        .set_suspend(suspend_of(spec.clone(), None, ttl), "s1".into(), T0)
        .unwrap();
    assert_eq!(stored.change, Change::Fields);
    let blocked = policies.admit(&to("mx.down.test"), at(1)).unwrap_err();
    assert_eq!(
        (blocked.kind, blocked.until),
        (BlockKind::DynamicSuspend, Some(at(60)))
    );
    assert_eq!(
        policies.explain(blocked.limit).unwrap().suspend,
        Some("s1".into())
    );
    assert!(policies.admit(&to("mx.up.test"), at(1)).is_ok());
    let again = policies.set_suspend(suspend_of(spec, None, ttl), "s2".into(), at(30));
    assert_eq!(again.unwrap().id, "s1");
    assert!(policies.admit(&to("mx.down.test"), at(60)).is_err());
    assert!(policies.admit(&to("mx.down.test"), at(90)).is_ok());
    let all = SuspendSpec::default();
    let stored = policies.set_suspend(suspend_of(all, Some("all"), None), "x".into(), at(90));
    assert_eq!(stored.unwrap().id, "all");
    assert!(policies.admit(&to("mx.up.test"), at(91)).is_err());
    assert_eq!(policies.delete_suspend(&"all".into()), Some(Change::Fields));
    assert!(policies.admit(&to("mx.up.test"), at(91)).is_ok());
}

#[test]
fn new_connections_keep_their_distance_and_reused_ones_need_none() {
    let mut default = Block::default();
    default.limits.connect_interval = Some(Duration::from_secs(5));
    let mut policies = policies(vec![PolicySpec {
        fields: fields(&[Field::RemoteMx]),
        default: Some(default),
        ..PolicySpec::default()
    }]);
    let first = policies.admit(&to("a"), T0).unwrap();
    let blocked = policies.admit(&to("a"), at(1)).unwrap_err();
    assert_eq!(
        (blocked.kind, blocked.until),
        (BlockKind::ConnectInterval, Some(at(5)))
    );
    policies.release(first.ticket, Release::Finished, at(1), &mut Vec::new());
    assert!(policies.admit(&to("a"), at(4)).is_err());
    let reused = policies.admit(&to("a"), at(5)).unwrap();
    let mut freed = Vec::new();
    policies.release(reused.ticket, Release::Reused, at(6), &mut freed);
    assert!(policies.admit(&to("a"), at(6)).is_ok());
}

/// Idle connections that lead everywhere, by source address.
#[derive(Debug, Default)]
struct Doors(std::sync::Mutex<Vec<IpAddr>>);

impl IdleDoor for Doors {
    fn field(&self) -> Field {
        Field::RemoteMx
    }

    fn reserve(&self, _: &Fields, local: Option<IpAddr>) -> bool {
        let mut open = self.0.lock().unwrap();
        let place = open.iter().position(|address| Some(*address) == local);
        place.map(|place| open.remove(place)).is_some()
    }
}

#[test]
fn an_address_with_an_open_connection_comes_first_if_no_limit_is_in_its_way() {
    let address = |last| IpAddr::from([127, 0, 0, last]);
    let pool = |ordered| Fields {
        sources: sources(&["127.0.0.2", "127.0.0.3", "127.0.0.4"], ordered),
        ..to("a")
    };
    let most = |most| PolicySpec {
        fields: fields(&[Field::LocalIp]),
        default: Some(block(Some(most), None)),
        ..PolicySpec::default()
    };
    let mut policies = policies(vec![most(2)]);
    let doors = std::sync::Arc::new(Doors::default());
    policies.use_idle(std::sync::Arc::<Doors>::clone(&doors));
    let open = |list: &[u8]| {
        let list = list.iter().map(|last| address(*last));
        doors.0.lock().unwrap().extend(list);
    };
    let chosen = |grant: Grant| (grant.source.map(|source| source.address), grant.reuse);
    open(&[4, 4, 4, 3]);
    let third = (Some(address(4)), Reuse::Preferred);
    let second = (Some(address(3)), Reuse::Preferred);
    assert_eq!(chosen(policies.admit(&pool(false), T0).unwrap()), second);
    assert_eq!(chosen(policies.admit(&pool(false), T0).unwrap()), third);
    assert_eq!(chosen(policies.admit(&pool(false), T0).unwrap()), third);
    // The third address has its two deliveries, and what is open there is of no use.
    let (local, reuse) = chosen(policies.admit(&pool(false), T0).unwrap());
    assert!(local != Some(address(4)), "{local:?}");
    assert_eq!(reuse, Reuse::No);
    open(&[3]);
    let first = (Some(address(2)), Reuse::No);
    assert_eq!(chosen(policies.admit(&pool(true), T0).unwrap()), first);
}

#[test]
fn a_reload_keeps_the_counters_of_policies_that_stay() {
    let of = |field: Field, most: u32| PolicySpec {
        fields: fields(&[field]),
        default: Some(block(Some(most), None)),
        ..PolicySpec::default()
    };
    let setup = |list: Vec<PolicySpec>| Setup {
        policies: list,
        ..Setup::default()
    };
    let mut policies = Policies::new(setup(vec![of(Field::RemoteMx, 3)])).unwrap();
    let dynamic = DynamicSpec {
        fields: vec![Field::RemoteMx],
        when: when(&[(Field::RemoteMx, "b")]),
        then: block(Some(1), None),
        ..DynamicSpec::default()
    };
    policies.set_policy(dynamic, "dyn".into(), T0).unwrap();
    let held = burst(&mut policies, &to("a"), T0);
    let next = setup(vec![of(Field::JobId, 100), of(Field::RemoteMx, 5)]);
    policies.configure(next).unwrap();
    assert_eq!(burst(&mut policies, &to("a"), T0).len(), 2);
    assert_eq!(burst(&mut policies, &to("b"), T0).len(), 1);
    release(&mut policies, held, T0);
    assert_eq!(burst(&mut policies, &to("a"), T0).len(), 3);
    let wrong = setup(vec![PolicySpec {
        fields: fields(&[Field::JobId, Field::JobId]),
        ..PolicySpec::default()
    }]);
    assert_eq!(
        policies.configure(wrong),
        Err(PolicyError::Twice(Field::JobId))
    );
    assert_eq!(
        policies.list_policies().len(),
        1,
        "an error changes nothing"
    );
}

#[test]
fn a_condition_keeps_its_counters_when_a_reload_brings_or_takes_the_policy_of_its_fields() {
    let with = |list: Vec<PolicySpec>| Setup {
        policies: list,
        ..Setup::default()
    };
    let of_files = || PolicySpec {
        fields: fields(&[Field::RemoteMx]),
        ..PolicySpec::default()
    };
    let mut policies = Policies::new(with(Vec::new())).unwrap();
    let dynamic = DynamicSpec {
        fields: vec![Field::RemoteMx],
        then: block(Some(3), Some(rate(2, 60))),
        ..DynamicSpec::default()
    };
    policies.set_policy(dynamic, "own".into(), T0).unwrap();
    let mut held = burst(&mut policies, &to("a"), T0);
    assert_eq!(held.len(), 2);
    for setup in [
        vec![of_files()],
        vec![],
        vec![of_files(), of_files()],
        vec![],
    ] {
        policies.configure(with(setup)).unwrap();
        let blocked = policies.admit(&to("a"), T0).unwrap_err();
        assert_eq!(blocked.kind, BlockKind::Rate);
    }
    held.extend(burst(&mut policies, &to("a"), at(60)));
    assert_eq!(held.len(), 3, "the third of three at once");
    release(&mut policies, held, at(60));
    assert!(policies.admit(&to("a"), at(60)).is_ok());
}

#[test]
fn no_two_policies_share_their_counters_after_a_reload() {
    let mut policies = Policies::new(Setup::default()).unwrap();
    let spec = DynamicSpec {
        fields: vec![Field::RemoteMx],
        then: block(Some(3), None),
        ..DynamicSpec::default()
    };
    policies.set_policy(spec, "own".into(), T0).unwrap();
    let held = burst(&mut policies, &to("a"), T0);
    assert_eq!(held.len(), 3);
    let of_files = PolicySpec {
        fields: fields(&[Field::JobId]),
        default: Some(block(Some(1), None)),
        ..PolicySpec::default()
    };
    let setup = Setup {
        policies: vec![of_files],
        ..Setup::default()
    };
    policies.configure(setup).unwrap();
    let ids: Vec<u64> = policies.policies.iter().map(|policy| policy.id).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    release(&mut policies, held, T0);
}

#[test]
fn a_reload_does_not_multiply_conditions_of_policies_with_the_same_fields() {
    let of = || PolicySpec {
        fields: fields(&[Field::RemoteMx]),
        ..PolicySpec::default()
    };
    let setup = || Setup {
        policies: vec![of(), of()],
        ..Setup::default()
    };
    let mut policies = Policies::new(setup()).unwrap();
    let spec = DynamicSpec {
        fields: vec![Field::RemoteMx],
        then: block(Some(1), None),
        ..DynamicSpec::default()
    };
    policies.set_policy(spec, "one".into(), T0).unwrap();
    for _ in 0..3 {
        policies.configure(setup()).unwrap();
    }
    let stand: Vec<usize> = (policies.policies.iter())
        .map(|policy| policy.dynamics.len())
        .collect();
    assert_eq!(stand, [1, 1]);
}

#[test]
fn counters_that_say_nothing_are_forgotten() {
    let mut policies = policies(vec![PolicySpec {
        fields: fields(&[Field::RecipientDomain]),
        default: Some(block(Some(5), Some(rate(5, 1)))),
        ..PolicySpec::default()
    }]);
    for n in 0..50_000u64 {
        let mut fields = to("a");
        fields.recipientdomain = Some(format!("d{n}.test").into());
        let grant = policies.admit(&fields, at(n)).unwrap();
        policies.release(grant.ticket, Release::Finished, at(n), &mut Vec::new());
    }
    assert!(policies.counters().all <= 2048, "{:?}", policies.counters());
}

#[test]
fn what_cannot_be_used_is_said() {
    let mut policies = documented();
    let spec = |fields: &[Field], when: When| DynamicSpec {
        fields: fields.to_vec(),
        when,
        ..DynamicSpec::default()
    };
    let texts: Vec<String> = [
        spec(&[Field::JobId, Field::JobId], vec![]),
        spec(&[Field::JobId], when(&[(Field::RemoteMx, "a")])),
        spec(&[Field::JobId], when(&[(Field::JobId, "@none")])),
        spec(
            &[Field::LocalIp, Field::RemoteMx],
            when(&[(Field::RemoteMx, "#no")]),
        ),
    ]
    .into_iter()
    .map(|spec| {
        policies
            .set_policy(spec, "x".into(), T0)
            .unwrap_err()
            .to_string()
    })
    .collect();
    insta::assert_debug_snapshot!(texts);
    assert!(policies.list_policies().is_empty());
    let suspend = SuspendSpec {
        when: when(&[(Field::RemoteMx, "#g")]),
        ..SuspendSpec::default()
    };
    let error = policies.set_suspend(suspend_of(suspend, None, None), "x".into(), T0);
    assert_eq!(error, Err(PolicyError::GroupOutside(Field::RemoteMx)));
}

fn kinds(blocked: Result<Grant, Blocked>) -> Option<BlockKind> {
    blocked.err().map(|blocked| blocked.kind)
}

#[test]
fn limits_of_zero_let_nothing_pass() {
    for (limits, kind) in [
        (block(Some(0), None), BlockKind::Concurrency),
        (block(None, Some(rate(0, 1))), BlockKind::Rate),
    ] {
        let mut policies = policies(vec![PolicySpec {
            default: Some(limits),
            ..PolicySpec::default()
        }]);
        assert_eq!(kinds(policies.admit(&to("a"), T0)), Some(kind));
    }
    let applied: Vec<Applied> = policies(vec![]).describe(&to("a"), None, T0);
    assert!(applied.is_empty());
}
