//! The settings of a transport that the queue decides by.
//!
//! TLS, SASL, time-outs and the like are the client's and do not come here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::destination::{Families, Target};
use crate::dsn::DsnRequest;
use crate::item::Address;
use crate::retry::RetryRules;
use crate::text::Text;

/// A transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// `connection.server`; none: the MX of the recipient's domain.
    pub server: Option<Text>,
    /// `connection.port`.
    pub port: u16,
    /// `connection.mx`: with a server, deliver to the MX of that name.
    pub mx: bool,
    /// `connection.sourceip.ipv4` and `.ipv6`.
    pub families: Families,
    /// `connection.sourceip.addresses`; empty: the system chooses.
    pub sources: Sources,
    /// `retry` and `hold.maxage`.
    pub retry: RetryRules,
    /// `dsn.transport`; none: no notifications are sent.
    pub dsn_transport: Option<Text>,
    /// `hold`: messages of this transport go to HOLD.
    pub hold: bool,
}

impl Default for Transport {
    /// Delivery by MX on port 25 with the default retry table and without notifications.
    fn default() -> Self {
        Transport {
            server: None,
            port: 25,
            mx: true,
            families: Families::BOTH,
            sources: Sources::default(),
            retry: RetryRules::default(),
            dsn_transport: None,
            hold: false,
        }
    }
}

impl Transport {
    /// The source addresses to choose from, with what `Try` overrides.
    pub fn pool(&self, plan: &Plan) -> Sources {
        let addresses = plan.sources.as_ref().unwrap_or(&self.sources.addresses);
        Sources {
            addresses: Arc::clone(addresses),
            ordered: plan.ordered.unwrap_or(self.sources.ordered),
        }
    }

    /// The destination of a recipient by this transport, with what `Try` overrides.
    pub fn target(&self, recipient: &Address, plan: &Plan) -> Target {
        let domain = plan.domain.as_ref().unwrap_or(&recipient.domain);
        match &plan.host {
            Some(HostOverride::LookupMx) => Target::MxOf(domain.clone()),
            Some(HostOverride::Host(host)) => Target::Host(host.clone()),
            None => match &self.server {
                Some(server) if self.mx => Target::MxOf(server.clone()),
                Some(server) => Target::Host(server.clone()),
                None => Target::MxOf(domain.clone()),
            },
        }
    }
}

/// The transports by id.
pub type Transports = BTreeMap<Text, Arc<Transport>>;

/// A source address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIp {
    /// The configured id.
    pub id: Option<Text>,
    /// The address.
    pub address: IpAddr,
    /// The EHLO name to use with it.
    pub helo: Option<Text>,
}

/// A pool of source addresses; an address that is listed twice has twice the share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sources {
    /// The addresses.
    pub addresses: Arc<[SourceIp]>,
    /// Whether they are used in the order listed, instead of in turn.
    pub ordered: bool,
}

impl Sources {
    /// The address to use towards `remote`; `turn` rotates over the pool unless it is ordered.
    pub fn choose(&self, remote: IpAddr, turn: u64) -> Option<&SourceIp> {
        let fits = |source: &&SourceIp| source.address.is_ipv4() == remote.is_ipv4();
        let count = self.addresses.iter().filter(fits).count() as u64;
        let place = if self.ordered {
            0
        } else {
            turn.checked_rem(count)?
        };
        self.addresses
            .iter()
            .filter(fits)
            .nth(usize::try_from(place).ok()?)
    }

    /// The addresses of the peer's family.
    #[must_use]
    pub fn towards(self, remote: IpAddr) -> Sources {
        let fits = |source: &&SourceIp| source.address.is_ipv4() == remote.is_ipv4();
        if self.addresses.iter().all(|source| fits(&source)) {
            return self;
        }
        Sources {
            addresses: self.addresses.iter().filter(fits).cloned().collect(),
            ordered: self.ordered,
        }
    }

    /// The families for which there is a source address.
    pub fn families(&self) -> Families {
        Families::of(self.addresses.iter().map(|source| source.address))
    }
}

/// The host that `Try` sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostOverride {
    /// `lookup-mx`: the MX of the recipient's domain, whatever the transport says.
    LookupMx,
    /// A host by name or address.
    Host(Text),
}

