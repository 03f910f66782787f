//! Random events under a virtual clock: whatever happens, no item is lost, forgotten or stuck, and
//! no limit is exceeded.

use super::*;
use proptest::prelude::*;

/// A service that answers in any order, with any answer, and whose disk can be read back.
struct World {
    service: Service<Overlapping>,
    /// What a restart would find.
    disk: BTreeMap<ItemId, Item>,
    /// Every id that was ever accepted.
    accepted: BTreeSet<ItemId>,
    /// How items left, and the notices to which they led.
    gone: BTreeSet<ItemId>,
    next: u64,
}

const LIMITS: Limits = Limits {
    deliveries: 6,
    preparing: 4,
    finishing: 2,
    messages: 0,
};

/// Three kinds of limits that overlap: of all deliveries by a job, of each destination, and a
/// rate of each destination.
#[derive(Debug, Default)]
struct Overlapping {
    /// Deliveries that go on: by ticket, job and destination.
    granted: BTreeMap<u64, (Option<Text>, Text)>,
    /// When the next delivery to a destination may begin.
    next: BTreeMap<Text, Timestamp>,
    /// The limits by what they are about.
    limits: Vec<(BlockKind, Option<Text>)>,
    tickets: u64,
}

impl Overlapping {
    const PER_JOB: usize = 3;
    const PER_DESTINATION: usize = 2;
    const INTERVAL: Duration = Duration::from_secs(100);

    fn limit(&mut self, kind: BlockKind, about: Option<Text>) -> LimitId {
        let limit = (kind, about);
        let known = self.limits.iter().position(|other| *other == limit);
        LimitId(known.unwrap_or_else(|| {
            self.limits.push(limit);
            self.limits.len() - 1
        }) as u64)
    }

    fn of_job(&self, job: &Option<Text>) -> usize {
        self.granted
            .values()
            .filter(|(other, _)| other == job)
            .count()
    }

    fn of_destination(&self, destination: &Text) -> usize {
        self.granted
            .values()
            .filter(|(_, other)| other == destination)
            .count()
    }

    /// Whether what blocks still does.
    fn still(&self, blocked: &Blocked, now: Timestamp) -> bool {
        let (kind, about) = &self.limits[blocked.limit.0 as usize];
        match kind {
            BlockKind::Concurrency => self.of_job(about) >= Self::PER_JOB,
            BlockKind::ConnectInterval => {
                self.of_destination(about.as_ref().unwrap()) >= Self::PER_DESTINATION
            }
            _ => self.next[about.as_ref().unwrap()] > now,
        }
    }
}

impl Gate for Overlapping {
    fn fields(&self) -> FieldSet {
        FieldSet::default()
    }

    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
        let destination = fields.remotemx.clone().unwrap();
        let job = fields.jobid.clone();
        let next = self
            .next
            .get(&destination)
            .copied()
            .filter(|next| *next > now);
        let kind = if self.of_job(&job) >= Self::PER_JOB {
            Some((BlockKind::Concurrency, job.clone(), None))
        } else if next.is_some() {
            Some((BlockKind::Rate, Some(destination.clone()), next))
        } else if self.of_destination(&destination) >= Self::PER_DESTINATION {
            Some((BlockKind::ConnectInterval, Some(destination.clone()), None))
        } else {
            None
        };
        if let Some((kind, about, until)) = kind {
            let limit = self.limit(kind, about);
            return Err(Blocked { limit, until, kind });
        }
        self.next
            .insert(destination.clone(), now.after(Self::INTERVAL));
        self.tickets += 1;
        self.granted.insert(self.tickets, (job, destination));
        let ticket = Ticket(self.tickets);
        Ok(Grant {
            ticket,
            ..Grant::default()
        })
    }

    fn release(&mut self, ticket: Ticket, how: Release, now: Timestamp, freed: &mut Vec<LimitId>) {
        let (job, destination) = self
            .granted
            .remove(&ticket.0)
            .expect("a ticket is given once");
        freed.push(self.limit(BlockKind::Concurrency, job));
        freed.push(self.limit(BlockKind::ConnectInterval, Some(destination.clone())));
        if how == Release::PutBack {
            self.next.insert(destination.clone(), now);
            freed.push(self.limit(BlockKind::Rate, Some(destination)));
        }
    }
}

