//! The way of mail out of scripts: `queue()`, `send()` and `mail()` of the classes of the library.
//!
//! [`Outbox`] is the process's; a [`Post`] is that of one execution. What is queued takes the path of received mail: the body
//! through a writer of the store, the copy with its commit. In the eod hook the copy waits for the hook's own commit, and
//! is gone with it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use angarium_config::HookType;
use angarium_mail::edits::{Edits, Modified};
use angarium_mail::header::HeaderBlock;
use angarium_mail::source::Source;
use angarium_queue::dsn::DsnRequest;
use angarium_queue::item::{Address, Item, ItemId, Pairs, Priority};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::host::Host;
use angarium_runtime::native::{LocalFuture, Outcome, Throw};
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::server::StoreFailure;
use angarium_stdlib::mailer::{Content, Deliver, MailService, Mailer, Order, unknown_transport};
use uuid::Uuid;

use super::eod;
use super::options::{Reader, dsn_request};
use super::variables::Map;
use super::{envelope, inline};
use crate::delivery::inline::Surroundings;
use crate::delivery::{Handle, Live, Settings, Switchboard};
use crate::log::{Log, Severity};
use crate::scripts::Scripts;
use crate::server::{Change, Queued, Store, StoredMail};
use crate::worker::Worker;

/// The largest list of edits that is stored beside the original; above it the changed copy is (mta.md 2.3).
const MAX_EDITS: usize = 64 * 1024;
/// Bytes of a body that are written at once.
const CHUNK: usize = 256 * 1024;

/// The way out of all scripts of a process. Clones are the same; it is closed until it is opened.
#[derive(Clone, Default)]
pub struct Outbox(Arc<RwLock<Ways>>);

/// What the process has, as long as it has it.
#[derive(Default)]
struct Ways {
    store: Option<Weak<dyn Store>>,
    live: Weak<Live>,
    queue: Option<Handle>,
}

impl Outbox {
    /// Leads into this store from now on.
    pub fn open(&self, store: &Arc<dyn Store>) {
        let mut ways = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ways.store = Some(Arc::downgrade(store));
    }

    /// Sends by these settings from now on.
    pub fn configure(&self, live: &Arc<Live>) {
        let mut ways = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ways.live = Arc::downgrade(live);
    }

    /// Lists its connections with those of this queue from now on.
    pub fn list_in(&self, queue: Handle) {
        let mut ways = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ways.queue = Some(queue);
    }

    /// The way for one execution of a hook: which, the id of its lines in the log, the log. A server brings its own `store`.
    #[must_use]
    pub fn mailer(
        &self,
        worker: &Rc<Worker>,
        store: Option<Weak<dyn Store>>,
        scripts: &Arc<Scripts>,
        hook: (HookType, &str, &Arc<dyn Log>),
    ) -> Post {
        let (hook, id, log) = hook;
        let ways = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Post {
            worker: Rc::clone(worker),
            store: store.or_else(|| ways.store.clone()),
            live: Weak::clone(&ways.live),
            board: ways
                .queue
                .as_ref()
                .map_or_else(Switchboard::default, Handle::switchboard),
            transports: Rc::new(scripts.transports()),
            scripts: Arc::clone(scripts),
            log: Arc::clone(log),
            hook,
            id: id.to_owned(),
        }
    }
}

/// The way out of one execution.
#[derive(Clone)]
pub struct Post {
    pub(super) worker: Rc<Worker>,
    store: Option<Weak<dyn Store>>,
    pub(super) live: Weak<Live>,
    pub(super) board: Switchboard,
    transports: Rc<BTreeSet<String>>,
    pub(super) scripts: Arc<Scripts>,
    log: Arc<dyn Log>,
    hook: HookType,
    id: String,
}

impl Post {
    /// Lets the script of `host` reach it.
    pub fn install(&self, host: &Host) {
        let eod = host.extension::<eod::Mail>();
        let post = self.clone();
        host.extend(Rc::new(MailService(Rc::new(Way { post, eod }))));
    }
}

/// What the library calls.
struct Way {
    post: Post,
    /// The message of the transaction, in the eod hook.
    eod: Option<Rc<eod::Mail>>,
}

