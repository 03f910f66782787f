//! The one who owns the queue: takes messages, and does what the [`Scheduler`] asks for.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::random::uuid_text;
use angarium_effects::{LocalFuture, Monotonic};
use angarium_queue::gate::Reuse;
use angarium_queue::item::{Item, ItemId};
use angarium_queue::outcome::{Action, Cause, Verdict};
use angarium_queue::policy::{self, Policies};
use angarium_queue::scheduler::{Change, Input, Output, Predelivery, Scheduler, WorkerKey};
use angarium_queue::time::Timestamp;
use angarium_spool::{OpenError, Recovered, Spool};
use tokio::sync::{mpsc, oneshot};

use super::attempt::{Task, Wishes};
use super::content::spool_id;
use super::gate::Gate;
use super::handle::{Handle, Inbox, Message};
use super::idle::{Door, Ledger};
use super::jobs::{self, Answer};
use super::log::Line;
use super::policies::{Moment, ended_line};
use super::service::{Crew, Queue, Start};
use super::settings::Settings;
use super::{Core, Live, QueueHook, bounce, content, plan};
use crate::connections::Registry;
use crate::counts::Histogram;
use crate::log::{Log, Severity};
use crate::pool::HeavyPool;
use crate::worker::Effects;

/// Messages that are taken before the service looks at what follows from them.
const BATCH: usize = 256;
/// Items that are loaded at start before messages are looked at.
const LOAD: usize = 64;
/// When loading is tried again that failed.
const LOAD_AGAIN: Duration = Duration::from_secs(30);
/// The longest sleep, in case the calendar's clock is set.
const LONGEST: Duration = Duration::from_secs(60);

/// The one who owns the queue.
pub(super) struct Owner {
    queue: Queue,
    spool: Spool,
    recovered: Option<Recovered>,
    /// No item is loaded before: the disk failed.
    load_at: Monotonic,
    /// New items for which there is no room; they are on disk.
    overflow: VecDeque<Box<Item>>,
    /// Items that came since it was last said how many there are.
    arrived: usize,
    live: Arc<Live>,
    core: Arc<Core>,
    pool: Arc<HeavyPool>,
    log: Arc<dyn Log>,
    effects: Effects,
    crew: Crew,
    handle: Handle,
    /// Answers of this thread's own tasks, and those of jobs that were dropped.
    own: mpsc::UnboundedSender<Input>,
    own_answers: Option<mpsc::UnboundedReceiver<Input>>,
    /// The worker of each item from predelivery to the end of its postdelivery.
    bound: HashMap<ItemId, usize>,
    /// What the predelivery script wants of the attempts of each such item.
    wishes: HashMap<ItemId, Arc<Wishes>>,
    /// Attempts under way, by worker.
    load: Vec<usize>,
    sending: HashMap<ItemId, usize>,
    /// What is to be logged once the decision is written.
    ended: HashMap<ItemId, Ending>,
    timer: Option<Timestamp>,
    /// What the queue must be told of changes of policies.
    altered: policy::Change,
    stopping: Option<(Monotonic, oneshot::Sender<()>)>,
    /// The workers take no more jobs.
    alone: bool,
}

/// How an item's round ended, for the log.
struct Ending {
    cause: Arc<Cause>,
    retry: u32,
    action: Option<Action>,
}

impl Owner {
    pub(super) fn new(start: Start, handle: Handle, effects: Effects, crew: Crew) -> Owner {
        let (own, own_answers) = mpsc::unbounded_channel();
        let settings = &start.live.settings;
        let core = Core {
            spool: start.spool.clone(),
            idle: Arc::new(Ledger::new(settings.pool_size)),
            connections: Registry::default(),
            times: Histogram::default(),
            traces: Arc::default(),
        };
        let core = Arc::new(core);
        handle.lead_to(&core);
        handle.set_limit(settings.limits.messages);
        let seed = effects.random.next_u64();
        // Settings that were made have policies that can be used.
        let mut policies = Policies::new((*settings.policies).clone()).unwrap_or_default();
        policies.use_idle(Arc::new(Door {
            ledger: Arc::clone(&core.idle),
            policy: settings.pool_policy,
        }));
        let by_destination = Arc::clone(&settings.by_destination);
        let queue = Scheduler::new(
            settings.transports.clone(),
            Arc::clone(&settings.own),
            Gate::new(Arc::clone(&settings.groupings), policies, by_destination),
            settings.limits,
            seed,
        );
        Owner {
            queue,
            spool: start.spool,
            recovered: Some(start.recovered),
            load_at: Monotonic::default(),
            overflow: VecDeque::new(),
            arrived: 0,
            core,
            live: start.live,
            pool: start.pool,
            log: start.log,
            load: vec![0; crew.len()],
            effects,
            crew,
            handle,
            own,
            own_answers: Some(own_answers),
            bound: HashMap::new(),
            wishes: HashMap::new(),
            sending: HashMap::new(),
            ended: HashMap::new(),
            timer: None,
            altered: policy::Change::None,
            stopping: None,
            alone: false,
        }
    }

