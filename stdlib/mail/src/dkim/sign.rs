//! Signing (RFC 6376 §5, RFC 8617 §4.1.2).

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::body_hash;
use super::canon::Canon;
use super::keys::{KeyError, PrivateKey};
use super::signature::{Algorithm, is_domain, is_field_name, is_within};
use super::verify::signed_data;
use crate::header::HeaderBlock;
use crate::source::Source;

/// How a message is signed: the options of `signDKIM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOptions {
    /// `canonicalization_header`
    pub header: Canon,
    /// `canonicalization_body`
    pub body: Canon,
    /// `algorithm`
    pub algorithm: Algorithm,
    /// `additional_headers`
    pub additional: Vec<Vec<u8>>,
    /// `oversign_headers`; none is From, or nothing when `headers` is given.
    pub oversign: Option<Vec<Vec<u8>>>,
    /// `headers`
    pub headers: Option<Vec<Vec<u8>>>,
    /// `timestamp` in Unix seconds.
    pub timestamp: Option<u64>,
    /// `expiration` in Unix seconds.
    pub expiration: Option<u64>,
    /// `identity`
    pub identity: Option<Vec<u8>>,
    /// `body_length`
    pub body_length: Option<u64>,
    /// `arc`: the instance of an ARC-Message-Signature.
    pub arc: Option<u32>,
}

impl Default for SignOptions {
    fn default() -> Self {
        Self {
            header: Canon::Relaxed,
            body: Canon::Relaxed,
            algorithm: Algorithm::RsaSha256,
            additional: Vec::new(),
            oversign: None,
            headers: None,
            timestamp: None,
            expiration: None,
            identity: None,
            body_length: None,
            arc: None,
        }
    }
}

impl SignOptions {
    /// The name of the field that the signature goes into.
    #[must_use]
    pub fn field_name(&self) -> &'static str {
        match self.arc {
            Some(_) => "ARC-Message-Signature",
            None => "DKIM-Signature",
        }
    }
}

/// Why a message cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key does not do.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The selector is no part of a domain name.
    #[error("the selector is no part of a domain name")]
    Selector,
    /// The domain is no domain name.
    #[error("the domain is no domain name")]
    Domain,
    /// The identity has no `@`, or another domain than the signing one and those below it.
    #[error("the identity is not in the signing domain")]
    Identity,
    /// No header field has such a name.
    #[error("{0:?} is no header name")]
    HeaderName(String),
    /// From would not be signed.
    #[error("the From field must be signed")]
    FromNotSigned,
    /// It would expire before it is made.
    #[error("the signature would expire before it is made")]
    Times,
    /// An ARC chain has instances 1 to 50.
    #[error("the instance of an ARC signature must be 1 to 50")]
    Instance,
    /// ARC begins after SHA-1 has ended (RFC 8301).
    #[error("an ARC signature must not be one of SHA-1")]
    ArcSha1,
    /// The message cannot be read.
    #[error("the message cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Fields that are signed where they are present (RFC 6376 §5.4.1); names that end in `-` stand for all that begin so.
const RECOMMENDED: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "to",
    "cc",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-id",
    "content-description",
    "resent-",
    "in-reply-to",
    "references",
    "list-",
];

/// Signs the message in `source` and gives the value of the field, folded, to be put above all others after the name,
/// a colon and one space.
///
/// # Errors
/// [`SignError`]
pub fn sign<S: Source + ?Sized>(
    source: &S,
    selector: &[u8],
    domain: &[u8],
    key: &PrivateKey,
    options: &SignOptions,
) -> Result<Vec<u8>, SignError> {
    let header = HeaderBlock::read(source)?;
    check(selector, domain, options)?;
    let names = names(&header, options)?;
    let (hash, total) = body_hash(
        source,
        header.body_offset(),
        options.body,
        options.algorithm.digest(),
        options.body_length,
    )?;
    let length = options.body_length.map(|length| length.min(total));
    let tags = tags(selector, domain, options, &names, &hash, length);
    let mut own = format!("{}: ", options.field_name()).into_bytes();
    own.extend(render(options, &tags, b""));
    let data = signed_data(&header, &names, options.header, &own);
    let signature = match options.algorithm {
        Algorithm::Ed25519Sha256 => key.sign_ed25519(&options.algorithm.hash().of(&data))?,
        Algorithm::RsaSha256 | Algorithm::RsaSha1 => {
            key.sign_rsa(options.algorithm.hash(), &data)?
        }
    };
    Ok(render(options, &tags, &signature))
}