impl World {
    fn new() -> Self {
        let retry = RetryRules {
            count: 5,
            maxage: secs(20_000),
            holdage: Some(secs(50_000)),
            jitter: secs(3),
            ..RetryRules::default()
        };
        let gate = Overlapping::default();
        World {
            service: Service::new(Transport { retry, ..mx() }, gate, LIMITS),
            disk: BTreeMap::new(),
            accepted: BTreeSet::new(),
            gone: BTreeSet::new(),
            next: 0,
        }
    }

    /// A new message is accepted.
    fn accept(&mut self, choice: u64) {
        let n = self.next;
        self.next += 1;
        let domain = ["a.test", "a.test", "b.test", "gone.test"][choice as usize % 4];
        let mut item = item_to(n, domain);
        item.received = self.service.now;
        item.aging_from = self.service.now;
        item.priority = if choice & 16 == 0 {
            Priority::Normal
        } else {
            Priority::High
        };
        item.jobid = (choice & 0x400 != 0).then(|| "job".into());
        item.hold = choice & 0xe0 == 0xe0;
        if choice & 0x300 == 0x300 {
            item.sender = Address::default();
        }
        self.disk.insert(item.id, (*item).clone());
        self.accepted.insert(item.id);
        self.service.give(Input::Committed(item));
    }

    /// Answers one of the open requests.
    fn answer(&mut self, which: u64, choice: u64) {
        let open = self.service.asked.len() as u64;
        let Some(which) = which.checked_rem(open) else {
            return;
        };
        let output = self.service.asked.remove(which as usize).unwrap();
        let input = match output {
            Output::RunPredelivery { id, .. } => {
                let verdict = match choice % 12 {
                    0 => Predelivery::Queue(Box::new(again(choice))),
                    1 => Predelivery::Bounce {
                        reason: None,
                        dsn: Box::default(),
                    },
                    2 => Predelivery::Delete { reason: None },
                    3 => Predelivery::Failed("exception".into()),
                    _ => Predelivery::Try(Box::default()),
                };
                Input::PredeliveryVerdict {
                    id,
                    verdict,
                    metadata: None,
                }
            }
            Output::Resolve { id, mut resolution } => {
                let result = match choice % 8 {
                    0 => Err(AttemptError::new(
                        ErrorKind::Dns(DnsError::Other),
                        true,
                        "servfail",
                    )),
                    _ => resolve(&mut resolution),
                };
                Input::Resolved { id, result }
            }
            Output::StartAttempt { id, .. } => match choice % 8 {
                0 => Input::PutBack { id },
                1 | 2 => Input::AttemptDone {
                    id,
                    attempt: refused(),
                },
                3 => Input::AttemptDone {
                    id,
                    attempt: reply(450, SmtpState::Rcpt),
                },
                4 => Input::AttemptDone {
                    id,
                    attempt: reply(550, SmtpState::Rcpt),
                },
                5 => Input::AttemptDone {
                    id,
                    attempt: reply(554, SmtpState::Banner),
                },
                _ => Input::AttemptDone {
                    id,
                    attempt: reply(250, SmtpState::Eod),
                },
            },
            Output::RunPostdelivery { id, .. } => {
                let verdict = match choice % 8 {
                    0 => Verdict::Queue(Box::new(again(choice))),
                    1 => Verdict::Bounce {
                        reason: None,
                        dsn: Box::default(),
                    },
                    2 => Verdict::Delete,
                    _ => Verdict::Default,
                };
                Input::PostdeliveryVerdict {
                    id,
                    verdict,
                    metadata: None,
                    announced: None,
                }
            }
            Output::Persist { id, .. } if choice.is_multiple_of(8) => Input::PersistFailed { id },
            Output::Persist { id, change, dsn } => {
                match change {
                    Change::Update(blob) => {
                        let item = Item::decode(&blob, &mut Interner::new()).unwrap();
                        self.disk.insert(id, item);
                    }
                    Change::Done => {
                        self.disk.remove(&id);
                        self.gone.insert(id);
                    }
                }
                if let Some(dsn) = dsn {
                    assert!(!dsn.original.sender.is_null(), "a notice about a notice");
                }
                Input::Persisted { id }
            }
            other => panic!("not a request: {other:?}"),
        };
        self.service.give(input);
    }

