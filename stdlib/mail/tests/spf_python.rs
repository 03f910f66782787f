//! SPF with pyspf as the other side: random records, served to both from one table.
//!
//! Where pyspf differs from RFC 7208 it is not asked, or its word is left: it takes a digit of zero in a macro (§7.3), an
//! `exists` without a name (§5.7) and `EXP=` for no `exp=` (names of modifiers are in any case, §12); it refuses a record that
//! includes its own domain where the term would not be reached (§4.6.2); and it counts questions without an answer where §4.6.4
//! counts terms.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops and reports this way, and starts Python"
)]

use std::collections::BTreeMap;
use std::future::Future as _;
use std::io::Write as _;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use angarium_mail::spf::{Checked, Client, Data, Kind, NoAnswer, Resolver, check};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Names, their types of records, and these.
type Zone = BTreeMap<String, BTreeMap<&'static str, Vec<String>>>;

struct Table<'a>(&'a Zone);

impl Resolver for Table<'_> {
    async fn query(&self, name: &str, kind: Kind) -> Result<Vec<Data>, NoAnswer> {
        let name = name.to_ascii_lowercase();
        if name.starts_with("broken.") {
            return Err(NoAnswer::Failed);
        }
        let written = match kind {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Mx => "MX",
            Kind::Ptr => "PTR",
            Kind::Txt => "TXT",
        };
        let records = self.0.get(&name).and_then(|types| types.get(written));
        let records = records
            .filter(|list| !list.is_empty())
            .ok_or(NoAnswer::Absent)?;
        let data = |text: &String| match kind {
            Kind::A | Kind::Aaaa => Data::Address(text.parse().unwrap()),
            Kind::Mx | Kind::Ptr => Data::Name(text.clone()),
            Kind::Txt => Data::Text(text.clone().into_bytes()),
        };
        Ok(records.iter().map(data).collect())
    }
}

/// One question.
#[derive(Debug)]
struct Job {
    zone: Zone,
    ip: &'static str,
    helo: &'static str,
    sender: &'static str,
}

impl Job {
    fn ours(&self) -> Checked {
        let client = Client {
            ip: self.ip.parse().unwrap(),
            helo: self.helo,
            sender: self.sender,
            receiver: "mx.example.org",
            now: 0,
        };
        let table = Table(&self.zone);
        match pin!(check(&table, &client)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(checked) => checked,
            Poll::Pending => panic!("a table answers at once"),
        }
    }
}

const DOMAINS: [&str; 5] = [
    "d0.test",
    "d1.test",
    "d2.test",
    "a.d3.test",
    "broken.d4.test",
];
const ADDRESSES_4: [&str; 4] = ["192.0.2.1", "192.0.2.65", "198.51.100.7", "203.0.113.200"];
const ADDRESSES_6: [&str; 3] = ["2001:db8::1", "2001:db8:1::1", "fe80::7"];

/// A name as a term writes it, with macros or without, and now and then a broken one.
fn domain_spec() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => select(&DOMAINS[..]).prop_map(str::to_owned),
        1 => Just("none.test".to_owned()),
        6 => select(&[
            "%{i}._ip.test", "%{ir}.%{v}._ip.test", "%{d}", "%{d2}", "%{dr}", "%{o}", "%{l}.l.test", "%{l1r-}.l.test",
            "%{lr-+}.l.test", "%{s}", "%{h}", "%{h1}.test", "%{D}", "%{L}.l.test", "x%_y.test", "%%x.test", "%-a.test", "%{d1}",
        ][..]).prop_map(str::to_owned),
        2 => select(&["%{x}.test", "%{d", "%d.test", "%", "a", "a..test", "-.test", "%{c}.test", "x_y.test", "d0.test."][..])
            .prop_map(str::to_owned),
    ]
}

fn prefix_4() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        3 => (0..33_u8).prop_map(|bits| format!("/{bits}")),
        1 => select(&["/33", "/", "/x", "/024", "/-1"][..]).prop_map(str::to_owned),
    ]
}

