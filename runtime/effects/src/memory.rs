//! A network in memory, for tests and the simulator: listeners, connections and faults of one thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::LocalFuture;
use crate::net::{Accepted, Connect, Connection, Listener, Net};

/// Bytes that are under way in one direction before a writer has to wait.
const WINDOW: usize = 64 << 10;
/// The first port that is given where none is asked for.
const FIRST_PORT: u16 = 49152;

/// A network in memory. Clones are the same network.
///
/// A connection to an address where nobody listens is refused. Bytes arrive at once and in order.
#[derive(Clone)]
pub struct MemoryNet {
    state: Rc<State>,
}

struct State {
    listeners: RefCell<HashMap<SocketAddr, Rc<Queue>>>,
    next_port: Cell<u16>,
    /// The address of this host, for connections without a source.
    address: IpAddr,
    window: Cell<usize>,
}

/// Connections that wait to be accepted.
#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Pending>>,
    failures: RefCell<VecDeque<io::Error>>,
    waker: RefCell<Option<Waker>>,
    turned_away: Cell<usize>,
}

struct Pending {
    stream: DuplexStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Default for MemoryNet {
    fn default() -> Self {
        MemoryNet::new(Ipv4Addr::LOCALHOST.into())
    }
}

impl MemoryNet {
    /// A network as seen by a host at `address`.
    #[must_use]
    pub fn new(address: IpAddr) -> MemoryNet {
        MemoryNet {
            state: Rc::new(State {
                listeners: RefCell::default(),
                next_port: Cell::new(FIRST_PORT),
                address,
                window: Cell::new(WINDOW),
            }),
        }
    }

    /// Sets how many bytes are under way in one direction of later connections.
    pub fn set_window(&self, bytes: usize) {
        self.state.window.set(bytes.max(1));
    }

    /// Makes the next calls of `accept` at `at` fail, once for each error.
    pub fn fail_accept(&self, at: SocketAddr, errors: impl IntoIterator<Item = io::Error>) {
        if let Some(queue) = self.find(at) {
            queue.failures.borrow_mut().extend(errors);
            queue.wake();
        }
    }

    /// How many connections were turned away at `at`.
    #[must_use]
    pub fn turned_away(&self, at: SocketAddr) -> usize {
        self.find(at).map_or(0, |queue| queue.turned_away.get())
    }

    fn find(&self, at: SocketAddr) -> Option<Rc<Queue>> {
        let any = match at {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let listeners = self.state.listeners.borrow();
        listeners
            .get(&at)
            .or_else(|| listeners.get(&SocketAddr::new(any, at.port())))
            .cloned()
    }

    fn port(&self) -> u16 {
        let port = self.state.next_port.get();
        let next = port.checked_add(1).unwrap_or(FIRST_PORT);
        self.state.next_port.set(next);
        port
    }

    fn open(&self, to: SocketAddr, how: &Connect) -> io::Result<Box<dyn Connection>> {
        let queue = self.find(to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let local = SocketAddr::new(how.source.unwrap_or(self.state.address), self.port());
        let (ours, theirs) = tokio::io::duplex(self.state.window.get());
        queue.waiting.borrow_mut().push_back(Pending {
            stream: theirs,
            local: to,
            peer: local,
        });
        queue.wake();
        Ok(Box::new(Stream {
            stream: ours,
            local,
            peer: to,
        }))
    }
}

impl Net for MemoryNet {
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        let opened = self.open(to, how);
        Box::pin(async move { opened })
    }

    fn listen(&self, at: SocketAddr, _backlog: Option<u32>) -> io::Result<Rc<dyn Listener>> {
        let port = if at.port() == 0 {
            self.port()
        } else {
            at.port()
        };
        let at = SocketAddr::new(at.ip(), port);
        let mut listeners = self.state.listeners.borrow_mut();
        if listeners.contains_key(&at) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let queue = Rc::new(Queue::default());
        listeners.insert(at, Rc::clone(&queue));
        Ok(Rc::new(MemoryListener {
            net: self.clone(),
            at,
            queue,
        }))
    }
}

impl Queue {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct MemoryListener {
    net: MemoryNet,
    at: SocketAddr,
    queue: Rc<Queue>,
}

impl Listener for MemoryListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(poll_fn(|context| {
            if let Some(error) = self.queue.failures.borrow_mut().pop_front() {
                return Poll::Ready(Err(error));
            }
            if let Some(pending) = self.queue.waiting.borrow_mut().pop_front() {
                let accepted: Box<dyn Accepted> = Box::new(pending);
                return Poll::Ready(Ok(accepted));
            }
            self.queue.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        }))
    }

