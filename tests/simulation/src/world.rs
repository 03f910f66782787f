//! One run: the machine, its surroundings, trouble, and then peace, in which every message has to come to its end.

mod changes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::disk::{Fault, Loss, SimDisk};
use angarium_effects::{Clock, Monotonic, VirtualClock};
use angarium_queue::item::ItemId;
use angarium_queue::scheduler::Control;
use tokio::task::LocalSet;

use crate::bundle::{Bundle, HOME_ADDRESS, host, names, source};
use crate::console::Console;
use crate::dice::Dice;
use crate::executor::Executor;
use crate::ledger::{Ledger, Totals};
use crate::machine::{Machine, Surroundings};
use crate::names::SimDns;
use crate::net::{SimNet, Trouble};
use crate::operator::Operator;
use crate::plan::{Plan, Planted};
use crate::sender::{Keys, Sender};
use crate::sink::{self, Sink};
use crate::trace::Trace;
use changes::{AllWatched, Change};

/// When the clock of every run begins, since 1970.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);
/// How often the queue is compared with what is known.
const LOOK: Duration = Duration::from_secs(300);
/// How long after the trouble everything must have come to its end.
const PEACE: Duration = Duration::from_secs(4 * 86_400);

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of everything that happened, in order.
    pub hash: u64,
    /// What became of the messages.
    pub totals: Totals,
    /// How often the machine was stopped without warning.
    pub stops: u64,
    /// Virtual time that passed.
    pub passed: Duration,
    /// All that happened.
    pub trace: Vec<String>,
}

/// Something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What.
    pub wrong: Vec<String>,
    /// All that happened.
    pub trace: Vec<String>,
    /// The hash of that.
    pub hash: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.wrong.join("; "))
    }
}

/// Something that is to happen.
#[derive(Clone, Debug)]
enum Event {
    Start,
    /// Stops at one of the next calls of the disk, or at once.
    Stop {
        after: Option<u64>,
    },
    Restart,
    Fault(Fault),
    Full(u64),
    Room,
    Change,
    Expire(usize, Change),
    Reload,
    Wish,
    Look,
    Peace,
}

struct World {
    plan: Plan,
    bundle: Bundle,
    around: Surroundings,
    executor: Executor,
    tasks: LocalSet,
    machine: Option<Machine>,
    /// What the next start finds.
    disk: Option<SimDisk>,
    ledger: Rc<RefCell<Ledger>>,
    watched: Rc<AllWatched>,
    /// Sinks misbehave in so many of 1000 phases.
    sinks: Rc<Cell<u64>>,
    dice: Dice,
    agenda: BTreeMap<(Monotonic, u64), Event>,
    events: u64,
    peace: bool,
    /// The queue was empty and all senders had ended at the last look.
    over: Rc<Cell<bool>>,
    senders: Rc<Cell<u64>>,
    /// Files of messages that operators have taken out.
    files: Rc<RefCell<Vec<PathBuf>>>,
    stops: u64,
    panics: Rc<Cell<bool>>,
}

/// Runs a plan.
///
/// # Errors
/// What did not hold.
pub fn run(plan: &Plan) -> Result<Outcome, Box<Failure>> {
    let trace = Trace::default();
    let failure = |wrong: Vec<String>, trace: &Trace| {
        Box::new(Failure {
            seed: plan.seed,
            wrong,
            trace: trace.all(),
            hash: trace.hash(),
        })
    };
    let mut world = World::new(plan, &trace).map_err(|error| failure(vec![error], &trace))?;
    let result = world.go();
    let passed = world.around.clock.monotonic().0;
    let (stops, totals) = (world.stops, world.ledger.borrow().totals());
    match result {
        Ok(()) => Ok(Outcome {
            hash: trace.hash(),
            totals,
            stops,
            passed,
            trace: trace.all(),
        }),
        Err(wrong) => {
            for line in &wrong {
                trace.note(format!("WRONG {line}"));
            }
            Err(failure(wrong, &trace))
        }
    }
}

