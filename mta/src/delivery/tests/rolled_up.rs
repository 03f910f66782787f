//! A policy file whose counters are for each source address, group of hosts and address of the peer together: the
//! second of mta.md 1.5, alone.

use std::collections::BTreeMap;

use super::bundle::transports;
use super::*;

const POLICY: &str = "version: '6.0'
policies:
  - fields:
      - localip
      - remotemx:
          o365: ['*.protection.outlook.com']
      - remoteip
    conditions:
      - if: {remotemx: '#o365'}
        then: {concurrency: 10, rate: 30}
";

/// Two domains whose hosts are of the group and have one address, a third with a host of the group at another
/// address, and one whose host is of no group.
const HOSTS: [(&str, &str, u8); 4] = [
    ("e.test", "e.mail.protection.outlook.com", 1),
    ("f.test", "f.mail.protection.outlook.com", 1),
    ("g.test", "g.mail.protection.outlook.com", 2),
    ("plain.test", "mx.plain.test", 1),
];

fn setup(app: &str) -> Setup {
    let setup = Setup::bundle(&[
        ("config/smtpd-app.yaml", app),
        ("config/smtpd-policy.yaml", POLICY),
    ]);
    for (domain, host, address) in HOSTS {
        setup.host(host, address);
        setup.mx(domain, 10, host);
    }
    setup
}

/// Two mail servers on one port of two addresses.
fn sinks(act: fn(usize, &str) -> Option<Act>) -> [Sink; 2] {
    let first = Sink::start(local(1, 0), Offer::Nothing, script(act));
    let second = Sink::start(local(2, first.port()), Offer::Nothing, script(act));
    [first, second]
}

async fn submit(rig: &mut Rig, count: usize) {
    for (domain, _, _) in HOSTS {
        for _ in 0..count {
            rig.submit(&format!("x@{domain}"), MESSAGE, Change::None)
                .await;
        }
    }
}

/// Deliveries under way by domain, once there are `all` of them and no more come.
async fn sending(rig: &Rig, all: usize) -> BTreeMap<String, usize> {
    let mut before = 0;
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let items = rig.handle.items(|_, state| state == State::Sending).await;
        let items = items.expect("a queue");
        if items.len() >= all && items.len() == before {
            let mut counts = BTreeMap::new();
            for (item, _) in items {
                *counts.entry(item.recipient.domain.to_string()).or_default() += 1;
            }
            return counts;
        }
        before = items.len();
    }
    panic!("{before} deliveries instead of {all}");
}

#[test]
fn ten_go_at_once_to_one_address_of_the_group() {
    run(|dir| async move {
        let sinks = sinks(|_, at| (at == "MAIL").then_some(Act::Hang));
        let mut rig = setup(&transports(sinks[0].port(), "")).start(dir.path());
        submit(&mut rig, 15).await;
        let counts = sending(&rig, 35).await;
        let of = |domain: &str| counts.get(domain).copied().unwrap_or_default();
        assert_eq!(of("e.test") + of("f.test"), 10, "one counter: {counts:?}");
        assert_eq!(of("g.test"), 10, "another address: {counts:?}");
        assert_eq!(of("plain.test"), 15, "no limit outside the group");
        // They hang for ever: the rig is left as it is.
    });
}

#[test]
fn each_source_address_has_a_counter_of_its_own() {
    run(|dir| async move {
        let sinks = sinks(|_, at| (at == "MAIL").then_some(Act::Hang));
        let sources = "sourceip: {addresses: [{address: 127.0.0.3}, {address: 127.0.0.4}]}, port:";
        let app = transports(sinks[0].port(), "").replace("port:", sources);
        let mut rig = setup(&app).start(dir.path());
        submit(&mut rig, 25).await;
        let counts = sending(&rig, 65).await;
        let of = |domain: &str| counts.get(domain).copied().unwrap_or_default();
        assert_eq!(of("e.test") + of("f.test"), 20, "{counts:?}");
        assert_eq!(of("g.test"), 20, "{counts:?}");
        assert_eq!(of("plain.test"), 25, "{counts:?}");
    });
}

#[test]
fn thirty_go_in_a_second_to_one_address_of_the_group() {
    run(|dir| async move {
        let sinks = sinks(|_, _| None);
        let mut rig = setup(&transports(sinks[0].port(), "")).start(dir.path());
        submit(&mut rig, 40).await;
        let taken = |domains: [&str; 2]| {
            let all = sinks.iter().flat_map(Sink::received);
            all.filter(|one| domains.iter().any(|domain| one.rcpt.contains(domain)))
                .count()
        };
        // The first second: a full bucket for each address, all for those outside the group.
        rig.until(|| sinks.iter().flat_map(Sink::received).count() >= 100)
            .await;
        rig.settled().await;
        let shared = || taken(["@e.test", "@f.test"]);
        let other = || taken(["@g.test", "@g.test"]);
        assert_eq!((shared(), other()), (30, 30));
        assert_eq!(taken(["@plain.test", "@plain.test"]), 40);
        rig.pass(1).await;
        assert_eq!((shared(), other()), (60, 40));
        rig.pass(1).await;
        assert_eq!((shared(), other()), (80, 40));
        rig.idle().await;
        rig.stop().await;
    });
}