    pub(super) async fn run(mut self, inbox: Inbox) {
        let Inbox {
            mut messages,
            mut news,
        } = inbox;
        let Some(mut own) = self.own_answers.take() else {
            return;
        };
        loop {
            self.load_some();
            self.follow_alterations();
            self.act().await;
            let held = self.queue.len() + self.overflow.len();
            let arrived = std::mem::take(&mut self.arrived);
            self.handle.set_held(held, arrived);
            if self.is_over() {
                break;
            }
            let loading = self.can_load();
            let mut wait = self.sleep();
            tokio::select! {
                // In this order and not by chance, so that a run can be repeated. Nobody is kept waiting by
                // it: whatever else has come is taken below, and time passes with everything that is taken.
                biased;
                Some(message) = messages.recv() => self.take(message),
                Some(items) = news.recv() => self.committed(items),
                Some(input) = own.recv() => self.own_input(input),
                () = &mut wait => self.input(Input::Tick),
                () = std::future::ready(()), if loading => {}
            }
            for _ in 0..BATCH {
                let Ok(message) = messages.try_recv() else {
                    break;
                };
                self.take(message);
            }
            for _ in 0..BATCH {
                let Ok(items) = news.try_recv() else { break };
                self.committed(items);
            }
            while let Ok(input) = own.try_recv() {
                self.own_input(input);
            }
        }
        // Completions that nobody waited for; if this fails they are repeated, not lost.
        let _ = self.spool.sync().await;
        if let Some((_, reply)) = self.stopping.take() {
            let _ = reply.send(());
        }
    }

    fn now(&self) -> Timestamp {
        let unix = self.effects.clock.unix().as_micros();
        Timestamp::from_micros(u64::try_from(unix).unwrap_or(u64::MAX))
    }