impl World {
    fn new(plan: &Plan, trace: &Trace) -> Result<World, String> {
        let clock = VirtualClock::new(EPOCH);
        let dice = |purpose| Dice::new(plan.seed, purpose);
        let net = SimNet::new(&clock, dice(10));
        net.set_trouble(plan.network);
        let dns = SimDns::new(names(plan), &clock, dice(11));
        dns.set_trouble(plan.dns);
        let ledger = Rc::new(RefCell::new(Ledger::new(trace)));
        let sinks = Rc::new(Cell::new(plan.sinks));
        let tasks = LocalSet::new();
        let watched = Rc::new(AllWatched::new(plan, &clock));
        let grouped = plan.group.map_or(0, |(count, _)| count);
        let places = (0..plan.hosts.len()).map(host);
        let home = ("home-mx.test".to_owned(), HOME_ADDRESS);
        for (number, (name, address)) in places.chain([home]).enumerate() {
            let sink = Rc::new(Sink {
                watched: (watched.hosts.get(number).into_iter())
                    .chain((number < grouped).then_some(&watched.group))
                    .chain([&watched.total])
                    .cloned()
                    .collect(),
                sources: (watched.sources.iter().enumerate())
                    .map(|(number, watched)| (source(number), Rc::clone(watched)))
                    .collect(),
                name,
                address,
                ledger: Rc::clone(&ledger),
                clock: clock.clone(),
                trace: trace.clone(),
                dice: dice(100 + number as u64),
                trouble: Rc::clone(&sinks),
                home: address == HOME_ADDRESS,
                faults: plan.faults > 0,
            });
            sink::start(&sink, &net, &tasks);
        }
        let keys = Rc::new(Keys::default());
        let senders = Rc::new(Cell::new(plan.senders));
        for number in 0..plan.senders {
            let dice = dice(200 + number);
            let start = dice.millis(0, plan.trouble.as_millis() as u64 / 2);
            let sender = Sender {
                number: number as u8 + 1,
                net: net.clone(),
                clock: clock.clone(),
                dice,
                ledger: Rc::clone(&ledger),
                trace: trace.clone(),
                keys: Rc::clone(&keys),
                domains: plan.hosts.len() + 1,
                trouble: if plan.network.cut > 0 { 50 } else { 0 },
            };
            let (messages, senders) = (plan.messages, Rc::clone(&senders));
            tasks.spawn_local(async move {
                sender.run(messages, start).await;
                senders.set(senders.get() - 1);
            });
        }
        let disk = SimDisk::new(dice(12).number());
        if plan.planted == Planted::LyingDisk {
            disk.lie(true, true);
        }
        let mut world = World {
            plan: plan.clone(),
            bundle: Bundle::new(plan)?,
            around: Surroundings {
                clock,
                net,
                dns,
                trace: trace.clone(),
            },
            executor: Executor::new(),
            tasks,
            machine: None,
            disk: Some(disk),
            ledger,
            watched,
            sinks,
            dice: dice(13),
            agenda: BTreeMap::new(),
            events: 0,
            peace: false,
            over: Rc::default(),
            senders,
            files: Rc::default(),
            stops: 0,
            panics: crate::panics::watch(),
        };
        world.fill_agenda();
        Ok(world)
    }

    fn fill_agenda(&mut self) {
        let (plan, dice) = (self.plan.clone(), self.dice.clone());
        let end = plan.trouble;
        let some_time = || dice.millis(0, end.as_millis() as u64);
        self.at(Duration::ZERO, Event::Start);
        for _ in 0..plan.stops {
            let after = dice.chance(700).then(|| dice.below(120));
            self.at(some_time(), Event::Stop { after });
        }
        for _ in 0..plan.restarts {
            self.at(some_time(), Event::Restart);
        }
        for _ in 0..plan.faults {
            let fault = [Fault::Io, Fault::Io, Fault::NoSpace, Fault::ShortWrite];
            match dice.below(5) {
                0 => self.at(some_time(), Event::Full(dice.between(0, 60_000))),
                _ => self.at(some_time(), Event::Fault(*dice.pick(&fault))),
            }
        }
        for _ in 0..plan.changes {
            self.at(some_time(), Event::Change);
        }
        for _ in 0..plan.reloads {
            self.at(some_time(), Event::Reload);
        }
        for _ in 0..plan.wishes {
            self.at(some_time(), Event::Wish);
        }
        self.at(LOOK, Event::Look);
        self.at(end, Event::Peace);
    }

