//! Listening sockets and the acceptor: one thread that hands each client to the worker with the
//! fewest sessions.
//!
//! Clients over `concurrency` are answered 421 here, without a hook. When descriptors run out, those
//! who wait are answered 421 by means of a descriptor held in reserve (mta.md 2.3); accepting goes
//! on by itself as soon as one is free.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use angarium_effects::local::{LocalError, Rights};
use angarium_effects::{Accepted, Clock, Listener, Monotonic, Net};
use angarium_smtp::network::Network;
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::event::Event;
use super::opening::{Prelude, refuse};
use super::session;
use super::settings::{Seat, Settings, VirtualServer};
use super::submission;
use super::wire::{Stream, Wire};
use crate::worker::{Effects, MakeEffects, Worker, Workers};

const OUT_OF_DESCRIPTORS: &[u8] = b"421 4.3.2 System resources exhausted, try again later\r\n";
/// Pause after an error that says nothing of when it ends.
const PAUSE: Duration = Duration::from_millis(100);
/// Refused clients whose close is waited for; further ones are cut off.
const REFUSING: usize = 256;
/// Attempts to find a port that is free in both families.
const PORTS: usize = 16;

/// Where a virtual server listens (`servers[].listeners[]` of smtpd.yaml).
#[derive(Clone)]
pub struct Endpoint {
    /// The server.
    pub server: Arc<VirtualServer>,
    /// Id of the listener, by which `tls.implicit` refers to it.
    pub id: Option<String>,
    /// The address; none: all of both families.
    pub address: Option<IpAddr>,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Length of the system's queue of waiting clients; none: the system's limit.
    pub backlog: Option<u32>,
    /// A Unix socket in place of address and port.
    pub local: Option<Local>,
    /// Peers that send a PROXY header first.
    pub proxies: Arc<[Network]>,
}

/// A Unix socket to listen on.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its path.
    pub path: PathBuf,
    /// Who may connect.
    pub rights: Rights,
}

impl Endpoint {
    /// Whether a client that has just come in is a proxy, which says first whom it brings.
    fn is_proxy(&self, accepted: &dyn Accepted) -> bool {
        let peer = accepted.peer_addr().ip();
        accepted.peer_uid().is_none() && self.proxies.iter().any(|proxy| proxy.contains(peer))
    }
}

/// Why a socket cannot be opened: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has the port.
    #[error(
        "server {server} cannot listen on {address}: another program uses this port; stop it \
         (`ss -ltnp` shows which one it is) or choose another servers[].listeners[].port"
    )]
    Busy {
        /// Id of the server.
        server: String,
        /// What was tried.
        address: SocketAddr,
    },
    /// The process may not.
    #[error(
        "server {server} cannot listen on {address}: permission denied; start as root, give the \
         program the right (`setcap cap_net_bind_service=+ep`) or choose a port above 1023"
    )]
    Forbidden {
        /// Id of the server.
        server: String,
        /// What was tried.
        address: SocketAddr,
    },
    /// The address is another machine's.
    #[error(
        "server {server} cannot listen on {address}: this machine has no such address; set \
         servers[].listeners[].address to one that it has, or leave it out for all"
    )]
    NoSuchAddress {
        /// Id of the server.
        server: String,
        /// What was tried.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("server {server} cannot listen on {address}: {source}")]
    Other {
        /// Id of the server.
        server: String,
        /// What was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A Unix socket.
    #[error("server {server} cannot listen: servers[].listeners[].path: {}", crate::control::socket::said(.error))]
    Local {
        /// Id of the server.
        server: String,
        /// What is wrong, with the path.
        error: LocalError,
    },
    /// The acceptor's thread could not be started.
    #[error("cannot start the thread that accepts connections: {0}")]
    Thread(io::Error),
}

impl BindError {
    fn new(server: &VirtualServer, address: SocketAddr, source: io::Error) -> BindError {
        let server = server.id.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Busy { server, address },
            io::ErrorKind::PermissionDenied => BindError::Forbidden { server, address },
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { server, address },
            _ => BindError::Other {
                server,
                address,
                source,
            },
        }
    }
}

/// Opens the sockets of an endpoint: one, or one of each family that the system has.
///
/// # Errors
/// [`BindError`], when none can be opened or one that exists is taken.
pub fn bind(net: &dyn Net, endpoint: &Endpoint) -> Result<Vec<Rc<dyn Listener>>, BindError> {
    if let Some(Local { path, rights }) = &endpoint.local {
        let listener = net.listen_local(path, rights, endpoint.backlog);
        let listener = listener.map_err(|error| BindError::Local {
            server: endpoint.server.id.clone(),
            error,
        })?;
        return Ok(vec![listener]);
    }
    listen(net, endpoint.address, endpoint.port, endpoint.backlog)
        .map_err(|(address, source)| BindError::new(&endpoint.server, address, source))
}

