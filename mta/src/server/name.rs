//! The client's name: reverse DNS that leads back to the address (`servers[].remoteptr`).

use std::net::IpAddr;
use std::rc::Rc;

use angarium_effects::clock::timeout;
use angarium_effects::dns::Query;
use angarium_effects::{Clock, Dns, RecordData, RecordType};

use super::settings::LOOKUP;

/// Names of one address that are tried; an honest one has a few.
const NAMES: usize = 5;

/// The first name of `address` that leads back to it; none if there is none or time runs out.
pub(super) async fn confirmed(
    clock: Rc<dyn Clock>,
    dns: Rc<dyn Dns>,
    address: IpAddr,
) -> Option<String> {
    let address = address.to_canonical();
    // RFC 6761 §6.3: this name is always the loopback address, and no resolver need be asked.
    if address.is_loopback() {
        return Some("localhost".to_owned());
    }
    timeout(&*clock, LOOKUP, look_up(&*dns, address)).await?
}

async fn look_up(dns: &dyn Dns, address: IpAddr) -> Option<String> {
    let query = Query {
        timeout: Some(LOOKUP),
        ..Query::default()
    };
    let kind = match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    };
    let names = dns
        .query(&reverse(address), RecordType::Ptr, &query)
        .await
        .ok()?;
    let names = names
        .records
        .into_iter()
        .filter_map(|record| match record.data {
            RecordData::Ptr(name) => Some(name),
            _ => None,
        });
    for name in names.take(NAMES) {
        let Ok(answer) = dns.query(&name, kind, &query).await else {
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
        futures_util::FutureExt::now_or_never(confirmed(clock, Rc::new(dns.clone()), address))?
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
}
