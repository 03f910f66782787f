//! Private keys of the configuration (`pki.private`), and the signatures of notifications.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use angarium_config::Running;
use angarium_config::pki::KeySource;
use angarium_config::source::FileSource;
use angarium_config::transport::DsnDkim;
use angarium_mail::dkim::{PrivateKey, SignOptions};
use angarium_queue::dsn::{Sign, Signer};
use angarium_runtime::host::Host;
use angarium_runtime::native::{Args, Cx, Throw};
use angarium_runtime::value::Value;
use angarium_stdlib::dkim::{KeyStore, Signing};

/// The keys that can sign mail, read when the configuration is; and of the others why they cannot.
#[derive(Clone, Debug, Default)]
pub struct PrivateKeys(Arc<BTreeMap<String, Result<Arc<PrivateKey>, String>>>);

impl PrivateKeys {
    /// Reads the keys of `running`. A key for TLS alone need not be one for mail, so that none is refused here.
    #[must_use]
    pub fn load(running: &Running, files: &dyn FileSource) -> PrivateKeys {
        let read = |path: &Path| {
            let text = files.read(path);
            text.map_err(|error| format!("{}: {error}", path.display()))
        };
        let key = |source: &KeySource| {
            let text = match source {
                KeySource::Data(text) => text.as_bytes().to_vec(),
                KeySource::Path(path) => read(path)?,
            };
            PrivateKey::parse(&text)
                .map(Arc::new)
                .map_err(|error| error.to_string())
        };
        let pairs = running.pki.iter();
        PrivateKeys(Arc::new(
            pairs
                .map(|(id, pair)| (id.to_string(), key(&pair.privatekey)))
                .collect(),
        ))
    }

    fn get(&self, id: &str) -> Result<Arc<PrivateKey>, String> {
        match self.0.get(id) {
            Some(found) => found.clone(),
            None => Err("there is no such key pair".to_owned()),
        }
    }

    /// Lets scripts name the keys.
    pub fn offer(&self, host: &Host) {
        let keys = self.clone();
        host.extend(std::rc::Rc::new(KeyStore(Box::new(move |id| {
            keys.get(id).ok()
        }))));
    }

    /// What signs the notifications of a transport.
    ///
    /// # Errors
    /// Why nothing can be signed so.
    pub fn signer(&self, written: &DsnDkim) -> Result<Signer, String> {
        let key = self.get(&written.key.to_string())?;
        let algorithm = key.algorithm();
        signer(Signing {
            selector: written.selector.as_bytes().to_vec(),
            domain: written.domain.as_bytes().to_vec(),
            key,
            options: SignOptions {
                algorithm,
                ..SignOptions::default()
            },
        })
    }
}

struct Notifications(Signing);

impl Sign for Notifications {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.0.field(message).map_err(|error| error.to_string())
    }
}

/// A signer that has been tried: what is wrong with names, key and options shows with the first message.
fn signer(signing: Signing) -> Result<Signer, String> {
    let signer = Notifications(signing);
    signer.sign(b"From: <a@example.com>\r\n\r\n")?;
    Ok(Signer(Arc::new(signer)))
}

/// What signs the notification of a script's option `dkim`: selector, domain, key and the options of signDKIM.
///
/// # Errors
/// An Exception for an option that makes no sense; the inner error is what else nothing can be signed with.
pub fn from_script(
    cx: &Cx<'_>,
    function: &str,
    written: Value,
) -> Result<Result<Signer, String>, Throw> {
    let Some(array) = written.as_array() else {
        return Ok(Err("expected an array".to_owned()));
    };
    let mut values =
        ["selector", "domain", "key"].map(|name| array.get_str(name).unwrap_or_default());
    let missing = values.iter().any(|value| match value {
        Value::Resource(_) => false,
        value => value.as_bytes().is_none_or(<[u8]>::is_empty),
    });
    if missing {
        return Ok(Err("selector, domain and key must be given".to_owned()));
    }
    let [selector, domain, key] = &mut values;
    let mut values = [selector.take(), domain.take(), key.take(), written.clone()];
    let args = Args {
        this: None,
        values: &mut values,
    };
    Ok(
        Signing::from_args(cx, function, &args)?.and_then(|mut signing| {
            signing.options.arc = None;
            signer(signing)
        }),
    )
}
