//! A network that delays, splits, refuses and breaks.
//!
//! A connection is two pipes. What is written goes into a pipe as segments, each with the time at which it arrives;
//! segments never overtake each other, as TCP has it. A connection that breaks does so after any byte: with a reset,
//! which may take with it what was under way, or in silence, so that only time-outs end it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use angarium_effects::disk::SimDisk;
use angarium_effects::{
    Accepted, Clock, Connect, Connection, Listener, LocalFuture, Monotonic, Net, VirtualClock,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dice::Dice;

/// Bytes that are under way in one direction before a writer has to wait.
const WINDOW: usize = 64 << 10;
/// How long a connection may take that gets no answer and has no limit.
const HOPELESS: Duration = Duration::from_secs(130);

/// How often things go wrong, of 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Connections that are refused or get no answer.
    pub refuse: u64,
    /// Connections that break.
    pub cut: u64,
    /// Segments that are held up for long.
    pub stall: u64,
    /// Writes of which a part is taken.
    pub split: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct SimNet(Rc<State>);

struct State {
    clock: VirtualClock,
    dice: Dice,
    trouble: Cell<Trouble>,
    listeners: RefCell<BTreeMap<SocketAddr, Rc<Backlog>>>,
    connections: RefCell<Vec<Rc<Line>>>,
    next_port: Cell<u16>,
}

/// Connections that wait to be accepted.
#[derive(Default)]
struct Backlog {
    waiting: RefCell<VecDeque<Stream>>,
    waker: RefCell<Option<Waker>>,
    /// Whose it is; none: a host's that never stops.
    life: RefCell<Option<Life>>,
}

/// Whether a host runs: its process may be stopped at any moment.
#[derive(Clone)]
pub struct Life(Rc<Living>);

struct Living {
    dead: Cell<bool>,
    /// The host has stopped too when its disk has.
    disk: Option<SimDisk>,
}

impl Life {
    /// A host that runs as long as its disk.
    pub fn on(disk: &SimDisk) -> Life {
        Life(Rc::new(Living {
            dead: Cell::new(false),
            disk: Some(disk.clone()),
        }))
    }

    fn immortal() -> Life {
        Life(Rc::new(Living {
            dead: Cell::new(false),
            disk: None,
        }))
    }

    fn is_dead(&self) -> bool {
        self.0.dead.get() || self.0.disk.as_ref().is_some_and(SimDisk::has_crashed)
    }
}

/// A connection as both ends and the checks see it.
pub struct Line {
    /// Who connected.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// When the client asked for it.
    pub opened: Monotonic,
    /// When the client had left it.
    pub left: Cell<Option<Monotonic>>,
    /// When the client learned of its end.
    pub ended: Cell<Option<Monotonic>>,
    lives: [Life; 2],
    pipes: [RefCell<Pipe>; 2],
    latency: Duration,
}

#[derive(Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    bytes: usize,
    /// When the last segment arrives.
    last: Monotonic,
    fin: Option<Monotonic>,
    reset: Option<Monotonic>,
    /// Nothing arrives any more.
    silent: bool,
    /// Nothing that is written from now on arrives.
    broken: bool,
    /// Nobody reads any more.
    unread: bool,
    /// Bytes after which the connection breaks, and whether in silence.
    cut: Option<(u64, bool)>,
    written: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// When the bytes that were read last were written.
    stamp: Monotonic,
}

struct Segment {
    at: Monotonic,
    written: Monotonic,
    bytes: Vec<u8>,
    taken: usize,
}

impl Pipe {
    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

impl SimNet {
    pub fn new(clock: &VirtualClock, dice: Dice) -> SimNet {
        SimNet(Rc::new(State {
            clock: clock.clone(),
            dice,
            trouble: Cell::default(),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            next_port: Cell::new(1024),
        }))
    }

    /// Sets how much goes wrong from now on; what has gone wrong stays so.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.0.trouble.set(trouble);
        if trouble == Trouble::default() {
            for line in self.0.connections.borrow().iter() {
                line.pipes
                    .iter()
                    .for_each(|pipe| pipe.borrow_mut().cut = None);
            }
        }
    }

    /// The network as a host sees it.
    pub fn host(&self, address: IpAddr, life: &Life) -> Host {
        Host {
            net: self.clone(),
            address,
            life: life.clone(),
            stuck: None,
        }
    }

