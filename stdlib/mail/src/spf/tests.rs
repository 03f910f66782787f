//! Limits and rules that need several names.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

/// Answers from a table at once.
#[derive(Default)]
struct Table(HashMap<(String, &'static str), Vec<Data>>);

impl Table {
    fn new(records: &[(&str, &'static str, &str)]) -> Table {
        let mut table = Table::default();
        for (name, kind, value) in records {
            let data = match *kind {
                "txt" => Data::Text(value.as_bytes().to_vec()),
                "mx" | "ptr" => Data::Name((*value).to_owned()),
                _ => Data::Address(value.parse().unwrap()),
            };
            let entry = table.0.entry(((*name).to_owned(), kind));
            entry.or_default().push(data);
        }
        table
    }
}

impl Resolver for Table {
    async fn query(&self, name: &str, kind: Kind) -> Result<Vec<Data>, NoAnswer> {
        if name.starts_with("broken.") {
            return Err(NoAnswer::Failed);
        }
        let kind = match kind {
            Kind::A => "a",
            Kind::Aaaa => "aaaa",
            Kind::Mx => "mx",
            Kind::Ptr => "ptr",
            Kind::Txt => "txt",
        };
        let name = name.to_ascii_lowercase();
        self.0.get(&(name, kind)).cloned().ok_or(NoAnswer::Absent)
    }
}

fn run(table: &Table, ip: &str, sender: &str) -> Checked {
    let client = Client {
        ip: ip.parse().unwrap(),
        helo: "mail.example.com",
        sender,
        receiver: "mx.example.org",
        now: 0,
    };
    let future = pin!(check(table, &client));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(checked) => checked,
        Poll::Pending => panic!("a table answers at once"),
    }
}

/// The result for a record at example.com beside other names.
fn result(record: &str, others: &[(&str, &'static str, &str)]) -> SpfResult {
    let mut records = vec![("example.com", "txt", record)];
    records.extend_from_slice(others);
    run(&Table::new(&records), "192.0.2.1", "a@example.com").result
}

#[test]
fn at_most_ten_terms_ask_the_dns() {
    let terms = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("a:h{n}.example.com")).collect();
        format!("v=spf1 {} -all", names.join(" "))
    };
    let hosts: Vec<String> = (0..12).map(|n| format!("h{n}.example.com")).collect();
    let others: Vec<_> = hosts
        .iter()
        .map(|host| (host.as_str(), "a", "192.0.2.9"))
        .collect();
    assert_eq!(result(&terms(10), &others), SpfResult::Fail);
    assert_eq!(result(&terms(11), &others), SpfResult::PermError);
    // What asks nothing is not counted.
    let free = format!(
        "{} {}",
        terms(10).replace("-all", ""),
        "ip4:192.0.2.2 ".repeat(20)
    );
    assert_eq!(result(&free, &others), SpfResult::Neutral);
}

#[test]
fn loops_end_as_permanent_errors() {
    let loops = [
        "v=spf1 include:example.com -all",
        "v=spf1 redirect=example.com",
        "v=spf1 include:b.example.com -all",
    ];
    for record in loops {
        let others = [("b.example.com", "txt", "v=spf1 redirect=example.com")];
        assert_eq!(result(record, &others), SpfResult::PermError, "{record}");
    }
}

#[test]
fn at_most_two_terms_may_be_void() {
    let record = |count: usize| {
        let terms: Vec<String> = (0..count)
            .map(|n| format!("exists:none{n}.example.com"))
            .collect();
        format!("v=spf1 {} ?all", terms.join(" "))
    };
    assert_eq!(result(&record(2), &[]), SpfResult::Neutral);
    assert_eq!(result(&record(3), &[]), SpfResult::PermError);
}

#[test]
fn more_than_ten_exchanges_are_an_error_and_more_names_are_not_looked_at() {
    let names: Vec<String> = (0..11).map(|n| format!("m{n}.example.com")).collect();
    let mx: Vec<_> = names
        .iter()
        .map(|name| ("example.com", "mx", name.as_str()))
        .collect();
    assert_eq!(result("v=spf1 mx -all", &mx), SpfResult::PermError);
    assert_eq!(
        result("v=spf1 mx -all", mx.get(..10).unwrap()),
        SpfResult::Fail
    );
    let mut ptr: Vec<_> = names
        .iter()
        .map(|name| ("1.2.0.192.in-addr.arpa", "ptr", name.as_str()))
        .collect();
    ptr.push(("m10.example.com", "a", "192.0.2.1"));
    assert_eq!(result("v=spf1 ptr -all", &ptr), SpfResult::Fail);
    ptr.push(("m9.example.com", "a", "192.0.2.1"));
    assert_eq!(result("v=spf1 ptr -all", &ptr), SpfResult::Pass);
}

#[test]
fn a_failing_dns_is_a_temporary_error_but_for_reverse_names() {
    for record in [
        "a:broken.example.com",
        "mx:broken.example.com",
        "exists:broken.example.com",
    ] {
        assert_eq!(
            result(&format!("v=spf1 {record} -all"), &[]),
            SpfResult::TempError
        );
    }
    assert_eq!(
        result("v=spf1 include:broken.example.com -all", &[]),
        SpfResult::TempError
    );
    assert_eq!(
        result("v=spf1 redirect=broken.example.com", &[]),
        SpfResult::TempError
    );
    let mx = [("example.com", "mx", "broken.example.com")];
    assert_eq!(result("v=spf1 mx -all", &mx), SpfResult::TempError);
    let ptr = [("1.2.0.192.in-addr.arpa", "ptr", "broken.example.com")];
    assert_eq!(result("v=spf1 ptr -all", &ptr), SpfResult::Fail);
}

#[test]
fn the_explanation_is_that_of_the_record_that_failed() {
    let explained = |record: &str| {
        let table = Table::new(&[
            ("example.com", "txt", record),
            ("why.example.com", "txt", "%{i} is not for %{d}"),
            ("deep.example.com", "txt", "v=spf1 -all exp=why.example.com"),
            ("two.example.com", "txt", "one"),
            ("two.example.com", "txt", "two"),
            ("odd.example.com", "txt", "%(x)"),
        ]);
        run(&table, "192.0.2.1", "a@example.com").explanation
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        explained("v=spf1 -all exp=why.example.com"),
        text("192.0.2.1 is not for example.com")
    );
    assert_eq!(
        explained("v=spf1 exp=two.example.com redirect=deep.example.com"),
        text("192.0.2.1 is not for deep.example.com")
    );
    for record in [
        "v=spf1 -include:deep.example.com -all",
        "v=spf1 -all exp=two.example.com",
        "v=spf1 -all exp=odd.example.com",
        "v=spf1 -all exp=none.example.com",
        "v=spf1 -all exp=broken.example.com",
        "v=spf1 ~all exp=why.example.com",
    ] {
        assert_eq!(explained(record), None, "{record}");
    }
}

#[test]
fn networks_of_any_length_match() {
    let within = |a: &str, b: &str, length| within(a.parse().unwrap(), b.parse().unwrap(), length);
    assert!(within("192.0.2.1", "10.0.0.0", 0));
    assert!(within("192.0.2.1", "192.0.2.0", 31));
    assert!(!within("192.0.2.1", "192.0.2.0", 32));
    assert!(within("::1", "ffff::", 0));
    assert!(!within("::1", "::2", 128));
    assert!(within("::1", "::", 127));
    assert!(!within("::1", "0.0.0.0", 0));
}
