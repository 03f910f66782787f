//! Key pairs and the TLS of servers, from the configuration and its files.

use angarium_config::pki::{KeyPair as WrittenPair, KeySource, Material};
use angarium_config::{Running, Server, plain_reason};
use angarium_queue::destination::to_ascii;

use super::{Place, StartError};
use crate::scripts::Keys;
use crate::tls::{ClientCerts, KeyPair, ServerOptions, ServerTls, Versions};

/// All key pairs, for scripts. One that cannot be read is an error of the script that wants it.
pub(super) fn key_pairs(running: &Running, place: &Place) -> Keys {
    let pairs = running.pki.iter();
    pairs
        .map(|(id, written)| {
            let pair = key_pair(written, place);
            (id.clone(), pair.map(|pair| pair.certified()))
        })
        .collect()
}

fn read_key(source: &KeySource, place: &Place) -> Result<Vec<u8>, String> {
    match source {
        KeySource::Data(text) => Ok(text.as_bytes().to_vec()),
        KeySource::Path(path) => place
            .files
            .read(path)
            .map_err(|error| format!("{}: {}", path.display(), plain_reason(&error))),
    }
}

fn key_pair(written: &WrittenPair, place: &Place) -> Result<KeyPair, String> {
    let source = written
        .certificate
        .as_ref()
        .ok_or("it has no certificate")?;
    let certificate = read_key(source, place).map_err(|why| format!("certificate: {why}"))?;
    let key = read_key(&written.privatekey, place).map_err(|why| format!("privatekey: {why}"))?;
    KeyPair::from_pem(&certificate, &key).map_err(|error| {
        let (certificate, key) = (shown(source), shown(&written.privatekey));
        format!("{error} (certificate: {certificate}, privatekey: {key})")
    })
}

/// Where a part comes from, for messages.
fn shown(source: &KeySource) -> String {
    match source {
        KeySource::Data(_) => "given as data".to_owned(),
        KeySource::Path(path) => path.display().to_string(),
    }
}

/// The TLS of a server, if it has a certificate.
pub(super) fn server_tls(
    server: &Server,
    running: &Running,
    place: &Place,
) -> Result<Option<ServerTls>, StartError> {
    let Some(default) = &server.tls.certs.cert else {
        return Ok(None);
    };
    let pair = |id: &angarium_config::types::Id| {
        let refused = |reason: String| StartError::KeyPair {
            id: id.to_string(),
            server: server.id.to_string(),
            reason,
        };
        // The configuration has checked that the id exists.
        let written = running
            .pki
            .get(id)
            .ok_or_else(|| refused("there is no such key pair".to_owned()))?;
        key_pair(written, place).map_err(refused)
    };
    let mut names = Vec::new();
    for sni in &server.tls.certs.sni {
        names.push((sni_name(&sni.hostname), pair(&sni.cert)?));
    }
    let refused = |reason: String| StartError::Tls {
        server: server.id.to_string(),
        reason,
    };
    let written = &server.tls.clientcert;
    let authorities = written.ca().and_then(Material::source);
    let authorities = authorities.map(|source| {
        let text = read_key(&source, place);
        text.map_err(|why| refused(format!("clientcert.ca: {why}")))
    });
    let authorities = authorities.transpose()?;
    let options = ServerOptions {
        versions: Versions::from(&server.tls.protocols),
        ciphers: server.tls.ciphers.clone(),
        clients: written.is_on().then(|| ClientCerts {
            from: written.clone(),
            authorities,
        }),
    };
    let tls = ServerTls::with(&pair(default)?, names, &options);
    tls.map(Some).map_err(|error| refused(error.to_string()))
}

/// A name as clients ask for it: A-labels (RFC 6066 §3).
fn sni_name(written: &str) -> String {
    let (star, name) = match written.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", written),
    };
    let ascii = to_ascii(name.as_bytes()).unwrap_or_else(|| name.to_owned());
    format!("{star}{ascii}")
}
