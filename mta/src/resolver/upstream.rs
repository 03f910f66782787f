//! Asking DNS servers: hickory's pool of name servers on a thread of its own.
#![allow(
    clippy::disallowed_methods,
    reason = "this module implements an effect over the system: timers of its own runtime"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use angarium_effects::dns::Query;
use angarium_effects::{DnsAnswer, DnsError, Record, RecordData, RecordType};
use futures_util::StreamExt;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Query as Question, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, RecordType as Kind};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;

use super::cache::Key;
use super::{Settings, Shared, normal};

type Servers = NameServerPool<TokioRuntimeProvider>;

/// As many aliases as resolvers commonly follow.
const ALIASES: usize = 8;
/// Kept sets of servers that scripts named; more start anew.
const OTHERS: usize = 16;
/// How long "not found" is kept when the zone does not say, and at most.
const NEGATIVE: Duration = Duration::from_secs(3600);

/// A question for the thread.
pub(super) struct Ask {
    pub key: Key,
    pub query: Query,
    pub reply: oneshot::Sender<Result<DnsAnswer, DnsError>>,
}

/// Starts the thread; it ends when the last sender of questions is gone.
pub(super) fn start(shared: Arc<Shared>, questions: mpsc::Receiver<Ask>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("angarium-resolver".to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, serve(shared, questions)))?;
    Ok(())
}

async fn serve(shared: Arc<Shared>, mut questions: mpsc::Receiver<Ask>) {
    let mut current: Option<Rc<Upstream>> = None;
    // How often each question is under way; the pool of servers sends equal ones once.
    let asked: Rc<RefCell<HashMap<Key, u32>>> = Rc::default();
    while let Some(ask) = questions.recv().await {
        let settings = shared.settings();
        let upstream = match &current {
            Some(upstream) if Arc::ptr_eq(&upstream.settings, &settings) => Rc::clone(upstream),
            _ => {
                let made = Rc::new(Upstream::new(settings));
                current = Some(Rc::clone(&made));
                made
            }
        };
        // Waits here, not in the task, so that the mailbox fills and those who ask wait.
        let Ok(permit) = Arc::clone(&upstream.permits).acquire_owned().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        let running = Running::new(&shared, &asked, &ask.key);
        tokio::task::spawn_local(async move {
            let Ask {
                key,
                query,
                mut reply,
            } = ask;
            let (answer, ttl) = tokio::select! {
                answer = upstream.ask(&key, &query) => answer,
                () = reply.closed() => return,
            };
            drop((permit, running));
            if query.servers.is_empty() && Arc::ptr_eq(&upstream.settings, &shared.settings()) {
                let ttl = ttl.map(|ttl| ttl.max(upstream.settings.ttl_min));
                shared.keep(key, answer.clone(), ttl.unwrap_or_default());
            }
            let _ = reply.send(answer);
        });
    }
}

/// A question under way, for as long as it is.
struct Running {
    shared: Arc<Shared>,
    asked: Rc<RefCell<HashMap<Key, u32>>>,
    key: Key,
}

impl Running {
    fn new(shared: &Arc<Shared>, asked: &Rc<RefCell<HashMap<Key, u32>>>, key: &Key) -> Running {
        let mut table = asked.borrow_mut();
        let count = table.entry(key.clone()).or_default();
        shared
            .shared
            .fetch_add(u64::from(*count > 0), Ordering::Relaxed);
        *count += 1;
        shared.running.fetch_add(1, Ordering::Relaxed);
        Running {
            shared: Arc::clone(shared),
            asked: Rc::clone(asked),
            key: key.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut table = self.asked.borrow_mut();
        if let Some(count) = table.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.key);
            }
        }
        self.shared.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The servers of one configuration.
struct Upstream {
    settings: Arc<Settings>,
    servers: Option<Servers>,
    /// Whether the AD flag of `servers` counts.
    believed: bool,
    others: RefCell<HashMap<Vec<SocketAddr>, Servers>>,
    permits: Arc<Semaphore>,
}

/// An answer, and how long it may be kept; none: not at all.
type Kept = (Result<DnsAnswer, DnsError>, Option<Duration>);

