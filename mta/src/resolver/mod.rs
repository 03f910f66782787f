//! Name resolution for the whole process: one cache, shared by all workers.
//!
//! ```text
//!  worker ─ query ─▶ local records ─▶ cache ──────────▶ answer
//!                                       │ miss
//!                                       ▼ bounded mailbox
//!                              the resolver's thread: hickory's name server pool
//!                              (UDP, TCP after truncation, one query for equal questions)
//! ```
//!
//! [`Resolver`] is a handle that any thread may hold; on a worker it is its [`Dns`]. A question that
//! the configuration (`resolver.local`) or the cache answers costs a look into a table; every other
//! one goes to one thread with a runtime of its own, so that sockets belong to nobody's sessions.
//! `resolver.concurrency` bounds the questions under way, the mailbox those that wait.
//!
//! Not found (RFC 2308) is kept for the time that the zone's SOA gives, a failure not at all.
//! The AD flag counts only from servers that are believed: those on loopback and those that the
//! configuration calls trusted.

mod cache;
mod local;
mod upstream;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_effects::dns::Query;
use angarium_effects::{Dns, DnsAnswer, DnsError, LocalFuture, Monotonic, RecordType};
use tokio::sync::{mpsc, oneshot};

pub use cache::CacheStats;
pub use local::{BadRecord, LocalRecords};

use cache::{Cache, Key};
use upstream::Ask;

/// Questions that wait for the resolver's thread; more make those who ask wait.
const MAILBOX: usize = 1024;

/// Tells the monotonic time, on any thread.
pub type Now = Arc<dyn Fn() -> Monotonic + Send + Sync>;

/// How to resolve: the section `resolver` of the running configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers to ask; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<Server>,
    /// The wait for one answer.
    pub timeout: Duration,
    /// How often a question is sent.
    pub tries: usize,
    /// Questions under way at once.
    pub concurrency: usize,
    /// Answers that are kept.
    pub cache_size: usize,
    /// The least time for which an answer is kept.
    pub ttl_min: Duration,
    /// Records that are known without asking.
    pub local: LocalRecords,
}

/// A server to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its socket.
    pub address: SocketAddr,
    /// Whether its AD flag is believed although it is not on loopback.
    pub trusted: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            tries: 2,
            concurrency: 1000,
            cache_size: 10_000,
            ttl_min: Duration::ZERO,
            local: LocalRecords::default(),
        }
    }
}

impl Settings {
    /// The settings that a configuration gives.
    ///
    /// # Errors
    /// A local record cannot be read.
    pub fn from_config(config: &angarium_config::running::Resolver) -> Result<Settings, BadRecord> {
        use angarium_config::running::ResolverServer;
        let server = |server: &ResolverServer| Server {
            address: server.socket(),
            trusted: matches!(server, ResolverServer::Described(described) if described.trusted),
        };
        Ok(Settings {
            servers: config.servers.iter().map(server).collect(),
            timeout: *config.timeout,
            tries: usize::try_from(config.tries).unwrap_or(1),
            concurrency: usize::try_from(config.concurrency).unwrap_or(usize::MAX),
            cache_size: usize::try_from(config.cache.size).unwrap_or(usize::MAX),
            ttl_min: *config.cache.ttl.min,
            local: LocalRecords::from_config(&config.local)?,
        })
    }

    /// Whether the AD flag of these servers' answers counts.
    fn believed(&self, system: &[IpAddr]) -> bool {
        if self.servers.is_empty() {
            return !system.is_empty() && system.iter().all(IpAddr::is_loopback);
        }
        let believed = |server: &Server| server.trusted || server.address.ip().is_loopback();
        self.servers.iter().all(believed)
    }
}

/// The resolver. Clones are handles to the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    mailbox: mpsc::Sender<Ask>,
}

struct Shared {
    settings: Mutex<Arc<Settings>>,
    cache: Mutex<Cache>,
    now: Now,
    running: AtomicU64,
    shared: AtomicU64,
}

/// What the resolver does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Questions that wait for others to be answered: `resolver.concurrency` are asked at once.
    pub pending: u64,
    /// Questions that are being asked.
    pub running: u64,
    /// Questions since the start that were asked already when they came, and shared that answer.
    pub shared: u64,
}

impl Shared {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, key: Key, answer: Result<DnsAnswer, DnsError>, ttl: Duration) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.keep(key, answer, ttl, (self.now)());
    }
}

impl Resolver {
    /// Starts the resolver's thread.
    ///
    /// # Errors
    /// The system refuses a thread or what a runtime needs.
    pub fn start(settings: Settings, now: Now) -> io::Result<Resolver> {
        let (mailbox, questions) = mpsc::channel(MAILBOX);
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::new(settings.cache_size)),
            settings: Mutex::new(Arc::new(settings)),
            now,
            running: AtomicU64::new(0),
            shared: AtomicU64::new(0),
        });
        upstream::start(Arc::clone(&shared), questions)?;
        Ok(Resolver { shared, mailbox })
    }

    /// Takes new settings. What the old ones answered is forgotten, because they may have asked
    /// other servers.
    pub fn reconfigure(&self, settings: Settings) {
        let mut cache = self
            .shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.clear(settings.cache_size);
        *self
            .shared
            .settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// What the cache did and holds.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stats()
    }

    /// The same for the MX records in it: the domains whose servers are known.
    #[must_use]
    pub fn domain_stats(&self) -> CacheStats {
        self.shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .domain_stats()
    }

    /// What it does now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let waiting = self.mailbox.max_capacity() - self.mailbox.capacity();
        Activity {
            pending: waiting as u64,
            running: self.shared.running.load(Ordering::Relaxed),
            shared: self.shared.shared.load(Ordering::Relaxed),
        }
    }

    /// Forgets what was answered about a domain and the names below it, or everything; gives the
    /// number of answers.
    pub fn forget(&self, domain: Option<&str>) -> usize {
        let mut cache = self
            .shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.forget(domain.map(normal).as_deref())
    }

    fn cached(&self, key: &Key) -> Option<Result<DnsAnswer, DnsError>> {
        let mut cache = self
            .shared
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cache.get(key, (self.shared.now)())
    }
}

impl Dns for Resolver {
    fn query(
        &self,
        name: &str,
        kind: RecordType,
        query: &Query,
    ) -> LocalFuture<'static, Result<DnsAnswer, DnsError>> {
        let mut name = normal(name);
        if query.servers.is_empty() {
            match self.shared.settings().local.answer(&name, kind) {
                local::Found::Answer(answer) => return Box::pin(std::future::ready(answer)),
                local::Found::Alias(target) => name = target,
                local::Found::Unknown => {}
            }
            if let Some(answer) = self.cached(&Key::new(&name, kind)) {
                return Box::pin(std::future::ready(answer));
            }
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            key: Key::new(&name, kind),
            query: query.clone(),
            reply,
        };
        let mailbox = self.mailbox.clone();
        Box::pin(async move {
            // The thread ends only after the last handle.
            mailbox.send(ask).await.map_err(|_| DnsError::TryAgain)?;
            answer.await.map_err(|_| DnsError::TryAgain)?
        })
    }
}

/// Names are compared without case and final dot.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
