//! A signature as it stands in its header field (RFC 6376 §3.5, RFC 8617 §4.1.2).

use ring::digest;

use super::Canon;
use super::keys::Hash;
use super::tags::{TagError, TagList, base64, colons, trim};

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    #[default]
    RsaSha256,
    RsaSha1,
    Ed25519Sha256,
}

impl Algorithm {
    /// The name in an `a=` tag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::RsaSha1 => "rsa-sha1",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// The algorithm with this name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Algorithm> {
        [
            Algorithm::RsaSha256,
            Algorithm::RsaSha1,
            Algorithm::Ed25519Sha256,
        ]
        .into_iter()
        .find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()))
    }

    /// The hash function.
    #[must_use]
    pub fn hash(self) -> Hash {
        match self {
            Algorithm::RsaSha1 => Hash::Sha1,
            Algorithm::RsaSha256 | Algorithm::Ed25519Sha256 => Hash::Sha256,
        }
    }

    pub(super) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Algorithm::RsaSha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::RsaSha256 | Algorithm::Ed25519Sha256 => &digest::SHA256,
        }
    }

    /// The names of hash function and key type in key records.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Algorithm::RsaSha1 => ("sha1", "rsa"),
            Algorithm::RsaSha256 => ("sha256", "rsa"),
            Algorithm::Ed25519Sha256 => ("sha256", "ed25519"),
        }
    }
}

/// Which kind of field holds the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `DKIM-Signature`
    Dkim,
    /// `ARC-Message-Signature`
    Arc,
}

/// A signature whose field could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The kind of field.
    pub kind: Kind,
    /// `a=`
    pub algorithm: Algorithm,
    /// `b=`
    pub signature: Vec<u8>,
    /// `bh=`
    pub body_hash: Vec<u8>,
    /// `c=`: header and body.
    pub canon: (Canon, Canon),
    /// `d=`, in lower case.
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// `h=`
    pub headers: Vec<Vec<u8>>,
    /// The domain of `i=`; of an ARC link there is none.
    pub identity_domain: Option<String>,
    /// `l=`
    pub length: Option<u64>,
    /// `t=`
    pub timestamp: Option<u64>,
    /// `x=`
    pub expiration: Option<u64>,
    /// The whole field as it stands.
    pub(super) field: Vec<u8>,
}