fn prefix_6(dashes: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(String::new()),
        2 => (0..129_u8).prop_map(move |bits| format!("{dashes}{bits}")),
        1 => Just(format!("{dashes}129")),
    ]
}

fn mechanism() -> impl Strategy<Value = String> {
    let with_name = |name: &'static str| {
        let spec = proptest::option::of(domain_spec());
        (spec, prefix_4(), prefix_6("//")).prop_map(move |(spec, four, six)| {
            let spec = spec.map(|spec| format!(":{spec}")).unwrap_or_default();
            format!("{name}{spec}{four}{six}")
        })
    };
    prop_oneof![
        3 => (select(&ADDRESSES_4[..]), prefix_4()).prop_map(|(ip, bits)| format!("ip4:{ip}{bits}")),
        2 => (select(&ADDRESSES_6[..]), prefix_6("/")).prop_map(|(ip, bits)| format!("ip6:{ip}{bits}")),
        3 => with_name("a"),
        3 => with_name("mx"),
        4 => domain_spec().prop_map(|spec| format!("include:{spec}")),
        3 => domain_spec().prop_map(|spec| format!("exists:{spec}")),
        1 => proptest::option::of(select(&DOMAINS[..4])).prop_map(|name| match name {
            Some(name) => format!("ptr:{name}"),
            None => "ptr".to_owned(),
        }),
        2 => Just("all".to_owned()),
        1 => select(&[
            "ALL", "A", "Ip4:192.0.2.1", "include", "ip4", "ip4:", "ip4:1.2.3", "ip4:1.2.3.4.5", "ip6:x", "all:x", "all/8",
            "foo", "foo:bar", "a:", "mx:", "include:", "ptr/8", "exists:d0.test/8", "=x", "a=b:c", "ip4:192.0.2.1//8", "+", "ip6:::192.0.2.1",
        ][..]).prop_map(str::to_owned),
    ]
}

fn modifier() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => domain_spec().prop_map(|spec| format!("redirect={spec}")),
        4 => Just("exp=why.test".to_owned()),
        1 => select(&["exp=", "redirect=", "exp=none.test", "foo=bar", "foo=%{x}", "x-1=", "1=x", "redirect"][..])
            .prop_map(str::to_owned),
    ]
}

fn record() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        6 => (select(&["", "", "", "+", "-", "~", "?"][..]), mechanism()).prop_map(|(sign, term)| format!("{sign}{term}")),
        1 => modifier(),
    ];
    let version = prop_oneof![
        20 => Just("v=spf1"),
        1 => select(&["v=spf10", "v=spf2.0/pra", "V=SPF1", "spf1", "v=spf1  "][..]),
    ];
    (version, proptest::collection::vec(term, 0..6)).prop_map(|(version, terms)| {
        let mut words = vec![version.to_owned()];
        words.extend(terms);
        words.join(" ")
    })
}

