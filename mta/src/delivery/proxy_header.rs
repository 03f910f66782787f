//! The header of the PROXY protocol that a connection through a proxy begins with (HAProxy's proxy-protocol.txt, version 2).

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a connection to `to`. A source that is unknown, or of the other family, is the address that stands for
/// any.
pub(super) fn version_2(from: Option<SocketAddr>, to: SocketAddr) -> Vec<u8> {
    let from = from.filter(|from| from.is_ipv4() == to.is_ipv4());
    let (source, source_port) = match from {
        Some(from) => (octets(from.ip()), from.port()),
        None => (vec![0; octets(to.ip()).len()], 0),
    };
    let destination = octets(to.ip());
    let length = source.len() + destination.len() + 4;
    let mut header = SIGNATURE.to_vec();
    header.push(PROXY);
    header.push(match to {
        SocketAddr::V4(_) => TCP_OVER_IPV4,
        SocketAddr::V6(_) => TCP_OVER_IPV6,
    });
    header.extend_from_slice(&(length as u16).to_be_bytes());
    header.extend_from_slice(&source);
    header.extend_from_slice(&destination);
    header.extend_from_slice(&source_port.to_be_bytes());
    header.extend_from_slice(&to.port().to_be_bytes());
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_specification() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let header = version_2(Some(address("192.0.2.1:1000")), address("198.51.100.2:25"));
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend([192, 0, 2, 1, 198, 51, 100, 2, 3, 232, 0, 25]);
        assert_eq!(header, expected);
        let header = version_2(Some(address("192.0.2.1:1000")), address("[2001:db8::2]:25"));
        assert_eq!(header.len(), 16 + 36);
        assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24");
        assert!(header[16..32].iter().all(|byte| *byte == 0));
        assert_eq!(header[48..], [0, 0, 0, 25]);
        assert_eq!(version_2(None, address("192.0.2.1:25"))[16..20], [0; 4]);
    }
}
