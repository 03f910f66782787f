//! The class `X509`: what is written in a certificate (RFC 5280).
//!
//! Certificates are read by x509-parser, which takes apart and verifies nothing; chains are webpki's.

use std::sync::Arc;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, OptDecl, Outcome, Throw, opt};
use angarium_runtime::object::{NativeObject, Object, Resource};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev, oid2sn};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use crate::hash::hex;
use crate::tls::provider;
use crate::tls::verify::is_in_time;

/// A certificate may be so long.
const MOST: usize = 1 << 20;
/// A bundle may hold so many.
const MOST_IN_BUNDLE: usize = 1000;

const PEM: &[OptDecl] = &[opt(
    "pem",
    "boolean",
    "false",
    "PEM text instead of DER bytes",
)];

/// The class `X509`.
pub const X509: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "X509(x509resource: X509Resource)",
        "Makes an X509 of a certificate that is held as a resource.",
        |cx, args| {
            let Value::Resource(resource) = args.get(0) else {
                return Err(Throw::error("X509: an X509Resource is needed"));
            };
            match resource.downcast::<Certificate>() {
                Some(certificate) => made(cx, certificate),
                None => Err(Throw::error("X509: an X509Resource is needed")),
            }
        },
    )
    .since("5.1"),
    extends: None,
    methods: &[
        FnDecl::plain(
            "subject(): array",
            "Lists the parts of the subject as pairs of name and value, such as [\"CN\", \"example.com\"].",
            |cx, args| with(&args, |cert| names(cx, cert.subject())),
        ),
        FnDecl::plain(
            "issuer(): array",
            "Lists the parts of the issuer as pairs of name and value.",
            |cx, args| with(&args, |cert| names(cx, cert.issuer())),
        ),
        FnDecl::plain(
            "subject_alt_name(): array",
            "Gives the other names of the subject: `DNS` with a list of host names. Empty without the extension.",
            |cx, args| with(&args, |cert| alternative_names(cx, cert)),
        ),
        FnDecl::plain(
            "version(): number",
            "Gives the version as it is encoded: 2 for version 3.",
            |_, args| with(&args, |cert| Ok(cert.version().0.into())),
        ),
        FnDecl::plain(
            "serial_number(): string",
            "Gives the serial number in hexadecimal digits.",
            |_, args| with(&args, |cert| Ok(serial(cert).into())),
        ),
        FnDecl::plain(
            "not_valid_before(): number",
            "Gives the Unix time from which the certificate is valid.",
            |_, args| with(&args, |cert| Ok(Value::Number(cert.validity().not_before.timestamp() as f64))),
        ),
        FnDecl::plain(
            "not_valid_after(): number",
            "Gives the Unix time up to which the certificate is valid.",
            |_, args| with(&args, |cert| Ok(Value::Number(cert.validity().not_after.timestamp() as f64))),
        ),
        FnDecl::plain(
            "public_key(options?: array): string",
            "Gives the public key as a SubjectPublicKeyInfo.",
            |cx, args| with(&args, |cert| encoded(cx, &args, "PUBLIC KEY", cert.public_key().raw)),
        )
        .options(PEM),
        FnDecl::plain("export(options?: array): string", "Gives the certificate itself.", |cx, args| {
            let certificate = Arc::clone(&args.this::<Held>()?.0);
            encoded(cx, &args, "CERTIFICATE", &certificate.0)
        })
        .options(PEM),
        FnDecl::plain(
            "extensions(options?: array): array",
            "Lists the extensions: `oid`, `name` if it is known, `value` in DER, and whether it is `critical`.",
            |cx, args| with(&args, |cert| extensions(cx, cert)),
        )
        .since(">5.5"),
        FnDecl::plain(
            "verify(calist: array, intermediates?: array, revokelist?: array): array",
            "Tells whether the certificate is good now: whether a chain leads from it over `intermediates` to one of `calist`, \
             lists of X509, or whether it is in `calist` itself. Gives `result`, and `error` when that is false. The purpose \
             of the certificate does not matter. A `revokelist` that is not empty raises an Exception: there are no \
             revocation lists yet.",
            verify,
        )
        .since(">5.5"),
        FnDecl::plain("toResource(): X509Resource", "Gives the certificate as a resource.", |_, args| {
            let certificate = Arc::clone(&args.this::<Held>()?.0);
            let resource = Resource::new("X509Resource", certificate);
            Ok(Value::Resource(std::rc::Rc::new(resource)))
        }),
        FnDecl::plain(
            "toFFIValue(): FFIValue",
            "Gives the certificate to foreign functions. There are none here: raises an Exception.",
            |_, _| Err(Throw::error("FFI is disabled")),
        )
        .since("5.4"),
    ],
    statics: &[
        FnDecl::plain(
            "String(data: string, options?: array): X509|array|none",
            "Reads a certificate in DER form; none when it cannot be read.",
            from_string,
        )
        .options(&[
            opt("pem", "boolean", "false", "data is PEM text"),
            opt("multiple", "boolean", "false", "give a list of all certificates"),
        ])
        .since(">5.5")
        .example("X509::String(\"no certificate\") // none"),
    ],
};

