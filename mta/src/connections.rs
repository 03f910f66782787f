//! Open connections, inbound and outbound: what an operator sees of them, and how one is closed.
//!
//! Whoever holds a connection enters it in a [`Registry`] and keeps the [`Entry`]; it is struck out
//! when that is dropped. The list is read on another thread, which may also pull the connection's
//! [`Lever`]: the task that holds the connection learns of it wherever it waits for the peer.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use angarium_effects::Monotonic;
use angarium_queue::item::ItemId;
use angarium_queue::text::Text;
use angarium_smtp::reply::Reply;
use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that are open now, in the order in which they began.
#[derive(Debug)]
pub struct Registry<T>(Arc<Mutex<Open<T>>>);

#[derive(Debug)]
struct Open<T> {
    next: u64,
    list: BTreeMap<u64, Arc<T>>,
}

impl<T> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Registry(Arc::clone(&self.0))
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry(Arc::new(Mutex::new(Open {
            next: 0,
            list: BTreeMap::new(),
        })))
    }
}

impl<T> Registry<T> {
    /// Enters a connection for as long as the result lives.
    #[must_use]
    pub fn enter(&self, connection: T) -> Entry<T> {
        let connection = Arc::new(connection);
        let mut open = lock(&self.0);
        let number = open.next;
        open.next += 1;
        open.list.insert(number, Arc::clone(&connection));
        drop(open);
        Entry {
            registry: self.clone(),
            number,
            connection,
        }
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        lock(&self.0).list.values().map(Arc::clone).collect()
    }
}

/// A connection's place in the list.
#[derive(Debug)]
pub struct Entry<T> {
    registry: Registry<T>,
    number: u64,
    connection: Arc<T>,
}

impl<T> Entry<T> {
    /// The connection, for who must not keep it in the list.
    #[must_use]
    pub fn connection(&self) -> Arc<T> {
        Arc::clone(&self.connection)
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.connection
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        let gone = lock(&self.registry.0).list.remove(&self.number);
        // What it holds is freed outside the lock.
        drop(gone);
    }
}

/// Tells the task that holds a connection to end it.
#[derive(Debug)]
pub struct Lever<T> {
    pulled: AtomicBool,
    order: Mutex<Option<T>>,
    waker: AtomicWaker,
}

impl<T> Default for Lever<T> {
    fn default() -> Self {
        Lever {
            pulled: AtomicBool::new(false),
            order: Mutex::new(None),
            waker: AtomicWaker::new(),
        }
    }
}

impl<T> Lever<T> {
    /// Pulls it; false: somebody did before.
    pub fn pull(&self, order: T) -> bool {
        let mut place = lock(&self.order);
        let first = !self.pulled.load(Ordering::Acquire);
        if first {
            *place = Some(order);
            self.pulled.store(true, Ordering::Release);
        }
        drop(place);
        self.waker.wake();
        first
    }

    /// Whether it was pulled.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Acquire)
    }

    /// What was ordered; it is given once.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        if !self.is_pulled() {
            return None;
        }
        lock(&self.order).take()
    }

    /// Ready once it was pulled. One task at a time may wait.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_pulled() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        match self.is_pulled() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Waits until it is pulled.
    pub async fn pulled(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Inbound {
    /// Its id, as scripts and the log have it.
    pub id: String,
    /// The peer of the socket.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// When it was accepted.
    pub began: Monotonic,
    /// The peer's name, once it was looked up.
    pub remote_ptr: OnceLock<String>,
    /// Messages that reached their end.
    pub transactions: AtomicU32,
    /// Ends it with a reply.
    pub lever: Lever<Reply>,
}

/// A connection to a mail server.
#[derive(Debug)]
pub struct Outbound {
    /// Its id, as scripts see it.
    pub id: Text,
    /// The peer of the socket.
    pub remote: SocketAddr,
    /// The name of the host.
    pub remotemx: Text,
    /// When it began.
    pub began: Monotonic,
    now: Mutex<Doing>,
    /// Ends it without a word.
    pub(crate) lever: Lever<()>,
}

/// What a connection to a mail server is at.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Our end, once there is one; before that the address that it will have.
    pub local: Option<IpAddr>,
    /// Our port; 0 if there is none yet.
    pub localport: u16,
    /// What is awaited, in the names of the states of a delivery; `CONNECT` at first, `IDLE` between
    /// messages.
    pub state: &'static str,
    /// Since when.
    pub since: Monotonic,
    /// The message that is being delivered.
    pub item: Option<ItemId>,
    /// Messages begun.
    pub transactions: u32,
    /// Who closes it while it waits for another message, and its number there.
    keeper: Option<(mpsc::UnboundedSender<u64>, u64)>,
    /// It was told to go while it waited.
    leaving: bool,
}