    fn control(&mut self, which: u64, choice: u64) {
        let id = id(which % self.next.max(1));
        let action = match choice % 8 {
            0 => Control::Hold,
            1 => Control::Release,
            2 => Control::Retry,
            3 => Control::Defer(self.service.now.after(secs(choice % 5000))),
            4 => Control::Bounce {
                status: None,
                diagnostic: None,
            },
            5 => Control::Freeze,
            6 => Control::Thaw,
            _ => Control::Update(Box::new(ItemUpdate {
                priority: Some(Priority::High),
                ..ItemUpdate::default()
            })),
        };
        // Busy and gone items answer an error, and nothing changes.
        let _ = self.service.try_give(Input::Control { id, action });
    }

    /// An answer for an item that need not have been asked.
    fn stray(&mut self, which: u64, choice: u64) {
        let id = id(which % self.next.max(1));
        let asked = |of: fn(&Output) -> bool| {
            self.service
                .asked
                .iter()
                .any(|output| of(output) && subject(output) == Some(id))
        };
        let input = match choice % 5 {
            0 if !asked(|o| matches!(o, Output::RunPredelivery { .. })) => {
                let verdict = Predelivery::Delete { reason: None };
                Input::PredeliveryVerdict {
                    id,
                    verdict,
                    metadata: Some(Pairs::default()),
                }
            }
            1 if !asked(|o| matches!(o, Output::Resolve { .. })) => Input::Resolved {
                id,
                result: Ok(Vec::new()),
            },
            2 if !asked(|o| matches!(o, Output::StartAttempt { .. })) => Input::PutBack { id },
            3 if !asked(|o| matches!(o, Output::RunPostdelivery { .. })) => {
                let verdict = Verdict::Delete;
                Input::PostdeliveryVerdict {
                    id,
                    verdict,
                    metadata: None,
                    announced: None,
                }
            }
            4 if !asked(|o| matches!(o, Output::Persist { .. })) => Input::Persisted { id },
            _ => return,
        };
        assert!(self.service.try_give(input).is_err());
    }

    fn pass(&mut self, seconds: u64) {
        self.service.now = self.service.now.after(secs(seconds));
        if self.service.timer.is_some_and(|at| at <= self.service.now) {
            self.service.give(Input::Tick);
        }
    }