impl Mailer for Way {
    fn queue(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        let Order { function, .. } = order;
        let transport_id = to_str(order.to).to_text().into_owned();
        let post = self.post.clone();
        if !post.transports.contains(&transport_id) {
            return Err(unknown_transport(function, &transport_id));
        }
        let Some(store) = post.store.as_ref().and_then(Weak::upgrade) else {
            return Err(Throw::error(format!("{function}: there is no queue here")));
        };
        let (sender, recipient) = (order.sender, order.recipients);
        let wish = Wish::read(function, sender, recipient, transport_id, order.options)?;
        let eod = self.eod.clone();
        Ok(Box::new(move |content| {
            let queued: LocalFuture<Outcome> = Box::pin(async move {
                let done = queue(&post, &*store, wish, content, eod.as_deref()).await;
                match done {
                    Ok(id) => Ok(Map::default()
                        .with("transaction", id.transaction.to_string())
                        .with("queue", id.queue as f64)
                        .into()),
                    Err(why) => {
                        let line = format!("{function}: the message was not queued: {why}");
                        post.log.line(Severity::Error, &post.id, &line);
                        Ok(Value::None)
                    }
                }
            });
            queued
        }))
    }

    fn keeps(&self) -> bool {
        self.eod.is_some()
    }

    fn send(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        let post = &self.post;
        let Some(live) = post.live.upgrade() else {
            let function = order.function;
            return Err(Throw::error(format!(
                "{function}: there is no mail client here"
            )));
        };
        let sender = inline::Sender {
            around: Surroundings::of(&post.worker, post.board.clone()),
            settings: OfLive(live),
            names: post.scripts.names(),
            addresses: post.scripts.addresses().clone(),
        };
        inline::send(sender, &order)
    }
}

/// The settings of a server that runs.
struct OfLive(Arc<Live>);

impl Deref for OfLive {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0.settings
    }
}

/// Writes a message and queues it: at once, or with the message of the transaction.
async fn queue(
    post: &Post,
    store: &dyn Store,
    wish: Wish,
    content: Content,
    eod: Option<&eod::Mail>,
) -> Result<ItemId, String> {
    let worker = &post.worker;
    if let Some(why) = store.refusal(worker) {
        return Err(why);
    }
    let failed = |failure: StoreFailure| format!("{failure:?}");
    let mail = write(store, worker, &content.source)
        .await
        .map_err(failed)?;
    let change = change(store, worker, &mail, &content.edits)
        .await
        .map_err(failed)?;
    let id = ItemId {
        transaction: Uuid::from_bytes(worker.effects.random.uuid()),
        queue: 1,
    };
    let sender = Address::new(wish.sender.localpart(), wish.sender.domain());
    let recipient = Address::new(wish.recipient.localpart(), wish.recipient.domain());
    let now = Timestamp::from_unix(worker.effects.clock.unix());
    let transport = Text::from(wish.transport_id.as_str());
    let mut item = Item::new(id, now, sender, recipient, transport);
    item.size = content.edits.modified_size();
    let header = HeaderBlock::read(&*content.source).ok();
    let subject = header.and_then(|header| header.value(b"subject", 0, true));
    item.subject = subject.map(Text::from);
    wish.apply(
        &mut item,
        worker,
        &format!("queue() in the {} hook", post.hook),
    );
    let queued = Queued { item, mail, change };
    match eod {
        Some(eod) => eod.add_made(queued),
        None => store.commit(worker, vec![queued]).await.map_err(failed)?,
    }
    Ok(id)
}

/// Gives a message to the store.
async fn write(
    store: &dyn Store,
    worker: &Rc<Worker>,
    source: &Arc<dyn Source + Send + Sync>,
) -> Result<StoredMail, StoreFailure> {
    let mut writer = store.begin(worker)?;
    let (mut at, length) = (0, source.len());
    while at < length {
        let end = at.saturating_add(CHUNK as u64).min(length);
        let chunk = match source.as_bytes() {
            Some(_) => source.read_range(at..end),
            None => {
                let source = Arc::clone(source);
                let read = worker.pool.call(move || source.read_range(at..end));
                read.await.map_err(|_| StoreFailure::Broken)?
            }
        };
        writer
            .append(chunk.map_err(|_| StoreFailure::Broken)?)
            .await?;
        at = end;
    }
    writer.finish().await
}

