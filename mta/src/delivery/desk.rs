//! What a worker's thread keeps for deliveries: what its items are bound to, idle connections, TLS.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::{Clock, Monotonic};
use angarium_queue::attempt::Connection;
use angarium_queue::dsn::DsnRequest;
use angarium_queue::item::ItemId;
use angarium_queue::pool::{Pool, PoolKey, PoolRules, Put};
use angarium_queue::time::Timestamp;
use rustls::RootCertStore;

use super::link::Link;
use super::settings::{Settings, Sni, TlsSettings};
use super::{Core, Live};
use crate::hooks::queue::{Client, TlsMode};
use crate::tls::{Check, ClientTls, Finding, TlsError, Versions, system_roots};
use crate::worker::Worker;

/// One per worker.
pub(super) struct Desk {
    bound: RefCell<HashMap<ItemId, Bound>>,
    idle: RefCell<Pool<Idle>>,
    /// Somebody closes connections whose idle time has passed.
    reaping: Cell<bool>,
    tls: RefCell<HashMap<(bool, bool, bool), ClientTls>>,
    clock: Rc<dyn Clock>,
}

/// What stays with an item from predelivery to postdelivery.
pub(super) struct Bound {
    /// The hooks and settings of its predelivery.
    pub live: Arc<Live>,
    /// `$context`
    pub context: Option<Box<dyn Any>>,
    /// What `Try` set for the client.
    pub client: Client,
    /// What `Try` set of RFC 3461 data.
    pub dsn: DsnRequest,
}

/// A connection that waits for another message.
pub(super) struct Idle {
    pub link: Link,
    pub about: Connection,
}

impl Desk {
    /// The desk of this worker.
    pub(super) fn of(worker: &Worker, core: &Core) -> Rc<Desk> {
        worker.local(|| Desk {
            bound: RefCell::default(),
            idle: RefCell::new(Pool::new(core.pool_share)),
            reaping: Cell::new(false),
            tls: RefCell::default(),
            clock: Rc::clone(&worker.effects.clock),
        })
    }

    pub(super) fn bind(&self, id: ItemId, bound: Bound) {
        self.bound.borrow_mut().insert(id, bound);
    }

    pub(super) fn release(&self, id: ItemId) -> Option<Bound> {
        self.bound.borrow_mut().remove(&id)
    }

    /// What `Try` set for an item's attempt.
    pub(super) fn client(&self, id: ItemId) -> Option<(Client, DsnRequest)> {
        let bound = self.bound.borrow();
        let bound = bound.get(&id)?;
        Some((bound.client.clone(), bound.dsn.clone()))
    }

    /// Takes an idle connection that suits and still lives.
    pub(super) fn take(
        &self,
        key: &PoolKey,
        rules: PoolRules,
        suits: impl Fn(&Idle) -> bool,
    ) -> Option<Idle> {
        loop {
            let now = self.now();
            let taken = self.idle.borrow_mut().take(key, now, &suits)?;
            let mut idle = taken.handle;
            let served = rules.transactions != 0 && taken.transactions >= rules.transactions;
            if !served && idle.link.is_reusable() {
                return Some(idle);
            }
        }
    }

    /// Keeps a connection; takes leave of the one that makes room for it.
    pub(super) fn put(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        key: PoolKey,
        idle: Idle,
        rules: PoolRules,
    ) {
        let transactions = u64::from(idle.link.client().transactions());
        let put = self
            .idle
            .borrow_mut()
            .put(key, idle, transactions, rules, self.now());
        match put {
            Put::Kept => {}
            Put::Evicted(idle) | Put::Refused(idle) => worker.spawn(idle.link.quit()),
        }
        if !self.reaping.replace(true) {
            let (desk, worker_of) = (Rc::clone(self), Rc::clone(worker));
            worker.spawn(async move {
                desk.reap(&worker_of).await;
                desk.reaping.set(false);
            });
        }
    }

    /// Takes leave of connections whose time has passed, until there is none left; of all when the
    /// worker stops.
    async fn reap(self: &Rc<Self>, worker: &Rc<Worker>) {
        loop {
            let next = self.idle.borrow().next_timer();
            let Some(next) = next else {
                return;
            };
            let at = Monotonic(std::time::Duration::from_micros(next.as_micros()));
            tokio::select! {
                () = self.clock.sleep_until(at) => {}
                () = worker.stopped() => {
                    let all = self.idle.borrow_mut().take_if(|_| true);
                    for idle in all {
                        worker.spawn(idle.link.quit());
                    }
                    return;
                }
            }
            let now = self.now();
            while let Some(idle) = self.expired(now) {
                worker.spawn(idle.link.quit());
            }
        }
    }

    fn expired(&self, now: Timestamp) -> Option<Idle> {
        self.idle.borrow_mut().expired(now)
    }

    /// The pool's time: the monotonic clock's.
    fn now(&self) -> Timestamp {
        let now = self.clock.monotonic().0.as_micros();
        Timestamp::from_micros(u64::try_from(now).unwrap_or(u64::MAX))
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
        let versions = tls.versions;
        let sni = tls.sni != Sni::Off;
        let enforce = match mode {
            TlsMode::Disabled => return Ok(None),
            TlsMode::Optional | TlsMode::Require => {
                let made = self.unchecked(versions, sni)?;
                return Ok(Some((made, Finding::default())));
            }
            TlsMode::OptionalVerify => false,
            TlsMode::RequireVerify => true,
        };
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
            roots,
            names,
            enforce,
        };
        ClientTls::checked(versions, sni, &check).map(Some)
    }

    fn unchecked(&self, versions: Versions, sni: bool) -> Result<ClientTls, TlsError> {
        let key = (versions.tls12, versions.tls13, sni);
        if let Some(tls) = self.tls.borrow().get(&key) {
            return Ok(tls.clone());
        }
        let tls = ClientTls::new(versions, sni)?;
        self.tls.borrow_mut().insert(key, tls.clone());
        Ok(tls)
    }
}