impl Upstream {
    fn new(settings: Arc<Settings>) -> Upstream {
        let (servers, system) = if settings.servers.is_empty() {
            // Without a readable file there is nobody to ask; each question says so.
            match hickory_resolver::system_conf::read_system_conf() {
                Ok((config, _)) => {
                    let servers = config.name_servers().to_vec();
                    let addresses = servers.iter().map(|server| server.ip).collect();
                    (servers, addresses)
                }
                Err(_) => (Vec::new(), Vec::new()),
            }
        } else {
            let addresses: Vec<SocketAddr> = settings
                .servers
                .iter()
                .map(|server| server.address)
                .collect();
            (configs(&addresses), Vec::<IpAddr>::new())
        };
        let believed = settings.believed(&system);
        let permits = settings.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Upstream {
            servers: pool(servers, &settings),
            believed,
            others: Default::default(),
            permits: Arc::new(Semaphore::new(permits)),
            settings,
        }
    }

    async fn ask(&self, key: &Key, query: &Query) -> Kept {
        let tries = u32::try_from(self.settings.tries.max(1)).unwrap_or(u32::MAX);
        let whole = query
            .timeout
            .unwrap_or(self.settings.timeout.saturating_mul(tries));
        match tokio::time::timeout(whole, self.follow(key, query)).await {
            Ok(answer) => answer,
            Err(_) => (Err(DnsError::TryAgain), None),
        }
    }

    /// Asks, and asks again where the answer is only an alias.
    async fn follow(&self, key: &Key, query: &Query) -> Kept {
        let (servers, believed) = if query.servers.is_empty() {
            (self.servers.clone(), self.believed)
        } else {
            let believed = query.servers.iter().all(|server| server.ip().is_loopback());
            (self.other(&query.servers), believed)
        };
        let Some(servers) = servers else {
            return (Err(DnsError::TryAgain), None);
        };
        let kind = kind_of(key.kind);
        let mut name = key.name.to_string();
        let mut secure = believed;
        let mut shortest = u32::MAX;
        for _ in 0..ALIASES {
            let Ok(mut asked) = Name::from_ascii(&name) else {
                return (Err(DnsError::NoRecovery), None);
            };
            asked.set_fqdn(true);
            let message = match self.once(&servers, asked, kind).await {
                Ok(message) => message,
                Err(error) => return negative(&error),
            };
            match message.metadata.response_code {
                ResponseCode::NoError => {}
                code => return (Err(code_error(code)), None),
            }
            secure &= message.metadata.authentic_data;
            let mut records = Vec::new();
            let mut alias = None;
            for record in &message.answers {
                shortest = shortest.min(record.ttl);
                if record.record_type() == kind {
                    records.extend(data(&record.data).map(|data| Record {
                        ttl: record.ttl,
                        data,
                    }));
                } else if let RData::CNAME(target) = &record.data {
                    alias = Some(host(&target.0));
                }
            }
            match alias {
                _ if !records.is_empty() => {
                    records.sort_by_key(|record| match record.data {
                        RecordData::Mx { preference, .. } => preference,
                        _ => 0,
                    });
                    let ttl = Duration::from_secs(u64::from(shortest));
                    let answer = DnsAnswer {
                        records,
                        authenticated: secure,
                    };
                    return (Ok(answer), Some(ttl));
                }
                Some(target) if target != name => name = target,
                _ => return (Err(DnsError::NoData), None),
            }
        }
        (Err(DnsError::ServFail), None)
    }

    /// One question, sent up to `tries` times.
    async fn once(
        &self,
        servers: &Servers,
        name: Name,
        kind: Kind,
    ) -> Result<hickory_resolver::proto::op::DnsResponse, NetError> {
        let mut last = NetError::NoConnections;
        for _ in 0..self.settings.tries.max(1) {
            let mut question = Question::query(name.clone(), kind);
            question.set_query_class(DNSClass::IN);
            let mut request = DnsRequest::from_query(question, DnsRequestOptions::default());
            // Asks for the AD flag without the signatures (RFC 6840 §5.7).
            request.metadata.authentic_data = true;
            match servers.send(request).next().await {
                Some(Ok(message)) => return Ok(message),
                // The name server has spoken: asking again would give the same.
                Some(Err(error @ NetError::Dns(Negative::NoRecordsFound(_)))) => return Err(error),
                Some(Err(error)) => last = error,
                None => {}
            }
        }
        Err(last)
    }

