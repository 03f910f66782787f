//! The monitor: metrics and health over HTTP (mta.md 5.9; `monitor` in smtpd.yaml and smtpd-app.yaml).
//!
//! | path | what it says |
//! |---|---|
//! | `/metrics` | the counters of the process as OpenMetrics; wants a key if there are keys |
//! | `/ready` | 200 once the server has started, 503 before |
//! | `/healthy` | 200, or 503 and why it takes no mail |
//!
//! It listens from before the spool is read, so that a start that takes long can be watched, until the server has ended. It has
//! a thread of its own: what it says does not depend on how busy the workers are.

mod health;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use angarium_effects::{Clock, Listener, LocalFuture, Monotonic, Net};
use hyper::body::Incoming;
use hyper::header::{ALLOW, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::watch;
use tokio::task::LocalSet;

pub use self::health::{Health, Monitoring, Unhealthy};
use crate::control::{Backend, process_stats};
use crate::http::connection::{Answering, Ending};
use crate::http::{self, Answer, Terms, keys};
use crate::log::{Log, Severity};
use crate::openmetrics;
use crate::server::listener::listen;

/// Clients at once; the others wait.
const CLIENTS: usize = 64;
/// How long they may take.
const TERMS: Terms = Terms {
    idle: Duration::from_secs(60),
    head: Duration::from_secs(10),
    data: Duration::from_secs(10),
    min_rate: 0,
};
/// The wait after a refused `accept`.
const PAUSE: Duration = Duration::from_millis(100);
/// What OpenMetrics is called.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the monitor cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the monitor cannot listen on {address} (`monitor.listener`): {error}")]
pub struct MonitorError {
    /// What was tried.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// The outside as the monitor's thread sees it; made there.
pub type MakeOutside = Box<dyn FnOnce() -> (Rc<dyn Clock>, Rc<dyn Net>) + Send>;

/// The monitor's thread.
pub struct Monitor {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What its connections share.
struct Shared {
    health: Arc<Health>,
    /// The server, once it has started.
    backend: OnceLock<Backend>,
}

impl Monitor {
    /// Listens on `port` of `address`, or of every address.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn start(
        outside: MakeOutside,
        address: Option<IpAddr>,
        port: u16,
        health: Arc<Health>,
        log: Arc<dyn Log>,
    ) -> Result<Monitor, MonitorError> {
        let shared = Arc::new(Shared {
            health,
            backend: OnceLock::new(),
        });
        let anywhere = SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
        let failed = move |error| MonitorError {
            address: anywhere,
            error,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, mut stopped) = watch::channel(false);
        let (sender, bound) = std::sync::mpsc::sync_channel(1);
        let own = Arc::clone(&shared);
        let ends = stopped.clone();
        let main = move || {
            let main = async move {
                let (clock, net) = outside();
                let listeners = match listen(&*net, address, port, None) {
                    Ok(listeners) => listeners,
                    Err(error) => return drop(sender.send(Err(error))),
                };
                let addresses = listeners.iter().filter_map(|of| of.local_addr().ok());
                let _ = sender.send(Ok(addresses.collect()));
                let desk = Rc::new(Desk {
                    shared: own,
                    started: clock.monotonic(),
                    clock,
                    log,
                    clients: Cell::new(0),
                    stopped: ends,
                });
                for listener in listeners {
                    let desk = Rc::clone(&desk);
                    tokio::task::spawn_local(async move { desk.accept(&*listener).await });
                }
                // An error means that the owner is gone.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            LocalSet::new().block_on(&runtime, main);
        };
        let thread = thread::Builder::new().name("angarium-monitor".to_owned());
        let thread = thread.spawn(main).map_err(failed)?;
        let addresses = match bound.recv() {
            Ok(bound) => bound.map_err(|(address, error)| MonitorError { address, error })?,
            Err(error) => return Err(failed(io::Error::other(error))),
        };
        Ok(Monitor {
            shared,
            addresses,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Watches this server from now on.
    pub fn watch(&self, backend: Backend) {
        // A second one would be a mistake of the caller, and changes nothing.
        let _ = self.shared.backend.set(backend);
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Desk {
    shared: Arc<Shared>,
    started: Monotonic,
    clock: Rc<dyn Clock>,
    log: Arc<dyn Log>,
    clients: Cell<usize>,
    stopped: watch::Receiver<bool>,
}

/// Counts a client while it is there.
struct Seat(Rc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get().saturating_sub(1));
    }
}

impl Desk {
    async fn accept(self: &Rc<Self>, listener: &dyn Listener) {
        loop {
            if self.clients.get() >= CLIENTS {
                self.clock.sleep(PAUSE).await;
                continue;
            }
            let adopted = listener.accept().await.map(|accepted| accepted.adopt());
            let stream = match adopted {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) => continue,
                Err(error) => {
                    // No descriptor is left, as a rule: others may close some.
                    self.log
                        .line(Severity::Warning, "", &format!("monitor: {error}"));
                    self.clock.sleep(PAUSE).await;
                    continue;
                }
            };
            self.clients.set(self.clients.get().saturating_add(1));
            let seat = Seat(Rc::clone(self));
            let desk = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let _seat = seat;
                let clock = Rc::clone(&desk.clock);
                let ending = UntilStopped::new(desk.stopped.clone());
                let handle = move |request| -> Answering {
                    let desk = Rc::clone(&desk);
                    Box::pin(async move { desk.answer(&request).await })
                };
                http::serve(stream, clock, TERMS, ending, handle).await;
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/ready" | "/healthy") {
            return Answer::text(
                StatusCode::NOT_FOUND,
                "/metrics, /ready and /healthy are here",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer = Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET it");
            return answer.with(ALLOW, "GET, HEAD");
        }
        match path {
            "/ready" => self.ready(),
            "/healthy" => self.healthy(),
            _ => self.metrics(request.headers()).await,
        }
    }

    fn ready(&self) -> Answer {
        match self.shared.health.is_ready() {
            true => Answer::text(StatusCode::OK, "ready"),
            false => unavailable(Unhealthy::NotReady),
        }
    }

    fn healthy(&self) -> Answer {
        let health = &self.shared.health;
        let checked = health.early().and_then(|()| {
            let backend = self.shared.backend.get().ok_or(Unhealthy::NotReady)?;
            let monitoring = backend.admin.monitoring();
            health.check(backend, &monitoring, self.clock.monotonic())
        });
        match checked {
            Ok(()) => Answer::text(StatusCode::OK, "healthy"),
            Err(why) => unavailable(why),
        }
    }

    async fn metrics(&self, fields: &HeaderMap) -> Answer {
        let Some(backend) = self.shared.backend.get() else {
            return unavailable(Unhealthy::NotReady);
        };
        let keys = backend.admin.monitoring().apikeys;
        if !keys.is_empty() && !keys::has_one(fields, &keys) {
            let answer = Answer::text(StatusCode::UNAUTHORIZED, "X-API-Key is missing or wrong");
            return answer.with(WWW_AUTHENTICATE, "X-API-Key").last();
        }
        match process_stats(backend, self.clock.monotonic(), self.started).await {
            Ok(stats) => Answer::new(StatusCode::OK, OPENMETRICS, openmetrics::page(&stats)),
            Err(_) => unavailable(Unhealthy::Stopping),
        }
    }
}

fn unavailable(why: Unhealthy) -> Answer {
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
}

/// Ends a connection with the monitor.
struct UntilStopped(LocalFuture<'static, ()>);

impl UntilStopped {
    fn new(mut stopped: watch::Receiver<bool>) -> UntilStopped {
        UntilStopped(Box::pin(async move {
            if stopped.wait_for(|stop| *stop).await.is_err() {
                pending().await
            }
        }))
    }
}

impl Ending for UntilStopped {
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }

    fn poll_dismissed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