/// Opens a socket, or without an address one of each family that the system has, on the same port.
///
/// # Errors
/// What cannot be opened, and why: none can, or one that the system has is taken.
pub(crate) fn listen(
    net: &dyn Net,
    address: Option<IpAddr>,
    port: u16,
    backlog: Option<u32>,
) -> Result<Vec<Rc<dyn Listener>>, (SocketAddr, io::Error)> {
    let listen = |address: IpAddr, port: u16| {
        let address = SocketAddr::new(address, port);
        net.listen(address, backlog)
            .map_err(|source| (address, source))
    };
    if let Some(address) = address {
        return Ok(vec![listen(address, port)?]);
    }
    let (four, six) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Ok(first) = listen(four, port) else {
            // Without IPv4 it is IPv6 that has to work; with it, this gives the reason again.
            return match listen(six, port) {
                Ok(second) if !has(net, Ipv4Addr::LOCALHOST.into()) => Ok(vec![second]),
                _ => Ok(vec![listen(four, port)?]),
            };
        };
        let chosen = first.local_addr().map_or(port, |address| address.port());
        return match listen(six, chosen) {
            Ok(second) => Ok(vec![first, second]),
            Err((_, error))
                if error.kind() == io::ErrorKind::AddrInUse && port == 0 && attempts < PORTS =>
            {
                continue;
            }
            Err(_) if !has(net, Ipv6Addr::LOCALHOST.into()) => Ok(vec![first]),
            Err(error) => Err(error),
        };
    }
}

/// Whether the system has the family of a loopback address.
fn has(net: &dyn Net, loopback: IpAddr) -> bool {
    net.listen(SocketAddr::new(loopback, 0), None).is_ok()
}

/// A client that was let in and belongs to no worker yet.
pub struct Client {
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    prelude: Prelude,
}

impl Client {
    /// Serves the client on `worker` until it is gone.
    pub async fn serve(self, worker: Rc<Worker>) {
        let Client {
            accepted,
            seat,
            settings,
            prelude,
        } = self;
        match settings.web {
            None => session::serve(worker, accepted, seat, settings, prelude).await,
            // A session of SMTP is not to be as large as one of HTTP.
            Some(_) => {
                let serving = submission::serve(worker, accepted, seat, settings, prelude);
                Box::pin(serving).await;
            }
        }
    }
}

/// Accepts clients for ever and gives each that is let in to `hand_over`; while that waits, no
/// further client is accepted. Has to run within a [`LocalSet`].
pub async fn accept(
    effects: &Effects,
    listener: &dyn Listener,
    endpoint: &Endpoint,
    hand_over: impl AsyncFn(Client),
) {
    let server = &endpoint.server;
    let refusing = Rc::new(Cell::new(0));
    let mut told = None;
    let mut turned_away = 0_u64;
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => {
                let settings = server.settings();
                let prelude = Prelude {
                    proxied: endpoint.is_proxy(&*accepted),
                    implicit: settings.is_implicit(endpoint.id.as_deref()),
                };
                if let Some(seat) = take_seat(server, &*accepted, prelude, &settings) {
                    let client = Client {
                        accepted,
                        seat,
                        settings,
                        prelude,
                    };
                    hand_over(client).await;
                } else {
                    server.counters.refused.one();
                    turn_off(effects, accepted, (prelude, settings), &refusing);
                }
                continue;
            }
            Err(error) => error,
        };
        if is_exhausted(&error) {
            let settings = server.settings();
            let words = match settings.web {
                // Where TLS starts with the first byte nobody would understand it.
                _ if settings.is_implicit(endpoint.id.as_deref()) => b"",
                None => OUT_OF_DESCRIPTORS,
                Some(_) => submission::TOO_MANY,
            };
            match listener.turn_away(words) {
                Ok(true) => {
                    server.counters.turned_away.one();
                    turned_away = turned_away.saturating_add(1);
                }
                Ok(false) => {}
                Err(_) => effects.clock.sleep(PAUSE).await,
            }
            if once_a_second(&*effects.clock, &mut told) {
                server.tell(&Event::OutOfDescriptors {
                    server: server.id.clone(),
                    turned_away: std::mem::take(&mut turned_away),
                });
            }
            // A flood of clients does not keep the others of this thread from running.
            tokio::task::yield_now().await;
        } else if !is_the_clients(&error) {
            if once_a_second(&*effects.clock, &mut told) {
                server.tell(&Event::AcceptFailed {
                    server: server.id.clone(),
                    reason: error.to_string(),
                });
            }
            effects.clock.sleep(PAUSE).await;
        }
    }
}

