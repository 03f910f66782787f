//! What a worker's thread keeps for deliveries: what its items are bound to, its idle connections,
//! TLS.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use angarium_queue::item::ItemId;
use angarium_stdlib::tls::TlsError;

use super::attempt::Wishes;
use super::idle::IdleConnections;
use super::settings::Settings;
use super::tls_settings::TlsSettings;
use super::{Core, Live};
use crate::hooks::queue::{Sni, TlsMode};
use crate::tls::{ClientTls, Finding};
use crate::worker::Worker;

/// One per worker.
pub(super) struct Desk {
    bound: RefCell<HashMap<ItemId, Bound>>,
    /// Connections that wait for another message.
    pub idle: Rc<IdleConnections>,
    /// TLS that most transports have, which resumes sessions: with SNI, and without.
    tls: RefCell<HashMap<bool, ClientTls>>,
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
        let authorities = settings.authorities.as_ref();
        let unchecked = matches!(mode, TlsMode::Optional | TlsMode::Require);
        if !unchecked || !tls.is_usual() {
            return tls.with(mode, host, authorities, false);
        }
        let sni = tls.sni != Sni::Off;
        if let Some(tls) = self.tls.borrow().get(&sni) {
            return Ok(Some((tls.clone(), Finding::default())));
        }
        let made = tls.with(mode, host, authorities, false)?;
        if let Some((tls, _)) = &made {
            self.tls.borrow_mut().insert(sni, tls.clone());
        }
        Ok(made)
    }
}