/// What the predelivery script's `Try` sets and the queue must know, for one attempt.
///
/// Everything else that `Try` sets is the client's and stays with the worker.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Another host.
    pub host: Option<HostOverride>,
    /// Another port.
    pub port: Option<u16>,
    /// The domain whose MX are looked up.
    pub domain: Option<Text>,
    /// Other source addresses.
    pub sources: Option<Arc<[SourceIp]>>,
    /// Whether the source addresses are used in the order listed; none: as the transport says.
    pub ordered: Option<bool>,
    /// MX hosts to use.
    pub mx_include: Vec<Text>,
    /// MX hosts not to use.
    pub mx_exclude: Vec<Text>,
    /// Addresses not to use.
    pub ip_exclude: Vec<IpNet>,
    /// Another job, for policies.
    pub jobid: Option<Text>,
    /// Another tenant, for policies.
    pub tenantid: Option<Text>,
    /// RFC 3461 data in place of the item's.
    pub dsn: DsnRequest,
    /// What to report when the peer does not notify: delivered, and not relayed.
    pub success_is_delivered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> SourceIp {
        SourceIp {
            id: None,
            address: ip.parse().unwrap(),
            helo: None,
        }
    }

    #[test]
    fn the_target_follows_script_then_transport_then_recipient() {
        let recipient = Address::new("a", "to.example");
        let mx = |domain: &str| Target::MxOf(domain.into());
        let host = |name: &str| Target::Host(name.into());
        let by_mx = Transport::default();
        let fixed = Transport {
            server: Some("relay.example".into()),
            mx: false,
            ..Transport::default()
        };
        let mx_of = Transport {
            mx: true,
            ..fixed.clone()
        };
        let plain = Plan::default();
        let elsewhere = Plan {
            host: Some(HostOverride::Host("h.example".into())),
            ..Plan::default()
        };
        let lookup = Plan {
            host: Some(HostOverride::LookupMx),
            ..Plan::default()
        };
        let domain = Plan {
            domain: Some("other.example".into()),
            ..Plan::default()
        };
        for (transport, plan, want) in [
            (&by_mx, &plain, mx("to.example")),
            (&by_mx, &domain, mx("other.example")),
            (&by_mx, &elsewhere, host("h.example")),
            (&fixed, &plain, host("relay.example")),
            (&fixed, &lookup, mx("to.example")),
            (&mx_of, &plain, mx("relay.example")),
        ] {
            assert_eq!(transport.target(&recipient, plan), want);
        }
    }

    #[test]
    fn a_script_may_change_the_pool_or_only_its_order() {
        let transport = Transport {
            sources: Sources {
                addresses: [source("192.0.2.1"), source("192.0.2.2")].into(),
                ordered: false,
            },
            ..Transport::default()
        };
        let in_order = Plan {
            ordered: Some(true),
            ..Plan::default()
        };
        let other = Plan {
            sources: Some([source("192.0.2.3")].into()),
            ..Plan::default()
        };
        let seen = |plan: &Plan| {
            let pool = transport.pool(plan);
            (pool.addresses.len(), pool.ordered)
        };
        assert_eq!(seen(&Plan::default()), (2, false));
        assert_eq!(seen(&in_order), (2, true));
        assert_eq!(seen(&other), (1, false));
    }

    #[test]
    fn sources_are_used_in_turn_within_the_peer_s_family() {
        let mut sources = Sources {
            addresses: [
                source("192.0.2.1"),
                source("2001:db8::1"),
                source("192.0.2.2"),
            ]
            .into(),
            ordered: false,
        };
        let remote = "198.51.100.1".parse().unwrap();
        let turns = |s: &Sources| -> Vec<String> {
            (0..3)
                .map(|n| s.choose(remote, n).unwrap().address.to_string())
                .collect()
        };
        assert_eq!(turns(&sources), ["192.0.2.1", "192.0.2.2", "192.0.2.1"]);
        sources.ordered = true;
        assert_eq!(turns(&sources), ["192.0.2.1"; 3]);
        assert_eq!(sources.families(), Families::BOTH);
        assert!(Sources::default().choose(remote, 0).is_none());
    }
}
