//! What a worker's thread keeps for deliveries: what its items are bound to, its idle connections,
//! TLS.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use angarium_queue::item::ItemId;
use angarium_stdlib::tls::TlsError;
use rustls::RootCertStore;

use super::attempt::Wishes;
use super::idle::IdleConnections;
use super::settings::{Settings, Sni, TlsSettings};
use super::{Core, Live};
use crate::hooks::queue::TlsMode;
use crate::tls::{Check, ClientTls, Finding, system_roots};
use crate::worker::Worker;

/// One per worker.
pub(super) struct Desk {
    bound: RefCell<HashMap<ItemId, Bound>>,
    /// Connections that wait for another message.
    pub idle: Rc<IdleConnections>,
    tls: RefCell<HashMap<(bool, bool, bool), ClientTls>>,
}

/// What stays with an item from predelivery to postdelivery.
pub(super) struct Bound {
    /// The hooks and settings of its predelivery.
    pub live: Arc<Live>,
    /// `$context`
    pub context: Option<Box<dyn Any>>,
    /// What the script wants of the attempt.
    pub wishes: Option<Arc<Wishes>>,
}

impl Desk {
    /// The desk of this worker.
    pub(super) fn of(worker: &Worker, core: &Core) -> Rc<Desk> {
        worker.local(|| Desk {
            bound: RefCell::default(),
            idle: IdleConnections::new(Arc::clone(&core.idle), Rc::clone(&worker.effects.clock)),
            tls: RefCell::default(),
        })
    }

    pub(super) fn bind(&self, id: ItemId, bound: Bound) {
        self.bound.borrow_mut().insert(id, bound);
    }

    pub(super) fn release(&self, id: ItemId) -> Option<Bound> {
        self.bound.borrow_mut().remove(&id)
    }

    /// TLS for a connection with this host, if it may come to that.
    ///
    /// # Errors
    /// What is asked for cannot be had.
    pub(super) fn tls(
        &self,
        settings: &Settings,
        tls: &TlsSettings,
        mode: TlsMode,
        host: &str,
    ) -> Result<Option<(ClientTls, Finding)>, TlsError> {
        let enforce = match mode {
            TlsMode::Disabled => return Ok(None),
            TlsMode::Optional | TlsMode::Require => {
                return Ok(Some((self.unchecked(tls)?, Finding::default())));
            }
            TlsMode::OptionalVerify => false,
            TlsMode::RequireVerify => true,
        };
        checked(settings, tls, enforce, host).map(Some)
    }

    fn unchecked(&self, tls: &TlsSettings) -> Result<ClientTls, TlsError> {
        let sni = tls.sni != Sni::Off;
        let key = (tls.versions.tls12, tls.versions.tls13, sni);
        let usual = tls.ciphers.is_none();
        if let Some(tls) = self.tls.borrow().get(&key).filter(|_| usual) {
            return Ok(tls.clone());
        }
        let check = Check {
            roots: None,
            names: Vec::new(),
            enforce: false,
        };
        let (config, _) = tls.options().checked(sni, &check)?;
        let made = ClientTls::from_config(config);
        if usual {
            self.tls.borrow_mut().insert(key, made.clone());
        }
        Ok(made)
    }
}

/// TLS that looks at the certificate of this host; with `enforce` a bad one breaks the handshake.
///
/// # Errors
/// What is asked for cannot be had.
pub(super) fn checked(
    settings: &Settings,
    tls: &TlsSettings,
    enforce: bool,
    host: &str,
) -> Result<(ClientTls, Finding), TlsError> {
    let names = match (&tls.verify_names[..], tls.verify_host) {
        ([], true) => vec![host.to_owned()],
        (names, _) => names.to_vec(),
    };
    let roots = match &settings.authorities {
        _ if !tls.default_ca => Arc::new(RootCertStore::empty()),
        Some(roots) => Arc::clone(roots),
        None => system_roots(),
    };
    let check = Check {
        roots: Some(roots),
        names,
        enforce,
    };
    let (config, finding) = tls.options().checked(tls.sni != Sni::Off, &check)?;
    Ok((ClientTls::from_config(config), finding))
}