/// A certificate in DER form that has been parsed once.
pub(crate) struct Certificate(Vec<u8>);

struct Held(Arc<Certificate>);

impl NativeObject for Held {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn held(&self) -> usize {
        self.0.0.len()
    }
}

/// An X509 of a certificate in DER form; none when it cannot be read.
///
/// # Errors
/// Where the class is missing.
pub(crate) fn object(cx: &mut Cx<'_>, der: Vec<u8>) -> Outcome {
    match read(der) {
        Some(certificate) => made(cx, Arc::new(certificate)),
        None => Ok(Value::None),
    }
}

/// An `X509Resource` of a certificate in DER form; none when it cannot be read.
#[must_use]
pub fn resource(der: Vec<u8>) -> Option<Value> {
    let certificate = Arc::new(read(der)?);
    let resource = Resource::new("X509Resource", certificate);
    Some(Value::Resource(std::rc::Rc::new(resource)))
}

/// The DER form of an `X509Resource`, or of an X509.
pub(crate) fn der(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Resource(resource) => Some(resource.downcast::<Certificate>()?.0.clone()),
        Value::Object(object) => Some(object.downcast::<Held>()?.0.0.clone()),
        _ => None,
    }
}

/// Whether the issuer of a certificate in DER form is its subject, by name.
#[must_use]
pub fn is_self_issued(der: &[u8]) -> bool {
    matches!(X509Certificate::from_der(der), Ok((_, cert)) if cert.issuer().as_raw() == cert.subject().as_raw())
}

/// The Unix times between which a certificate in DER form is valid; none when it cannot be read.
#[must_use]
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let valid = cert.validity();
    // What ended before 1970 has ended.
    let unix = |time: i64| u64::try_from(time).unwrap_or(0);
    Some((
        unix(valid.not_before.timestamp()),
        unix(valid.not_after.timestamp()),
    ))
}

fn read(der: Vec<u8>) -> Option<Certificate> {
    if der.len() > MOST {
        return None;
    }
    let whole = matches!(X509Certificate::from_der(&der), Ok((rest, _)) if rest.is_empty());
    whole.then_some(Certificate(der))
}

fn made(cx: &mut Cx<'_>, certificate: Arc<Certificate>) -> Outcome {
    cx.charge(certificate.0.len() / 16);
    let class = cx
        .library
        .class_named("X509")
        .ok_or_else(|| Throw::error("there are no certificates here"))?;
    Ok(Value::Object(Object::new(class, Held(certificate))))
}

fn with(args: &Args<'_>, show: impl FnOnce(&X509Certificate<'_>) -> Outcome) -> Outcome {
    let held = args.this::<Held>()?;
    match X509Certificate::from_der(&held.0.0) {
        Ok((_, certificate)) => show(&certificate),
        Err(_) => Ok(Value::None),
    }
}

/// The parts of a name in order, each with its short name.
fn parts(name: &X509Name<'_>) -> Vec<(String, Vec<u8>)> {
    name.iter_attributes()
        .map(|part| {
            let oid = part.attr_type();
            let short =
                oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
            let value = match part.as_str() {
                Ok(text) => text.as_bytes().to_vec(),
                Err(_) => part.as_slice().to_vec(),
            };
            (short, value)
        })
        .collect()
}