fn check(selector: &[u8], domain: &[u8], options: &SignOptions) -> Result<(), SignError> {
    if !is_domain(selector) {
        return Err(SignError::Selector);
    }
    if !is_domain(domain) {
        return Err(SignError::Domain);
    }
    if options
        .arc
        .is_some_and(|instance| !(1..=50).contains(&instance))
    {
        return Err(SignError::Instance);
    }
    if options.arc.is_some() && options.algorithm == Algorithm::RsaSha1 {
        return Err(SignError::ArcSha1);
    }
    if let (Some(made), Some(expires)) = (options.timestamp, options.expiration)
        && expires <= made
    {
        return Err(SignError::Times);
    }
    if let Some(identity) = &options.identity {
        let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let at = memchr::memrchr(b'@', identity).ok_or(SignError::Identity)?;
        let own = identity.get(at + 1..).unwrap_or_default();
        if !is_domain(own) || !is_within(&lower(own), &lower(domain)) {
            return Err(SignError::Identity);
        }
    }
    Ok(())
}

/// The names for `h=`: each as often as the field is signed.
fn names(header: &HeaderBlock, options: &SignOptions) -> Result<Vec<Vec<u8>>, SignError> {
    let from = vec![b"from".to_vec()];
    let oversign = match (&options.oversign, &options.headers) {
        (Some(names), _) => names.as_slice(),
        (None, Some(_)) => &[],
        (None, None) => from.as_slice(),
    };
    let given = options.headers.iter().flatten();
    for name in given.clone().chain(&options.additional).chain(oversign) {
        if !is_field_name(name) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(SignError::HeaderName(name));
        }
    }
    let is = |name: &[u8], known: &[u8]| name.eq_ignore_ascii_case(known);
    let recommended = |name: &[u8]| {
        RECOMMENDED.iter().any(|known| {
            is(name, known.as_bytes())
                || (known.ends_with('-')
                    && name
                        .get(..known.len())
                        .is_some_and(|head| is(head, known.as_bytes())))
        })
    };
    let exact = options.headers.is_some();
    let mut names: Vec<Vec<u8>> = given.cloned().collect();
    for field in header.fields() {
        let name = field.name();
        let wanted =
            (!exact && recommended(name)) || options.additional.iter().any(|known| is(name, known));
        if wanted && is_field_name(name) {
            names.push(name.to_vec());
        }
    }
    for (index, name) in oversign.iter().enumerate() {
        if oversign.iter().take(index).any(|before| is(before, name)) {
            continue;
        }
        let present = header.named(name).count();
        let listed = names.iter().filter(|known| is(known, name)).count();
        let missing = (present + 1).saturating_sub(listed);
        names.extend(std::iter::repeat_n(name.clone(), missing));
    }
    if !names.iter().any(|name| is(name, b"from")) {
        return Err(SignError::FromNotSigned);
    }
    Ok(names)
}

