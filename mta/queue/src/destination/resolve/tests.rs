//! A scripted DNS drives the machine; each row is a destination with its expected candidates.

use super::*;
use crate::destination::{Families, OwnHosts};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A DNS of lines `name TYPE data`; data `!` is a failure, a missing name does not exist, a name
/// without the type has no data.
struct Dns {
    records: BTreeMap<(String, &'static str), Vec<String>>,
    names: BTreeSet<String>,
    asked: Vec<String>,
}

impl Dns {
    fn new(zone: &str) -> Self {
        let mut dns = Dns {
            records: BTreeMap::new(),
            names: BTreeSet::new(),
            asked: Vec::new(),
        };
        for line in zone.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.splitn(3, ' ');
            let (name, kind) = (words.next().unwrap(), words.next().unwrap_or(""));
            let kind = ["MX", "A", "AAAA"].into_iter().find(|k| *k == kind);
            dns.names.insert(name.to_owned());
            if let (Some(kind), Some(data)) = (kind, words.next()) {
                dns.records
                    .entry((name.to_owned(), kind))
                    .or_default()
                    .push(data.to_owned());
            }
        }
        dns
    }

    fn answer(&mut self, lookup: &Lookup) -> Result<Answer, LookupError> {
        let name = lookup.name.to_string();
        let kind = match lookup.kind {
            RecordType::Mx => "MX",
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
        };
        self.asked.push(format!("{name} {kind}"));
        if !self.names.contains(&name) {
            return Err(LookupError::NxDomain);
        }
        let data = self.records.get(&(name, kind)).ok_or(LookupError::NoData)?;
        if data[0] == "!" {
            return Err(LookupError::Temporary("SERVFAIL".into()));
        }
        let records = match lookup.kind {
            RecordType::Mx => Records::Mx(
                data.iter()
                    .map(|d| d.split_once(' ').unwrap())
                    .map(|(preference, host)| (preference.parse().unwrap(), host.to_owned()))
                    .collect(),
            ),
            RecordType::A => Records::A(data.iter().map(|d| d.parse().unwrap()).collect()),
            RecordType::Aaaa => Records::Aaaa(data.iter().map(|d| d.parse().unwrap()).collect()),
        };
        Ok(Answer {
            records,
            secure: false,
        })
    }
}

fn request(target: Target) -> Request {
    Request {
        target,
        port: 25,
        families: Families::BOTH,
        mx_include: Vec::new(),
        mx_exclude: Vec::new(),
        ip_exclude: Vec::new(),
        own: Arc::new(OwnHosts::default()),
        transaction: Uuid::from_u128(7),
    }
}

fn mx_of(domain: &str) -> Request {
    request(Target::MxOf(domain.into()))
}

fn host(name: &str) -> Request {
    request(Target::Host(name.into()))
}

fn run(request: Request, dns: &mut Dns) -> Result<Vec<Candidate>, AttemptError> {
    let mut resolution = Resolution::new(request);
    let mut open = Vec::new();
    loop {
        match resolution.step() {
            Step::Lookup(lookup) => open.push(lookup),
            // The answers come in the reverse order.
            Step::Wait => {
                let lookup = open.pop().expect("waits for an answer that was asked for");
                let answer = dns.answer(&lookup);
                resolution.answer(&lookup, answer);
            }
            Step::Done(done) => return done,
        }
    }
}

/// `mx/ip` of each candidate, or `kind temporary status`.
fn show(result: &Result<Vec<Candidate>, AttemptError>) -> String {
    match result {
        Ok(list) => list
            .iter()
            .map(|c| format!("{}/{}", c.mx, c.ip))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => {
            let why = match error.kind {
                ErrorKind::Dns(why) => why.as_str(),
                other => other.as_str(),
            };
            let temporary = if error.temporary { " temporary" } else { "" };
            let status = error
                .status
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            format!("{why}{temporary}{status}")
        }
    }
}

fn resolve(request: Request, zone: &str) -> String {
    show(&run(request, &mut Dns::new(zone)))
}