/// How a copy with these edits differs from `mail`: by the edits, or by being another message when they are many.
///
/// # Errors
/// It cannot be written.
pub async fn change(
    store: &dyn Store,
    worker: &Rc<Worker>,
    mail: &StoredMail,
    edits: &Edits,
) -> Result<Change, StoreFailure> {
    if edits.is_empty() {
        return Ok(Change::None);
    }
    let bytes = edits.to_bytes();
    if bytes.len() <= MAX_EDITS {
        return Ok(Change::Edits(bytes.into()));
    }
    let now = i64::try_from(worker.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let source = super::session::MailSource(mail.clone());
    let modified = Modified::new(source, Arc::new(edits.clone()), now);
    let modified = modified.map_err(|_| StoreFailure::Broken)?;
    let modified: Arc<dyn Source + Send + Sync> = Arc::new(modified);
    Ok(Change::Replaced(write(store, worker, &modified).await?))
}

/// Envelope and options of one `queue()` (group QUEUEOPTS).
#[derive(Debug, Clone)]
pub struct Wish {
    /// Envelope sender.
    pub sender: ReversePath,
    /// Envelope recipient.
    pub recipient: Mailbox,
    /// Transport.
    pub transport_id: String,
    /// `metadata`
    pub metadata: Pairs,
    /// `hold`
    pub hold: bool,
    /// `jobid`
    pub jobid: Option<Text>,
    /// `tenantid`
    pub tenantid: Option<Text>,
    /// `priority`; none: that of the transaction.
    pub priority: Option<Priority>,
    /// `requiretls`
    pub requiretls: bool,
    /// `quotas`
    pub quotas: Vec<Text>,
    /// `delay`
    pub delay: Duration,
    /// `dsn`
    pub dsn: DsnRequest,
}

impl Wish {
    /// Reads the arguments of `function`.
    ///
    /// # Errors
    /// An Exception for addresses and options that cannot be.
    pub fn read(
        function: &'static str,
        sender: &Value,
        recipient: &Value,
        transport_id: String,
        options: &Value,
    ) -> Result<Wish, Throw> {
        let reader = Reader::new(function, options);
        let priority = match reader.get("priority").map(|priority| to_integer(&priority)) {
            None => None,
            Some(number) => {
                let priority = u64::try_from(number).ok().and_then(Priority::from_number);
                Some(priority.ok_or_else(|| reader.refuse("priority", "expected 0 or 1"))?)
            }
        };
        let dsn = match reader.array("dsn")? {
            Some(dsn) => dsn_request(function, &dsn)?,
            None => DsnRequest::default(),
        };
        let optional =
            |name: &str| Ok::<_, Throw>(reader.text(name)?.filter(|text| !text.is_empty()));
        Ok(Wish {
            sender: envelope::reverse_path(sender, &format!("{function}: sender"))?,
            recipient: envelope::mailbox(recipient, &format!("{function}: recipient"))?,
            transport_id,
            metadata: reader.pairs("metadata")?.unwrap_or_default(),
            hold: reader.boolean("hold").unwrap_or(false),
            jobid: optional("jobid")?,
            tenantid: optional("tenantid")?,
            priority,
            requiretls: reader.boolean("requiretls").unwrap_or(false),
            quotas: reader.texts("quotas")?,
            delay: reader.seconds("delay")?.unwrap_or_default(),
            dsn,
        })
    }

    /// Gives an item what was wished; `origin` is who has it wait.
    pub fn apply(self, item: &mut Item, worker: &Worker, origin: &str) {
        item.metadata = self.metadata;
        item.hold = self.hold;
        item.jobid = self.jobid;
        item.tenantid = self.tenantid;
        item.priority = self.priority.unwrap_or(item.priority);
        if self.requiretls {
            let known = item.senderparams.iter();
            let known = known.map(|(name, value)| (name.clone(), value.clone()));
            let all = known.chain([(Text::from("REQUIRETLS"), Text::default())]);
            // One short word more, in a list that is far from its limit.
            item.senderparams = Pairs::new(all).unwrap_or_default();
        }
        item.quotas = self.quotas.into();
        item.dsn = self.dsn;
        if !self.delay.is_zero() {
            let now = Timestamp::from_unix(worker.effects.clock.unix());
            item.retryts = Some(now.after(self.delay));
        }
        if item.hold || item.retryts.is_some() {
            item.waits_by = Some(origin.into());
        }
    }
}
