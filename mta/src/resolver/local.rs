//! Records of the configuration (`resolver.local`).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use angarium_config::running::{LocalRecord, RecordType as ConfigType};
use angarium_effects::{DnsAnswer, DnsError, Record, RecordData, RecordType};

use super::normal;

/// The time that a record without one may be kept.
const TTL: u32 = 300;
/// As many aliases as resolvers commonly follow.
const ALIASES: usize = 8;

/// Records that are known without asking. A name that has any is answered from here alone: a type
/// that it lacks has no data.
#[derive(Clone, Debug, Default)]
pub struct LocalRecords(HashMap<String, Vec<(RecordType, Record)>>);

/// A local record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resolver.local[{index}].data: \"{data}\" is no data of a record of type {kind}")]
pub struct BadRecord {
    /// Which record.
    pub index: usize,
    /// Its type.
    pub kind: &'static str,
    /// What it says.
    pub data: String,
}

/// What the table says to a question.
pub(super) enum Found {
    /// The answer.
    Answer(Result<DnsAnswer, DnsError>),
    /// Ask for this name instead.
    Alias(String),
    /// The table does not know the name.
    Unknown,
}

impl LocalRecords {
    /// Reads the records of a configuration.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn from_config(records: &[LocalRecord]) -> Result<LocalRecords, BadRecord> {
        let mut table = LocalRecords::default();
        for (index, record) in records.iter().enumerate() {
            let (kind, data) = read(record).ok_or_else(|| BadRecord {
                index,
                kind: mnemonic(record.kind),
                data: record.data.clone(),
            })?;
            let ttl = record.ttl.unwrap_or(TTL);
            table.add(&record.name, kind, Record { ttl, data });
        }
        Ok(table)
    }

    /// Adds a record.
    pub fn add(&mut self, name: &str, kind: RecordType, record: Record) {
        self.0.entry(normal(name)).or_default().push((kind, record));
    }

    pub(super) fn answer(&self, name: &str, kind: RecordType) -> Found {
        let mut name = name;
        for hop in 0..ALIASES {
            let Some(records) = self.0.get(name) else {
                return match hop {
                    _ if is_loopback(name) => Found::Answer(loopback(kind)),
                    0 => Found::Unknown,
                    _ => Found::Alias(name.to_owned()),
                };
            };
            let of = |wanted| {
                let fits = move |(kind, _): &&(RecordType, Record)| *kind == wanted;
                records.iter().filter(fits).map(|(_, record)| record)
            };
            let mut found: Vec<Record> = of(kind).cloned().collect();
            if !found.is_empty() {
                found.sort_by_key(|record| match record.data {
                    RecordData::Mx { preference, .. } => preference,
                    _ => 0,
                });
                return Found::Answer(Ok(DnsAnswer {
                    records: found,
                    authenticated: false,
                }));
            }
            name = match of(RecordType::Cname).next().map(|record| &record.data) {
                Some(RecordData::Cname(target)) => target,
                _ => return Found::Answer(Err(DnsError::NoData)),
            };
        }
        Found::Answer(Err(DnsError::ServFail))
    }
}

/// RFC 6761 §6.3: this machine, whatever the servers that are asked would say.
fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn loopback(kind: RecordType) -> Result<DnsAnswer, DnsError> {
    let data = match kind {
        RecordType::A => RecordData::A(Ipv4Addr::LOCALHOST),
        RecordType::Aaaa => RecordData::Aaaa(Ipv6Addr::LOCALHOST),
        _ => return Err(DnsError::NoData),
    };
    Ok(DnsAnswer {
        records: vec![Record { ttl: TTL, data }],
        authenticated: false,
    })
}

fn mnemonic(kind: ConfigType) -> &'static str {
    match kind {
        ConfigType::A => "A",
        ConfigType::Aaaa => "AAAA",
        ConfigType::Mx => "MX",
        ConfigType::Txt => "TXT",
        ConfigType::Ptr => "PTR",
        ConfigType::Tlsa => "TLSA",
        ConfigType::Cname => "CNAME",
    }
}

/// Reads data in the form of a zone file (RFC 1035 §5.1).
fn read(record: &LocalRecord) -> Option<(RecordType, RecordData)> {
    let data = record.data.trim();
    let host = |text: &str| {
        let fits = !text.is_empty() && !text.contains(char::is_whitespace);
        fits.then(|| normal(text))
    };
    Some(match record.kind {
        ConfigType::A => (RecordType::A, RecordData::A(data.parse().ok()?)),
        ConfigType::Aaaa => (RecordType::Aaaa, RecordData::Aaaa(data.parse().ok()?)),
        ConfigType::Mx => {
            let (preference, exchange) = data.split_once(char::is_whitespace)?;
            let data = RecordData::Mx {
                preference: preference.parse().ok()?,
                exchange: host(exchange.trim())?,
            };
            (RecordType::Mx, data)
        }
        ConfigType::Txt => (RecordType::Txt, RecordData::Txt(strings(data)?)),
        ConfigType::Ptr => (RecordType::Ptr, RecordData::Ptr(host(data)?)),
        ConfigType::Cname => (RecordType::Cname, RecordData::Cname(host(data)?)),
        ConfigType::Tlsa => {
            let mut words = data.split_ascii_whitespace();
            let mut number = || words.next()?.parse::<u8>().ok();
            let (usage, selector, matching) = (number()?, number()?, number()?);
            let data = hex(&words.collect::<String>())?;
            let data = RecordData::Tlsa {
                usage,
                selector,
                matching,
                data,
            };
            (RecordType::Tlsa, data)
        }
    })
}