#[test]
fn where_mail_for_a_domain_goes() {
    for (what, zone, want) in [
        (
            "preference decides",
            "d.test MX 20 b.test\nd.test MX 10 a.test\na.test A 192.0.2.1\nb.test A 192.0.2.2",
            "a.test/192.0.2.1 b.test/192.0.2.2",
        ),
        (
            "IPv6 first within a preference, not across",
            "d.test MX 10 a.test\nd.test MX 20 b.test\na.test A 192.0.2.1\n\
             a.test AAAA 2001:db8::1\nb.test AAAA 2001:db8::2",
            "a.test/2001:db8::1 a.test/192.0.2.1 b.test/2001:db8::2",
        ),
        ("implicit MX", "d.test A 192.0.2.1", "d.test/192.0.2.1"),
        (
            "implicit MX with IPv6 only",
            "d.test AAAA 2001:db8::1",
            "d.test/2001:db8::1",
        ),
        ("no such domain", "", "nxdomain"),
        ("a domain without hosts", "d.test", "nodata"),
        ("null MX", "d.test MX 0 .\nd.test A 192.0.2.1", "nullmx"),
        (
            "null MX beside others is ignored",
            "d.test MX 0 .\nd.test MX 10 a.test\na.test A 192.0.2.1",
            "a.test/192.0.2.1",
        ),
        ("MX look-up fails", "d.test MX !", "other temporary"),
        (
            "MX host does not exist: no implicit MX",
            "d.test MX 1 a.test\nd.test A 192.0.2.1",
            "nodata",
        ),
        (
            "MX host's look-up fails",
            "d.test MX 1 a.test\na.test A !",
            "other temporary",
        ),
        (
            "one family fails, the other serves",
            "d.test MX 1 a.test\na.test A 192.0.2.1\na.test AAAA !",
            "a.test/192.0.2.1",
        ),
        (
            "one host fails, the other serves",
            "d.test MX 1 a.test\nd.test MX 2 b.test\na.test A !\nb.test A 192.0.2.2",
            "b.test/192.0.2.2",
        ),
        (
            "a host listed twice counts at its best place",
            "d.test MX 9 a.test\nd.test MX 1 A.TEST.\na.test A 192.0.2.1",
            "a.test/192.0.2.1",
        ),
        (
            "an address that is no destination",
            "d.test A 0.0.0.0",
            "nodata",
        ),
    ] {
        assert_eq!(resolve(mx_of("d.test"), zone), want, "{what}");
    }
}

#[test]
fn names_and_literals() {
    let zone = "xn--bcher-kva.test MX 1 a.test\na.test A 192.0.2.1";
    assert_eq!(resolve(mx_of("Bücher.test"), zone), "a.test/192.0.2.1");
    assert_eq!(resolve(mx_of("[192.0.2.7]"), ""), "192.0.2.7/192.0.2.7");
    assert_eq!(
        resolve(mx_of("[IPv6:2001:db8::7]"), ""),
        "2001:db8::7/2001:db8::7"
    );
    assert_eq!(resolve(mx_of("[nonsense]"), ""), "other");
    assert_eq!(resolve(mx_of("a b"), ""), "other");
    assert_eq!(resolve(mx_of(""), ""), "other");
}

#[test]
fn a_fixed_host_is_not_looked_up_by_mx() {
    let zone = "h.test MX 1 a.test\nh.test A 192.0.2.1\nh.test AAAA 2001:db8::1";
    let mut dns = Dns::new(zone);
    let result = run(host("h.test"), &mut dns);
    assert_eq!(show(&result), "h.test/2001:db8::1 h.test/192.0.2.1");
    assert_eq!(dns.asked, ["h.test A", "h.test AAAA"]);
    assert_eq!(resolve(host("192.0.2.9"), ""), "192.0.2.9/192.0.2.9");
    assert_eq!(
        resolve(host("[2001:db8::9]"), ""),
        "2001:db8::9/2001:db8::9"
    );
    assert_eq!(resolve(host("gone.test"), ""), "nxdomain");
    assert_eq!(resolve(host("h.test"), "h.test"), "nodata");
    assert_eq!(resolve(host("0.0.0.0"), ""), "config");
}

