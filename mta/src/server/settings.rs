//! Virtual servers: what stays as long as the process, what a reload replaces, and how many clients
//! are let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use angarium_config::server::Implicit;
use angarium_effects::{Monotonic, Random};
use angarium_smtp::server as machine;

use super::event::{Counters, Event, Observer};
use super::hooks::Hooks;
use super::store::Store;
use crate::connections::{Inbound, Registry};
use crate::staging::Stages;
use crate::tls::ServerTls;

/// What a reload replaces. A session keeps the settings that it began with.
#[derive(Clone)]
pub struct Settings {
    /// What the machine has to know.
    pub smtp: Arc<machine::Config>,
    /// What decides.
    pub hooks: Arc<dyn Hooks>,
    /// Where messages go.
    pub store: Arc<dyn Store>,
    /// Certificates, if there are any. Without them STARTTLS must be off in `smtp`.
    pub tls: Option<ServerTls>,
    /// On which listeners TLS starts with the first byte.
    pub implicit: Implicit,
    /// Look the client's name up.
    pub remote_ptr: bool,
    /// Connections at once.
    pub total: usize,
    /// Connections at once from one IPv4 address or IPv6 /64; 0 for no limit.
    pub per_ip: u32,
    /// Report every command and reply (`logging.verbose`).
    pub verbose: bool,
    /// The product's name in Received fields.
    pub product: String,
    /// It takes messages over HTTP, not SMTP.
    pub web: Option<Web>,
}

/// What a server of type `http` or `https` has besides.
#[derive(Clone, Debug, Default)]
pub struct Web {
    /// Keys of which a client shows one; without any, who may relay may submit.
    pub apikeys: Vec<String>,
}

impl Settings {
    /// Whether TLS starts with the first byte on the listener of this id.
    #[must_use]
    pub fn is_implicit(&self, listener: Option<&str>) -> bool {
        match &self.implicit {
            Implicit::All(all) => *all,
            Implicit::Listeners(ids) => ids.iter().any(|id| Some(&**id) == listener),
        }
    }
}

/// A virtual server: its settings as they are now, and what outlives a reload.
pub struct VirtualServer {
    /// Its id in the configuration.
    pub id: String,
    /// What it has seen.
    pub counters: Counters,
    /// Its clients.
    pub connections: Registry<Inbound>,
    settings: RwLock<Arc<Settings>>,
    /// Settings on trial for some connections.
    stages: OnceLock<Arc<Stages>>,
    observer: Observer,
    total: AtomicUsize,
    seats: Mutex<Seats>,
}

/// Who is connected.
#[derive(Default)]
struct Seats {
    /// Connections by IPv4 address or IPv6 /64.
    by_block: HashMap<IpAddr, u32>,
    /// Connections by address.
    by_address: HashMap<IpAddr, u32>,
}

fn add(counts: &mut HashMap<IpAddr, u32>, key: IpAddr) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn subtract(counts: &mut HashMap<IpAddr, u32>, key: &IpAddr) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl VirtualServer {
    /// A server without clients.
    #[must_use]
    pub fn new(id: impl Into<String>, settings: Settings, observer: Observer) -> Arc<Self> {
        Arc::new(VirtualServer {
            id: id.into(),
            counters: Counters::default(),
            connections: Registry::default(),
            settings: RwLock::new(Arc::new(settings)),
            stages: OnceLock::new(),
            observer,
            total: AtomicUsize::new(0),
            seats: Mutex::default(),
        })
    }

    /// The settings for a connection that begins now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets some connections have the settings of a stage. It is done once.
    pub fn stage_by(&self, stages: Arc<Stages>) {
        let _ = self.stages.set(stages);
    }

    /// The settings of a stage for a connection that begins now, if it is for it.
    pub(super) fn staged(
        &self,
        client: IpAddr,
        now: Monotonic,
        random: &dyn Random,
    ) -> Option<Arc<Settings>> {
        self.stages.get()?.take(&self.id, client, now, random)
    }

    /// Replaces the settings: connections accepted from now on use them.
    pub fn reload(&self, settings: Settings) {
        let settings = Arc::new(settings);
        // The old ones may be dropped here, which frees scripts: not under the lock.
        let _old = std::mem::replace(
            &mut *self
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner),
            settings,
        );
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Connections open now from the addresses that `fits` chooses.
    #[must_use]
    pub fn open_from(&self, fits: impl Fn(IpAddr) -> bool) -> usize {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = seats.by_address.iter().filter(|(from, _)| fits(**from));
        let counts = chosen.map(|(_, count)| usize::try_from(*count).unwrap_or(usize::MAX));
        counts.fold(0, usize::saturating_add)
    }

    /// Tells the observer.
    pub(super) fn tell(&self, event: &Event) {
        (self.observer)(event);
    }

    /// Lets a client in, if there is room for one more; it leaves when the seat is dropped. How many
    /// come from its address is a question for [`Seat::claim`].
    pub(super) fn seat(self: &Arc<Self>, settings: &Settings) -> Option<Seat> {
        let one_more = |open: usize| (open < settings.total).then_some(open.saturating_add(1));
        let order = Ordering::Relaxed;
        self.total.fetch_update(order, order, one_more).ok()?;
        Some(Seat {
            server: Arc::clone(self),
            client: None,
        })
    }
}

/// The address, or the first of its /64: one network of IPv6 counts as one client.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            std::net::Ipv6Addr::from(network).into()
        }
    }
}

/// The place of one client.
pub(super) struct Seat {
    pub(super) server: Arc<VirtualServer>,
    /// The address that it counts for, once that is known.
    client: Option<IpAddr>,
}

impl Seat {
    /// Counts the client for its address, unless there are too many from there. It is done once.
    pub(super) fn claim(&mut self, client: IpAddr, settings: &Settings) -> bool {
        let seats = self.server.seats.lock();
        let mut seats = seats.unwrap_or_else(PoisonError::into_inner);
        let key = block(client);
        let count = seats.by_block.get(&key).copied().unwrap_or(0);
        if settings.per_ip > 0 && count >= settings.per_ip {
            return false;
        }
        add(&mut seats.by_block, key);
        add(&mut seats.by_address, client.to_canonical());
        self.client = Some(client);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.total.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut seats = self
            .server
            .seats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subtract(&mut seats.by_block, &block(client));
        subtract(&mut seats.by_address, &client.to_canonical());
    }
}

/// The reply to a client for whom there is no room.
pub(super) const TOO_MANY: &[u8] = b"421 4.7.0 Too many connections, try again later\r\n";
/// How long a closed connection is listened to, so that the last reply arrives: data that comes in
/// after a close makes the system reset the connection, and a reset may destroy what the peer has
/// not read yet.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long the look-up of a client's name may take.
pub(super) const LOOKUP: Duration = Duration::from_secs(5);