/// One text as it stands, or character-strings in quotes, joined.
fn strings(data: &str) -> Option<Vec<u8>> {
    if !data.starts_with('"') {
        return Some(data.as_bytes().to_vec());
    }
    let mut joined = Vec::new();
    let mut bytes = data.bytes();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => joined.push(bytes.next()?),
            _ if quoted => joined.push(byte),
            _ if byte.is_ascii_whitespace() => {}
            _ => return None,
        }
    }
    (!quoted).then_some(joined)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    let byte = |pair: &[u8]| match *pair {
        [high, low] => high << 4 | low,
        _ => 0,
    };
    Some(digits.chunks(2).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(records: &[(&str, ConfigType, &str)]) -> Result<LocalRecords, BadRecord> {
        let records: Vec<LocalRecord> = records
            .iter()
            .map(|(name, kind, data)| LocalRecord {
                name: (*name).to_owned(),
                kind: *kind,
                data: (*data).to_owned(),
                ttl: None,
            })
            .collect();
        LocalRecords::from_config(&records)
    }

    fn data(table: &LocalRecords, name: &str, kind: RecordType) -> Vec<RecordData> {
        match table.answer(name, kind) {
            Found::Answer(Ok(answer)) => answer.records.into_iter().map(|r| r.data).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn localhost_is_this_machine_unless_a_record_says_otherwise() {
        let none = LocalRecords::default();
        let four = [RecordData::A(Ipv4Addr::LOCALHOST)];
        assert_eq!(data(&none, "localhost", RecordType::A), four);
        assert_eq!(data(&none, "a.localhost", RecordType::A), four);
        let six = [RecordData::Aaaa(Ipv6Addr::LOCALHOST)];
        assert_eq!(data(&none, "localhost", RecordType::Aaaa), six);
        let answer = none.answer("localhost", RecordType::Mx);
        assert!(matches!(answer, Found::Answer(Err(DnsError::NoData))));
        assert!(matches!(
            none.answer("nolocalhost", RecordType::A),
            Found::Unknown
        ));
        let own = table(&[("localhost", ConfigType::A, "192.0.2.1")]).expect("records");
        let told = [RecordData::A(Ipv4Addr::new(192, 0, 2, 1))];
        assert_eq!(data(&own, "localhost", RecordType::A), told);
    }

    #[test]
    fn records_are_read_in_the_form_of_a_zone_file() {
        let table = table(&[
            ("Example.test.", ConfigType::Mx, "20 b.test."),
            ("example.test", ConfigType::Mx, "10  A.test"),
            (
                "example.test",
                ConfigType::Txt,
                "\"v=spf1 \" \"-all \\\"x\"",
            ),
            ("www.test", ConfigType::Cname, "example.test."),
            ("_25._tcp.a.test", ConfigType::Tlsa, "3 1 1 00FF a0"),
            ("a.test", ConfigType::Aaaa, "2001:db8::1"),
        ])
        .expect("records");
        let exchanges: Vec<String> = data(&table, "www.test", RecordType::Mx)
            .into_iter()
            .map(|data| match data {
                RecordData::Mx { exchange, .. } => exchange,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(exchanges, ["a.test", "b.test"]);
        assert_eq!(
            data(&table, "example.test", RecordType::Txt),
            [RecordData::Txt(b"v=spf1 -all \"x".to_vec())]
        );
        assert!(matches!(
            &data(&table, "_25._tcp.a.test", RecordType::Tlsa)[..],
            [RecordData::Tlsa { usage: 3, data, .. }] if data == &[0, 0xff, 0xa0]
        ));
    }

    #[test]
    fn a_name_of_the_table_is_answered_from_it_alone() {
        let table = table(&[
            ("a.test", ConfigType::A, "192.0.2.1"),
            ("out.test", ConfigType::Cname, "elsewhere.test"),
            ("loop.test", ConfigType::Cname, "loop.test"),
        ])
        .expect("records");
        let answer = |name, kind| table.answer(name, kind);
        assert!(matches!(
            answer("a.test", RecordType::Aaaa),
            Found::Answer(Err(DnsError::NoData))
        ));
        assert!(matches!(answer("b.test", RecordType::A), Found::Unknown));
        assert!(
            matches!(answer("out.test", RecordType::A), Found::Alias(to) if to == "elsewhere.test")
        );
        assert!(matches!(
            answer("loop.test", RecordType::A),
            Found::Answer(Err(DnsError::ServFail))
        ));
    }

    #[test]
    fn a_record_that_is_none_is_named() {
        for (kind, data) in [
            (ConfigType::A, "192.0.2"),
            (ConfigType::Mx, "mail.test"),
            (ConfigType::Mx, "10 a b"),
            (ConfigType::Txt, "\"open"),
            (ConfigType::Tlsa, "3 1 1 0"),
            (ConfigType::Ptr, ""),
        ] {
            let error = table(&[("x.test", kind, data)]).expect_err(data);
            assert!(
                error.to_string().contains("resolver.local[0].data"),
                "{error}"
            );
        }
    }
}
