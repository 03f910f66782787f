//! Connections to the control socket.
//!
//! All of them live on one thread of their own. A connection has one request under way; while it is
//! carried out nothing more is read from it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use angarium_control::frame::{Kind, Requests, answer_head};
use angarium_control::{Command, Message as _};
use angarium_effects::clock::timeout;
use angarium_effects::local::{LocalListener, LocalStream};
use angarium_effects::{Clock, Connection, Listener, Monotonic};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::dispatch::{Backend, Bound, answer, stages};
use super::socket::Opened;
use super::trace;
use crate::delivery::trace::Following;
use crate::log::{Log, Severity};
use crate::tls::MutualServer;
use crate::worker::{Effects, MakeEffects};

/// Clients at once; a further one is told and let go.
const CLIENTS: usize = 64;
/// How long a client may take for the rest of a request, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may say nothing between requests.
const IDLE: Duration = Duration::from_secs(900);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The wait after a refused `accept`.
const PAUSE: Duration = Duration::from_millis(100);

/// The thread that serves the control socket.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Serves `opened` on a thread of its own. `make` gives that thread its clock and chance.
    ///
    /// # Errors
    /// The system refuses a thread or what a runtime needs.
    pub fn start(
        opened: impl Into<Opened>,
        backend: Backend,
        make: &MakeEffects,
        log: Arc<dyn Log>,
    ) -> io::Result<Server> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let make = Arc::clone(make);
        let opened = opened.into();
        let thread = thread::Builder::new()
            .name("angarium-control".to_owned())
            .spawn(move || {
                let main = async move {
                    let desk = Desk::new(backend, make(usize::MAX), log);
                    match Door::new(opened) {
                        Ok(door) => accept(&desk, &door, stopped).await,
                        Err(error) => desk.complain(&error),
                    }
                };
                LocalSet::new().block_on(&runtime, main);
            })?;
        Ok(Server {
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Ends it: the socket is removed, requests under way are given up.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// The protocol on the caller's thread and without a socket: for the simulator.
pub struct Alone(Rc<Desk>);

impl Alone {
    /// Whom the commands reach, and the outside.
    #[must_use]
    pub fn new(backend: Backend, effects: Effects, log: Arc<dyn Log>) -> Alone {
        Alone(Desk::new(backend, effects, log))
    }

    /// Serves one client until it goes or breaks the rules.
    pub fn serve(&self, stream: Box<dyn LocalStream>) -> impl Future<Output = ()> + 'static {
        let desk = Rc::clone(&self.0);
        async move { serve(&desk, stream).await }
    }
}

/// What connections share.
pub(super) struct Desk {
    pub backend: Backend,
    pub clock: Rc<dyn Clock>,
    pub random: Rc<dyn angarium_effects::Random>,
    pub clients: Cell<usize>,
    /// Clients that have not proved yet who they are.
    pub shaking: Cell<usize>,
    /// The last queue number that was given to a copy.
    pub numbers: Cell<u64>,
    /// When the server began, about.
    pub started: Monotonic,
    pub log: Arc<dyn Log>,
}

impl Desk {
    fn new(backend: Backend, effects: Effects, log: Arc<dyn Log>) -> Rc<Desk> {
        let started = effects.clock.monotonic();
        Rc::new(Desk {
            backend,
            clock: effects.clock,
            random: effects.random,
            clients: Cell::new(0),
            shaking: Cell::new(0),
            numbers: Cell::new(0),
            started,
            log,
        })
    }

    fn complain(&self, error: &dyn std::fmt::Display) {
        let line = format!("control socket: {error}");
        self.log.line(Severity::Error, "", &line);
    }
}

/// Where clients come in.
enum Door {
    Local(LocalListener),
    Tcp(Rc<dyn Listener>, Option<MutualServer>),
}

/// A client that has come in.
enum Client {
    Local(Box<dyn LocalStream>),
    Tcp(Box<dyn Connection>, Option<MutualServer>),
}

impl Door {
    fn new(opened: Opened) -> io::Result<Door> {
        Ok(match opened {
            Opened::Local(bound) => Door::Local(bound.adopt()?),
            Opened::Tcp(bound, tls) => Door::Tcp(bound.adopt()?, tls),
        })
    }

    async fn accept(&self) -> io::Result<Client> {
        match self {
            Door::Local(listener) => listener.accept().await.map(Client::Local),
            Door::Tcp(listener, tls) => {
                let connection = listener.accept().await?.adopt()?;
                Ok(Client::Tcp(connection, tls.clone()))
            }
        }
    }
}

impl Client {
    /// The stream that speaks the protocol; none if the client did not prove who it is.
    async fn enter(self, desk: &Desk) -> Option<Box<dyn LocalStream>> {
        let (connection, tls) = match self {
            Client::Local(stream) => return Some(stream),
            Client::Tcp(connection, None) => return Some(Box::new(connection)),
            Client::Tcp(connection, Some(tls)) => (connection, tls),
        };
        let peer = connection.peer_addr();
        let shaken = timeout(&*desk.clock, HANDSHAKE, tls.accept(connection)).await;
        let reason = match shaken {
            Some(Ok(stream)) => return Some(Box::new(stream)),
            Some(Err(error)) => error.to_string(),
            None => "timeout during the handshake".to_owned(),
        };
        let peer = peer.map_or_else(|_| "a client".to_owned(), |peer| peer.to_string());
        let line = format!("control socket: {peer} was refused: {reason}");
        desk.log.line(Severity::Warning, "", &line);
        None
    }
}

async fn accept(desk: &Rc<Desk>, door: &Door, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            // An error means that whoever could stop it is gone.
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok(client) => {
                // Who only shakes hands takes a seat as well.
                if matches!(client, Client::Tcp(..)) && desk.shaking.get() >= CLIENTS {
                    continue;
                }
                let desk = Rc::clone(desk);
                tokio::task::spawn_local(async move {
                    let stream = {
                        desk.shaking.set(desk.shaking.get() + 1);
                        let _seat = Seat(&desk.shaking);
                        client.enter(&desk).await
                    };
                    if let Some(stream) = stream {
                        serve(&desk, stream).await;
                    }
                });
            }
            Err(error) => {
                // No descriptor is left, as a rule: others may close some.
                desk.complain(&error);
                desk.clock.sleep(PAUSE).await;
            }
        }
    }
}

