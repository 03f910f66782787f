//! The commands: which message goes where.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use angarium_control::frame::Request;
use angarium_control::proto::{self, QueueGroupByRequest, QueueListRequest, QueueUpdateRequest};
use angarium_control::{Command, Message};
use angarium_effects::LocalFuture;
use angarium_queue::time::Timestamp;
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_spool::Spool;
use angarium_stdlib::metrics::Metrics;
use angarium_stdlib::rate::Rates;

use super::convert::read_item_id;
use super::filter::Filter;
use super::server::Desk;
use super::{connections, files, groupby, hsl, list, names, policies, stats, update, why};
use crate::counts::ScriptCounters;
use crate::delivery::Handle;
use crate::monitor::{Health, Monitoring};
use crate::pool::HeavyPool;
use crate::resolver::Resolver;
use crate::server::VirtualServer;
use crate::staging::{Stage, Stages};

/// What of the configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but `smtpd.yaml`.
    All,
    /// `smtpd-policy.yaml`
    Policies,
    /// `smtpd-suspend.yaml`
    Suspends,
    /// `smtpd-delivery.yaml`
    Delivery,
    /// The settings of the resolver.
    Resolver,
}

impl Part {
    /// The file, by the name that it usually has.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Part::All | Part::Resolver => "smtpd-app.yaml",
            Part::Policies => "smtpd-policy.yaml",
            Part::Suspends => "smtpd-suspend.yaml",
            Part::Delivery => "smtpd-delivery.yaml",
        }
    }
}

/// Counters of the process that belong to nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Servers by id: connections now, and at most.
    pub servers: Vec<(String, u64, u64)>,
    /// The most answers that the resolver keeps, and the most questions under way.
    pub resolver: (u64, u64),
    /// Threads that run scripts.
    pub workers: u64,
    /// Jobs that wait for these threads to begin them.
    pub waiting: u64,
}

/// What an operator may do with the server as a whole.
pub trait Admin: Send + Sync {
    /// Reads a part of the configuration again; all of it is taken, or nothing.
    fn reload(&self, part: Part) -> LocalFuture<'_, Result<(), String>>;

    /// Checks the text of a `smtpd-app.yaml` as a reload would.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn check(&self, config: &str) -> Result<(), String>;

    /// Counters of the process.
    fn process(&self) -> Process;

    /// How it is watched.
    fn monitoring(&self) -> Monitoring {
        Monitoring::default()
    }

    /// Begins a stage ([`crate::staging`]) in place of the one that there is.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn stage(&self, _: proto::ConfigGreenDeployRequest) -> Result<Arc<Stage>, String> {
        Err("Not supported: live staging".to_owned())
    }

    /// The stage that there is.
    fn stages(&self) -> Option<&Arc<Stages>> {
        None
    }

    /// The servers that take mail.
    fn servers(&self) -> &[Arc<VirtualServer>] {
        &[]
    }
}

/// Whom the commands reach.
pub struct Backend {
    /// The queue.
    pub queue: Handle,
    /// Where its messages are.
    pub spool: Spool,
    /// Threads for reading and writing them.
    pub pool: Arc<HeavyPool>,
    /// The store of `memory_*`.
    pub memory: SharedMemory,
    /// The caches of scripts.
    pub caches: Caches,
    /// The hits of `rate`.
    pub rates: Arc<Rates>,
    /// Name resolution; none in tests.
    pub resolver: Option<Resolver>,
    /// Counts of the hooks.
    pub scripts: ScriptCounters,
    /// What scripts count.
    pub metrics: Arc<Metrics>,
    /// How it is.
    pub health: Arc<Health>,
    /// The server as a whole.
    pub admin: Arc<dyn Admin>,
}

/// What ends with a connection: a stage that it has begun, scripts that stand still for it.
#[derive(Default)]
pub(super) struct Bound {
    stage: RefCell<Option<Arc<Stage>>>,
    /// It has waited for scripts at debug points.
    debugs: Cell<bool>,
}

impl Bound {
    fn set(&self, stage: Option<Arc<Stage>>) {
        *self.stage.borrow_mut() = stage;
    }

