//! What is sent: method, fields and body of a request.

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::Random;
use angarium_runtime::convert::to_str;
use angarium_runtime::host::FileData;
use angarium_runtime::value::{Kind, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::proxy::Proxy;
use super::url::Url;
use crate::file::data_of;
use crate::tls::TlsOptions;

/// What the client calls itself.
const AGENT: &str = concat!("Angarium/", env!("CARGO_PKG_VERSION"));

/// A request, which any thread may make.
#[derive(Clone)]
pub(crate) struct Request {
    /// Where it goes.
    pub url: Url,
    /// GET, or POST with a body, unless a method was named.
    pub method: String,
    /// Fields beside those that follow from the rest.
    pub fields: Fields,
    /// The body, unless a script makes it piece by piece.
    pub body: Body,
    /// For the connection: resolving, connecting, TLS.
    pub connect_timeout: Option<Duration>,
    /// For the rest.
    pub timeout: Option<Duration>,
    /// Bytes that an answer may have.
    pub most: usize,
    /// Redirects that are followed; none: any number.
    pub redirects: Option<u32>,
    /// The local address.
    pub source: Option<IpAddr>,
    /// TLS; its names are those of the host if `verify_host` says so.
    pub tls: TlsOptions,
    /// Whether the certificate must be the host's.
    pub verify_host: bool,
    /// The proxy.
    pub proxy: Option<Proxy>,
    /// A socket of this machine, instead of the host.
    pub path: Option<PathBuf>,
    /// Whether the answer's fields are kept as they came.
    pub keep_head: bool,
}

/// Fields that a script gave.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    given: Vec<(HeaderName, HeaderValue)>,
    /// Fields of our own that are not sent.
    removed: Vec<HeaderName>,
}

/// A body.
#[derive(Clone, Default)]
pub(crate) struct Body {
    /// Its pieces.
    pub parts: Vec<Part>,
    /// What it is; none: there is no body.
    pub kind: Option<String>,
}

/// A piece of a body.
#[derive(Clone)]
pub(crate) enum Part {
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A file.
    File(Arc<dyn FileData>),
}

impl Part {
    /// Its length; none for a file that does not tell.
    pub fn len(&self) -> Option<u64> {
        match self {
            Part::Bytes(bytes) => Some(bytes.len() as u64),
            Part::File(file) => Some(file.length()).filter(|length| *length > 0),
        }
    }
}

/// What is wrong with a field: a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadField(pub String);

impl Fields {
    /// Adds `Name: value`. `Name:` takes away a field of our own, `Name;` sends one without value, as curl has it.
    ///
    /// # Errors
    /// Bytes that cannot stand in a field, CR, LF and NUL among them.
    pub fn add(&mut self, line: &[u8]) -> Result<(), BadField> {
        let bad = |what: &str| {
            let line = String::from_utf8_lossy(line);
            BadField(format!("the header {:?} {what}", line.as_ref()))
        };
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(bad("has a line end or a NUL in it"));
        }
        let end = line
            .iter()
            .position(|byte| matches!(byte, b':' | b';'))
            .ok_or_else(|| bad("has no colon"))?;
        let (name, rest) = line.split_at(end);
        let name = HeaderName::from_bytes(name).map_err(|_| bad("has no name that can be one"))?;
        let value = rest.get(1..).unwrap_or_default().trim_ascii();
        let without_value = rest.first() == Some(&b';');
        if value.is_empty() && !without_value {
            self.removed.push(name);
            return Ok(());
        }
        if without_value && !value.is_empty() {
            return Err(bad("has no colon"));
        }
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| bad("has bytes that cannot stand in a header"))?;
        // How the body is delimited follows from the body.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            self.given.push((name, value));
        }
        Ok(())
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// Takes away what another server must not see.
    pub fn forget_secrets(&mut self) {
        self.given
            .retain(|(name, _)| !matches!(*name, header::AUTHORIZATION | header::COOKIE));
    }
}

impl Request {
    /// Whether it goes to a proxy that reads it.
    pub fn reads_proxy(&self) -> bool {
        let proxy = self.proxy.as_ref().filter(|_| self.path.is_none());
        proxy.is_some_and(Proxy::reads) && !self.url.secure
    }