    fn other(&self, addresses: &[SocketAddr]) -> Option<Servers> {
        let mut others = self.others.borrow_mut();
        if let Some(servers) = others.get(addresses) {
            return Some(servers.clone());
        }
        let servers = pool(configs(addresses), &self.settings)?;
        if others.len() >= OTHERS {
            others.clear();
        }
        others.insert(addresses.to_vec(), servers.clone());
        Some(servers)
    }
}

fn configs(addresses: &[SocketAddr]) -> Vec<NameServerConfig> {
    let config = |address: &SocketAddr| {
        let at = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
        NameServerConfig::new(address.ip(), true, connections)
    };
    addresses.iter().map(config).collect()
}

fn pool(servers: Vec<NameServerConfig>, settings: &Settings) -> Option<Servers> {
    if servers.is_empty() {
        return None;
    }
    let mut options = ResolverOpts::default();
    options.timeout = settings.timeout;
    options.attempts = 0;
    options.max_active_requests = settings.concurrency.max(1);
    options.case_randomization = false;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new().ok()?));
    let provider = TokioRuntimeProvider::default();
    Some(NameServerPool::from_config(servers, context, provider))
}

/// What an error of the pool means, and how long that may be kept.
fn negative(error: &NetError) -> Kept {
    match error {
        NetError::Dns(Negative::NoRecordsFound(none)) => {
            let kept = none
                .negative_ttl
                .map(|ttl| Duration::from_secs(u64::from(ttl)).min(NEGATIVE));
            match none.response_code {
                ResponseCode::NXDomain => (Err(DnsError::NxDomain), kept),
                ResponseCode::NoError => (Err(DnsError::NoData), kept),
                code => (Err(code_error(code)), None),
            }
        }
        NetError::Dns(Negative::ResponseCode(code)) => (Err(code_error(*code)), None),
        NetError::Proto(_) => (Err(DnsError::ServFail), None),
        _ => (Err(DnsError::TryAgain), None),
    }
}

fn code_error(code: ResponseCode) -> DnsError {
    match code {
        ResponseCode::NXDomain => DnsError::NxDomain,
        ResponseCode::NoError => DnsError::NoData,
        ResponseCode::Refused => DnsError::Refused,
        ResponseCode::FormErr => DnsError::FormErr,
        ResponseCode::NotImp => DnsError::NotImp,
        _ => DnsError::ServFail,
    }
}

fn kind_of(kind: RecordType) -> Kind {
    match kind {
        RecordType::A => Kind::A,
        RecordType::Aaaa => Kind::AAAA,
        RecordType::Mx => Kind::MX,
        RecordType::Txt => Kind::TXT,
        RecordType::Cname => Kind::CNAME,
        RecordType::Ns => Kind::NS,
        RecordType::Ptr => Kind::PTR,
        RecordType::Soa => Kind::SOA,
        RecordType::Srv => Kind::SRV,
        RecordType::Tlsa => Kind::TLSA,
        RecordType::Caa => Kind::CAA,
    }
}

fn host(name: &Name) -> String {
    normal(&name.to_ascii())
}

/// A record's data in our form; none for types that nobody asks for.
fn data(data: &RData) -> Option<RecordData> {
    Some(match data {
        RData::A(address) => RecordData::A(address.0),
        RData::AAAA(address) => RecordData::Aaaa(address.0),
        RData::MX(mx) => RecordData::Mx {
            preference: mx.preference,
            exchange: host(&mx.exchange),
        },
        RData::TXT(txt) => RecordData::Txt(txt.txt_data.concat()),
        RData::CNAME(name) => RecordData::Cname(host(&name.0)),
        RData::NS(name) => RecordData::Ns(host(&name.0)),
        RData::PTR(name) => RecordData::Ptr(host(&name.0)),
        RData::SOA(soa) => RecordData::Soa {
            mname: host(&soa.mname),
            rname: host(&soa.rname),
            serial: soa.serial,
            refresh: soa.refresh,
            retry: soa.retry,
            expire: soa.expire,
            minimum: soa.minimum,
        },
        RData::SRV(srv) => RecordData::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: host(&srv.target),
        },
        RData::TLSA(tlsa) => RecordData::Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        },
        RData::CAA(caa) => RecordData::Caa {
            flags: caa.flags(),
            tag: caa.tag.clone(),
            value: caa.value.clone(),
        },
        _ => return None,
    })
}
