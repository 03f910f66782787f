//! The client's name: reverse DNS that leads back to the address (`servers[].remoteptr`).

use std::net::IpAddr;
use std::rc::Rc;

use angarium_effects::clock::timeout;
use angarium_effects::dns::{DnsError, Query};
use angarium_effects::{Clock, Dns, DnsAnswer, RecordData, RecordType};
use angarium_smtp::session::{LookupResult, NameLookup};

use super::settings::LOOKUP;

/// Names of one address that are tried; an honest one has a few.
const NAMES: usize = 5;

/// What a look-up found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first name that leads back to the address.
    pub(super) name: Option<String>,
    /// The questions and answers; none when none was asked.
    pub(super) lookup: Option<Box<NameLookup>>,
}

/// Looks for a name of `address` that leads back to it, as long as [`LOOKUP`].
pub(super) async fn look_up(clock: Rc<dyn Clock>, dns: Rc<dyn Dns>, address: IpAddr) -> Found {
    let address = address.to_canonical();
    // RFC 6761 §6.3: this name is always the loopback address, and no resolver need be asked.
    if address.is_loopback() {
        return Found {
            name: Some("localhost".to_owned()),
            lookup: None,
        };
    }
    let mut lookup = NameLookup {
        reverse: result(&Err(DnsError::TryAgain)),
        forward: Vec::new(),
    };
    let name = timeout(&*clock, LOOKUP, ask(&*dns, address, &mut lookup)).await;
    Found {
        name: name.flatten(),
        lookup: Some(Box::new(lookup)),
    }
}

async fn ask(dns: &dyn Dns, address: IpAddr, lookup: &mut NameLookup) -> Option<String> {
    let query = Query {
        timeout: Some(LOOKUP),
        ..Query::default()
    };
    let kind = match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    };
    let names = dns.query(&reverse(address), RecordType::Ptr, &query).await;
    lookup.reverse = result(&names);
    let names = names
        .ok()?
        .records
        .into_iter()
        .filter_map(|record| match record.data {
            RecordData::Ptr(name) => Some(name),
            _ => None,
        });
    for name in names.take(NAMES) {
        // What is not answered in time stands there as such.
        let unanswered = result(&Err(DnsError::TryAgain));
        lookup.forward.push((name.clone(), unanswered));
        let answer = dns.query(&name, kind, &query).await;
        if let Some((_, last)) = lookup.forward.last_mut() {
            *last = result(&answer);
        }
        let Ok(answer) = answer else {
            continue;
        };
        let leads_back = answer.records.iter().any(|record| match record.data {
            RecordData::A(found) => IpAddr::from(found) == address,
            RecordData::Aaaa(found) => IpAddr::from(found) == address,
            _ => false,
        });
        if leads_back {
            return Some(name);
        }
    }
    None
}

/// An answer as scripts see it.
fn result(answer: &Result<DnsAnswer, DnsError>) -> LookupResult {
    let text = |data: &RecordData| match data {
        RecordData::A(address) => Some(address.to_string()),
        RecordData::Aaaa(address) => Some(address.to_string()),
        RecordData::Ptr(name) => Some(name.clone()),
        _ => None,
    };
    LookupResult {
        records: match answer {
            Ok(answer) => {
                let records = answer.records.iter();
                Ok(records.filter_map(|record| text(&record.data)).collect())
            }
            Err(error) => Err(error.to_string()),
        },
        authenticated: answer.as_ref().is_ok_and(|answer| answer.authenticated),
    }
}

/// The name under which the names of an address are kept (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let mut name = String::with_capacity(72);
            for byte in address.octets().iter().rev() {
                for nibble in [byte & 15, byte >> 4] {
                    name.extend(char::from_digit(u32::from(nibble), 16));
                    name.push('.');
                }
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::VirtualClock;
    use angarium_effects::dns::TableDns;

    fn name_of(dns: &TableDns, address: &str) -> Option<String> {
        let address = address.parse().expect("an address");
        let clock = Rc::new(VirtualClock::default());
        found(clock, dns, address)?.name
    }

    fn found(clock: Rc<VirtualClock>, dns: &TableDns, address: IpAddr) -> Option<Found> {
        futures_util::FutureExt::now_or_never(look_up(clock, Rc::new(dns.clone()), address))
    }

    #[test]
    fn only_a_name_that_leads_back_counts() {
        let dns = TableDns::default();
        let ptr = |name: &str| RecordData::Ptr(name.to_owned());
        let four = "25.2.0.192.in-addr.arpa";
        dns.add(four, RecordType::Ptr, ptr("forged.example"));
        dns.add(four, RecordType::Ptr, ptr("mx.example"));
        dns.add_address("forged.example", [203, 0, 113, 1].into());
        dns.add_address("mx.example", [192, 0, 2, 25].into());
        assert_eq!(name_of(&dns, "192.0.2.25").as_deref(), Some("mx.example"));
        assert_eq!(
            name_of(&dns, "::ffff:192.0.2.25").as_deref(),
            Some("mx.example")
        );
        assert_eq!(name_of(&dns, "192.0.2.26"), None);
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        dns.add(six, RecordType::Ptr, ptr("six.example"));
        dns.add_address("six.example", "2001:db8::1".parse().expect("an address"));
        assert_eq!(name_of(&dns, "2001:db8::1").as_deref(), Some("six.example"));
        assert_eq!(name_of(&dns, "127.0.0.1").as_deref(), Some("localhost"));
    }

    #[test]
    fn every_question_and_its_answer_are_kept() {
        let dns = TableDns::default();
        let ptr = |name: &str| RecordData::Ptr(name.to_owned());
        let name = "25.2.0.192.in-addr.arpa";
        dns.add(name, RecordType::Ptr, ptr("gone.example"));
        dns.add(name, RecordType::Ptr, ptr("mx.example"));
        dns.add(name, RecordType::Ptr, ptr("unasked.example"));
        dns.add_address("mx.example", [192, 0, 2, 25].into());
        let look_up = |address: [u8; 4]| {
            let found = found(Rc::default(), &dns, address.into()).expect("an answer");
            *found.lookup.expect("a look-up")
        };
        let answer = |records: Result<&[&str], &str>| LookupResult {
            records: records
                .map(|list| list.iter().map(|text| (*text).to_owned()).collect())
                .map_err(str::to_owned),
            authenticated: false,
        };
        assert_eq!(
            look_up([192, 0, 2, 25]),
            NameLookup {
                reverse: answer(Ok(&["gone.example", "mx.example", "unasked.example"])),
                forward: vec![
                    ("gone.example".to_owned(), answer(Err("NXDOMAIN"))),
                    ("mx.example".to_owned(), answer(Ok(&["192.0.2.25"]))),
                ],
            }
        );
        assert_eq!(look_up([192, 0, 2, 9]).reverse, answer(Err("NXDOMAIN")));
    }
}
