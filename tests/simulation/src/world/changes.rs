//! What changes while the world runs: limits and suspends set at the console, the configuration read again; and
//! the watches that know at each moment what is in force.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use angarium_control::proto;
use angarium_effects::{Clock as _, VirtualClock};

use super::{Event, World};
use crate::bundle::{Bundle, host, source};
use crate::console::Console;
use crate::limits::{Limit, Watched};
use crate::plan::Plan;

/// What was set at run time for a host and is in force, by the number of the event that set it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Set {
    policy: Option<(u64, Limit)>,
    suspend: Option<u64>,
}

/// Which of a host's limits was set at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Policy(u64),
    Suspend(u64),
}

/// Everything that has limits, and what they are.
pub(super) struct AllWatched {
    clock: VirtualClock,
    pub(super) hosts: Vec<Rc<RefCell<Watched>>>,
    pub(super) group: Rc<RefCell<Watched>>,
    pub(super) total: Rc<RefCell<Watched>>,
    pub(super) sources: Vec<Rc<RefCell<Watched>>>,
    /// What is in force of what was set at run time, by host.
    set: RefCell<Vec<Set>>,
    /// What the configuration says.
    plan: RefCell<Plan>,
}

impl AllWatched {
    pub(super) fn new(plan: &Plan, clock: &VirtualClock) -> AllWatched {
        let watched = |name| Rc::new(RefCell::new(Watched::new(name, plan.fixed_window)));
        let sources = 0..plan.sources.len();
        AllWatched {
            clock: clock.clone(),
            hosts: (0..plan.hosts.len())
                .map(|number| watched(host(number).0))
                .collect(),
            group: watched("the group".to_owned()),
            total: watched("all hosts".to_owned()),
            sources: sources
                .map(|number| watched(source(number).to_string()))
                .collect(),
            set: RefCell::new(vec![Set::default(); plan.hosts.len()]),
            plan: RefCell::new(plan.clone()),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Rc<RefCell<Watched>>> {
        let together = [&self.group, &self.total];
        self.hosts.iter().chain(together).chain(&self.sources)
    }

    /// The limits as they are now, in the order of `all`.
    fn limits(&self) -> Vec<Limit> {
        let plan = self.plan.borrow();
        let set = self.set.borrow();
        let hosts = plan.hosts.iter().zip(&*set).map(|(own, set)| {
            let over = set.policy.map(|(_, limit)| limit).unwrap_or_default();
            Limit {
                concurrency: over.concurrency.or(own.concurrency),
                rate: over.rate.or(own.rate),
                interval: over.interval.or(own.interval),
                suspended: set.suspend.is_some(),
            }
        });
        let total = Limit {
            concurrency: Some(plan.total),
            ..Limit::default()
        };
        let group = plan.group.map(|(_, limit)| limit).unwrap_or_default();
        hosts
            .chain([group, total])
            .chain(plan.sources.iter().copied())
            .collect()
    }

    /// The machine has started.
    pub(super) fn begin(&self) {
        self.set.borrow_mut().fill(Set::default());
        for (watched, limit) in self.all().zip(self.limits()) {
            watched.borrow_mut().begin(self.clock.monotonic(), limit);
        }
    }

    /// Something has changed.
    fn change(&self) {
        for (watched, limit) in self.all().zip(self.limits()) {
            watched.borrow_mut().change(self.clock.monotonic(), limit);
        }
    }

    pub(super) fn check(&self) -> Vec<String> {
        self.all()
            .flat_map(|watched| watched.borrow().check())
            .collect()
    }
}

impl World {
    /// Sets or lifts a limit or a suspend of a host.
    pub(super) fn change(&mut self) {
        let Some(machine) = &self.machine else {
            return;
        };
        let dice = self.dice.clone();
        let number = dice.below(self.plan.hosts.len() as u64) as usize;
        let (name, _) = host(number);
        let mut console = Console::new(&machine.control, &machine.tasks);
        let (watched, trace) = (Rc::clone(&self.watched), self.around.trace.clone());
        self.events += 1;
        let mark = self.events;
        let ttl = Duration::from_secs(dice.between(10, 900));
        let (policy, suspend) = (format!("p{number}"), format!("s{number}"));
        match dice.below(6) {
            0..3 => {
                let limit = Plan::limit(&dice);
                let wanted = policy_request(policy, &name, limit, ttl);
                self.at(ttl, Event::Expire(number, Change::Policy(mark)));
                self.tasks.spawn_local(async move {
                    let stored: Result<proto::PolicyConditionAddResponse, _> =
                        console.ask(b'w', &wanted).await;
                    trace.note(format!(
                        "policy of {name}: {limit:?} for {ttl:?}: {stored:?}"
                    ));
                    if stored.is_ok() {
                        watched.set.borrow_mut()[number].policy = Some((mark, limit));
                        watched.change();
                    }
                });
            }
            3 => {
                let wanted = proto::PolicyConditionDeleteRequest { id: policy };
                self.tasks.spawn_local(async move {
                    let found: Result<proto::PolicyConditionDeleteResponse, _> =
                        console.ask(b'x', &wanted).await;
                    trace.note(format!("no policy of {name}: {found:?}"));
                    if found.is_ok_and(|found| found.affected > 0) {
                        watched.set.borrow_mut()[number].policy = None;
                        watched.change();
                    }
                });
            }
            4 => {
                let wanted = proto::SuspendAddRequest {
                    id: suspend,
                    remotemx: Some(proto::StringValue {
                        value: name.clone(),
                    }),
                    ttl: ttl.as_secs_f64(),
                    ..proto::SuspendAddRequest::default()
                };
                self.at(ttl, Event::Expire(number, Change::Suspend(mark)));
                self.tasks.spawn_local(async move {
                    let stored: Result<proto::SuspendAddResponse, _> =
                        console.ask(b't', &wanted).await;
                    trace.note(format!("suspend of {name} for {ttl:?}: {stored:?}"));
                    if stored.is_ok() {
                        watched.set.borrow_mut()[number].suspend = Some(mark);
                        watched.change();
                    }
                });
            }
            _ => {
                let wanted = proto::SuspendDeleteRequest { id: suspend };
                self.tasks.spawn_local(async move {
                    let found: Result<proto::SuspendDeleteResponse, _> =
                        console.ask(b'u', &wanted).await;
                    trace.note(format!("no suspend of {name}: {found:?}"));
                    if found.is_ok_and(|found| found.affected > 0) {
                        watched.set.borrow_mut()[number].suspend = None;
                        watched.change();
                    }
                });
            }
        }
    }

    /// What was set at run time ends by itself, unless it was set anew or lifted meanwhile.
    pub(super) fn expire(&mut self, number: usize, change: Change) {
        {
            let set = &mut self.watched.set.borrow_mut()[number];
            match change {
                Change::Policy(mark) if set.policy.is_some_and(|(of, _)| of == mark) => {
                    set.policy = None;
                }
                Change::Suspend(mark) if set.suspend == Some(mark) => set.suspend = None,
                _ => return,
            }
        }
        self.watched.change();
    }

    /// The configuration is read again and has other limits.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        let plan = self.plan.with_other_limits(&self.dice);
        let bundle = Bundle::new(&plan)?;
        if let Some(machine) = &self.machine {
            let (handle, live) = (machine.handle.clone(), machine.live(&bundle)?);
            self.note("the configuration is read again");
            let (watched, after) = (Rc::clone(&self.watched), plan.clone());
            machine.tasks.spawn_local(async move {
                handle.configure(live).await;
                watched.plan.replace(after);
                watched.change();
            });
        } else {
            self.watched.plan.replace(plan.clone());
        }
        // The next start reads it too.
        self.bundle = bundle;
        self.plan = plan;
        Ok(())
    }
}

/// The request that sets limits of a host for a time.
fn policy_request(
    id: String,
    host: &str,
    limit: Limit,
    ttl: Duration,
) -> proto::PolicyConditionAddRequest {
    proto::PolicyConditionAddRequest {
        id,
        fields: Some(proto::Fields {
            remotemx: true,
            ..proto::Fields::default()
        }),
        r#if: Some(proto::PolicyIf {
            remotemx: Some(proto::StringValue {
                value: host.to_owned(),
            }),
            ..proto::PolicyIf::default()
        }),
        then: Some(proto::PolicyThen {
            concurrency: limit.concurrency.map(u64::from),
            rate: limit.rate.map(|(count, seconds)| proto::PolicyRate {
                count: u64::from(count),
                interval: seconds as f64,
            }),
            connectinterval: limit.interval.map(|seconds| proto::DoubleValue {
                value: seconds as f64,
            }),
            ..proto::PolicyThen::default()
        }),
        ttl: ttl.as_secs_f64(),
        ..proto::PolicyConditionAddRequest::default()
    }
}
