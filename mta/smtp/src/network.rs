//! Address blocks such as `10.0.0.0/8`, as used by `relay`, `xclient` and `proxyprotocol`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IPv4 or IPv6 block. A single address is a block of full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is no address and no `ADDRESS/LENGTH`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no IP address or network")]
pub struct NetworkError(String);

impl Network {
    /// Makes the block of `prefix` leading bits. Host bits of `address` are ignored.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (u32::from(prefix) <= bits(address)).then_some(Self { address, prefix })
    }

    /// The loopback blocks of both families: the default of `servers[].relay`.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        ["127.0.0.0/8", "::1/128"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }

    /// Whether the block holds the address. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(net).checked_shr(shift) == u32::from(host).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(net).checked_shr(shift) == u128::from(host).checked_shr(shift)
            }
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                // `+8` and ` 8` are numbers to Rust, not to a network.
                if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(fail());
                }
                (address, Some(prefix.parse::<u8>().map_err(|_| fail())?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let full = u8::try_from(bits(address)).unwrap_or(u8::MAX);
        Self::new(address, prefix.unwrap_or(full)).ok_or_else(fail)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_block_holds_its_addresses_and_no_others() {
        assert!(holds("10.0.0.0/8", "10.255.1.2"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("192.0.2.7", "192.0.2.7"));
        assert!(!holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.9"));
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("127.0.0.0/8", "::ffff:127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::1/129",
            "a/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