    /// The connection is that of a debugger.
    pub fn debugs(&self) {
        self.debugs.set(true);
    }

    /// The connection is over: nothing waits for it any more.
    pub fn end(&self, backend: &Backend) {
        let Some(stages) = backend.admin.stages() else {
            return;
        };
        if let Some(stage) = self.stage.take() {
            stages.cancel(Some(&stage));
        }
        if self.debugs.get() {
            stages.hub.leave();
        }
    }
}

/// The stage that there is, where there can be one.
pub(super) fn stages(backend: &Backend) -> Result<&Arc<Stages>, String> {
    let stages = backend.admin.stages();
    stages.ok_or_else(|| "Not supported: live staging".to_owned())
}

/// Carries out a request.
///
/// # Errors
/// The reason, for the client.
pub(super) async fn answer(
    desk: &Rc<Desk>,
    request: &Request,
    bound: &Bound,
) -> Result<Vec<u8>, String> {
    let command = Command::of(request.letter).ok_or("Unknown command")?;
    if let Some(why) = command.refused {
        return Err(why.to_owned());
    }
    let backend = &desk.backend;
    let (queue, memory) = (&backend.queue, &backend.memory);
    let body = &request.body[..];
    let reload = |part| backend.admin.reload(part);
    match command.letter {
        b'F' => {
            let wanted: QueueListRequest = read(body)?;
            let filter = filter(desk, wanted.conditions.as_ref())?;
            let listed = list::list(queue, filter, &wanted).await;
            listed.map_err(|stopped| stopped.to_string())
        }
        b'D' => {
            let wanted: QueueGroupByRequest = read(body)?;
            let filter = filter(desk, wanted.conditions.as_ref())?;
            done(&groupby::group(queue, filter, &wanted, now(desk)).await?)
        }
        b'G' => {
            let wanted: QueueUpdateRequest = read(body)?;
            let filter = filter(desk, wanted.conditions.as_ref())?;
            let changes = update::Changes::new(&wanted, now(desk))?;
            let limit = wanted.paging.unwrap_or_default().limit;
            if wanted.duplicate {
                return done(&files::duplicate(desk, filter, &changes, limit).await?);
            }
            #[expect(clippy::cast_precision_loss, reason = "32 bits")]
            let chance = || (desk.random.next_u64() >> 32) as f64 / 4_294_967_296.0;
            done(&update::update(queue, filter, changes, limit, chance).await?)
        }
        b'J' => {
            let wanted: proto::QueueUnloadRequest = read(body)?;
            let filter = filter(desk, wanted.conditions.as_ref())?;
            done(&files::unload(desk, filter, &wanted).await?)
        }
        b'E' => done(&files::import(desk, read(body)?).await?),
        b'L' => {
            let wanted: proto::QueueExportRequest = read(body)?;
            files::export(desk, read_item_id(wanted.id.as_ref())?).await
        }
        b'X' => done(&names::query(backend.resolver.as_ref(), &read(body)?).await?),
        b'C' => done(&names::clear(backend.resolver.as_ref(), &read(body)?)?),
        b'I' => {
            let wanted: proto::QueueQuotaRequest = read(body)?;
            let used = queue.quota(wanted.quota.into_bytes()).await;
            let used = used.map_err(|stopped| stopped.to_string())?;
            let (count, bytes) = (used.count, used.bytes);
            done(&proto::QueueQuotaResponse { count, bytes })
        }
        b'a' => {
            let wanted: proto::ConfigGreenDeployRequest = read(body)?;
            let is_bound = wanted.connectionbound;
            let stage = backend.admin.stage(wanted)?;
            bound.set(is_bound.then_some(stage));
            Ok(Vec::new())
        }
        b'b' => match stages(backend)?.status(desk.clock.monotonic()) {
            Some(status) => done(&status),
            None => Ok(Vec::new()),
        },
        b'c' => {
            stages(backend)?.cancel(None);
            Ok(Vec::new())
        }
        b'd' => {
            let wanted: proto::HslBreakPointRequest = read(body)?;
            let record = stages(backend)?.hub.poll(&wanted.debugid);
            done(&record.unwrap_or_default())
        }
        b'f' => {
            stages(backend)?.hub.go_on();
            Ok(Vec::new())
        }
        b'N' => done(&connections::list_servers(desk, &read(body)?)?),
        b'Q' => done(&connections::close_servers(desk, &read(body)?)?),
        b'R' => done(&connections::list_queue(desk, &read(body)?)?),
        b'S' => done(&connections::close_queue(desk, &read(body)?)?),
        b'1' => {
            let wanted: proto::QueueWhyRequest = read(body)?;
            done(&why::why(queue, wanted.id.as_ref()).await?)
        }
        b'2' => done(&why::audit(queue).await?),
        b's' => done(&policies::list_suspends(queue, &read(body)?).await?),
        b't' => done(&policies::add_suspend(queue, &read(body)?).await?),
        b'O' => done(&policies::update_suspend(queue, &read(body)?).await?),
        b'u' => {
            let wanted: proto::SuspendDeleteRequest = read(body)?;
            done(&policies::delete_suspend(queue, &wanted.id).await?)
        }
        b'v' => done(&policies::list_policies(queue).await?),
        b'w' => done(&policies::add_policy(queue, &read(body)?).await?),
        b'P' => done(&policies::update_policy(queue, &read(body)?).await?),
        b'x' => {
            let wanted: proto::PolicyConditionDeleteRequest = read(body)?;
            done(&policies::delete_policy(queue, &wanted.id).await?)
        }
        b'B' => done(&policies::refill(queue, &read(body)?).await?),
        b'T' => done(&policies::match_policies(queue, &read(body)?).await?),
        b'U' => {
            let wanted: proto::PolicyGroupingListRequest = read(body)?;
            done(&policies::list_groups(queue, wanted.paging).await?)
        }
        b'V' => done(&policies::show_group(queue, &read(body)?).await?),
        b'o' => reload(Part::Suspends).await.map(nothing),
        b'p' => reload(Part::Policies).await.map(nothing),
        b'H' => reload(Part::Delivery).await.map(nothing),
        b'r' => reload(Part::All).await.map(nothing),
        b'k' => reload(Part::Resolver).await.map(nothing),
        b'q' => {
            let now = desk.clock.monotonic();
            done(&stats::stats(backend, now, desk.started).await?)
        }
        b'y' => {
            let wanted: proto::HslMemoryRequest = read(body)?;
            done(&hsl::fetch(memory, &wanted.key)?)
        }
        b'K' => done(&hsl::list(memory, &read(body)?)?),
        b'z' => done(&hsl::store(memory, &desk.clock, &read(body)?).await?),
        b'A' => done(&hsl::delete(memory, &desk.clock, &read(body)?).await?),
        b'g' => done(&hsl::caches(&backend.caches)),
        b'h' => done(&hsl::clear(&backend.caches, &read(body)?)?),
        b'i' => done(&hsl::rates(&backend.rates, &*desk.clock, &read(body)?)?),
        b'j' => done(&hsl::clear_rates(
            &backend.rates,
            &*desk.clock,
            &read(body)?,
        )),
        b'Y' => {
            let wanted: proto::ConfigCheckRequest = read(body)?;
            backend.admin.check(&wanted.config).map(nothing)
        }
        _ => Err(format!("Not supported: {}", command.name)),
    }
}

fn nothing(_: ()) -> Vec<u8> {
    Vec::new()
}

/// Reads a message.
fn read<M: Message + Default>(body: &[u8]) -> Result<M, String> {
    M::decode(body).map_err(|_| "Bad request".to_owned())
}

fn done<M: Message>(message: &M) -> Result<Vec<u8>, String> {
    Ok(message.encode_to_vec())
}

fn now(desk: &Desk) -> Timestamp {
    Timestamp::from_unix(desk.clock.unix())
}

fn filter(desk: &Desk, wanted: Option<&proto::Condition>) -> Result<Arc<Filter>, String> {
    Filter::new(wanted, now(desk), desk.random.next_u64()).map(Arc::new)
}