    /// Waits for connections at an address of a host that never stops.
    pub fn serve(&self, at: SocketAddr) -> Incoming {
        let backlog = Rc::new(Backlog::default());
        self.0
            .listeners
            .borrow_mut()
            .insert(at, Rc::clone(&backlog));
        Incoming { backlog }
    }

    /// Connects from a host that never stops.
    pub async fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<Stream> {
        self.open(from, to, Life::immortal(), None).await
    }

    /// Ends everything that a host has open: in silence, or as a system closes what a process left.
    pub fn stop(&self, life: &Life, silent: bool) {
        life.0.dead.set(true);
        for line in self.0.connections.borrow().iter() {
            for side in 0..2 {
                if !Rc::ptr_eq(&line.lives[side].0, &life.0) {
                    continue;
                }
                let mut out = line.pipes[side].borrow_mut();
                if silent {
                    out.silent = true;
                } else if out.fin.is_none() {
                    out.reset = Some(self.now() + line.latency);
                }
                out.wake();
                let mut other = line.pipes[1 - side].borrow_mut();
                other.unread = true;
                other.silent |= silent;
                other.wake();
                if side == 0 && line.left.get().is_none() {
                    line.left.set(Some(self.now()));
                }
            }
        }
    }

    /// Forgets connections of which both ends are gone.
    pub fn sweep(&self) {
        let mut connections = self.0.connections.borrow_mut();
        connections.retain(|line| Rc::strong_count(line) > 1);
    }

    fn now(&self) -> Monotonic {
        self.0.clock.monotonic()
    }