    fn turn_away(&self, reply: &[u8]) -> io::Result<bool> {
        let Some(mut pending) = self.queue.waiting.borrow_mut().pop_front() else {
            return Ok(false);
        };
        self.queue
            .turned_away
            .set(self.queue.turned_away.get().saturating_add(1));
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut pending.stream).poll_write(&mut context, reply);
        Ok(true)
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.net.state.listeners.borrow_mut().remove(&self.at);
    }
}

impl Accepted for Pending {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Connection>> {
        let Pending {
            stream,
            local,
            peer,
        } = *self;
        Ok(Box::new(Stream {
            stream,
            local,
            peer,
        }))
    }
}

struct Stream {
    stream: DuplexStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Connection for Stream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn bytes_go_both_ways_between_the_right_addresses() {
        let net = MemoryNet::default();
        let listener = net.listen(at("0.0.0.0:0"), None).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let server = SocketAddr::new([192, 0, 2, 25].into(), port);
        let how = Connect {
            source: Some([192, 0, 2, 1].into()),
            ..Connect::default()
        };
        let mut client = net.connect(server, &how).await.expect("a connection");
        let accepted = listener.accept().await.expect("a connection");
        assert_eq!(accepted.peer_addr().ip(), IpAddr::from([192, 0, 2, 1]));
        let mut accepted = accepted.adopt().expect("a connection");
        assert_eq!(accepted.local_addr().expect("an address"), server);
        client.write_all(b"ping").await.expect("sent");
        let mut bytes = [0; 4];
        accepted.read_exact(&mut bytes).await.expect("received");
        accepted.write_all(b"pong").await.expect("sent");
        accepted.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("received");
        assert_eq!((&bytes, answer.as_slice()), (b"ping", b"pong".as_slice()));
    }

    #[tokio::test]
    async fn nobody_listening_means_refused_and_a_taken_port_is_busy() {
        let net = MemoryNet::default();
        let refused = net.connect(at("192.0.2.1:25"), &Connect::default()).await;
        assert_eq!(
            refused.err().map(|error| error.kind()),
            Some(io::ErrorKind::ConnectionRefused)
        );
        let first = net.listen(at("127.0.0.1:25"), None).expect("a listener");
        let second = net.listen(at("127.0.0.1:25"), None);
        assert_eq!(
            second.err().map(|error| error.kind()),
            Some(io::ErrorKind::AddrInUse)
        );
        drop(first);
        assert!(net.listen(at("127.0.0.1:25"), None).is_ok());
    }

    #[tokio::test]
    async fn a_system_listener_turns_clients_away() {
        let net = crate::system::SystemNet;
        let listener = net.listen(at("127.0.0.1:0"), None).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut client = net
            .connect(address, &Connect::default())
            .await
            .expect("a connection");
        // The listener learns of the client through its runtime.
        while !listener.turn_away(b"421 busy\r\n").expect("the reserve") {
            tokio::task::yield_now().await;
        }
        assert!(!listener.turn_away(b"421 busy\r\n").expect("the reserve"));
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("received");
        assert_eq!(answer, b"421 busy\r\n");
        let mut next = net
            .connect(address, &Connect::default())
            .await
            .expect("a connection");
        let accepted = listener.accept().await.expect("a connection");
        assert_eq!(accepted.peer_addr(), next.local_addr().expect("an address"));
        let mut accepted = accepted.adopt().expect("a connection");
        accepted.write_all(b"220").await.expect("sent");
        drop(accepted);
        let mut answer = Vec::new();
        next.read_to_end(&mut answer).await.expect("received");
        assert_eq!(answer, b"220");
    }
}
