//! Where a message goes: from a domain or a host to the addresses to try (RFC 5321 §5.1).
//!
//! A [`Request`] says what to look for, [`Resolution`] asks for the DNS look-ups it needs and gives
//! the ordered [`Candidate`]s or the reason why there is none, and [`Walk`] decides after a failed
//! attempt whether the next candidate is tried. Nothing here touches the network.

mod name;
mod resolve;
mod walk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use uuid::Uuid;

pub use name::{matches_mx, to_ascii};
pub use resolve::{Resolution, Step};
pub use walk::{Walk, WalkStep};

use crate::text::Text;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The destination.
    pub target: Target,
    /// The port to connect to.
    pub port: u16,
    /// The address families that may be used.
    pub families: Families,
    /// If not empty, only MX hosts that match one of these names.
    pub mx_include: Vec<Text>,
    /// MX hosts that are not used.
    pub mx_exclude: Vec<Text>,
    /// Addresses that are not used.
    pub ip_exclude: Vec<IpNet>,
    /// Names and sockets that are ourselves.
    pub own: Arc<OwnHosts>,
    /// Decides on the order among equals: the same for every attempt of a message.
    pub transaction: Uuid,
}

/// The destination of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The mail exchangers of a domain; an address literal in brackets is its own.
    MxOf(Text),
    /// A host by name or address, without MX.
    Host(Text),
}

/// The address families that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Families {
    /// Both.
    pub const BOTH: Families = Families {
        ipv4: true,
        ipv6: true,
    };

    /// Whether an address may be used.
    pub fn allow(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    /// The families that both allow.
    #[must_use]
    pub fn and(self, other: Families) -> Families {
        Families {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
        }
    }

    /// The families of these addresses; both if there are none.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Families {
        let mut found = Families {
            ipv4: false,
            ipv6: false,
        };
        for ip in addresses {
            found.ipv4 |= ip.is_ipv4();
            found.ipv6 |= ip.is_ipv6();
        }
        if found.ipv4 || found.ipv6 {
            found
        } else {
            Families::BOTH
        }
    }
}

/// Names and sockets that are ourselves: an MX that points to them would be a loop.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OwnHosts {
    /// Our host names, in lower case.
    pub names: Vec<String>,
    /// Addresses and ports on which we take mail. An unspecified address stands for loopback;
    /// other addresses of the machine must be listed.
    pub sockets: Vec<(IpAddr, u16)>,
}

impl OwnHosts {
    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    fn has_socket(&self, ip: IpAddr, port: u16) -> bool {
        self.sockets.iter().any(|(own, own_port)| {
            *own_port == port && (*own == ip || own.is_unspecified() && ip.is_loopback())
        })
    }
}

/// One address to try.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// The host's name, or the address as text where there is no name.
    pub mx: Text,
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The MX preference; 0 where there is no MX.
    pub preference: u16,
    /// Whether DNSSEC secured every look-up that led here.
    pub secure: bool,
}

/// A DNS record type that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    /// Mail exchangers.
    Mx,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// A DNS look-up that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup {
    /// The name, as A-labels in lower case without a final dot.
    pub name: Arc<str>,
    /// The type.
    pub kind: RecordType,
}

/// The records that answer a look-up; CNAMEs are followed by the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Preference and host; the host `.` or empty means "no mail here".
    Mx(Vec<(u16, String)>),
    /// IPv4 addresses.
    A(Vec<Ipv4Addr>),
    /// IPv6 addresses.
    Aaaa(Vec<Ipv6Addr>),
}

/// A positive answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The records.
    pub records: Records,
    /// Whether DNSSEC secured them.
    pub secure: bool,
}

/// A look-up without records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// The name does not exist.
    NxDomain,
    /// The name has no such record.
    NoData,
    /// The look-up failed: server failure, timeout and the like.
    Temporary(String),
}

/// The most addresses of one host that an attempt tries.
pub const ADDRESSES_PER_HOST: usize = 3;
/// The most addresses that an attempt tries.
pub const ADDRESSES: usize = 10;
