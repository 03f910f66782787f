//! The header that a proxy puts in front of a connection: who the client is (HAProxy's PROXY protocol,
//! versions 1 and 2, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! A header is taken whole or refused: every rule that the text gives a receiver is checked, and where
//! it leaves a choice the stricter one is made, since nobody but a proxy of ours may send one.
//!
//! ```text
//! version 1   PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT CRLF, or PROXY UNKNOWN … CRLF; 107 bytes at most
//! version 2   signature (12) | version, command | family, protocol | length (2) | addresses | TLVs
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header of version 1 with its CRLF (§2.1).
const LONGEST_V1: usize = 107;
const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED_V2: usize = 16;
/// Two paths of 108 bytes.
const UNIX_ADDRESSES: usize = 216;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
/// A unique id is so long at most (§2.2.5).
const LONGEST_UNIQUE_ID: usize = 128;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whom the connection is for.
    pub origin: Origin,
    /// The TLVs of version 2 as they came, checked for their form; empty if there are none.
    pub tlvs: Vec<u8>,
}

/// Whom a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The proxy itself, such as for a check of health (`LOCAL`).
    Proxy,
    /// A client of which the header has no address: `UNKNOWN`, unspecified, or on a Unix socket.
    Unknown,
    /// A client, and the address that it connected to.
    Client {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Something else than a header came.
    #[error("there is no PROXY header")]
    NoHeader,
    /// Version 1 is longer than it may be.
    #[error("the PROXY header is longer than {LONGEST_V1} bytes")]
    TooLong,
    /// The line of version 1 is not formed as it must be.
    #[error("the PROXY line is malformed: {0}")]
    Line(&'static str),
    /// Another version than 1 and 2.
    #[error("the PROXY header has version {0}; 1 and 2 are known")]
    Version(u8),
    /// Another command than LOCAL and PROXY.
    #[error("the PROXY header has the unassigned command {0}")]
    Command(u8),
    /// A family or protocol that nobody has given a meaning, or that cannot carry SMTP.
    #[error("the PROXY header has family and protocol {0:#04x}, over which no mail comes")]
    Family(u8),
    /// The length leaves no room for the addresses of the family.
    #[error("the PROXY header is too short for its addresses")]
    TooShort,
    /// A TLV reaches beyond the header, or is not formed as its type asks for.
    #[error("a TLV of type {0:#04x} of the PROXY header is malformed")]
    Tlv(u8),
    /// The bytes behind the addresses are no TLV.
    #[error("the PROXY header ends in the middle of a TLV")]
    TlvCut,
    /// The checksum is another.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads the header at the beginning of `bytes`, which may go on beyond it. Gives the header and its
/// length, or `None` if more bytes are needed.
///
/// What cannot become a header is refused with the first byte that shows it.
///
/// # Errors
/// Why there can be no header: the connection is to be closed without a word.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    if begins(bytes, WORD) {
        version_1(bytes)
    } else if begins(bytes, SIGNATURE) {
        version_2(bytes)
    } else {
        Err(ProxyError::NoHeader)
    }
}

/// Whether `bytes` begin with `prefix`, as far as either goes.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(one, other)| one == other)
}

fn version_1(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let window = bytes.get(..LONGEST_V1).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() < LONGEST_V1 {
            true => Ok(None),
            false => Err(ProxyError::TooLong),
        };
    };
    let line = window.get(..end).unwrap_or_default();
    let line = line
        .strip_suffix(b"\r")
        .ok_or(ProxyError::Line("a line ends with CRLF"))?;
    let rest = line.strip_prefix(WORD).ok_or(ProxyError::NoHeader)?;
    let origin = addresses_of_line(rest)?;
    let header = Header {
        origin,
        tlvs: Vec::new(),
    };
    Ok(Some((header, end.saturating_add(1))))
}