    /// The process dies; a new one loads the disk.
    fn crash(&mut self) {
        let fresh = World::new().service;
        let now = self.service.now;
        self.service = fresh;
        self.service.now = now;
        for item in self.disk.values() {
            self.service.give(Input::Loaded(Box::new(item.clone())));
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let queue = &self.service.queue;
        let here: BTreeSet<ItemId> = queue.items().map(|(item, _)| item.id).collect();
        let on_disk: BTreeSet<ItemId> = self.disk.keys().copied().collect();
        prop_assert!(on_disk.is_subset(&here), "what is on disk is in the queue");
        let known: BTreeSet<ItemId> = here.union(&self.gone).copied().collect();
        prop_assert_eq!(&known, &self.accepted, "no item is lost");
        let gate = queue.gate();
        for (job, destination) in gate.granted.values() {
            prop_assert!(gate.of_job(job) <= Overlapping::PER_JOB);
            prop_assert!(gate.of_destination(destination) <= Overlapping::PER_DESTINATION);
        }
        prop_assert_eq!(gate.granted.len(), queue.count(State::Sending));
        prop_assert!(queue.count(State::Sending) <= LIMITS.deliveries);
        // The queue's own check was made after every input. From outside: an item that is not on
        // hold has a timer, an open request, or a stated limit with a delivery that will end.
        let open = self
            .service
            .asked
            .iter()
            .filter_map(subject)
            .collect::<BTreeSet<_>>();
        for (item, state) in queue.items() {
            let why = queue.why(item.id);
            let moves = match why.clone().unwrap() {
                Why::Held { .. } => true,
                Why::Running(_) => open.contains(&item.id),
                Why::Loader { .. } => queue.running().preparing >= LIMITS.preparing,
                Why::Finisher { .. } => queue.running().finishing >= LIMITS.finishing,
                Why::Ready { at_total_limit, .. } => at_total_limit,
                // The reason holds; or its turn comes as soon as there is room at all.
                Why::Blocked { by, .. } => {
                    queue.count(State::Sending) >= LIMITS.deliveries
                        || gate.still(&by, self.service.queue_time)
                }
                Why::Deferred { .. } | Why::WriteFailed { .. } | Why::Frozen => {
                    self.service.timer.is_some()
                }
            };
            prop_assert!(moves, "{} in {state} is stuck: {why:?}", item.id);
        }
        Ok(())
    }

    /// Answers everything and lets the time pass: every message must come to its end.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            if self.service.queue.is_empty() {
                return Ok(());
            }
            if self.service.asked.is_empty() {
                let at = self.service.timer;
                prop_assert!(at.is_some(), "items are left and nothing will happen");
                self.service.now = at.unwrap().max(self.service.now);
                self.service.give(Input::Tick);
            } else {
                // The last choice: try, resolve, deliver, default, written.
                self.answer(0, 7);
            }
        }
        let left: Vec<_> = self
            .service
            .queue
            .items()
            .map(|(item, state)| (item.id, state))
            .collect();
        prop_assert!(false, "does not end: {left:?}");
        Ok(())
    }
}

fn again(choice: u64) -> Again {
    Again {
        delay: (choice & 0x100 != 0).then(|| secs(choice % 7000)),
        hold: choice & 0xc00 == 0xc00,
        increment_retry: choice & 0x1000 == 0,
        reset_retry: choice & 0x6000 == 0x6000,
        dsn_delayed: choice & 0x8000 != 0,
        ..Again::default()
    }
}

/// The item that a request is about.
fn subject(output: &Output) -> Option<ItemId> {
    match output {
        Output::RunPredelivery { id, .. }
        | Output::Resolve { id, .. }
        | Output::StartAttempt { id, .. }
        | Output::RunPostdelivery { id, .. }
        | Output::Persist { id, .. } => Some(*id),
        Output::ChangeRefused { .. } | Output::SetTimer(_) => None,
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_message_comes_to_its_end(
        steps in prop::collection::vec((0u8..32, any::<u64>(), any::<u64>()), 1..300),
    ) {
        let mut world = World::new();
        for (step, which, choice) in steps {
            match step {
                0..6 => world.accept(choice),
                6..24 => world.answer(which, choice),
                24 => world.stray(which, choice),
                25..27 => world.control(which, choice),
                27..31 => world.pass(choice % 4000),
                _ => world.crash(),
            }
            world.check()?;
        }
        world.finish()?;
        prop_assert_eq!(world.gone, world.accepted);
        prop_assert!(world.disk.is_empty());
    }

    #[test]
    fn the_same_events_give_the_same_actions(
        steps in prop::collection::vec((0u8..12, any::<u64>(), any::<u64>()), 1..100),
    ) {
        let run = || {
            let mut world = World::new();
            for (step, which, choice) in &steps {
                match step {
                    0..3 => world.accept(*choice),
                    3..11 => world.answer(*which, *choice),
                    _ => world.pass(choice % 4000),
                }
            }
            world.service.transcript
        };
        prop_assert_eq!(run(), run());
    }
}
