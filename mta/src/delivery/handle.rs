//! The way to the queue, for every thread.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use angarium_queue::index::{QuotaUse, State};
use angarium_queue::item::{Item, ItemId};
use angarium_queue::scheduler::{Control, Counters, Finding, Input, InputError, Running};
use angarium_queue::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::attempt::Wishes;
use super::idle::IdleCounts;
use super::policies::Alter;
use super::service::Queue;
use super::trace::{Follow, Following};
use super::{Core, Live, Switchboard};
use crate::connections::Outbound;
use crate::counts::Distribution;

/// Messages that wait for the service; more make their senders wait.
const MAILBOX: usize = 4096;

/// A look at the queue, on its thread.
pub(super) type Look = Box<dyn FnOnce(&Queue, Timestamp) + Send>;

/// A message for the service.
pub(super) enum Message {
    /// The end of a job; after predelivery with what the script wants of the attempt.
    Answer(Box<Input>, Option<Arc<Wishes>>),
    Control {
        id: ItemId,
        action: Box<Control>,
        reply: oneshot::Sender<Result<(), InputError>>,
    },
    /// The same for several items, one after the other.
    Controls {
        wishes: Vec<(ItemId, Control)>,
        reply: oneshot::Sender<Vec<Result<(), InputError>>>,
    },
    /// A change of policies or suspends.
    Alter(Alter),
    Inspect(Look),
    Configure(Arc<Live>),
    Stop {
        grace: Duration,
        reply: oneshot::Sender<()>,
    },
}

/// Reaches the service from any thread. Clones reach the same one.
#[derive(Clone)]
pub struct Handle {
    mailbox: mpsc::Sender<Message>,
    /// New items. There is no bound here: an item takes the same memory in the queue a moment later,
    /// and what comes in is slowed down by its sync.
    news: mpsc::UnboundedSender<Vec<Item>>,
    room: Arc<Room>,
    /// The connections, once there is a service.
    core: Arc<OnceLock<Arc<Core>>>,
}

/// How much of `queues.maxmessages` is taken.
#[derive(Default)]
struct Room {
    /// The bound; 0: none.
    limit: AtomicUsize,
    /// Items that the service holds.
    held: AtomicUsize,
    /// Items that were handed over and are not counted in `held` yet, so that whoever was answered
    /// 250 is never too early with the next message.
    coming: AtomicUsize,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// The service has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue has stopped")]
pub struct Stopped;

/// Why a wish for an item was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The queue refuses.
    #[error(transparent)]
    Refused(#[from] InputError),
    /// There is no queue.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// How much the queue holds and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items in all.
    pub items: usize,
    /// Items in ACTIVE.
    pub active: usize,
    /// Items in DEFER.
    pub defer: usize,
    /// Items in SENDING.
    pub sending: usize,
    /// Items in HOLD.
    pub hold: usize,
    /// What goes on now.
    pub running: Running,
    /// Since the start.
    pub totals: Counters,
}

impl Handle {
    /// Hands over items that are in the spool and synced. It never waits; without a service they are
    /// found at the next start.
    pub fn committed(&self, items: Vec<Item>) {
        self.room.coming.fetch_add(items.len(), Ordering::Relaxed);
        let _ = self.news.send(items);
    }

    /// The end of a [`SpoolStore`](crate::server::SpoolStore) that leads here.
    #[must_use]
    pub fn sink(&self) -> crate::server::spooled::Sink {
        let handle = self.clone();
        Box::new(move |items| handle.committed(items))
    }

    /// Whether `queues.maxmessages` allows new mail.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limit = self.room.limit.load(Ordering::Relaxed);
        let coming = self.room.coming.load(Ordering::Acquire);
        let held = self.room.held.load(Ordering::Relaxed);
        limit == 0 || held.saturating_add(coming) < limit
    }