fn names(cx: &mut Cx<'_>, name: &X509Name<'_>) -> Outcome {
    let parts = parts(name);
    cx.reserve_entries(parts.len())?;
    let pairs = parts
        .into_iter()
        .map(|(name, value)| Value::from(Array::from_list(vec![name.into(), value.into()])));
    Ok(pairs.collect::<Array>().into())
}

fn alternative_names(cx: &mut Cx<'_>, cert: &X509Certificate<'_>) -> Outcome {
    let mut kinds = Array::new();
    if let Ok(Some(extension)) = cert.subject_alternative_name() {
        let names = &extension.value.general_names;
        cx.reserve_entries(names.len())?;
        let dns: Vec<Value> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).into()),
                _ => None,
            })
            .collect();
        if !dns.is_empty() {
            kinds.insert(Key::from("DNS"), Array::from_list(dns).into());
        }
    }
    Ok(kinds.into())
}

fn serial(cert: &X509Certificate<'_>) -> String {
    let raw = cert.raw_serial();
    // A zero in front says that the number is not negative.
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    String::from_utf8_lossy(&hex(digits)).into_owned()
}

fn extensions(cx: &mut Cx<'_>, cert: &X509Certificate<'_>) -> Outcome {
    let mut list = Array::new();
    for extension in cert.extensions() {
        cx.reserve(extension.value.len())?;
        let mut entry = Array::new();
        entry.insert(Key::from("oid"), extension.oid.to_id_string().into());
        if let Ok(name) = oid2sn(&extension.oid, oid_registry()) {
            entry.insert(Key::from("name"), name.into());
        }
        entry.insert(Key::from("value"), extension.value.into());
        entry.insert(Key::from("critical"), extension.critical.into());
        list.push(entry.into());
    }
    Ok(list.into())
}

/// DER bytes, or PEM text if the options say so.
fn encoded(cx: &mut Cx<'_>, args: &Args<'_>, label: &str, der: &[u8]) -> Outcome {
    cx.reserve(der.len().saturating_mul(2))?;
    if !args.options(0).boolean("pem", false) {
        return Ok(der.into());
    }
    let mut text = format!("-----BEGIN {label}-----\n");
    let base64 = STANDARD.encode(der);
    for line in base64.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    Ok(text.into())
}

/// The certificates of a list.
fn listed(
    args: &Args<'_>,
    index: usize,
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, Throw> {
    let list = args.get(index).as_array();
    if list.is_some_and(|list| list.len() > MOST_IN_BUNDLE) {
        return Err(Throw::error(format!(
            "verify: {name}: more than {MOST_IN_BUNDLE} certificates"
        )));
    }
    let wrong = || Throw::error(format!("verify: {name}: a list of X509 is needed"));
    list.into_iter()
        .flat_map(|list| list.values())
        .map(|value| der(&value).map(CertificateDer::from).ok_or_else(wrong))
        .collect()
}

/// Any purpose will do: the caller knows what the certificate is for.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn verify(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let certificate = CertificateDer::from(args.this::<Held>()?.0.0.clone());
    let authorities = listed(&args, 0, "calist")?;
    let intermediates = listed(&args, 1, "intermediates")?;
    if args.get(2).as_array().is_some_and(|list| !list.is_empty()) {
        return Err(Throw::error(
            "verify: revokelist: revocation lists are not available yet",
        ));
    }
    // A signature takes about a tenth of a millisecond; the search for a chain makes a few of them.
    cx.charge(10_000 + 100 * (authorities.len() + intermediates.len()));
    let now = cx.host.clock.unix();
    let found = chain(
        &certificate,
        &authorities,
        &intermediates,
        UnixTime::since_unix_epoch(now),
    );
    let mut result = Array::new();
    result.insert(Key::from("result"), found.is_ok().into());
    if let Err(why) = found {
        result.insert(Key::from("error"), why.into());
    }
    Ok(result.into())
}