/// Counts a client while it is there.
struct Seat<'a>(&'a Cell<usize>);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves one client until it goes or breaks the rules.
pub(super) async fn serve(desk: &Rc<Desk>, mut stream: Box<dyn LocalStream>) {
    let count = desk.clients.get();
    if count >= CLIENTS {
        let text = format!("The server is busy: {CLIENTS} clients are connected");
        let _ = send(desk, &mut stream, Kind::Failed, text.as_bytes()).await;
        return;
    }
    desk.clients.set(count + 1);
    let _seat = Seat(&desk.clients);
    let bound = Bound::default();
    converse(desk, &mut stream, &bound).await;
    bound.end(&desk.backend);
}

/// Answers one request after the other. A stage that is bound to the connection is left to the caller.
async fn converse(desk: &Rc<Desk>, stream: &mut Box<dyn LocalStream>, bound: &Bound) {
    let mut requests = Requests::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let request = match requests.take(Command::has_body) {
            Ok(Some(request)) => request,
            Ok(None) => {
                let patience = if requests.is_inside() { PATIENCE } else { IDLE };
                let read = timeout(&*desk.clock, patience, stream.read(&mut buffer)).await;
                match read {
                    Some(Ok(count)) if count > 0 => {
                        requests.feed(buffer.get(..count).unwrap_or_default());
                        continue;
                    }
                    None if requests.is_inside() => {
                        let _ = send(desk, stream, Kind::Failed, b"Timeout").await;
                        return;
                    }
                    // It has gone, or it has nothing more to say.
                    _ => return,
                }
            }
            Err(error) => {
                let text = error.to_string();
                let _ = send(desk, stream, Kind::Failed, text.as_bytes()).await;
                return;
            }
        };
        if request.letter == TRACE {
            let followed = match trace::begin(desk, &request.body) {
                // The next request is here already.
                Ok(_) if requests.is_inside() => {
                    send(desk, stream, Kind::Done, b"").await.map(|()| 0)
                }
                Ok(following) => follow(desk, stream, following, &mut buffer).await,
                Err(reason) => send(desk, stream, Kind::Failed, &ascii(&reason))
                    .await
                    .map(|()| 0),
            };
            match followed {
                Ok(count) => requests.feed(buffer.get(..count).unwrap_or_default()),
                Err(_) => return,
            }
            continue;
        }
        if request.letter == DEBUG {
            bound.debugs();
            match debug(desk, stream, &mut buffer).await {
                Ok(count) => requests.feed(buffer.get(..count).unwrap_or_default()),
                Err(_) => return,
            }
            continue;
        }
        let (kind, data) = match answer(desk, &request, bound).await {
            Ok(data) => (Kind::Done, data),
            Err(reason) => (Kind::Failed, ascii(&reason)),
        };
        if send(desk, stream, kind, &data).await.is_err() {
            return;
        }
    }
}