fn job() -> impl Strategy<Value = Job> {
    let texts = proptest::collection::vec(record(), DOMAINS.len());
    let second = proptest::option::weighted(0.05, record());
    let hosts = proptest::collection::vec(
        (
            proptest::collection::vec(select(&ADDRESSES_4[..]), 0..3),
            proptest::collection::vec(select(&ADDRESSES_6[..]), 0..2),
            proptest::collection::vec(select(&DOMAINS[..4]), 0..3),
        ),
        DOMAINS.len(),
    );
    let ip = prop_oneof![3 => select(&ADDRESSES_4[..]), 2 => select(&ADDRESSES_6[..])];
    let names = proptest::collection::vec(select(&DOMAINS[..4]), 0..3);
    let who = (
        select(&["d0.test", "a.d3.test", "none.test", "d1.test"][..]),
        select(
            &[
                "me@d0.test",
                "a-b+c@d1.test",
                "",
                "x@none.test",
                "y@a.d3.test",
                "Me@D2.Test",
            ][..],
        ),
    );
    (texts, second, hosts, ip, names, who).prop_map(
        |(texts, second, hosts, ip, names, (helo, sender))| {
            let mut zone = Zone::new();
            let add = |zone: &mut Zone, name: &str, kind, data: Vec<&str>| {
                let list = zone
                    .entry(name.to_owned())
                    .or_default()
                    .entry(kind)
                    .or_default();
                list.extend(data.into_iter().map(str::to_owned));
            };
            for ((name, text), (four, six, exchanges)) in DOMAINS.iter().zip(&texts).zip(hosts) {
                add(&mut zone, name, "TXT", vec!["unrelated", text]);
                add(&mut zone, name, "A", four);
                add(&mut zone, name, "AAAA", six);
                add(&mut zone, name, "MX", exchanges);
            }
            if let Some(second) = &second {
                add(&mut zone, "d1.test", "TXT", vec![second]);
            }
            add(
                &mut zone,
                "why.test",
                "TXT",
                vec!["%{i} is not %{d}'s, %{s} %{h} %{l} %{o} %{v} %{c} %{r} %{p}"],
            );
            for local in ["me", "postmaster", "a-b+c", "a", "c", "b.a"] {
                add(
                    &mut zone,
                    &format!("{local}.l.test"),
                    "A",
                    vec!["127.0.0.2"],
                );
            }
            for address in ADDRESSES_4 {
                add(
                    &mut zone,
                    &format!("{address}._ip.test"),
                    "A",
                    vec!["127.0.0.2"],
                );
            }
            let address: std::net::IpAddr = ip.parse().unwrap();
            let reversed = match address {
                std::net::IpAddr::V4(four) => {
                    let [a, b, c, d] = four.octets();
                    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
                }
                std::net::IpAddr::V6(six) => {
                    let digits: Vec<String> = format!("{:032x}", u128::from(six))
                        .chars()
                        .rev()
                        .map(String::from)
                        .collect();
                    format!("{}.ip6.arpa", digits.join("."))
                }
            };
            add(&mut zone, &reversed, "PTR", names);
            Job {
                zone,
                ip,
                helo,
                sender,
            }
        },
    )
}

#[test]
fn random_records_mean_the_same_to_pyspf() {
    const COUNT: usize = 3000;
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[8; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = job();
    let jobs: Vec<Job> = (0..COUNT)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect();
    let questions: Vec<Value> = jobs
        .iter()
        .map(|job| json!({"ip": job.ip, "helo": job.helo, "sender": job.sender, "records": job.zone}))
        .collect();
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/spf_check.py");
    let child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: python3 is not installed");
        return;
    };
    let mut input = child.stdin.take().unwrap();
    // It reads everything before it writes anything.
    input
        .write_all(&serde_json::to_vec(&questions).unwrap())
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    if answers.iter().any(Value::is_null) {
        println!("skipped: pyspf is not installed");
        return;
    }
    let (mut agree, mut apart, mut results) = (0, 0, BTreeMap::<&str, usize>::new());
    let mut others = Vec::new();
    for (job, answer) in jobs.iter().zip(&answers) {
        let ours = job.ours();
        *results.entry(ours.result.as_str()).or_default() += 1;
        let same_result = answer[0] == ours.result.as_str();
        let own_rule = ["trivial recursion", "Void lookup limit"]
            .iter()
            .any(|rule| answer[1].as_str().is_some_and(|text| text.contains(rule)));
        if !same_result && own_rule {
            apart += 1;
            continue;
        }
        let same_text = ours
            .explanation
            .as_deref()
            .is_none_or(|text| answer[1] == text);
        if same_result && same_text {
            agree += 1;
        } else {
            others.push(format!("{ours:?} {answer} {job:?}"));
        }
    }
    println!("SPF as pyspf: {agree} of {}", COUNT - apart);
    println!("{apart} by rules of its own; {results:?}");
    assert!(apart * 50 < COUNT, "{apart} apart");
    assert!(
        others.is_empty(),
        "{} differ\n{}",
        others.len(),
        others.join("\n")
    );
}