    async fn open(
        &self,
        from: IpAddr,
        to: SocketAddr,
        life: Life,
        limit: Option<Duration>,
    ) -> io::Result<Stream> {
        let state = &self.0;
        let opened = self.now();
        let dice = &state.dice;
        let latency = dice.millis(0, 60);
        let refused = dice.chance(state.trouble.get().refuse);
        let unanswered = refused && dice.chance(400);
        if unanswered {
            state.clock.sleep(limit.unwrap_or(HOPELESS)).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        state.clock.sleep(latency).await;
        let backlog = state.listeners.borrow().get(&to).cloned();
        let backlog = match backlog {
            Some(backlog) if !refused => backlog,
            _ => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let port = state.next_port.get();
        state.next_port.set(port.checked_add(1).unwrap_or(1024));
        let pipes = [0, 1].map(|_| {
            let cut = dice.chance(state.trouble.get().cut).then(|| {
                // Any byte of the dialogue, or of a message.
                let most = *dice.pick(&[30, 300, 3000, 30_000]);
                (dice.below(most), dice.chance(300))
            });
            RefCell::new(Pipe {
                cut,
                ..Pipe::default()
            })
        });
        let line = Rc::new(Line {
            from: SocketAddr::new(from, port),
            to,
            opened,
            left: Cell::new(None),
            ended: Cell::new(None),
            lives: [
                life,
                backlog.life.borrow().clone().unwrap_or_else(Life::immortal),
            ],
            pipes,
            latency,
        });
        state.connections.borrow_mut().push(Rc::clone(&line));
        let stream = |side| Stream {
            net: self.clone(),
            line: Rc::clone(&line),
            side,
            sleep: None,
        };
        backlog.waiting.borrow_mut().push_back(stream(1));
        if let Some(waker) = backlog.waker.take() {
            waker.wake();
        }
        Ok(stream(0))
    }

    fn arrival(&self, line: &Line, pipe: &Pipe) -> Monotonic {
        let dice = &self.0.dice;
        let mut delay = line.latency + dice.millis(0, 5);
        if dice.chance(self.0.trouble.get().stall) {
            delay += dice.seconds(0, *dice.pick(&[2, 60, 700]));
        }
        (self.now() + delay).max(pipe.last)
    }

    /// Breaks a connection at a byte that `side` has just written.
    fn cut(&self, line: &Line, side: usize, silent: bool) {
        let at = self.now() + line.latency;
        for which in [side, 1 - side] {
            let mut pipe = line.pipes[which].borrow_mut();
            if silent {
                pipe.silent = true;
            } else {
                let last = pipe.last;
                // What came before the break is read before it.
                pipe.reset = Some(at.max(last) + Duration::from_millis(1));
                pipe.broken = true;
            }
            pipe.wake();
        }
    }
}

/// Connections to a host that never stops, as they come.
pub struct Incoming {
    backlog: Rc<Backlog>,
}

impl Incoming {
    pub async fn next(&self) -> Stream {
        poll_fn(|context| self.backlog.poll(context)).await
    }
}

impl Backlog {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Stream> {
        if let Some(stream) = self.waiting.borrow_mut().pop_front() {
            return Poll::Ready(stream);
        }
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// The network as the machine under test has it.
#[derive(Clone)]
pub struct Host {
    net: SimNet,
    address: IpAddr,
    life: Life,
    /// A planted mistake: so many of 1000 connections are never made and never fail.
    stuck: Option<Dice>,
}

impl Host {
    /// Plants a mistake: some connections are waited for for ever.
    pub fn stuck(mut self, dice: Dice) -> Host {
        self.stuck = Some(dice);
        self
    }
}

impl Net for Host {
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        if self.stuck.as_ref().is_some_and(|dice| dice.chance(50)) {
            return Box::pin(std::future::pending());
        }
        let (net, life) = (self.net.clone(), self.life.clone());
        let (from, limit) = (how.source.unwrap_or(self.address), how.timeout);
        Box::pin(async move {
            let stream = net.open(from, to, life, limit).await?;
            let connection: Box<dyn Connection> = Box::new(stream);
            Ok(connection)
        })
    }

    fn listen(&self, at: SocketAddr, _backlog: Option<u32>) -> io::Result<Rc<dyn Listener>> {
        let mut listeners = self.net.0.listeners.borrow_mut();
        if listeners.contains_key(&at) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Rc::new(Backlog::default());
        backlog.life.replace(Some(self.life.clone()));
        listeners.insert(at, Rc::clone(&backlog));
        Ok(Rc::new(SimListener {
            net: self.net.clone(),
            at,
            backlog,
        }))
    }
}

struct SimListener {
    net: SimNet,
    at: SocketAddr,
    backlog: Rc<Backlog>,
}

impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(async move {
            let stream = poll_fn(|context| self.backlog.poll(context)).await;
            let accepted: Box<dyn Accepted> = Box::new(Fresh::new(stream));
            Ok(accepted)
        })
    }

    fn turn_away(&self, _reply: &[u8]) -> io::Result<bool> {
        Ok(self.backlog.waiting.borrow_mut().pop_front().is_some())
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.0.listeners.borrow_mut().remove(&self.at);
    }
}

thread_local! {
    /// Connections that were accepted and belong to nobody yet: the machine may send them to another thread, though
    /// here there is none.
    static FRESH: RefCell<BTreeMap<u64, Stream>> = const { RefCell::new(BTreeMap::new()) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// The name of a connection that was accepted.
struct Fresh {
    number: u64,
    peer: SocketAddr,
}

impl Fresh {
    fn new(stream: Stream) -> Fresh {
        let number = NUMBER.get();
        NUMBER.set(number.wrapping_add(1));
        let peer = stream.line.from;
        FRESH.with_borrow_mut(|fresh| fresh.insert(number, stream));
        Fresh { number, peer }
    }

    fn take(&self) -> Option<Stream> {
        FRESH.with_borrow_mut(|fresh| fresh.remove(&self.number))
    }
}

impl Accepted for Fresh {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Connection>> {
        let stream = self.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Box::new(stream))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// One end of a connection: 0 is the client's.
pub struct Stream {
    net: SimNet,
    line: Rc<Line>,
    side: usize,
    sleep: Option<(Monotonic, LocalFuture<'static, ()>)>,
}

impl Stream {
    /// The connection.
    pub fn line(&self) -> &Rc<Line> {
        &self.line
    }

    /// When the other end wrote what was read last.
    pub fn stamp(&self) -> Monotonic {
        self.line.pipes[1 - self.side].borrow().stamp
    }

    fn learn_of_end(&self) {
        if self.side == 0 && self.line.ended.get().is_none() {
            self.line.ended.set(Some(self.net.now()));
        }
    }

    fn read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.line.lives[self.side].is_dead() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        loop {
            let now = self.net.now();
            let mut pipe = self.line.pipes[1 - self.side].borrow_mut();
            if pipe.reset.is_some_and(|at| at <= now) {
                drop(pipe);
                self.learn_of_end();
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let next = match pipe.segments.front_mut() {
                Some(front) if front.at <= now => {
                    let rest = front.bytes.get(front.taken..).unwrap_or_default();
                    let count = rest.len().min(buffer.remaining());
                    buffer.put_slice(rest.get(..count).unwrap_or_default());
                    front.taken += count;
                    let (written, whole) = (front.written, front.taken == front.bytes.len());
                    let ends = rest.starts_with(b"421");
                    if whole {
                        pipe.segments.pop_front();
                    }
                    pipe.stamp = written;
                    pipe.bytes -= count;
                    if let Some(waker) = pipe.writer.take() {
                        waker.wake();
                    }
                    drop(pipe);
                    if ends {
                        self.learn_of_end();
                    }
                    return Poll::Ready(Ok(()));
                }
                Some(front) => Some(front.at),
                None => pipe.fin,
            };
            if pipe.segments.is_empty() && pipe.fin.is_some_and(|at| at <= now) {
                drop(pipe);
                self.learn_of_end();
                return Poll::Ready(Ok(()));
            }
            let next = if pipe.silent { None } else { next };
            let next = [next, pipe.reset].into_iter().flatten().min();
            pipe.reader = Some(context.waker().clone());
            drop(pipe);
            let Some(next) = next else {
                return Poll::Pending;
            };
            if self.sleep.as_ref().is_none_or(|(at, _)| *at != next) {
                self.sleep = Some((next, self.net.0.clock.sleep_until(next)));
            }
            if let Some((_, sleep)) = &mut self.sleep
                && sleep.as_mut().poll(context).is_pending()
            {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }

    fn write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.net.now();
        let line = &self.line;
        let reset = line.pipes[1 - self.side].borrow().reset;
        if line.lives[self.side].is_dead() || reset.is_some_and(|at| at <= now) {
            self.learn_of_end();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut pipe = line.pipes[self.side].borrow_mut();
        if pipe.fin.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW.saturating_sub(pipe.bytes);
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut count = bytes.len().min(room);
        let dice = &self.net.0.dice;
        if dice.chance(self.net.0.trouble.get().split) {
            count = count.min(dice.between(1, 400) as usize);
        }
        let broken = pipe
            .cut
            .filter(|(at, _)| pipe.written + count as u64 >= *at);
        if let Some((at, _)) = broken {
            count = at.saturating_sub(pipe.written) as usize;
        }
        let at = self.net.arrival(line, &pipe);
        pipe.last = at;
        pipe.written += count as u64;
        pipe.bytes += count;
        if !pipe.silent && !pipe.broken && count > 0 {
            pipe.segments.push_back(Segment {
                at,
                written: now,
                bytes: bytes.get(..count).unwrap_or_default().to_vec(),
                taken: 0,
            });
        }
        if pipe.unread && !pipe.silent {
            // Whoever writes to a closed end is told so, a moment later.
            let told = now + line.latency + line.latency;
            drop(pipe);
            let mut back = line.pipes[1 - self.side].borrow_mut();
            back.reset = Some(back.reset.map_or(told, |at| at.min(told)));
            return Poll::Ready(Ok(count.max(1)));
        }
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
        let cut = pipe.cut.take_if(|_| broken.is_some());
        drop(pipe);
        if let Some((_, silent)) = cut {
            self.net.cut(line, self.side, silent);
        }
        // The writer learns of a break later, if at all: what did not go through is taken as written.
        Poll::Ready(Ok(if cut.is_some() {
            bytes.len().min(room)
        } else {
            count
        }))
    }

    fn finish(&self) {
        let line = &self.line;
        let mut pipe = line.pipes[self.side].borrow_mut();
        if pipe.fin.is_none() && !line.lives[self.side].is_dead() {
            let at = self.net.arrival(line, &pipe);
            pipe.last = at;
            pipe.fin = Some(at);
            pipe.wake();
        }
    }
}

impl Connection for Stream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok([self.line.from, self.line.to][self.side])
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok([self.line.to, self.line.from][self.side])
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::write(&self, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let line = &self.line;
        if self.side == 0 && line.left.get().is_none() {
            line.left.set(Some(self.net.now()));
        }
        if line.lives[self.side].is_dead() {
            // What the other side sees was decided when the host stopped.
            return;
        }
        self.finish();
        let mut other = line.pipes[1 - self.side].borrow_mut();
        other.unread = true;
        let lost = !other.segments.is_empty();
        other.wake();
        drop(other);
        if lost {
            // A system that closes with bytes unread resets, and what was under way may be lost with it.
            let mut pipe = line.pipes[self.side].borrow_mut();
            if !pipe.silent && self.net.0.dice.chance(500) {
                pipe.reset = Some(self.net.now() + line.latency);
            }
            pipe.wake();
        }
    }
}