    /// Until the queue's timer, or the end of the grace.
    fn sleep(&self) -> LocalFuture<'static, ()> {
        let clock = &self.effects.clock;
        let mut wait = self
            .timer
            .map_or(LONGEST, |at| at.since(self.now()).min(LONGEST));
        if let Some((end, _)) = &self.stopping {
            wait = wait.min(end.since(clock.monotonic()));
        }
        if self.recovered.is_some() && self.load_at > clock.monotonic() {
            wait = wait.min(self.load_at.since(clock.monotonic()));
        }
        clock.sleep(wait)
    }

    fn is_over(&self) -> bool {
        let Some((end, _)) = &self.stopping else {
            return false;
        };
        let running = self.queue.running();
        let ended = if self.alone {
            // What was to be prepared is left as it is on disk.
            let left = running.deliveries + running.finisher + running.finishing + running.writing;
            left == 0
        } else {
            self.queue.is_idle()
        };
        ended || self.effects.clock.monotonic() >= *end
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Answer(input, wishes) => {
                if let (Input::PredeliveryVerdict { id, .. }, Some(wishes)) = (&*input, wishes) {
                    self.wishes.insert(*id, wishes);
                }
                self.input(*input);
            }
            Message::Control { id, action, reply } => {
                let now = self.now();
                let action = *action;
                let result = self.queue.handle(now, Input::Control { id, action });
                let _ = reply.send(result);
            }
            Message::Controls { wishes, reply } => {
                let now = self.now();
                let carry_out =
                    |(id, action)| self.queue.handle(now, Input::Control { id, action });
                let _ = reply.send(wishes.into_iter().map(carry_out).collect());
            }
            Message::Alter(alter) => {
                let moment = Moment {
                    now: self.now(),
                    fresh: uuid_text(&self.effects.random.uuid()).into(),
                };
                let altered = alter(self.queue.gate_mut().policies_mut(), moment);
                self.altered = self.altered.max(altered.change);
                if let Some(line) = altered.line {
                    self.log.line(Severity::Info, "", line.as_str());
                }
            }
            Message::Inspect(look) => {
                // What is seen is the queue as it is now, not as the last event left it.
                self.follow_alterations();
                self.input(Input::Tick);
                look(&self.queue, self.now());
            }
            Message::Configure(live) => {
                let transports = live.settings.transports.clone();
                let own = Arc::clone(&live.settings.own);
                let limits = live.settings.limits;
                let policies = Arc::clone(&live.settings.policies);
                self.core.idle.resize(live.settings.pool_size);
                self.handle.set_limit(limits.messages);
                let groupings = Arc::clone(&live.settings.groupings);
                let by_destination = Arc::clone(&live.settings.by_destination);
                let door = self.door(&live.settings);
                let gate = self.queue.gate_mut();
                let changed = gate.reload(groupings, &policies, by_destination);
                gate.policies_mut().use_idle(door);
                self.live = live;
                self.input(Input::Configure {
                    transports,
                    own,
                    limits,
                    policies: changed,
                });
            }
            Message::Stop { grace, reply } => {
                self.recovered = None;
                let end = self.effects.clock.monotonic() + grace;
                self.stopping = Some((end, reply));
                self.input(Input::Drain);
            }
        }
    }

    /// What the gate sees of the idle connections.
    fn door(&self, settings: &Settings) -> Arc<Door> {
        Arc::new(Door {
            ledger: Arc::clone(&self.core.idle),
            policy: settings.pool_policy,
        })
    }

    /// Tells the queue what follows from changes of policies: once for all that came together.
    fn follow_alterations(&mut self) {
        match std::mem::take(&mut self.altered) {
            policy::Change::None => {}
            policy::Change::Limits => self.input(Input::LimitsChanged),
            policy::Change::Fields => self.input(Input::PoliciesChanged),
        }
        for ended in self.queue.gate_mut().policies_mut().take_ended() {
            let line = ended_line(&ended);
            self.log.line(Severity::Info, "", line.as_str());
        }
    }

    fn committed(&mut self, items: Vec<Item>) {
        self.arrived += items.len();
        for item in items {
            let line = Line::new("queue")
                .with("id", item.id)
                .with("recipient", &item.recipient)
                .with("transportid", &item.transportid)
                .maybe("jobid", item.jobid.as_ref())
                .flag(item.hold, "hold");
            let about = item.id.transaction.to_string();
            self.log.line(Severity::Info, &about, line.as_str());
            self.enter(Box::new(item));
        }
    }

    /// A durable item enters the queue, or waits until there is room.
    fn enter(&mut self, item: Box<Item>) {
        if self.queue.has_room() {
            self.input(Input::Committed(item));
        } else {
            self.overflow.push_back(item);
        }
    }

    fn input(&mut self, input: Input) {
        match &input {
            Input::AttemptDone { id, .. } | Input::PutBack { id } => {
                if let Some(worker) = self.sending.remove(id)
                    && let Some(load) = self.load.get_mut(worker)
                {
                    *load = load.saturating_sub(1);
                }
            }
            Input::PostdeliveryVerdict { id, verdict, .. } => {
                if let Some(ending) = self.ended.get_mut(id) {
                    match verdict {
                        Verdict::Default => {}
                        Verdict::Queue(_) => ending.action = Some(Action::Queue),
                        Verdict::Bounce { .. } => ending.action = Some(Action::Bounce),
                        Verdict::Delete => ending.action = Some(Action::Delete),
                    }
                }
            }
            _ => {}
        }
        let now = self.now();
        if let Err(error) = self.queue.handle(now, input) {
            // An answer to what was not asked: a mistake of ours that changes nothing.
            let line = format!("queue: {error}");
            self.log.line(Severity::Error, "", &line);
        }
    }

    /// An answer of this thread's own; a notification enters like other mail.
    fn own_input(&mut self, input: Input) {
        match input {
            Input::Committed(item) => self.enter(item),
            // The job was never begun: nothing is held against the item.
            Input::Resolved { result: Err(_), .. }
            | Input::PredeliveryVerdict {
                verdict: Predelivery::Failed(_),
                ..
            } if self.alone => {}
            input => self.input(input),
        }
    }

    fn can_load(&self) -> bool {
        let waits = self.recovered.is_some() || !self.overflow.is_empty();
        waits && self.queue.has_room() && self.effects.clock.monotonic() >= self.load_at
    }

    /// Loads a few of the items that wait on disk.
    fn load_some(&mut self) {
        for _ in 0..LOAD {
            if !self.can_load() {
                return;
            }
            if let Some(item) = self.overflow.pop_front() {
                self.input(Input::Committed(item));
                continue;
            }
            let Some(recovered) = &mut self.recovered else {
                return;
            };
            match recovered.next() {
                Some(Ok(found)) => match Item::decode(&found.blob, self.queue.interner()) {
                    Ok(item) => self.input(Input::Loaded(Box::new(item))),
                    Err(error) => {
                        // It stays in the spool, for a version that can read it.
                        let line = format!("queue: item {} stays on disk: {error}", found.id);
                        self.log.line(Severity::Error, "", &line);
                    }
                },
                Some(Err(error @ OpenError::Corrupt(_))) => {
                    let line = format!("queue: the spool cannot be loaded: {error}");
                    self.log.line(Severity::Error, "", &line);
                    self.recovered = None;
                }
                Some(Err(error)) => {
                    // What is there is not forgotten until the next start.
                    self.load_at = self.effects.clock.monotonic() + LOAD_AGAIN;
                    let wait = LOAD_AGAIN.as_secs();
                    let line =
                        format!("queue: the spool cannot be loaded, next try in {wait} s: {error}");
                    self.log.line(Severity::Error, "", &line);
                }
                None => self.recovered = None,
            }
        }
    }

    /// Does what the queue asks for.
    async fn act(&mut self) {
        while let Some(output) = self.queue.poll() {
            match output {
                Output::RunPredelivery { id, worker } => self.predelivery(id, worker).await,
                Output::Resolve { id, resolution } => {
                    let worker = self.worker_of(id);
                    let answer = Answer::resolve(&self.handle, &self.own, id);
                    self.dispatch(worker, jobs::resolve(*resolution, answer))
                        .await;
                }
                Output::StartAttempt {
                    id,
                    worker: _,
                    candidate,
                    source,
                    grouping,
                    reuse,
                } => {
                    let answer = Answer::attempt(&self.handle, &self.own, id);
                    let Some(item) = self.queue.item(id).cloned() else {
                        continue;
                    };
                    let settings = &self.live.settings;
                    let wishes = self.wishes.get(&id).map(Arc::clone);
                    let wishes = wishes.unwrap_or_else(|| Arc::new(Wishes::of(&item)));
                    let task = Task {
                        destination: settings.of_destination(
                            &item,
                            &wishes,
                            &candidate,
                            source.as_ref(),
                            grouping.as_ref(),
                        ),
                        wishes,
                        item,
                        candidate,
                        source,
                        grouping,
                        reserved: None,
                        must_reuse: false,
                    };
                    let task = Task {
                        reserved: (reuse != Reuse::No)
                            .then(|| plan::reservation(settings, &task, &self.core)),
                        must_reuse: reuse == Reuse::Required,
                        ..task
                    };
                    let worker = match plan::shared_by(settings, &task) {
                        // Whoever may use a connection comes to where it is.
                        Some(key) => self.choose(WorkerKey(key)),
                        None => self.worker_of(id),
                    };
                    if let Some(load) = self.load.get_mut(worker) {
                        *load += 1;
                    }
                    self.sending.insert(id, worker);
                    let (core, live) = (Arc::clone(&self.core), Arc::clone(&self.live));
                    self.dispatch(worker, jobs::attempt(task, core, live, answer))
                        .await;
                }
                Output::RunPostdelivery {
                    id,
                    worker,
                    cause,
                    situation,
                    grouping,
                    tags,
                    policies,
                } => {
                    let Some(item) = self.queue.item(id).cloned() else {
                        continue;
                    };
                    let ending = Ending {
                        cause: Arc::clone(&cause),
                        retry: item.retrycount,
                        action: situation.action,
                    };
                    self.ended.insert(id, ending);
                    let bound = self.release(id);
                    let asked = self.live.hooks.has(QueueHook::Postdelivery) || bound.is_some();
                    let answer = Answer::postdelivery(&self.handle, &self.own, id);
                    if !asked {
                        answer.give_up();
                        continue;
                    }
                    let worker = bound.unwrap_or_else(|| self.choose(worker));
                    let ended = super::Ended {
                        item,
                        cause,
                        situation: *situation,
                        dsn_id: None,
                        grouping,
                        tags,
                        policies,
                    };
                    let (core, live) = (Arc::clone(&self.core), Arc::clone(&self.live));
                    let job = jobs::postdelivery(ended, core, live, answer);
                    self.dispatch(worker, job).await;
                }
                Output::Persist { id, change, dsn } => {
                    if let Some(worker) = self.release(id) {
                        // No postdelivery ran: what predelivery left is of no more use.
                        let core = Arc::clone(&self.core);
                        self.dispatch(worker, jobs::forget(id, core)).await;
                    }
                    self.log_ending(id, &change);
                    match dsn {
                        Some(spec) => self.persist_with_dsn(id, change, spec),
                        None => self.persist(id, change),
                    }
                }
                Output::ChangeRefused { id } => {
                    let about = id.transaction.to_string();
                    let line = Line::new("queue").with("id", id).text(
                        "error",
                        "a script's change was left out: the item would be too large",
                    );
                    self.log.line(Severity::Warning, &about, line.as_str());
                }
                Output::SetTimer(at) => self.timer = at,
            }
        }
    }

    /// Sends a job to a worker. When the workers are gone nothing more is begun.
    async fn dispatch(&mut self, worker: usize, job: impl jobs::Job) {
        if !self.crew.run(worker, job).await && !self.alone {
            self.alone = true;
            self.input(Input::Drain);
        }
    }

    async fn predelivery(&mut self, id: ItemId, key: WorkerKey) {
        let answer = Answer::predelivery(&self.handle, &self.own, id);
        let script = self.live.hooks.has(QueueHook::Predelivery);
        let worker = match self.bound.get(&id) {
            Some(worker) => *worker,
            None => self.choose(key),
        };
        if !script {
            return answer.try_now();
        }
        self.bound.insert(id, worker);
        let Some(item) = self.queue.item(id).cloned() else {
            return;
        };
        let (core, live) = (Arc::clone(&self.core), Arc::clone(&self.live));
        self.dispatch(worker, jobs::predelivery(item, core, live, answer))
            .await;
    }

    /// Ends an item's round; gives the worker that it was bound to.
    fn release(&mut self, id: ItemId) -> Option<usize> {
        self.wishes.remove(&id);
        self.bound.remove(&id)
    }

    /// The worker of an item's round.
    fn worker_of(&mut self, id: ItemId) -> usize {
        if let Some(worker) = self.bound.get(&id) {
            return *worker;
        }
        // Without a script nothing binds the item to a worker: its destination chooses.
        let key = self.queue.item(id).map_or(0, jobs::destination_key);
        self.choose(WorkerKey(key))
    }

    /// The worker that a key stands for, unless it carries a good deal more than the mean.
    fn choose(&self, key: WorkerKey) -> usize {
        let workers = self.load.len().max(1) as u64;
        let chosen = usize::try_from(key.0 % workers).unwrap_or(0);
        let total: usize = self.load.iter().sum();
        let mean = total / self.load.len().max(1);
        let load = self.load.get(chosen).copied().unwrap_or(0);
        if load <= mean + mean / 4 + 8 {
            return chosen;
        }
        let least = self.load.iter().enumerate().min_by_key(|(_, load)| **load);
        least.map_or(chosen, |(index, _)| index)
    }

    fn persist(&mut self, id: ItemId, change: Change) {
        match change {
            Change::Done => {
                self.spool.complete(spool_id(id));
                self.input(Input::Persisted { id });
            }
            Change::Update(blob) => {
                let commit = self.spool.update(spool_id(id), blob);
                let (own, log) = (self.own.clone(), Arc::clone(&self.log));
                tokio::task::spawn_local(async move {
                    let input = match commit.await {
                        Ok(()) => Input::Persisted { id },
                        Err(error) => failed(&*log, id, &error),
                    };
                    let _ = own.send(input);
                });
            }
        }
    }

    fn persist_with_dsn(
        &mut self,
        id: ItemId,
        change: Change,
        spec: Box<angarium_queue::dsn::DsnSpec>,
    ) {
        let mut random = [0; 16];
        self.effects.random.fill(&mut random);
        let fresh = bounce::Fresh {
            id: ItemId {
                transaction: uuid::Uuid::from_bytes(self.effects.random.transaction_uuid()),
                queue: 1,
            },
            random,
            now: self.now(),
        };
        let (spool, live) = (self.spool.clone(), Arc::clone(&self.live));
        let line = Line::new("dsn")
            .with("id", spec.id.unwrap_or(fresh.id))
            .with("for", id)
            .with("action", spec.action.as_str())
            .with("to", &spec.recipient);
        let build = self.pool.call(move || {
            let built = bounce::build(&spool, &live.settings, &spec, fresh);
            built.map_err(|error| error.to_string())
        });
        let (spool, own, log) = (self.spool.clone(), self.own.clone(), Arc::clone(&self.log));
        tokio::task::spawn_local(async move {
            let built = match build.await {
                Ok(built) => built,
                Err(panicked) => Err(panicked.to_string()),
            };
            let written = match built {
                Ok(bounce) => {
                    if let Some(why) = &bounce.unsigned {
                        let about = bounce.item.id.transaction.to_string();
                        let text = format!("the notification is not signed: {why}");
                        log.line(Severity::Warning, &about, &text);
                    }
                    write(&spool, id, change, bounce).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(item) => {
                    let about = item.id.transaction.to_string();
                    log.line(Severity::Info, &about, line.as_str());
                    let _ = own.send(Input::Persisted { id });
                    let _ = own.send(Input::Committed(item));
                }
                Err(error) => {
                    let _ = own.send(failed(&*log, id, &error));
                }
            }
        });
    }

    fn log_ending(&mut self, id: ItemId, change: &Change) {
        let Some(ending) = self.ended.remove(&id) else {
            return;
        };
        let Some(item) = self.queue.item(id) else {
            return;
        };
        let result = match (change, ending.action) {
            (Change::Update(_), _) => "QUEUE",
            (Change::Done, _) if ending.cause.is_success() => "DELIVERED",
            (Change::Done, Some(Action::Delete)) => "DELETE",
            (Change::Done, _) => "BOUNCE",
        };
        let delay = match change {
            Change::Update(_) => item.retryts.map(|at| at.since(self.now()).as_secs_f64()),
            Change::Done => None,
        };
        let line = jobs::delivery_line(item, &ending.cause, ending.retry, result, delay);
        let about = id.transaction.to_string();
        self.log.line(Severity::Info, &about, line.as_str());
    }
}

/// Writes a notification together with the change to the message that it is about.
async fn write(
    spool: &Spool,
    id: ItemId,
    change: Change,
    bounce: bounce::Bounce,
) -> Result<Box<Item>, String> {
    let bounce::Bounce { mut item, body, .. } = bounce;
    let mut transaction = spool.transaction();
    let body = transaction.add_body(&body);
    item.content = content::body_ref(body);
    let blob = item.encode().map_err(|error| error.to_string())?;
    transaction.add_item(spool_id(item.id), &[body], blob);
    match change {
        Change::Update(blob) => transaction.update_item(spool_id(id), blob),
        Change::Done => transaction.complete_item(spool_id(id)),
    }
    let committed = spool.commit(transaction).await;
    committed.map_err(|error| error.to_string())?;
    Ok(Box::new(item))
}

fn failed(log: &dyn Log, id: ItemId, error: &dyn fmt::Display) -> Input {
    let about = id.transaction.to_string();
    let line = Line::new("queue")
        .with("id", id)
        .text("error", &format!("a change is not written yet: {error}"));
    log.line(Severity::Error, &about, line.as_str());
    Input::PersistFailed { id }
}