    fn at(&mut self, from_now: Duration, event: Event) {
        let at = self.now() + from_now;
        self.events += 1;
        self.agenda.insert((at, self.events), event);
    }

    fn now(&self) -> Monotonic {
        self.around.clock.monotonic()
    }

    fn note(&self, text: impl AsRef<str>) {
        self.around.trace.note(text);
    }

    fn go(&mut self) -> Result<(), Vec<String>> {
        let deadline = Monotonic(self.plan.trouble + PEACE);
        loop {
            self.settle().map_err(|error| vec![error])?;
            self.listen()?;
            if self
                .machine
                .as_ref()
                .is_some_and(|machine| machine.disk.has_crashed())
            {
                self.stop();
                continue;
            }
            if self
                .machine
                .as_ref()
                .is_some_and(|machine| machine.stopped.get())
            {
                self.close();
                continue;
            }
            if self.work() {
                continue;
            }
            if self.over.get() {
                return self.verdict();
            }
            let now = self.now();
            let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
            if due.is_some_and(|due| due <= now) {
                if let Some((_, event)) = self.agenda.pop_first() {
                    self.happen(event)?;
                }
                continue;
            }
            if now >= deadline {
                let open = self.ledger.borrow().open();
                let text =
                    format!("after {PEACE:?} of peace the end is not reached; open: {open:?}");
                return Err(vec![text]);
            }
            self.pass(due);
        }
    }

    /// Lets everybody do what can be done at this moment.
    fn settle(&mut self) -> Result<(), String> {
        let result = match &mut self.machine {
            Some(machine) => {
                let disk = machine.disk.clone();
                let mut sets = [&mut machine.tasks, &mut self.tasks];
                self.executor.settle(&mut sets, || disk.has_crashed())
            }
            None => self.executor.settle(&mut [&mut self.tasks], || false),
        };
        if self.panics.get() {
            return Err("a task panicked".to_owned());
        }
        result
    }

    /// Hears what the machine has logged.
    fn listen(&mut self) -> Result<(), Vec<String>> {
        let mut ledger = self.ledger.borrow_mut();
        for line in self.around.trace.take_logged() {
            ledger.log(&line);
        }
        match ledger.wrong.is_empty() {
            true => Ok(()),
            false => Err(std::mem::take(&mut ledger.wrong)),
        }
    }

    /// The disk's work, now or a little later.
    fn work(&mut self) -> bool {
        let now = self.around.clock.monotonic();
        let dice = self.dice.clone();
        let Some(machine) = &mut self.machine else {
            return false;
        };
        if dice.chance(500) {
            return machine.work(now, &dice);
        }
        let soon = now + dice.millis(1, 30);
        let next = self.around.clock.next_timer();
        let soon = next.map_or(soon, |next| next.min(soon));
        let due = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let soon = due.map_or(soon, |due| due.min(soon)).max(now);
        self.advance(soon);
        let machine = self.machine.as_mut();
        machine.is_some_and(|machine| machine.work(soon, &dice))
    }

    /// Lets time pass until somebody waits for it.
    fn pass(&mut self, due: Option<Monotonic>) {
        let timer = self.around.clock.next_timer();
        let spool = self
            .machine
            .as_ref()
            .and_then(|machine| machine.stepper.due());
        let soonest = self.now() + Duration::from_millis(1);
        let spool = spool.map(|at| at.max(soonest));
        let next = [due, timer, spool].into_iter().flatten().min();
        self.advance(next.unwrap_or(soonest));
    }

    fn advance(&self, to: Monotonic) {
        let passed = to.since(self.now());
        self.around.trace.set_now(to.0);
        self.around.clock.advance(passed);
    }