/// What is wrong with a signature's field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The field is no signature.
    #[error("the field is neither DKIM-Signature nor ARC-Message-Signature")]
    OtherField,
    /// Its value is no list of tags.
    #[error("bad tag list: {0}")]
    Tags(#[from] TagError),
    /// A tag has a name that the grammar does not allow.
    #[error("bad tag list: a tag's name is malformed")]
    TagName,
    /// The version is missing or not 1.
    #[error("the version is not 1")]
    Version,
    /// A required tag is missing.
    #[error("the tag {0}= is missing")]
    Missing(&'static str),
    /// The value of a tag makes no sense.
    #[error("the value of the tag {0}= is malformed")]
    Malformed(&'static str),
    /// An algorithm, canonicalisation or query method that is not known.
    #[error("the value of the tag {0}= is not supported")]
    Unsupported(&'static str),
    /// From is not signed.
    #[error("the From field is not signed")]
    FromNotSigned,
    /// An ARC link signs what changes with each link.
    #[error("an ARC-Message-Signature must not sign ARC-Seal fields")]
    SealSigned,
    /// The identity lies in another domain.
    #[error("the identity is not in the signing domain")]
    Identity,
    /// It expires before it was made.
    #[error("the signature expires before it was made")]
    Times,
}

/// As many signed fields are named at most.
const MAX_HEADERS: usize = 4096;

impl Signature {
    /// Reads a whole, unmodified field, with or without its final line end.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn parse(field: &[u8]) -> Result<Signature, SignatureError> {
        let (kind, value) = kind_and_value(field).ok_or(SignatureError::OtherField)?;
        let tags = TagList::parse(value)?;
        if !tags.is_strict() {
            return Err(SignatureError::TagName);
        }
        match (kind, tags.get("v")) {
            (Kind::Dkim, Some(b"1")) | (Kind::Arc, None) => {}
            _ => return Err(SignatureError::Version),
        }
        let required = |name| tags.get(name).ok_or(SignatureError::Missing(name));
        let decoded = |name| {
            let value = base64(required(name)?).filter(|bytes| !bytes.is_empty());
            value.ok_or(SignatureError::Malformed(name))
        };
        let algorithm = Algorithm::from_name(required("a")?)
            // RFC 8617 §4.1.2 begins where RFC 8301 has ended SHA-1.
            .filter(|algorithm| kind == Kind::Dkim || *algorithm != Algorithm::RsaSha1)
            .ok_or(SignatureError::Unsupported("a"))?;
        let canon = match tags.get("c") {
            None => (Canon::Simple, Canon::Simple),
            Some(value) => canons(value).ok_or(SignatureError::Unsupported("c"))?,
        };
        let name = |tag| domain(required(tag)?).ok_or(SignatureError::Malformed(tag));
        let (domain, selector) = (name("d")?, name("s")?);
        // An empty name stands for no field: it is met, and does no harm.
        let headers: Vec<Vec<u8>> = colons(required("h")?)
            .filter(|name| !name.is_empty())
            .take(MAX_HEADERS + 1)
            .map(<[u8]>::to_vec)
            .collect();
        if headers.len() > MAX_HEADERS || headers.iter().any(|name| !is_field_name(name)) {
            return Err(SignatureError::Malformed("h"));
        }
        let signs = |name: &str| {
            headers
                .iter()
                .any(|header| header.eq_ignore_ascii_case(name.as_bytes()))
        };
        if !signs("from") {
            return Err(SignatureError::FromNotSigned);
        }
        if kind == Kind::Arc && signs("arc-seal") {
            return Err(SignatureError::SealSigned);
        }
        let identity_domain = match (kind, tags.get("i")) {
            (Kind::Arc, None) => return Err(SignatureError::Missing("i")),
            (Kind::Arc, Some(instance)) => {
                number(instance)
                    .filter(|instance| (1..=50).contains(instance))
                    .ok_or(SignatureError::Malformed("i"))?;
                None
            }
            (Kind::Dkim, None) => None,
            (Kind::Dkim, Some(identity)) => Some(identity_of(identity, &domain)?),
        };
        let methods = |value| colons(value).any(|method| method.eq_ignore_ascii_case(b"dns/txt"));
        if tags.get("q").is_some_and(|value| !methods(value)) {
            return Err(SignatureError::Unsupported("q"));
        }
        let optional = |name| match tags.get(name) {
            None => Ok(None),
            Some(value) => number(value)
                .map(Some)
                .ok_or(SignatureError::Malformed(name)),
        };
        let (timestamp, expiration) = (optional("t")?, optional("x")?);
        if let (Some(made), Some(expires)) = (timestamp, expiration)
            && expires <= made
        {
            return Err(SignatureError::Times);
        }
        Ok(Signature {
            kind,
            algorithm,
            signature: decoded("b")?,
            body_hash: decoded("bh")?,
            canon,
            domain,
            selector,
            headers,
            identity_domain,
            length: optional("l")?,
            timestamp,
            expiration,
            field: field.to_vec(),
        })
    }

    /// Where the public key is: the name to ask for TXT records.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

/// The kind of a signature's field and what follows the colon.
fn kind_and_value(field: &[u8]) -> Option<(Kind, &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let name = field.get(..colon)?.trim_ascii();
    let kind = if name.eq_ignore_ascii_case(b"DKIM-Signature") {
        Kind::Dkim
    } else if name.eq_ignore_ascii_case(b"ARC-Message-Signature") {
        Kind::Arc
    } else {
        return None;
    };
    Some((kind, field.get(colon + 1..)?))
}

/// The field with an empty `b=` tag, the form that is signed (RFC 6376 §3.7).
#[must_use]
pub fn without_signature(field: &[u8]) -> Vec<u8> {
    let start = memchr::memchr(b':', field).map_or(field.len(), |colon| colon + 1);
    let (head, value) = field.split_at(start);
    let mut out = head.to_vec();
    for (index, item) in value.split(|&byte| byte == b';').enumerate() {
        if index > 0 {
            out.push(b';');
        }
        match memchr::memchr(b'=', item) {
            Some(at) if trim(item.get(..at).unwrap_or_default()) == b"b" => {
                out.extend_from_slice(item.get(..=at).unwrap_or_default());
            }
            _ => out.extend_from_slice(item),
        }
    }
    out
}

/// `relaxed/simple`; the body's form may be left out and is simple then.
fn canons(value: &[u8]) -> Option<(Canon, Canon)> {
    let mut parts = value.splitn(2, |&byte| byte == b'/');
    let header = Canon::from_name(trim(parts.next()?))?;
    let body = match parts.next() {
        Some(body) => Canon::from_name(trim(body))?,
        None => Canon::Simple,
    };
    Some((header, body))
}

/// Whether a host may have such a name below which a key is asked for: labels of 1 to 63 bytes, none with a byte that
/// would end or split a name.
#[must_use]
pub fn is_domain(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split(|&byte| byte == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.iter().all(|&byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || byte >= 0x80
                })
        })
}

fn domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    is_domain(value).then(|| text.to_ascii_lowercase())
}