/// The command that waits for a script at a debug point.
const DEBUG: u8 = b'e';

/// Waits for a script, with records of what scripts say meanwhile. Says how many bytes the client has sent: one that goes
/// waits no more, and its scripts go on.
async fn debug(
    desk: &Desk,
    stream: &mut Box<dyn LocalStream>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let hub = match stages(&desk.backend) {
        Ok(stages) => &stages.hub,
        Err(reason) => {
            send(desk, stream, Kind::Failed, &ascii(&reason)).await?;
            return Ok(0);
        }
    };
    let mut waiting = hub.wait();
    let mut heard = hub.listen();
    loop {
        tokio::select! {
            biased;
            Some(said) = heard.recv() => {
                send(desk, stream, Kind::Record, &said.encode_to_vec()).await?;
            }
            record = &mut waiting => {
                match record {
                    Ok(record) => send(desk, stream, Kind::Done, &record.encode_to_vec()).await?,
                    Err(_) => send(desk, stream, Kind::Failed, b"Aborted").await?,
                }
                return Ok(0);
            }
            read = stream.read(buffer) => {
                let count = read?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // One request at a time: who asks for something else does not wait any more.
                send(desk, stream, Kind::Failed, b"Aborted").await?;
                return Ok(count);
            }
        }
    }
}

/// The command that is answered with records until the client says something more.
const TRACE: u8 = b'W';

/// Sends records until the client says something more, and then that it is done. Says how many bytes the
/// client has sent.
async fn follow(
    desk: &Desk,
    stream: &mut Box<dyn LocalStream>,
    mut following: Following,
    buffer: &mut [u8],
) -> io::Result<usize> {
    loop {
        let record = tokio::select! {
            biased;
            read = stream.read(buffer) => {
                let count = read?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                drop(following);
                send(desk, stream, Kind::Done, b"").await?;
                return Ok(count);
            }
            record = following.next() => record,
        };
        let Some(record) = record else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        send(desk, stream, Kind::Record, &trace::message(&record)).await?;
    }
}

/// The texts of errors are ASCII.
fn ascii(text: &str) -> Vec<u8> {
    let plain = |c: char| match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => byte,
        _ => b'?',
    };
    text.trim_end().chars().map(plain).collect()
}

/// Sends an answer; a client that does not take any of it for long is given up.
async fn send(
    desk: &Desk,
    stream: &mut Box<dyn LocalStream>,
    kind: Kind,
    data: &[u8],
) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::TimedOut);
    let head = answer_head(kind, data.len());
    for part in [&head[..], data] {
        for piece in part.chunks(64 << 10) {
            let written = timeout(&*desk.clock, PATIENCE, stream.write_all(piece)).await;
            written.ok_or_else(gone)??;
        }
    }
    stream.flush().await
}
