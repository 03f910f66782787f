//! Private keys as scripts hold them, and signatures of bare texts: RSA (RFC 8017) and Ed25519 (RFC 8032).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::dkim::PrivateKey;
use angarium_mail::dkim::keys::{Hash, KeyError, RsaForm, RsaKey, RsaPublic, verify_ed25519};
use angarium_mail::transfer;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, OptDecl, Options, Throw, opt};
use angarium_runtime::object::Resource;
use angarium_runtime::value::Value;

use crate::dkim::KeyStore;
use crate::heavy::{self, Failure};

const RSA: &str = "RSAPrivateKey";
const ED25519: &str = "ED25519PrivateKey";

const HASH: OptDecl = opt("hash", "string", "sha256", "md5, sha1, sha256 or sha512");
const PEM: OptDecl = opt(
    "pem",
    "boolean",
    "false",
    "the key is PEM text; raw DER otherwise",
);
const ID: OptDecl = opt(
    "id",
    "boolean",
    "false",
    "the key names one of the configuration",
);

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "rsa_privatekey(privatekey: string): RSAPrivateKey|none",
        "Reads an RSA private key from PEM text, PKCS#8 or PKCS#1. None when it cannot be read or is another kind of key.",
        |_, args| {
            Ok(match PrivateKey::from_pem(args.bytes(0)) {
                Ok(key @ PrivateKey::Rsa(_)) => resource(RSA, key),
                _ => Value::None,
            })
        },
    )
    .since(">5.5")
    .example(r#"rsa_privatekey("no key") // none"#),
    FnDecl::plain("is_rsa_privatekey(privatekey: any): boolean", "Tells whether a value is an RSA private key.", |_, args| {
        Ok(is(args.get(0), RSA).into())
    })
    .since(">5.5")
    .example("is_rsa_privatekey(1) // false"),
    FnDecl::heavy(
        "rsa_sign(message: string, privatekey: RSAPrivateKey|string, options?: array): string|none",
        "Signs the hash of a message with RSA (PKCS#1 v1.5) and gives the raw bytes. None when the key cannot be used. \
         `format`, `pem` and `id` say what a key of text is.",
        rsa_sign,
    )
    .options(&[
        HASH,
        opt("format", "string", "RSAPrivateKey", "RSAPrivateKey (PKCS#1) or PrivateKeyInfo (PKCS#8)"),
        PEM,
        ID,
    ])
    .example(r#"rsa_sign("text", "no key") // none"#),
    FnDecl::heavy(
        "rsa_verify(message: string, signature: string, publickey: string, options?: array): boolean|none",
        "Tells whether an RSA signature (PKCS#1 v1.5) is one of the hash of a message. None when key or hash cannot be used.",
        rsa_verify,
    )
    .options(&[
        HASH,
        opt("format", "string", "RSAPublicKey", "RSAPublicKey or SubjectPublicKeyInfo"),
        PEM,
        ID,
    ])
    .example(r#"rsa_verify("text", "", "no key") // none"#),
    FnDecl::plain(
        "ed25519_privatekey(privatekey: string): ED25519PrivateKey|none",
        "Reads an Ed25519 private key from PEM text or its 32 bytes. None when it cannot be read or is another kind of key.",
        |_, args| {
            Ok(match read(args.bytes(0)) {
                Ok(key @ PrivateKey::Ed25519(_)) => resource(ED25519, key),
                _ => Value::None,
            })
        },
    )
    .since(">5.5")
    .example(r#"ed25519_privatekey("no key") // none"#),
    FnDecl::plain(
        "is_ed25519_privatekey(privatekey: any): boolean",
        "Tells whether a value is an Ed25519 private key.",
        |_, args| Ok(is(args.get(0), ED25519).into()),
    )
    .since(">5.5")
    .example("is_ed25519_privatekey(1) // false"),
    FnDecl::heavy(
        "ed25519_sign(message: string, privatekey: ED25519PrivateKey|string): string|none",
        "Signs a message with Ed25519 and gives the 64 bytes. A key of text is its 32 bytes, or these and the 32 of the public \
         key. None when the key cannot be used.",
        ed25519_sign,
    )
    .example(r#"length(ed25519_sign("text", "0123456789abcdef0123456789abcdef")) // 64"#),
    FnDecl::heavy(
        "ed25519_verify(message: string, signature: string, publickey: string): boolean|none",
        "Tells whether an Ed25519 signature of 64 bytes is one of a message, by the 32 bytes of the public key. None for other \
         lengths.",
        ed25519_verify,
    )
    .example(r#"ed25519_verify("text", "", "") // none"#),
];

fn resource(name: &'static str, key: PrivateKey) -> Value {
    Value::Resource(Rc::new(Resource::new(name, Arc::new(key))))
}

fn is(value: &Value, name: &str) -> bool {
    matches!(value, Value::Resource(resource) if resource.name() == name)
}

/// The key of a key resource.
#[must_use]
pub fn private_key(resource: &Resource) -> Option<Arc<PrivateKey>> {
    resource.downcast::<PrivateKey>()
}

fn read(text: &[u8]) -> Result<PrivateKey, KeyError> {
    match text.len() {
        32 | 64 => PrivateKey::from_seed(text),
        _ => PrivateKey::from_pem(text),
    }
}

/// Keys of text that were read last: reading one costs as much as some signatures.
const CACHED: usize = 64;

/// The text of a key and the key.
type Read = (Box<[u8]>, Arc<PrivateKey>);

thread_local! {
    static KEYS: RefCell<Vec<Read>> = const { RefCell::new(Vec::new()) };
}

/// Reads a key as [`PrivateKey::parse`] does; the keys used last are kept.
///
/// # Errors
/// [`KeyError`]
pub fn cached(text: &[u8]) -> Result<Arc<PrivateKey>, KeyError> {
    let found = KEYS.with_borrow_mut(|keys| {
        let at = keys.iter().position(|(known, _)| **known == *text)?;
        keys.get_mut(..=at)?.rotate_right(1);
        keys.first().map(|(_, key)| Arc::clone(key))
    });
    if let Some(key) = found {
        return Ok(key);
    }
    let key = Arc::new(PrivateKey::parse(text)?);
    KEYS.with_borrow_mut(|keys| {
        keys.truncate(CACHED - 1);
        keys.insert(0, (text.into(), Arc::clone(&key)));
    });
    Ok(key)
}

/// The hash that is asked for; none when there is no such.
fn hash(options: Options<'_>) -> Option<Hash> {
    match options.string("hash") {
        None => Some(Hash::Sha256),
        Some(name) => Hash::from_name(name.as_bytes()),
    }
}

/// A key of text with options `format`, `pem` and `id`.
fn rsa_key(cx: &Cx<'_>, value: &Value, options: Options<'_>) -> Option<Arc<PrivateKey>> {
    if let Value::Resource(resource) = value {
        return private_key(resource);
    }
    let text = value.as_bytes().unwrap_or_default();
    if options.boolean("id", false) {
        let store = cx.host.extension::<KeyStore>()?;
        let name = std::str::from_utf8(text).ok()?;
        return (store.0)(name.strip_prefix("pki:").unwrap_or(name));
    }
    if options.boolean("pem", false) {
        return cached(text).ok();
    }
    let form = match options.string("format") {
        None => RsaForm::Pkcs1,
        Some(name) => match name.as_bytes() {
            b"RSAPrivateKey" => RsaForm::Pkcs1,
            b"PrivateKeyInfo" => RsaForm::Pkcs8,
            _ => return None,
        },
    };
    let key = RsaKey::from_der(text, form).ok()?;
    Some(Arc::new(PrivateKey::Rsa(Box::new(key))))
}

fn rsa_sign(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let options = args.options(2);
    let (Some(hash), Some(key)) = (hash(options), rsa_key(cx, args.get(1), options)) else {
        return Ok(Heavy::Done(Value::None));
    };
    let size = if key.is_slow() {
        heavy::INLINE_BYTES + 1
    } else {
        args.bytes(0).len()
    };
    heavy::run(cx, size, &[args.get(0).clone()], move |values| {
        let signature = key.sign_rsa(hash, message(values));
        Ok(signature.map_or(Value::None, |bytes| Value::bytes(&bytes)))
    })
}

fn message(values: &[Value]) -> &[u8] {
    values.first().and_then(Value::as_bytes).unwrap_or_default()
}

fn rsa_verify(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let options = args.options(3);
    let Some(hash) = hash(options) else {
        return Ok(Heavy::Done(Value::None));
    };
    let text = args.bytes(2);
    let der = if options.boolean("pem", false) {
        pem(text)
    } else if options.boolean("id", false) {
        // The configuration names private keys only.
        None
    } else {
        Some(text.to_vec())
    };
    let Some(key) = der.and_then(|der| RsaPublic::from_der(&der).ok()) else {
        return Ok(Heavy::Done(Value::None));
    };
    let signature = args.bytes(1).to_vec();
    heavy::run(
        cx,
        args.bytes(0).len(),
        &[args.get(0).clone()],
        move |values| Ok(key.verify(hash, message(values), &signature).into()),
    )
}

/// The bytes between the marks of PEM text.
fn pem(text: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memmem::find(text, b"-----BEGIN")?;
    let rest = text.get(start + 10..)?;
    let body = rest.get(memchr::memmem::find(rest, b"-----")? + 5..)?;
    let body = body.get(..memchr::memmem::find(body, b"-----END")?)?;
    Some(transfer::base64_decode(body))
}

fn ed25519_sign(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let key = match args.get(1) {
        Value::Resource(resource) => private_key(resource),
        text => PrivateKey::from_seed(text.as_bytes().unwrap_or_default())
            .ok()
            .map(Arc::new),
    };
    let Some(key) = key else {
        return Ok(Heavy::Done(Value::None));
    };
    heavy::run(
        cx,
        args.bytes(0).len(),
        &[args.get(0).clone()],
        move |values| {
            let signature = key.sign_ed25519(message(values));
            Ok::<Value, Failure>(signature.map_or(Value::None, |bytes| Value::bytes(&bytes)))
        },
    )
}

fn ed25519_verify(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let (signature, public) = (args.bytes(1).to_vec(), args.bytes(2).to_vec());
    if signature.len() != 64 || public.len() != 32 {
        return Ok(Heavy::Done(Value::None));
    }
    heavy::run(
        cx,
        args.bytes(0).len(),
        &[args.get(0).clone()],
        move |values| Ok(verify_ed25519(&public, message(values), &signature).into()),
    )
}