/// Lets a client in, if there is room. A client behind a proxy is counted for its own address, which
/// is not known yet; one on a Unix socket has none.
fn take_seat(
    server: &Arc<VirtualServer>,
    accepted: &dyn Accepted,
    prelude: Prelude,
    settings: &Settings,
) -> Option<Seat> {
    let mut seat = server.seat(settings)?;
    let counted = !prelude.proxied && accepted.peer_uid().is_none();
    let room = !counted || seat.claim(accepted.peer_addr().ip(), settings);
    room.then_some(seat)
}

fn once_a_second(clock: &dyn Clock, told: &mut Option<Monotonic>) -> bool {
    let now = clock.monotonic();
    let due = told.is_none_or(|told| now.since(told) >= Duration::from_secs(1));
    if due {
        *told = Some(now);
    }
    due
}

/// No descriptor is left, in this process or in the system.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// The client went away before it was accepted, or the network between us did: accept(2) passes
/// such errors on, and they concern this one connection.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
        )
    )
}

/// Says that there are too many and closes, beside everything else.
fn turn_off(
    effects: &Effects,
    accepted: Box<dyn Accepted>,
    (prelude, settings): (Prelude, Arc<Settings>),
    refusing: &Rc<Cell<usize>>,
) {
    let Ok(connection) = accepted.adopt() else {
        return;
    };
    let wire = Wire::new(Rc::clone(&effects.clock), Stream::Clear(connection));
    let refusing = Rc::clone(refusing);
    if refusing.get() >= REFUSING {
        return;
    }
    refusing.set(refusing.get() + 1);
    tokio::task::spawn_local(async move {
        refuse(wire, &settings, prelude).await;
        refusing.set(refusing.get() - 1);
    });
}

/// The thread that accepts clients.
pub struct Acceptor {
    addresses: Vec<(String, SocketAddr)>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Opens all sockets and starts accepting. When it returns they are open, so that a process may
    /// give up its rights.
    ///
    /// # Errors
    /// The first socket that cannot be opened; none is open then.
    pub fn start(
        make: &MakeEffects,
        endpoints: Vec<Endpoint>,
        workers: &Arc<Workers>,
    ) -> Result<Acceptor, BindError> {
        let (stop, mut stopped) = watch::channel(false);
        let (sender, bound) = std::sync::mpsc::sync_channel(1);
        let (make, workers) = (Arc::clone(make), Arc::clone(workers));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BindError::Thread)?;
        let mut main = async move || {
            let effects = make(workers.handles().len());
            let listeners = match bind_all(&*effects.net, &endpoints) {
                Ok(listeners) => listeners,
                Err(error) => return drop(sender.send(Err(error))),
            };
            let mut addresses = Vec::new();
            for (endpoint, listener) in &listeners {
                let server = endpoint.server.id.clone();
                if let Some(local) = &endpoint.local {
                    let at = local.path.display().to_string();
                    endpoint.server.tell(&Event::Listening { server, at });
                } else if let Ok(address) = listener.local_addr() {
                    addresses.push((server.clone(), address));
                    let at = address.to_string();
                    endpoint.server.tell(&Event::Listening { server, at });
                }
            }
            let _ = sender.send(Ok(addresses));
            for (endpoint, listener) in listeners {
                let (effects, workers) = (effects.clone(), Arc::clone(&workers));
                let hand_over = async move |client| give(&workers, client).await;
                tokio::task::spawn_local(async move {
                    accept(&effects, &*listener, &endpoint, hand_over).await;
                });
            }
            // An error means that the owner is gone.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let thread = thread::Builder::new()
            .name("angarium-acceptor".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, main()))
            .map_err(BindError::Thread)?;
        let mut acceptor = Acceptor {
            addresses: Vec::new(),
            stop,
            thread: Some(thread),
        };
        acceptor.addresses = bound
            .recv()
            .map_err(|error| BindError::Thread(io::Error::other(error)))??;
        Ok(acceptor)
    }

    /// The open ports with the ids of their servers, in the order of the endpoints.
    #[must_use]
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Closes the sockets and waits until no client is accepted any more.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // An acceptor that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.end();
    }
}

type Bound = Vec<(Endpoint, Rc<dyn Listener>)>;

fn bind_all(net: &dyn Net, endpoints: &[Endpoint]) -> Result<Bound, BindError> {
    let mut all = Vec::new();
    for endpoint in endpoints {
        for listener in bind(net, endpoint)? {
            all.push((endpoint.clone(), listener));
        }
    }
    Ok(all)
}

/// Gives a client to the worker with the fewest sessions.
async fn give(workers: &Workers, client: Client) {
    let Some(worker) = workers.least_loaded() else {
        return;
    };
    // Counted from now on, so that a burst is spread before the first of it has arrived.
    let count = worker.count_session();
    let job = worker.run(move |worker| {
        Box::pin(async move {
            let _count = count;
            client.serve(worker).await;
        })
    });
    // A worker that has stopped takes nobody; the client is closed.
    let _ = job.await;
}