/// The tags in their order, `b` without its value. Those of an ARC set stand in the order of their names, as its reference
/// implementation has them, since their order shows in what the seal signs.
fn tags(
    selector: &[u8],
    domain: &[u8],
    options: &SignOptions,
    names: &[Vec<u8>],
    hash: &[u8],
    length: Option<u64>,
) -> Vec<(&'static str, Vec<u8>)> {
    let canon = format!("{}/{}", options.header.as_str(), options.body.as_str());
    let first = match options.arc {
        Some(instance) => ("i", instance.to_string().into_bytes()),
        None => ("v", b"1".to_vec()),
    };
    let mut tags = vec![
        first,
        ("a", options.algorithm.as_str().as_bytes().to_vec()),
        ("c", canon.into_bytes()),
        ("d", domain.to_vec()),
        ("s", selector.to_vec()),
    ];
    if let (Some(identity), None) = (&options.identity, options.arc) {
        tags.push(("i", quoted(identity)));
    }
    let numbers = [
        ("t", options.timestamp),
        ("x", options.expiration),
        ("l", length),
    ];
    for (name, number) in numbers {
        tags.extend(number.map(|number| (name, number.to_string().into_bytes())));
    }
    tags.push(("h", names.join(&b':')));
    tags.push(("bh", STANDARD.encode(hash).into_bytes()));
    tags.push(("b", Vec::new()));
    if options.arc.is_some() {
        tags.sort_by_key(|(name, _)| *name);
    }
    tags
}

/// The value of the field, the same with and without the signature but for the signature itself.
fn render(options: &SignOptions, tags: &[(&str, Vec<u8>)], signature: &[u8]) -> Vec<u8> {
    let mut value = Folded {
        text: Vec::new(),
        column: options.field_name().len() + 2,
    };
    for (index, (name, text)) in tags.iter().enumerate() {
        let end: &[u8] = if index + 1 == tags.len() { b"" } else { b";" };
        match *name {
            "b" => {
                value.word(b"b=");
                value.base64(signature, options.arc.is_none());
                value.text.extend_from_slice(end);
                // What follows begins a line, however long the signature is.
                value.column = WIDTH + 1;
            }
            // A list that does not fit into a line is folded after its colons.
            "h" if text.len() + 4 > WIDTH => {
                value.word(b"h=");
                let mut names = text.split_inclusive(|&byte| byte == b':').peekable();
                while let Some(name) = names.next() {
                    let end = if names.peek().is_none() { end } else { b"" };
                    value.piece(&[name, end].concat());
                }
            }
            name => value.word(&[name.as_bytes(), b"=", text, end].concat()),
        }
    }
    value.text
}

/// Writes bytes that would end a tag as `=XX` (RFC 6376 §2.11).
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_graphic() && !matches!(byte, b';' | b'=') {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
        }
    }
    out
}

/// Lines end here where something can be folded.
const WIDTH: usize = 76;
/// Lines end here at the latest (RFC 5322 §2.1.1).
const LONGEST: usize = 990;

/// A value under construction, folded.
struct Folded {
    text: Vec<u8>,
    column: usize,
}

impl Folded {
    /// Appends something that is not divided; a fold may come before it.
    fn piece(&mut self, piece: &[u8]) {
        if self.column + piece.len() > WIDTH && self.column > 1 {
            if self.text.last() == Some(&b' ') {
                self.text.pop();
            }
            self.text.extend_from_slice(b"\r\n\t");
            self.column = 1;
        }
        self.text.extend_from_slice(piece);
        self.column += piece.len();
    }

    /// Appends the beginning of a tag.
    fn word(&mut self, word: &[u8]) {
        if !self.text.is_empty() {
            self.text.push(b' ');
            self.column += 1;
        }
        self.piece(word);
    }

    /// Appends base64, divided where lines are full if `fold`, and before a line is longer than mail allows.
    fn base64(&mut self, bytes: &[u8], fold: bool) {
        let text = STANDARD.encode(bytes);
        let width = if fold { WIDTH } else { LONGEST };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let room = width.saturating_sub(self.column);
            if room == 0 {
                self.text.extend_from_slice(b"\r\n\t");
                self.column = 1;
                continue;
            }
            let (line, after) = rest.split_at(room.min(rest.len()));
            self.text.extend_from_slice(line);
            self.column += line.len();
            rest = after;
        }
    }
}