impl Outbound {
    /// A connection that is about to be opened.
    #[must_use]
    pub fn new(
        id: Text,
        (remote, remotemx): (SocketAddr, Text),
        local: Option<IpAddr>,
        item: ItemId,
        began: Monotonic,
    ) -> Outbound {
        Outbound {
            id,
            remote,
            remotemx,
            began,
            now: Mutex::new(Doing {
                local,
                localport: 0,
                state: "CONNECT",
                since: began,
                item: Some(item),
                transactions: 0,
                keeper: None,
                leaving: false,
            }),
            lever: Lever::default(),
        }
    }

    /// What it is at.
    #[must_use]
    pub fn doing(&self) -> Doing {
        lock(&self.now).clone()
    }

    /// Our end is known.
    pub(crate) fn bound(&self, local: SocketAddr) {
        let mut now = lock(&self.now);
        now.local = Some(local.ip());
        now.localport = local.port();
    }

    /// It awaits something else.
    pub(crate) fn enter(&self, state: &'static str, transactions: u32, at: Monotonic) {
        let mut now = lock(&self.now);
        now.state = state;
        now.since = at;
        now.transactions = transactions;
    }

    /// It carries this message from now on, or none.
    pub(crate) fn carry(&self, item: Option<ItemId>) {
        lock(&self.now).item = item;
    }

    /// It waits for another message; who keeps it closes it when told its number.
    pub(crate) fn rest(&self, keeper: mpsc::UnboundedSender<u64>, number: u64) {
        let mut now = lock(&self.now);
        if self.lever.is_pulled() {
            // A keeper that is gone has closed its connections.
            let _ = keeper.send(number);
        }
        now.keeper = Some((keeper, number));
        now.item = None;
    }

    /// It is wanted for another message; false: it was told to go.
    pub(crate) fn resume(&self) -> bool {
        let mut now = lock(&self.now);
        now.keeper = None;
        !now.leaving
    }

    /// Closes it: with QUIT if it waits for a message, else at once. False: somebody did before.
    pub fn close(&self) -> bool {
        let mut now = lock(&self.now);
        match now.keeper.clone() {
            Some((keeper, number)) => {
                // A keeper that is gone has closed its connections.
                let told = keeper.send(number).is_ok();
                let first = !std::mem::replace(&mut now.leaving, true);
                first && told
            }
            None => self.lever.pull(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn outbound() -> Outbound {
        let to = (([192, 0, 2, 1], 25).into(), "mx.test".into());
        let item = ItemId {
            transaction: Uuid::from_u128(1),
            queue: 1,
        };
        Outbound::new("id".into(), to, None, item, Monotonic(Duration::ZERO))
    }

    #[test]
    fn a_connection_is_listed_while_its_entry_lives() {
        let registry = Registry::default();
        let first = registry.enter("first");
        let second = registry.enter("second");
        let names = || -> Vec<&str> { registry.list().iter().map(|of| **of).collect() };
        assert_eq!(names(), ["first", "second"]);
        drop(first);
        assert_eq!(names(), ["second"]);
        assert_eq!(*second, "second");
        drop(second);
        assert!(names().is_empty());
    }

    #[test]
    fn a_lever_wakes_who_waits_and_gives_its_order_once() {
        let lever = Lever::default();
        let mut waiting = Box::pin(lever.pulled());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(lever.take(), None::<u8>);
        assert!(lever.pull(1));
        assert!(!lever.pull(2), "the first order counts");
        assert_eq!(waiting.as_mut().now_or_never(), Some(()));
        assert_eq!((lever.take(), lever.take()), (Some(1), None));
        assert!(lever.is_pulled());
    }

    #[test]
    fn a_connection_that_waits_is_closed_by_who_keeps_it() {
        let (keeper, mut told) = mpsc::unbounded_channel();
        let connection = outbound();
        connection.rest(keeper.clone(), 7);
        assert_eq!(connection.doing().item, None);
        assert!(connection.close());
        assert!(!connection.close(), "once");
        assert_eq!(told.try_recv(), Ok(7));
        assert!(!connection.lever.is_pulled());
        assert!(!connection.resume(), "it is of no more use");
        let busy = outbound();
        busy.rest(keeper, 8);
        assert!(busy.resume());
        assert!(busy.close());
        assert!(busy.lever.is_pulled());
        assert!(told.try_recv().is_ok(), "the second close told it again");
        assert!(told.try_recv().is_err());
    }
}
