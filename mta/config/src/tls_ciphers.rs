//! The list of ciphers that a side offers, in OpenSSL's words.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::text_type;

/// A cipher suite that exists here.
#[derive(Debug)]
struct Suite {
    /// OpenSSL's name, which for TLS 1.3 is that of the standard.
    name: &'static str,
    /// The name of the standard.
    standard: &'static str,
    /// The classes that it is in.
    classes: &'static [&'static str],
}

impl Suite {
    const fn of_13(name: &'static str) -> Suite {
        Suite {
            name,
            standard: name,
            classes: &[],
        }
    }

    fn is_of_13(&self) -> bool {
        self.classes.is_empty()
    }

    /// Whether one word of a list means it.
    fn is(&self, word: &str) -> bool {
        self.name == word || self.standard == word || self.classes.contains(&word)
    }
}

macro_rules! suite_of_12 {
    ($name:literal, $standard:literal, $($class:literal),+) => {
        Suite {
            name: $name,
            standard: $standard,
            classes: &[
                "ALL", "DEFAULT", "HIGH", "TLSV1.2", "ECDHE", "EECDH", "KECDHE", "KEECDH", "ECDH", $($class),+
            ],
        }
    };
}

/// All suites, best first.
const SUITES: &[Suite] = &[
    Suite::of_13("TLS_AES_256_GCM_SHA384"),
    Suite::of_13("TLS_AES_128_GCM_SHA256"),
    Suite::of_13("TLS_CHACHA20_POLY1305_SHA256"),
    suite_of_12!(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDSA",
        "AECDSA",
        "AES",
        "AES256",
        "AESGCM",
        "FIPS"
    ),
    suite_of_12!(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDSA",
        "AECDSA",
        "AES",
        "AES128",
        "AESGCM",
        "FIPS"
    ),
    suite_of_12!(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDSA",
        "AECDSA",
        "CHACHA20"
    ),
    suite_of_12!(
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ARSA",
        "AES",
        "AES256",
        "AESGCM",
        "FIPS"
    ),
    suite_of_12!(
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ARSA",
        "AES",
        "AES128",
        "AESGCM",
        "FIPS"
    ),
    suite_of_12!(
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ARSA",
        "CHACHA20"
    ),
];

/// Classes of OpenSSL in which nothing is that exists here. To exclude them changes nothing.
const EMPTY_CLASSES: &str = "MEDIUM LOW EXP EXPORT EXPORT40 EXPORT56 NULL ANULL ENULL COMPLEMENTOFALL COMPLEMENTOFDEFAULT \
    RSA KRSA DH DHE EDH KDH KDHE KEDH KDHR KDHD ADH AECDH AECDHE KECDHR KECDHE ADSS DSS ADH PSK KPSK APSK KRSAPSK KECDHEPSK \
    KDHEPSK SRP KSRP ASRP GOST GOST89 GOST89MAC GOST94 GOST12 KGOST KGOST18 AGOST AGOST01 AGOST12 KRB5 KKRB5 AKRB5 FZA KFZA AFZA EFZA \
    AESCCM AESCCM8 ARIA ARIAGCM ARIA128 ARIA256 CAMELLIA CAMELLIA128 CAMELLIA256 3DES DES RC4 RC2 IDEA SEED CBC \
    MD5 SHA SHA1 SHA256 SHA384 SSLV2 SSLV3 TLSV1 TLSV1.0 TLSV1.1 TLSV1.3 SUITEB128 SUITEB128ONLY SUITEB128C2 SUITEB192";

/// Further words of which the names of suites are made, `DHE-RSA-AES256-SHA` among them.
const PARTS: &str = "TLS SSL WITH ECDHE ECDH ECDSA AES AES128 AES256 GCM CCM CCM8 CBC CBC3 CHACHA20 POLY1305 EDE EDE3 DES40 ANON KRB5 \
    128 256 40 56 64 8 GOST2012 GOST2001 GOST94 GOST89 SM4 SM3 MAGMA KUZNYECHIK CTR OMAC";