    /// Carries out an operator's wish for an item: hold, release, retry, bounce, delete and the rest.
    /// It is accepted when this returns; what it changes is written next.
    ///
    /// # Errors
    /// The queue refuses it or has stopped.
    pub async fn control(&self, id: ItemId, action: Control) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        let action = Box::new(action);
        let message = Message::Control { id, action, reply };
        self.mailbox.send(message).await.map_err(|_| Stopped)?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// Carries out wishes for several items in one step; each has its own result. A few hundred at a
    /// time leave the queue free for others.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn controls(
        &self,
        wishes: Vec<(ItemId, Control)>,
    ) -> Result<Vec<Result<(), InputError>>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Controls { wishes, reply };
        self.mailbox.send(message).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Looks at the queue. `look` runs on the service's thread and must be quick.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Queue) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.inspect_at(|queue, _| look(queue)).await
    }

    /// Looks at the queue and is told the time by its clock.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn inspect_at<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Queue, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |queue: &Queue, now| {
            let _ = reply.send(look(queue, now));
        });
        self.mailbox
            .send(Message::Inspect(look))
            .await
            .map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// How much the queue holds and does.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn counts(&self) -> Result<Counts, Stopped> {
        self.inspect(|queue| Counts {
            items: queue.len(),
            active: queue.count(State::Active),
            defer: queue.count(State::Defer),
            sending: queue.count(State::Sending),
            hold: queue.count(State::Hold),
            running: queue.running(),
            totals: queue.counters(),
        })
        .await
    }

    /// The items that `fits` chooses, with their states, in the order of ids.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn items(
        &self,
        fits: impl Fn(&Item, State) -> bool + Send + 'static,
    ) -> Result<Vec<(Item, State)>, Stopped> {
        self.inspect(move |queue| {
            let chosen = queue.items().filter(|(item, state)| fits(item, *state));
            chosen.map(|(item, state)| (item.clone(), state)).collect()
        })
        .await
    }

    /// What is tied to a quota: messages and their bytes.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn quota(&self, name: Vec<u8>) -> Result<QuotaUse, Stopped> {
        self.inspect(move |queue| queue.quota(&name)).await
    }

    /// Items that nothing will move, and those that are older than their greatest age: none, unless
    /// something is wrong.
    ///
    /// # Errors
    /// The queue has stopped.
    pub async fn audit(&self) -> Result<Vec<Finding>, Stopped> {
        self.inspect_at(|queue, now| queue.audit(now)).await
    }

    pub(super) async fn alter(&self, alter: Alter) -> Result<(), Stopped> {
        let sent = self.mailbox.send(Message::Alter(alter)).await;
        sent.map_err(|_| Stopped)
    }

    /// Takes new settings and scripts. Items between predelivery and postdelivery keep the old ones.
    pub async fn configure(&self, live: Arc<Live>) {
        let _ = self.mailbox.send(Message::Configure(live)).await;
    }

    /// Stops: starts nothing more, lets what runs end for up to `grace`, then returns. Everything
    /// else is on disk. The workers must live until then.
    pub async fn stop(&self, grace: Duration) {
        let (reply, stopped) = oneshot::channel();
        if self
            .mailbox
            .send(Message::Stop { grace, reply })
            .await
            .is_ok()
        {
            let _ = stopped.await;
        }
    }

    /// The idle connections of all workers.
    #[must_use]
    pub fn idle(&self) -> IdleCounts {
        let core = self.core.get();
        core.map_or_else(IdleCounts::default, |core| core.idle.counts())
    }

    /// How long attempts took.
    #[must_use]
    pub fn times(&self) -> Distribution {
        let core = self.core.get();
        core.map_or_else(Distribution::default, |core| core.times.read())
    }

    /// Messages that it holds or that are on their way into it.
    #[must_use]
    pub fn held(&self) -> usize {
        let coming = self.room.coming.load(Ordering::Acquire);
        self.room
            .held
            .load(Ordering::Relaxed)
            .saturating_add(coming)
    }

    /// Where connections that others make are listed and followed beside its own.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        let core = self.core.get();
        core.map_or_else(Switchboard::default, |core| Switchboard {
            connections: core.connections.clone(),
            traces: Arc::clone(&core.traces),
        })
    }

    /// The connections that are open now.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Outbound>> {
        let core = self.core.get();
        core.map_or_else(Vec::new, |core| core.connections.list())
    }

    /// Follows deliveries; none without a service.
    #[must_use]
    pub fn follow(&self, what: Follow) -> Option<Following> {
        Some(self.core.get()?.traces.begin(what))
    }

    /// For the service: these are its connections.
    pub(super) fn lead_to(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::clone(core));
    }

    /// For the service: sets `queues.maxmessages`.
    pub(super) fn set_limit(&self, limit: usize) {
        self.room.limit.store(limit, Ordering::Relaxed);
    }

    /// For the service: it holds so many items, among them `arrived` of those that were on their way.
    pub(super) fn set_held(&self, held: usize, arrived: usize) {
        self.room.held.store(held, Ordering::Relaxed);
        self.room.coming.fetch_sub(arrived, Ordering::Release);
    }

    pub(super) async fn answer(&self, input: Input, wishes: Option<Arc<Wishes>>) {
        let message = Message::Answer(Box::new(input), wishes);
        let _ = self.mailbox.send(message).await;
    }
}

/// What the service reads.
pub(super) struct Inbox {
    pub messages: mpsc::Receiver<Message>,
    pub news: mpsc::UnboundedReceiver<Vec<Item>>,
}

pub(super) fn channel() -> (Handle, Inbox) {
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let (sender, news) = mpsc::unbounded_channel();
    let handle = Handle {
        mailbox,
        news: sender,
        room: Arc::default(),
        core: Arc::default(),
    };
    (handle, Inbox { messages, news })
}