const PAIR: &str = "d.test MX 10 a.test\nd.test MX 20 b.test\na.test A 192.0.2.1\n\
                    a.test AAAA 2001:db8::1\nb.test A 192.0.2.2";

#[test]
fn options_restrict_hosts_and_addresses() {
    let mx = |include: &[&str], exclude: &[&str]| Request {
        mx_include: include.iter().map(|p| Text::from(*p)).collect(),
        mx_exclude: exclude.iter().map(|p| Text::from(*p)).collect(),
        ..mx_of("d.test")
    };
    let ip = |net: &str| Request {
        ip_exclude: vec![net.parse().unwrap()],
        ..mx_of("d.test")
    };
    let family = |ipv4, ipv6| Request {
        families: Families { ipv4, ipv6 },
        ..mx_of("d.test")
    };
    for (request, want) in [
        (mx(&["b.test"], &[]), "b.test/192.0.2.2"),
        (mx(&[], &["a.*"]), "b.test/192.0.2.2"),
        (mx(&["c.test"], &[]), "excluded"),
        (mx(&[], &["*.test"]), "excluded"),
        (ip("192.0.2.0/24"), "a.test/2001:db8::1"),
        (ip("192.0.2.1/32"), "a.test/2001:db8::1 b.test/192.0.2.2"),
        (family(true, false), "a.test/192.0.2.1 b.test/192.0.2.2"),
        (family(false, true), "a.test/2001:db8::1"),
        (
            Request {
                families: Families {
                    ipv4: false,
                    ipv6: true,
                },
                ..host("b.test")
            },
            "ipfamily",
        ),
        (
            Request {
                ip_exclude: vec!["::/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap()],
                ..mx_of("d.test")
            },
            "excluded",
        ),
    ] {
        assert_eq!(resolve(request.clone(), PAIR), want, "{request:?}");
    }
}

#[test]
fn hosts_that_are_ourselves_and_worse_ones_are_dropped() {
    let zone = "d.test MX 10 a.test\nd.test MX 20 us.test\nd.test MX 20 c.test\nd.test MX 30 e.test\n\
                a.test A 192.0.2.1\nus.test A 192.0.2.9\nc.test A 192.0.2.3\ne.test A 192.0.2.5";
    let by_name = OwnHosts {
        names: vec!["US.test".into()],
        sockets: Vec::new(),
    };
    let socket = |ip: &str, port| OwnHosts {
        names: Vec::new(),
        sockets: vec![(ip.parse().unwrap(), port)],
    };
    let with = |own: OwnHosts| Request {
        own: Arc::new(own),
        ..mx_of("d.test")
    };
    assert_eq!(resolve(with(by_name.clone()), zone), "a.test/192.0.2.1");
    assert_eq!(
        resolve(with(socket("192.0.2.9", 25)), zone),
        "a.test/192.0.2.1"
    );
    let best_is_us = zone.replace("10 a.test", "20 a.test");
    assert_eq!(resolve(with(by_name), &best_is_us), "other 5.4.6");
    let other_port = resolve(with(socket("192.0.2.9", 2525)), zone);
    assert!(
        other_port.contains("us.test"),
        "another port is another server: {other_port}"
    );
    // An implicit MX, a literal, and a wildcard listener.
    let implicit = Request {
        own: Arc::new(socket("127.0.0.1", 25)),
        ..mx_of("l.test")
    };
    assert_eq!(resolve(implicit, "l.test A 127.0.0.1"), "other 5.4.6");
    let literal = Request {
        own: Arc::new(socket("0.0.0.0", 25)),
        ..mx_of("[127.0.0.1]")
    };
    assert_eq!(resolve(literal, ""), "other 5.4.6");
    // A fixed host is what the operator says, even if it is this machine.
    let fixed = Request {
        own: Arc::new(socket("127.0.0.1", 25)),
        ..host("127.0.0.1")
    };
    assert_eq!(resolve(fixed, ""), "127.0.0.1/127.0.0.1");
}

fn ten_equals() -> String {
    (0..10)
        .map(|n| format!("d.test MX 5 m{n}.test\nm{n}.test A 192.0.2.{n}\n"))
        .collect()
}

#[test]
fn the_order_of_equals_is_the_message_s_own() {
    let order = |transaction: u128| {
        let request = Request {
            transaction: Uuid::from_u128(transaction),
            ..mx_of("d.test")
        };
        resolve(request, &ten_equals())
    };
    assert_eq!(order(1), order(1));
    let orders: BTreeSet<_> = (0..50).map(order).collect();
    assert!(orders.len() > 40, "{} different orders of 50", orders.len());
    let firsts: BTreeSet<_> = orders
        .iter()
        .map(|o| o.split(' ').next().unwrap())
        .collect();
    assert!(
        firsts.len() >= 8,
        "nearly every host comes first for somebody: {firsts:?}"
    );
}

#[test]
fn an_attempt_tries_three_addresses_of_a_host_and_ten_in_all() {
    let mut zone = String::new();
    for n in 0..6 {
        zone += &format!("d.test MX {n} m{n}.test\n");
        for a in 1..6 {
            zone += &format!("m{n}.test A 192.0.{n}.{a}\nm{n}.test AAAA 2001:db8:{n}::{a}\n");
        }
    }
    let list = run(mx_of("d.test"), &mut Dns::new(&zone)).unwrap();
    assert_eq!(list.len(), ADDRESSES);
    for (n, of_host) in list.chunk_by(|a, b| a.mx == b.mx).enumerate() {
        let v6 = of_host.iter().filter(|c| c.ip.is_ipv6()).count();
        if n < 3 {
            assert_eq!((of_host.len(), v6), (3, 2), "both families: {of_host:?}");
        }
        assert!(
            of_host.is_sorted_by_key(|c| c.ip.is_ipv4()),
            "IPv6 first: {of_host:?}"
        );
    }
}

#[test]
fn many_hosts_are_asked_for_in_waves() {
    let mut zone: String = (0..60)
        .map(|n| format!("d.test MX {n} m{n:02}.test\n"))
        .collect();
    zone += "m15.test A 192.0.2.1\n";
    let mut dns = Dns::new(&zone);
    assert_eq!(show(&run(mx_of("d.test"), &mut dns)), "m15.test/192.0.2.1");
    assert_eq!(dns.asked.len(), 1 + 2 * HOSTS, "not more than the limit");
    // Once there are enough addresses the rest is not asked for.
    let mut dns = Dns::new(&(ten_equals() + "d.test MX 9 z.test\nz.test A 192.0.2.99"));
    run(mx_of("d.test"), &mut dns).unwrap();
    assert!(!dns.asked.contains(&"z.test A".to_owned()));
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let mut resolution = Resolution::new(mx_of("d.test"));
    let stray = Lookup {
        name: Arc::from("x.test"),
        kind: RecordType::A,
    };
    resolution.answer(&stray, Err(LookupError::NxDomain));
    let Step::Lookup(lookup) = resolution.step() else {
        panic!("asks for MX")
    };
    assert_eq!(resolution.step(), Step::Wait);
    resolution.answer(&lookup, Err(LookupError::NxDomain));
    resolution.answer(&lookup, Err(LookupError::NoData));
    assert!(matches!(resolution.step(), Step::Done(Err(_))));
}

#[test]
fn a_candidate_is_secure_only_if_every_look_up_was() {
    for (mx, a, want) in [
        (true, true, true),
        (false, true, false),
        (true, false, false),
    ] {
        let mut resolution = Resolution::new(mx_of("d.test"));
        let secure = loop {
            match resolution.step() {
                Step::Lookup(lookup) => {
                    let answer = match lookup.kind {
                        RecordType::Mx => Ok(Answer {
                            records: Records::Mx(vec![(1, "a.test".into())]),
                            secure: mx,
                        }),
                        RecordType::A => {
                            let list = vec![std::net::Ipv4Addr::new(192, 0, 2, 1)];
                            Ok(Answer {
                                records: Records::A(list),
                                secure: a,
                            })
                        }
                        RecordType::Aaaa => Err(LookupError::NoData),
                    };
                    resolution.answer(&lookup, answer);
                }
                Step::Wait => panic!("everything was answered"),
                Step::Done(done) => break done.unwrap()[0].secure,
            }
        };
        assert_eq!(secure, want);
    }
}