    /// The fields of the request; `proxied` says that it goes to a proxy which is to read it.
    pub fn header(&self, has_body: bool, proxied: bool) -> HeaderMap {
        let fields = &self.fields;
        let mut map = HeaderMap::new();
        let mut add = |name: HeaderName, value: Result<HeaderValue, _>| {
            if let Ok(value) = value
                && !fields.has(&name)
                && !fields.removed.contains(&name)
            {
                map.insert(name, value);
            }
        };
        add(header::HOST, HeaderValue::from_str(&self.url.authority()));
        add(header::USER_AGENT, HeaderValue::from_str(AGENT));
        add(header::ACCEPT, HeaderValue::from_str("*/*"));
        if let Some(user) = &self.url.user {
            add(header::AUTHORIZATION, HeaderValue::from_str(&basic(user)));
        }
        if let (true, Some(user)) = (
            proxied,
            self.proxy.as_ref().and_then(|proxy| proxy.at.user.as_ref()),
        ) {
            add(
                header::PROXY_AUTHORIZATION,
                HeaderValue::from_str(&basic(user)),
            );
        }
        if let (true, Some(kind)) = (has_body, &self.body.kind) {
            add(header::CONTENT_TYPE, HeaderValue::from_str(kind));
        }
        for (name, value) in &fields.given {
            map.append(name.clone(), value.clone());
        }
        map
    }
}

/// RFC 7617.
pub(crate) fn basic((name, password): &(Vec<u8>, Vec<u8>)) -> String {
    let pair = [name.as_slice(), b":", password].concat();
    format!("Basic {}", STANDARD.encode(pair))
}

/// The type of a body that a script makes piece by piece, or of a file.
pub(crate) const OCTETS: &str = "application/octet-stream";

impl Body {
    /// The body that `post` means; none for a value that means none. A function is not a body here.
    pub fn of(post: &Value, random: &Rc<dyn Random>) -> Option<Body> {
        let bytes = |value: &Value| Part::Bytes(to_str(value).as_bytes().into());
        match post.kind() {
            Kind::Array => multipart(post, random),
            Kind::Object => Some(Body {
                parts: vec![Part::File(data_of(post)?)],
                kind: Some(OCTETS.to_owned()),
            }),
            Kind::String => Some(Body {
                parts: vec![bytes(post)],
                kind: Some("application/x-www-form-urlencoded".to_owned()),
            }),
            _ => None,
        }
    }

    /// Bytes that it keeps in memory.
    pub fn held(&self) -> usize {
        let bytes = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::File(file) => file.bytes().map_or(0, <[u8]>::len),
        };
        self.parts.iter().map(bytes).fold(0, usize::saturating_add)
    }
}

/// RFC 7578: a part for each entry.
fn multipart(post: &Value, random: &Rc<dyn Random>) -> Option<Body> {
    let mut number = [0; 16];
    random.fill(&mut number);
    let boundary: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut parts = Vec::new();
    let mut text = Vec::new();
    for (name, value) in post.as_array()?.iter() {
        text.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"").as_bytes(),
        );
        quoted(&mut text, to_str(&name.to_value()).as_bytes());
        text.push(b'"');
        match value.kind() {
            Kind::Object => {
                let file = data_of(&value)?;
                let name = file.path().and_then(|path| path.file_name());
                let name = name.map_or_else(|| "file".into(), |name| name.to_string_lossy());
                text.extend_from_slice(b"; filename=\"");
                quoted(&mut text, name.as_bytes());
                text.extend_from_slice(format!("\"\r\nContent-Type: {OCTETS}\r\n\r\n").as_bytes());
                parts.push(Part::Bytes(std::mem::take(&mut text).into()));
                parts.push(Part::File(file));
            }
            Kind::String | Kind::Number | Kind::Boolean => {
                text.extend_from_slice(b"\r\n\r\n");
                text.extend_from_slice(to_str(&value).as_bytes());
            }
            _ => return None,
        }
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    parts.push(Part::Bytes(text.into()));
    Some(Body {
        parts,
        kind: Some(format!("multipart/form-data; boundary={boundary}")),
    })
}

/// A name between quotes, as browsers write it.
fn quoted(out: &mut Vec<u8>, name: &[u8]) {
    for byte in name {
        match byte {
            b'"' | b'\r' | b'\n' | 0 => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_would_break_the_request_are_refused() {
        let mut fields = Fields::default();
        for line in [
            &b"X: a\r\nY: b"[..],
            b"X: a\nb",
            b"X: a\0b",
            b"X",
            b": a",
            b"X Y: a",
            b"X\r: a",
            b"X: \x01",
            b"",
        ] {
            assert!(fields.add(line).is_err(), "{line:?}");
        }
        assert!(fields.given.is_empty() && fields.removed.is_empty());
        assert_eq!(fields.add(b"X-Utf8: \xc3\xa9"), Ok(()));
        assert_eq!(fields.add(b"Accept:"), Ok(()));
        assert_eq!(fields.add(b"X-Empty;"), Ok(()));
        assert_eq!((fields.given.len(), fields.removed.len()), (2, 1));
    }
}