/// The ciphers that a side offers, from a list such as `HIGH:!aNULL` or `ECDHE+AESGCM:ECDHE+CHACHA20`; the order is that of preference.
///
/// The words are OpenSSL's. As there, the list is about TLS 1.2; suites of TLS 1.3 stay unless one of them is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsCiphers {
    suites: Vec<&'static str>,
    missing: Vec<String>,
    text: String,
}

text_type!(TlsCiphers, "tls-ciphers");

impl Default for TlsCiphers {
    fn default() -> Self {
        Self {
            suites: TlsCiphers::all().collect(),
            missing: Vec::new(),
            text: "HIGH:MEDIUM".to_owned(),
        }
    }
}

impl TlsCiphers {
    /// OpenSSL's names of all suites that exist, best first.
    pub fn all() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|suite| suite.name)
    }

    /// OpenSSL's names of the suites that are offered, best first; at least one.
    #[must_use]
    pub fn suites(&self) -> &[&'static str] {
        &self.suites
    }

    /// Names of suites that are asked for and do not exist here.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

impl FromStr for TlsCiphers {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut list = List::default();
        for item in text.split([':', ',', ';', ' ']) {
            list.apply(item)?;
        }
        let of_13 = SUITES.iter().filter(|suite| suite.is_of_13());
        if !list.names_13 {
            let kept: Vec<&Suite> = of_13
                .filter(|suite| !list.banned.contains(&suite.name))
                .collect();
            // A list that leaves nothing is a mistake, even where TLS 1.3 would still work.
            if !list.chosen.is_empty() {
                list.chosen.splice(0..0, kept);
            }
        }
        if list.chosen.is_empty() {
            return Err(format!("leaves no cipher; these exist: {}", existing()));
        }
        Ok(Self {
            suites: list.chosen.iter().map(|suite| suite.name).collect(),
            missing: list.missing,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for TlsCiphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn existing() -> String {
    TlsCiphers::all().collect::<Vec<_>>().join(", ")
}

/// A list while it is read.
#[derive(Default)]
struct List {
    chosen: Vec<&'static Suite>,
    banned: Vec<&'static str>,
    missing: Vec<String>,
    /// A suite of TLS 1.3 was named.
    names_13: bool,
}

impl List {
    fn apply(&mut self, item: &str) -> Result<(), String> {
        let (sign, words) = match item.as_bytes().first() {
            None => return Ok(()),
            Some(b'@') => return settings(item),
            Some(sign @ (b'!' | b'-' | b'+')) => (*sign, item.get(1..).unwrap_or_default()),
            Some(_) => (b' ', item),
        };
        let upper = words.to_ascii_uppercase();
        let parts: Vec<&str> = upper.split('+').collect();
        let mut written = words.split('+').zip(&parts);
        if let Some((word, _)) = written.find(|(_, word)| !is_known(word)) {
            return Err(format!(
                "names {word:?}, which is no cipher; these exist: {}",
                existing()
            ));
        }
        let fits = |suite: &Suite| parts.iter().all(|word| suite.is(word));
        match sign {
            b'!' => {
                let banned = SUITES.iter().filter(|suite| fits(suite));
                self.banned.extend(banned.map(|suite| suite.name));
                self.chosen.retain(|suite| !fits(suite));
            }
            b'-' => self.chosen.retain(|suite| !fits(suite)),
            b'+' => self.chosen.sort_by_key(|suite| fits(suite)),
            _ => {
                let before = self.chosen.len();
                for suite in SUITES.iter().filter(|suite| fits(suite)) {
                    self.names_13 |= suite.is_of_13();
                    let there = self.chosen.iter().any(|other| other.name == suite.name);
                    if !there && !self.banned.contains(&suite.name) {
                        self.chosen.push(suite);
                    }
                }
                let is_name = upper.contains(['-', '_']) && !SUITES.iter().any(fits);
                if is_name && self.chosen.len() == before {
                    self.missing.push(words.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// `@STRENGTH` sorts as the suites are sorted here; every suite fits the highest `@SECLEVEL` that OpenSSL has.
fn settings(item: &str) -> Result<(), String> {
    let level = item.strip_prefix("@SECLEVEL=");
    let good = item == "@STRENGTH"
        || level.is_some_and(|level| matches!(level, "0" | "1" | "2" | "3" | "4" | "5"));
    match good {
        true => Ok(()),
        false => Err(format!(
            "says {item:?}: @STRENGTH and @SECLEVEL=0 to 5 are known"
        )),
    }
}

/// Whether OpenSSL has a class or a suite of this name.
fn is_known(word: &str) -> bool {
    let in_list = |list: &str, part: &str| list.split_ascii_whitespace().any(|one| one == part);
    let is_class = |part: &str| in_list(EMPTY_CLASSES, part);
    let is_part = |part: &str| is_class(part) || in_list(PARTS, part);
    SUITES.iter().any(|suite| suite.is(word))
        || is_class(word)
        || (word.contains(['-', '_']) && word.split(['-', '_']).all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<&'static str> {
        let list: TlsCiphers = text.parse().unwrap();
        list.suites
    }

    #[test]
    fn lists_are_read_as_openssl_reads_them() {
        assert_eq!(of("HIGH:MEDIUM"), TlsCiphers::all().collect::<Vec<_>>());
        assert_eq!(of("HIGH:MEDIUM"), TlsCiphers::default().suites);
        let of_12 = |text: &str| -> Vec<&'static str> {
            let kept = of(text).into_iter();
            kept.filter(|name| !name.starts_with("TLS_")).collect()
        };
        assert_eq!(of("HIGH:!aNULL").len(), 9);
        assert_eq!(
            of_12("ECDHE+AESGCM:!ECDSA"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            of_12("ecdhe-rsa-chacha20-poly1305:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        // What is taken out with `-` can come back, what is taken out with `!` cannot.
        assert_eq!(of_12("HIGH:-AES:AES256:@STRENGTH").len(), 4);
        assert_eq!(of_12("!AES:HIGH:AES").len(), 2);
        assert_eq!(
            of_12("ALL:+CHACHA20").last(),
            Some(&"ECDHE-RSA-CHACHA20-POLY1305")
        );
        assert_eq!(
            of_12("ALL:+AES").first(),
            Some(&"ECDHE-ECDSA-CHACHA20-POLY1305")
        );
        // `RSA` is the exchange of keys, which does not exist; `aRSA` is the certificate.
        assert_eq!(of_12("HIGH:!RSA").len(), 6);
        assert_eq!(of_12("HIGH:!aRSA").len(), 3);
    }

    #[test]
    fn suites_of_tls_1_3_stay_unless_one_is_named() {
        assert_eq!(of("AES128").len(), 5);
        assert_eq!(of("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"]);
        assert_eq!(of("AES128:TLS_AES_128_GCM_SHA256").len(), 3);
        assert_eq!(of("AES128:!TLS_CHACHA20_POLY1305_SHA256").len(), 4);
    }

    #[test]
    fn what_does_not_exist_is_told_and_what_is_no_cipher_is_refused() {
        let list: TlsCiphers = "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:AES128-SHA:!RC4-MD5:DES-CBC3-SHA"
            .parse()
            .unwrap();
        assert_eq!(list.suites.len(), 4);
        assert_eq!(
            list.missing,
            ["DHE-RSA-AES128-GCM-SHA256", "AES128-SHA", "DES-CBC3-SHA"]
        );
        assert!("HIGH:@SECLEVEL=2".parse::<TlsCiphers>().is_ok());
        for (text, words) in [
            ("", "leaves no cipher"),
            ("MEDIUM:LOW", "leaves no cipher"),
            ("DHE-RSA-AES128-GCM-SHA256", "leaves no cipher"),
            ("HIGH:!ALL", "leaves no cipher"),
            ("HIHG", "names \"HIHG\""),
            ("HIGH:!BOGUS-SHA", "names \"BOGUS-SHA\""),
            ("HIGH:@SECLEVEL=9", "@SECLEVEL=9"),
        ] {
            let error = text.parse::<TlsCiphers>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = "HIHG".parse::<TlsCiphers>().unwrap_err();
        assert!(error.ends_with("ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-CHACHA20-POLY1305"));
    }
}