fn addresses_of_line(rest: &[u8]) -> Result<Origin, ProxyError> {
    // What stands behind UNKNOWN is to be passed over, whatever it is.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Origin::Unknown);
    }
    let rest = std::str::from_utf8(rest).map_err(|_| ProxyError::Line("it is not ASCII"))?;
    let mut words = rest.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (source, destination) = match word() {
        "TCP4" => (address::<Ipv4Addr>(word())?, address::<Ipv4Addr>(word())?),
        "TCP6" => (address::<Ipv6Addr>(word())?, address::<Ipv6Addr>(word())?),
        _ => return Err(ProxyError::Line("the family is TCP4, TCP6 or UNKNOWN")),
    };
    let origin = Origin::Client {
        source: SocketAddr::new(source, port(word())?),
        destination: SocketAddr::new(destination, port(word())?),
    };
    match words.next() {
        None => Ok(origin),
        Some(_) => Err(ProxyError::Line("there is something behind the ports")),
    }
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, ProxyError> {
    let address = word.parse::<A>();
    let address = address.map_err(|_| ProxyError::Line("an address is not one of the family"))?;
    Ok(address.into())
}

/// Digits without a leading zero (§2.1); `u16` alone would take `+25` and `025`.
fn port(word: &str) -> Result<u16, ProxyError> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (word == "0" || !word.starts_with('0'));
    let port = canonical.then(|| word.parse().ok()).flatten();
    port.ok_or(ProxyError::Line(
        "a port is a number of 0 to 65535 without leading zeros",
    ))
}

fn version_2(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some(versioned) = bytes.get(SIGNATURE.len()) else {
        return Ok(None);
    };
    if versioned >> 4 != 2 {
        return Err(ProxyError::Version(versioned >> 4));
    }
    let command = versioned & 0x0f;
    if command > 1 {
        return Err(ProxyError::Command(command));
    }
    let Some(fixed) = bytes.first_chunk::<FIXED_V2>() else {
        return Ok(None);
    };
    let [.., family, high, low] = *fixed;
    let length = FIXED_V2.saturating_add(u16::from_be_bytes([high, low]).into());
    if command == 1 {
        // What will be refused need not be waited for.
        let room = address_length(family)?;
        if length.saturating_sub(FIXED_V2) < room {
            return Err(ProxyError::TooShort);
        }
    }
    let Some(block) = bytes.get(..length) else {
        return Ok(None);
    };
    if command == 0 {
        // The proxy speaks for itself: everything else in the header is to be passed over (§2.2).
        let header = Header {
            origin: Origin::Proxy,
            tlvs: Vec::new(),
        };
        return Ok(Some((header, length)));
    }
    let rest = block.get(FIXED_V2..).unwrap_or_default();
    let (addresses, tlvs) = rest
        .split_at_checked(address_length(family)?)
        .ok_or(ProxyError::TooShort)?;
    check_tlvs(tlvs, block)?;
    let header = Header {
        origin: addresses_of_block(family, addresses),
        tlvs: tlvs.to_vec(),
    };
    Ok(Some((header, length)))
}

/// Bytes of the addresses of a family, of those that a stream can come over.
fn address_length(family: u8) -> Result<usize, ProxyError> {
    match family {
        0x00 => Ok(0),
        0x11 => Ok(12),
        0x21 => Ok(36),
        0x31 => Ok(UNIX_ADDRESSES),
        // Datagrams among them: a connection is none.
        other => Err(ProxyError::Family(other)),
    }
}

fn addresses_of_block(family: u8, bytes: &[u8]) -> Origin {
    let four = |at: usize| Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?));
    let six = |at: usize| Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?));
    let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?));
    let client = || {
        let (source, destination, ports): (IpAddr, IpAddr, usize) = match family {
            0x11 => (four(0)?.into(), four(4)?.into(), 8),
            0x21 => (six(0)?.into(), six(16)?.into(), 32),
            _ => return None,
        };
        Some(Origin::Client {
            source: SocketAddr::new(source, port(ports)?),
            destination: SocketAddr::new(destination, port(ports + 2)?),
        })
    };
    client().unwrap_or(Origin::Unknown)
}

/// Types and values of a row of TLVs.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<(u8, &'a [u8]), ProxyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some(&[kind, high, low]) = self.0.first_chunk::<3>() else {
            self.0 = &[];
            return Some(Err(ProxyError::TlvCut));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let rest = self.0.get(3..).unwrap_or_default();
        let Some((value, rest)) = rest.split_at_checked(length) else {
            self.0 = &[];
            return Some(Err(ProxyError::Tlv(kind)));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}