/// Whether a chain leads from a certificate to one of the authorities (RFC 5280 §6); why not.
fn chain(
    certificate: &CertificateDer<'_>,
    authorities: &[CertificateDer<'_>],
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), String> {
    if authorities.contains(certificate) {
        // Trusted as it is, and so without a chain.
        return match is_in_time(certificate, now) {
            true => Ok(()),
            false => Err("the certificate is not valid at this time".to_owned()),
        };
    }
    let anchors: Vec<_> = authorities
        .iter()
        .filter_map(|authority| webpki::anchor_from_trusted_cert(authority).ok())
        .collect();
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    let algorithms = provider().signature_verification_algorithms.all;
    let verified = parsed.verify_for_usage(
        algorithms,
        &anchors,
        intermediates,
        now,
        AnyPurpose,
        None,
        None,
    );
    verified.map(drop).map_err(|error| match error {
        webpki::Error::UnknownIssuer => "no chain leads to an authority of the list".to_owned(),
        webpki::Error::CertExpired { .. } => "a certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "a certificate is not valid yet".to_owned(),
        webpki::Error::CaUsedAsEndEntity => {
            "the certificate is an authority's, and not one of the list".to_owned()
        }
        other => other.to_string(),
    })
}

fn from_string(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (data, options) = (args.bytes(0), args.options(1));
    cx.charge(data.len() / 8);
    let found: Option<Vec<Vec<u8>>> = if options.boolean("pem", false) {
        CertificateDer::pem_slice_iter(data)
            .take(MOST_IN_BUNDLE)
            .map(|certificate| Some(certificate.ok()?.to_vec()))
            .collect()
    } else {
        Some(vec![data.to_vec()])
    };
    let Some(found) = found else {
        return Ok(Value::None);
    };
    if !options.boolean("multiple", false) {
        return match found.into_iter().next() {
            Some(der) => object(cx, der),
            None => Ok(Value::None),
        };
    }
    let mut list = Array::new();
    for der in found {
        match object(cx, der)? {
            Value::None => return Ok(Value::None),
            certificate => list.push(certificate),
        }
    }
    Ok(list.into())
}

/// What `getpeercert` gives of a certificate.
///
/// # Errors
/// An unknown hash, or beyond the budget.
pub fn summary(cx: &mut Cx<'_>, der: &[u8], hash: Option<&Str>) -> Outcome {
    let Ok((_, cert)) = X509Certificate::from_der(der) else {
        return Ok(Array::new().into());
    };
    cx.charge(der.len() / 8);
    let mut summary = Array::new();
    let mut add = |name: &str, value: Value| summary.insert(Key::from(name), value);
    add("subject", by_name(cert.subject()));
    add("issuer", by_name(cert.issuer()));
    add("subject_alt_name", alternative_names(cx, &cert)?);
    add("version", cert.version().0.into());
    add("serial_number", serial(&cert).into());
    let at = |time: x509_parser::time::ASN1Time| Value::Number(time.timestamp() as f64);
    add("not_valid_before", at(cert.validity().not_before));
    add("not_valid_after", at(cert.validity().not_after));
    if let Some(hash) = hash {
        let digest = match hash.as_bytes() {
            b"md5" => Md5::digest(der).to_vec(),
            b"sha1" => Sha1::digest(der).to_vec(),
            b"sha256" => Sha256::digest(der).to_vec(),
            b"sha512" => Sha512::digest(der).to_vec(),
            other => {
                return Err(Throw::error(format!(
                    "getpeercert: fingerprint: {} is none of md5, sha1, sha256, sha512",
                    String::from_utf8_lossy(other)
                )));
            }
        };
        add("fingerprint", hex(&digest).into());
    }
    Ok(summary.into())
}

/// Name to value; a list where a name stands more than once.
fn by_name(name: &X509Name<'_>) -> Value {
    let mut array = Array::new();
    for (name, value) in parts(name) {
        let key = Key::from(name.as_str());
        let slot = array.slot(key);
        match slot {
            Value::None => *slot = value.into(),
            Value::Array(_) => {
                if let Some(list) = slot.array_mut() {
                    list.push(value.into());
                }
            }
            first => {
                let first_value = first.take();
                *first = Array::from_list(vec![first_value, value.into()]).into();
            }
        }
    }
    array.into()
}