/// The domain of an identity, which is the signing domain or lies below it.
fn identity_of(identity: &[u8], domain: &str) -> Result<String, SignatureError> {
    let at = memchr::memrchr(b'@', identity).ok_or(SignatureError::Malformed("i"))?;
    let own = self::domain(identity.get(at + 1..).unwrap_or_default())
        .ok_or(SignatureError::Malformed("i"))?;
    if !is_within(&own, domain) {
        return Err(SignatureError::Identity);
    }
    Ok(own)
}

/// Whether `name` is `domain` or lies below it. Both are in lower case.
#[must_use]
pub fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

/// A field's name (RFC 5322 §3.6.8), without the semicolon that would end the tag.
#[must_use]
pub fn is_field_name(name: &[u8]) -> bool {
    crate::field::check_name(name).is_ok() && !name.contains(&b';')
}

/// A number of up to twelve digits (RFC 6376 §3.5, `t=`); lengths have more but no message does.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "DKIM-Signature: v=1; a=rsa-sha256; d=Example.com; s=sel; h=From : To;\r\n bh=YQ==; b=Yg==";

    fn parse(field: &str) -> Result<Signature, SignatureError> {
        Signature::parse(field.as_bytes())
    }

    #[test]
    fn what_may_be_left_out_has_its_default() {
        let signature = parse(GOOD).unwrap();
        assert_eq!(signature.key_name(), "sel._domainkey.example.com");
        assert_eq!(signature.canon, (Canon::Simple, Canon::Simple));
        assert_eq!(signature.headers, [b"From".to_vec(), b"To".to_vec()]);
        assert_eq!((signature.length, signature.expiration), (None, None));
        let relaxed = parse(&GOOD.replace("s=sel", "c=relaxed; s=sel")).unwrap();
        assert_eq!(relaxed.canon, (Canon::Relaxed, Canon::Simple));
    }

    #[test]
    fn each_rule_of_section_6_1_1_is_checked() {
        use SignatureError as E;
        let cases = [
            ("v=1", "v=2", E::Version),
            ("v=1; a=rsa-sha256", "a=rsa-sha256", E::Version),
            ("rsa-sha256", "rsa-sha3", E::Unsupported("a")),
            ("s=sel", "c=nofws; s=sel", E::Unsupported("c")),
            ("s=sel", "q=http; s=sel", E::Unsupported("q")),
            ("s=sel", "s=", E::Malformed("s")),
            ("s=sel", "s=a b", E::Malformed("s")),
            ("d=Example.com;", "", E::Missing("d")),
            ("bh=YQ==", "bh=*", E::Malformed("bh")),
            ("b=Yg==", "b=", E::Malformed("b")),
            ("From : To", "To", E::FromNotSigned),
            ("From : To", "From:a b", E::Malformed("h")),
            ("s=sel", "i=@example.org; s=sel", E::Identity),
            ("s=sel", "i=@badexample.com; s=sel", E::Identity),
            ("s=sel", "i=example.com; s=sel", E::Malformed("i")),
            ("s=sel", "l=-1; s=sel", E::Malformed("l")),
            ("s=sel", "t=2; x=2; s=sel", E::Times),
            (
                "s=sel",
                "s=sel; s=b",
                E::Tags(TagError::Duplicate("s".to_owned())),
            ),
            ("s=sel", "-=1; s=sel", E::TagName),
            ("DKIM-Signature", "Subject", E::OtherField),
        ];
        for (from, to, error) in cases {
            assert_eq!(parse(&GOOD.replace(from, to)), Err(error), "{to}");
        }
        assert!(parse(&GOOD.replace("s=sel", "i=x@a.example.com; t=1; x=2; s=sel")).is_ok());
    }

    #[test]
    fn a_link_of_an_arc_chain_has_an_instance_and_no_version() {
        let good = GOOD.replace("DKIM-", "ARC-Message-").replace("v=1", "i=1");
        assert_eq!(parse(&good).unwrap().kind, Kind::Arc);
        assert_eq!(
            parse(&good.replace("i=1; ", "")),
            Err(SignatureError::Missing("i"))
        );
        assert_eq!(
            parse(&good.replace("i=1", "i=51")),
            Err(SignatureError::Malformed("i"))
        );
        assert_eq!(
            parse(&good.replace("rsa-sha256", "rsa-sha1")),
            Err(SignatureError::Unsupported("a"))
        );
        assert_eq!(
            parse(&good.replace("From", "From:ARC-Seal")),
            Err(SignatureError::SealSigned)
        );
    }

    #[test]
    fn the_signature_is_removed_and_nothing_else() {
        let removed = |field: &str| String::from_utf8(without_signature(field.as_bytes())).unwrap();
        assert_eq!(
            removed("DKIM-Signature: bh=a=; b = x\r\n y= ; z=b=1"),
            "DKIM-Signature: bh=a=; b =; z=b=1"
        );
        assert_eq!(removed("X: v=1; b=abc=\r\n"), "X: v=1; b=");
    }
}