    fn happen(&mut self, event: Event) -> Result<(), Vec<String>> {
        match event {
            Event::Start => return self.start(),
            Event::Stop { after } => match (&self.machine, after) {
                (Some(machine), Some(after)) => {
                    self.note(format!("the machine will stop after {after} calls"));
                    machine.disk.crash_after(after);
                }
                (Some(_), None) => self.stop(),
                (None, _) => {}
            },
            Event::Restart => {
                if let Some(machine) = &self.machine {
                    self.note("the machine is stopped in order");
                    let handle = machine.handle.clone();
                    let grace = self.dice.seconds(0, 30);
                    machine
                        .tasks
                        .spawn_local(async move { handle.stop(grace).await });
                }
            }
            Event::Fault(fault) => {
                if let Some(machine) = &self.machine {
                    let after = self.dice.below(40);
                    self.note(format!("{fault:?} after {after} calls"));
                    machine.disk.fail_after(after, fault);
                }
            }
            Event::Full(bytes) => {
                if let Some(machine) = &self.machine {
                    self.note(format!("the disk has room for {bytes} bytes"));
                    machine.disk.set_capacity(bytes, 20);
                    let time = self.dice.seconds(1, 600);
                    self.at(time, Event::Room);
                }
            }
            Event::Room => {
                if let Some(machine) = &self.machine {
                    machine.disk.set_capacity(u64::MAX, u64::MAX);
                }
            }
            Event::Change => self.change(),
            Event::Expire(host, change) => self.expire(host, change),
            Event::Reload => self.reload().map_err(|error| vec![error])?,
            Event::Wish => self.wish(),
            Event::Look => self.look()?,
            Event::Peace => self.make_peace(),
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Vec<String>> {
        let Some(disk) = self.disk.take() else {
            return Ok(());
        };
        if !self.peace && self.stops < 12 && self.plan.stops > 0 && self.dice.chance(100) {
            // In the middle of what a start does, perhaps.
            disk.crash_after(self.dice.below(60));
        }
        let fails = !self.peace && self.plan.faults > 0 && self.dice.chance(150);
        if fails {
            let fault = *self
                .dice
                .pick(&[Fault::Io, Fault::NoSpace, Fault::NoDescriptors]);
            disk.fail_after(self.dice.below(60), fault);
        }
        let started = Machine::start(
            &self.plan,
            &self.bundle,
            &self.around,
            disk.clone(),
            &self.dice,
        );
        match started {
            Ok(machine) => {
                self.note("the machine starts");
                self.machine = Some(machine);
                self.watched.begin();
            }
            Err(_) if disk.has_crashed() => self.power_off(&disk),
            Err(error) if fails => {
                self.note(format!("the machine does not start: {error}"));
                disk.clear_faults();
                self.disk = Some(disk);
                self.at(Duration::from_secs(5), Event::Start);
            }
            Err(error) => return Err(vec![format!("the machine does not start: {error}")]),
        }
        Ok(())
    }

    /// Stops the machine, or the power, without warning.
    fn stop(&mut self) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let now = self.now();
        self.ledger.borrow_mut().stop(now);
        let silent = self.dice.chance(400);
        self.around.net.stop(&machine.life, silent);
        let disk = machine.disk.clone();
        self.power_off(&disk);
        drop(machine);
    }

    fn power_off(&mut self, disk: &SimDisk) {
        self.stops += 1;
        let loss = if self.plan.planted == Planted::NoSync || self.dice.chance(700) {
            Loss::Power
        } else {
            Loss::Process
        };
        self.note(format!("the machine stops: {loss:?}"));
        let survivor = disk.crash(loss);
        if self.plan.planted == Planted::LyingDisk {
            survivor.lie(true, true);
        }
        self.disk = Some(survivor);
        let time = self.dice.seconds(0, *self.dice.pick(&[5, 100, 1200]));
        self.at(time, Event::Start);
    }

    /// The end of a stop in order.
    fn close(&mut self) {
        let now = self.now();
        let Some(mut machine) = self.machine.take() else {
            return;
        };
        machine.close(now);
        self.ledger.borrow_mut().stop(now);
        self.around.net.stop(&machine.life, false);
        self.note("the machine has stopped in order");
        let disk = machine.disk.clone();
        drop(machine);
        self.disk = Some(disk.crash(Loss::Process));
        let time = self.dice.seconds(0, 60);
        self.at(time, Event::Start);
    }

    /// An operator at the console.
    fn operator(&self, machine: &Machine) -> Operator {
        Operator {
            console: Console::new(&machine.control, &machine.tasks),
            disk: machine.disk.clone(),
            dice: self.dice.fork(),
            ledger: Rc::clone(&self.ledger),
            trace: self.around.trace.clone(),
            files: Rc::clone(&self.files),
        }
    }

    fn wish(&mut self) {
        if let Some(machine) = &self.machine {
            self.tasks.spawn_local(self.operator(machine).wish());
        }
    }

    /// Compares the queue with what is known.
    fn look(&mut self) -> Result<(), Vec<String>> {
        self.at(LOOK, Event::Look);
        self.around.net.sweep();
        let wrong = self.watched.check();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let Some(machine) = &self.machine else {
            return Ok(());
        };
        let mut console = Console::new(&machine.control, &machine.tasks);
        let (trace, ledger) = (self.around.trace.clone(), Rc::clone(&self.ledger));
        let quiet = self.peace && self.senders.get() == 0 && self.files.borrow().is_empty();
        let (over, peace) = (Rc::clone(&self.over), self.peace);
        let (limited, dice) = (self.plan.room > 0, self.dice.fork());
        let handle = machine.handle.clone();
        if peace {
            self.tasks.spawn_local(self.operator(machine).load_all());
        }
        self.tasks.spawn_local(async move {
            let (Ok(findings), Ok(items)) = (console.audit().await, console.list().await) else {
                return;
            };
            let why = match dice.below(items.len() as u64 + 1) as usize {
                place if place < items.len() => console.why(&items[place].id).await,
                _ => Ok(()),
            };
            trace.note(format!("look: {} messages", items.len()));
            let mut ledger = ledger.borrow_mut();
            ledger.wrong.extend(why.err());
            for finding in findings {
                // What is under way, or cannot be written at present, may be older: it is listed, as it should be.
                let works = matches!(finding.state.as_str(), "SENDING" | "UNKNOWN");
                if finding.text.contains("older") && (works || !peace) {
                    continue;
                }
                ledger.wrong.push(format!("audit: {finding:?}"));
            }
            for line in trace.take_logged() {
                ledger.log(&line);
            }
            // What has no room in the queue is on disk, and in no listing until there is some.
            let sees_all = ledger.sees_all();
            if sees_all && !limited {
                ledger.check(&items);
            }
            if !peace {
                return;
            }
            over.set(quiet && sees_all && items.is_empty());
            for item in items.iter().filter(|item| item.frozen) {
                let Ok(id) = item.id.parse::<ItemId>() else {
                    continue;
                };
                let handle = handle.clone();
                tokio::task::spawn_local(async move {
                    // From HOLD and from UPDATE.
                    let _ = handle.control(id, Control::Release).await;
                });
            }
        });
        Ok(())
    }

    /// From now on everything works.
    fn make_peace(&mut self) {
        self.note("peace");
        self.peace = true;
        self.sinks.set(0);
        self.around.net.set_trouble(Trouble::default());
        self.around.dns.set_trouble(0);
        if let Some(machine) = &self.machine {
            machine.disk.clear_faults();
            machine.disk.call_crash_off();
            machine.disk.set_capacity(u64::MAX, u64::MAX);
        }
    }

    /// Everything has ended: how?
    fn verdict(&mut self) -> Result<(), Vec<String>> {
        let mut wrong = self.watched.check();
        let open = self.ledger.borrow().open();
        wrong.extend(
            open.into_iter()
                .map(|of| format!("{of} neither arrived nor came back")),
        );
        if self.machine.is_none() {
            wrong.push("the machine does not run at the end".to_owned());
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong),
        }
    }
}