/// Checks the TLVs of a header and its checksum; `block` is the whole header.
fn check_tlvs(tlvs: &[u8], block: &[u8]) -> Result<(), ProxyError> {
    let mut checksum = None;
    for tlv in Tlvs(tlvs) {
        let (kind, value) = tlv?;
        match kind {
            CRC32C => {
                let value = value.first_chunk::<4>().filter(|_| value.len() == 4);
                let value = value.ok_or(ProxyError::Tlv(kind))?;
                if checksum.replace(u32::from_be_bytes(*value)).is_some() {
                    return Err(ProxyError::Tlv(kind));
                }
            }
            UNIQUE_ID if value.len() > LONGEST_UNIQUE_ID => return Err(ProxyError::Tlv(kind)),
            SSL => {
                // A byte of flags and four of the result of verification, then TLVs again.
                let inner = value.get(5..).ok_or(ProxyError::Tlv(kind))?;
                for tlv in Tlvs(inner) {
                    tlv.map_err(|_| ProxyError::Tlv(kind))?;
                }
            }
            _ => {}
        }
    }
    match checksum {
        Some(written) if written != checksum_of(tlvs, block) => Err(ProxyError::Checksum),
        _ => Ok(()),
    }
}

/// The checksum of a header whose own field counts as zeros (§2.2.3).
fn checksum_of(tlvs: &[u8], block: &[u8]) -> u32 {
    let (front, _) = block.split_at(block.len().saturating_sub(tlvs.len()));
    let mut sum = Crc32c::default();
    sum.add(front);
    for (kind, value) in Tlvs(tlvs).flatten() {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        sum.add(&[kind]);
        sum.add(&length.to_be_bytes());
        sum.add(if kind == CRC32C { &[0; 4] } else { value });
    }
    sum.end()
}

/// CRC-32C (RFC 3720 §B.4), bit by bit: a header is short, and few carry one.
struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c(u32::MAX)
    }
}

impl Crc32c {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                let carry = self.0 & 1 == 1;
                self.0 >>= 1;
                if carry {
                    self.0 ^= 0x82f6_3b78;
                }
            }
        }
    }

    fn end(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("a short header");
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const ENDS: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0, 25];

    fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
        v2(1, 0x11, &[&ENDS, tlvs].concat())
    }

    fn client() -> Origin {
        Origin::Client {
            source: ([192, 0, 2, 1], 56324).into(),
            destination: ([198, 51, 100, 7], 25).into(),
        }
    }

    /// The header with its checksum in the TLV that is there for it.
    fn sealed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        let mut sum = Crc32c::default();
        sum.add(&bytes);
        bytes[at..at + 4].copy_from_slice(&sum.end().to_be_bytes());
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let of = |bytes: &[u8]| {
            let mut sum = Crc32c::default();
            sum.add(bytes);
            sum.end()
        };
        assert_eq!(of(b"123456789"), 0xe306_9283);
        // RFC 3720 §B.4.
        assert_eq!(of(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn lines_of_version_1_are_taken_as_they_must_be() {
        let read = |line: &str| parse(line.as_bytes());
        let taken = |line: &str| read(line).expect("a header").expect("a whole one").0.origin;
        assert_eq!(
            taken("PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n"),
            client()
        );
        assert_eq!(
            taken("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"),
            Origin::Client {
                source: "[2001:db8::1]:0".parse().expect("an address"),
                destination: "[::1]:65535".parse().expect("an address"),
            }
        );
        assert_eq!(taken("PROXY UNKNOWN\r\n"), Origin::Unknown);
        assert_eq!(taken("PROXY UNKNOWN what ever \r\n"), Origin::Unknown);
        for wrong in [
            "PROXY  TCP4 192.0.2.1 198.51.100.7 56324 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 25 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 +25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 025\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 -1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\n",
            "PROXY TCP4 192.0.2.01 198.51.100.7 56324 25\r\n",
            "PROXY TCP4 ::1 ::1 56324 25\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.7 56324 25\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.7 56324 25\r\n",
            "PROXY TCP4 192.0.2.1\u{a0}198.51.100.7 56324 25\r\n",
            "PROXY \r\n",
        ] {
            assert!(
                matches!(read(wrong), Err(ProxyError::Line(_))),
                "{wrong:?}: {:?}",
                read(wrong)
            );
        }
        for other in [
            "proxy UNKNOWN\r\n",
            "EHLO x\r\n",
            "PROXYUNKNOWN\r\n",
            "\r\nQ",
        ] {
            assert_eq!(read(other), Err(ProxyError::NoHeader), "{other:?}");
        }
    }

    #[test]
    fn version_1_has_107_bytes_and_not_one_more() {
        let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert!(matches!(parse(line(107).as_bytes()), Ok(Some((_, 107)))));
        assert_eq!(parse(line(108).as_bytes()), Err(ProxyError::TooLong));
        // Without an end it is refused as soon as it is too long.
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(&endless.as_bytes()[..106]), Ok(None));
        assert_eq!(parse(&endless.as_bytes()[..107]), Err(ProxyError::TooLong));
    }

    #[test]
    fn what_cannot_become_a_header_is_refused_at_once() {
        assert_eq!(parse(b"E"), Err(ProxyError::NoHeader));
        assert_eq!(parse(b"PROXX"), Err(ProxyError::NoHeader));
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT\r"), Err(ProxyError::NoHeader));
        let mut bytes = SIGNATURE.to_vec();
        bytes.push(0x11);
        assert_eq!(parse(&bytes), Err(ProxyError::Version(1)));
        bytes[12] = 0x22;
        assert_eq!(parse(&bytes), Err(ProxyError::Command(2)));
    }

    #[test]
    fn version_2_gives_the_ends_of_its_family() {
        let origin = |bytes: &[u8]| parse(bytes).map(|found| found.expect("whole").0.origin);
        assert_eq!(origin(&v2(1, 0x11, &ENDS)), Ok(client()));
        let six = [[0x20; 16].as_slice(), &[0x30; 16], &[0, 1, 0, 2]].concat();
        assert_eq!(
            origin(&v2(1, 0x21, &six)),
            Ok(Origin::Client {
                source: SocketAddr::new([0x2020; 8].into(), 1),
                destination: SocketAddr::new([0x3030; 8].into(), 2),
            })
        );
        assert_eq!(origin(&v2(1, 0x31, &[b'/'; 216])), Ok(Origin::Unknown));
        assert_eq!(origin(&v2(1, 0x00, &[])), Ok(Origin::Unknown));
        // Whatever a proxy says of itself, it speaks for itself.
        for family in [0x00, 0x11, 0xff] {
            assert_eq!(origin(&v2(0, family, b"junk")), Ok(Origin::Proxy));
        }
        for (family, length) in [(0x11, 11), (0x21, 35), (0x31, 215)] {
            let short = v2(1, family, &vec![0; length]);
            assert_eq!(origin(&short), Err(ProxyError::TooShort));
            assert_eq!(parse(&short[..16]), Err(ProxyError::TooShort));
        }
        for family in [0x01, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41] {
            let other = v2(1, family, &[0; 216]);
            assert_eq!(origin(&other), Err(ProxyError::Family(family)));
        }
    }

    #[test]
    fn tlvs_fill_the_header_and_have_the_form_of_their_type() {
        let tlvs =
            |bytes: &[u8]| parse(&with_tlvs(bytes)).map(|found| found.expect("whole").0.tlvs);
        let ssl = b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3";
        let alpn = b"\x01\0\x04smtp";
        let all = [
            alpn.as_slice(),
            b"\x02\0\x03a.b",
            ssl,
            b"\x30\0\0",
            b"\xe0\0\x01x",
        ]
        .concat();
        assert_eq!(tlvs(&all), Ok(all.clone()));
        assert_eq!(tlvs(b"\x01\0"), Err(ProxyError::TlvCut));
        assert_eq!(tlvs(b"\x01\0\x02x"), Err(ProxyError::Tlv(1)));
        assert_eq!(tlvs(b"\x20\0\x04\0\0\0\0"), Err(ProxyError::Tlv(0x20)));
        let inner = b"\x20\0\x09\0\0\0\0\0\x21\0\x07T";
        assert_eq!(tlvs(inner), Err(ProxyError::Tlv(0x20)));
        let id = |length: u8| [&[5, 0, length], vec![0; length.into()].as_slice()].concat();
        assert!(tlvs(&id(128)).is_ok());
        assert_eq!(tlvs(&id(129)), Err(ProxyError::Tlv(5)));
    }

    #[test]
    fn the_longest_header_is_taken() {
        let rest = usize::from(u16::MAX) - ENDS.len();
        let mut tlv = vec![0xe0];
        tlv.extend(u16::try_from(rest - 3).expect("fits").to_be_bytes());
        tlv.resize(rest, 7);
        let bytes = with_tlvs(&tlv);
        let (header, used) = parse(&bytes).expect("a header").expect("a whole one");
        assert_eq!((used, header.tlvs.len()), (16 + 65535, rest));
    }

    #[test]
    fn a_checksum_is_checked_wherever_it_stands() {
        let bytes = with_tlvs(b"\x03\0\x04\0\0\0\0\x01\0\x04smtp");
        let good = sealed(bytes, 16 + 12 + 3);
        assert!(matches!(parse(&good), Ok(Some(_))));
        for at in [16, 20, 31, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&bad), Err(ProxyError::Checksum), "{at}");
        }
        let twice = with_tlvs(b"\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0");
        assert_eq!(parse(&twice), Err(ProxyError::Tlv(3)));
        let short = with_tlvs(b"\x03\0\x03\0\0\0");
        assert_eq!(parse(&short), Err(ProxyError::Tlv(3)));
    }

    /// Anything, headers of both versions among it.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..80);
        prop_oneof![
            bytes(),
            "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f.:]{0,110}(\r\n)?[a-z]{0,9}"
                .prop_map(String::into_bytes),
            (
                0..3_u8,
                prop::sample::select(vec![0, 0x11, 0x21, 0x31, 0x12]),
                bytes(),
                bytes()
            )
                .prop_map(|(command, family, rest, behind)| [
                    v2(command, family, &rest),
                    behind
                ]
                .concat()),
            bytes().prop_map(|tlvs| with_tlvs(&tlvs)),
        ]
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_the_same_is_read(bytes in input()) {
            let whole = parse(&bytes);
            let mut first = Ok(None);
            for end in 0..=bytes.len() {
                first = parse(&bytes[..end]);
                if !matches!(first, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(&first, &whole);
            if let Ok(Some((_, used))) = whole {
                prop_assert!(used <= bytes.len());
                prop_assert_eq!(parse(&bytes[..used]), first);
            }
        }
    }

    /// The rows of the suite, if it is at hand.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test reads its data from disk")]
    fn the_suite_is_passed() {
        let folder = std::env::var_os("ANGARIUM_SUITES").map_or_else(
            || {
                std::path::PathBuf::from(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/../../../shared/suites"
                ))
            },
            std::path::PathBuf::from,
        );
        let path = folder.join("proxy-protocol/cases.jsonl");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {} is not there", path.display());
            return;
        };
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("a row is JSON");
            let hex = row["hex"].as_str().expect("bytes");
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
                .collect();
            let found = parse(&bytes);
            // At the end of the stream an unfinished header is none.
            let taken = matches!(found, Ok(Some(_)));
            let advisory = row["advisory"].as_bool() == Some(true);
            assert!(
                advisory || taken == (row["ok"].as_bool() == Some(true)),
                "{row}"
            );
            let source = row["src"].as_str().filter(|_| taken);
            if let (Some(source), Ok(Some((header, used)))) = (source, found) {
                let Origin::Client { source: seen, .. } = header.origin else {
                    panic!("{row}: no client");
                };
                assert_eq!(seen.ip().to_string(), source, "{row}");
                assert_eq!(used, bytes.len(), "{row}");
            }
        }
    }
}
