//! A service without I/O drives the queue under a virtual clock.

mod control;
mod limits;
mod model;
mod policies;

use super::*;
use crate::attempt::{Connection, DnsError, ErrorKind, Outcome, Reply, SmtpState};
use crate::destination::{Answer, LookupError, RecordType, Records, Step};
use crate::gate::{BlockKind, Blocked, DestinationGate, FieldSet, Fields, LimitId, OpenGate};
use crate::gate::{Release, Ticket};
use crate::item::Address;
use crate::outcome::{Action, Removal};
use crate::retry::{Interval, RetryRules};
use std::time::Duration;

const T0: Timestamp = Timestamp::from_secs(1_000_000);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn id(n: u64) -> ItemId {
    ItemId {
        transaction: uuid::Uuid::from_u128(u128::from(n)),
        queue: 1,
    }
}

fn item_to(n: u64, domain: &str) -> Box<Item> {
    let (from, to) = (Address::new("from", "a.test"), Address::new("to", domain));
    Box::new(Item::new(id(n), T0, from, to, "mx".into()))
}

fn item(n: u64) -> Box<Item> {
    item_to(n, "d.test")
}

fn transports(mx: Transport) -> Transports {
    BTreeMap::from([(Text::from("mx"), Arc::new(mx))])
}

fn mx() -> Transport {
    Transport {
        dsn_transport: Some("mx".into()),
        ..Transport::default()
    }
}

fn reply(code: u16, state: SmtpState) -> Box<Attempt> {
    ended(Outcome::Result(Reply {
        code,
        enhanced: None,
        reason: vec!["text".into()],
        state,
    }))
}

fn refused() -> Box<Attempt> {
    ended(Outcome::Error(AttemptError::new(
        ErrorKind::Network,
        true,
        "connection refused",
    )))
}

fn ended(outcome: Outcome) -> Box<Attempt> {
    let connection = Some(Connection::default());
    Box::new(Attempt {
        outcome,
        connection,
        duration: secs(1),
        final_delivery: false,
    })
}

/// Two hosts for every domain, the second worse.
fn resolve(resolution: &mut Resolution) -> Result<Vec<Candidate>, AttemptError> {
    loop {
        match resolution.step() {
            Step::Done(result) => return result,
            Step::Wait => panic!("every look-up was answered"),
            Step::Lookup(lookup) => {
                let records = match lookup.kind {
                    RecordType::Mx if lookup.name.starts_with("gone") => Err(LookupError::NxDomain),
                    RecordType::Mx => Ok(Records::Mx(
                        [1, 2].map(|n| (n, format!("mx{n}.{}", lookup.name))).into(),
                    )),
                    RecordType::A => Ok(Records::A(vec![[192, 0, 2, 1].into()])),
                    RecordType::Aaaa => Err(LookupError::NoData),
                };
                let answer = records.map(|records| Answer {
                    records,
                    secure: false,
                });
                resolution.answer(&lookup, answer);
            }
        }
    }
}

/// The service: remembers what was asked for and answers when told to.
struct Service<G> {
    queue: Scheduler<G>,
    now: Timestamp,
    /// The time of the last event that the queue was told.
    queue_time: Timestamp,
    timer: Option<Timestamp>,
    asked: VecDeque<Output>,
    notices: Vec<DsnSpec>,
    /// What each transcript line is about.
    transcript: Vec<String>,
}

impl<G: Gate> Service<G> {
    fn new(transport: Transport, gate: G, limits: Limits) -> Self {
        let own = Arc::new(OwnHosts::default());
        let queue = Scheduler::new(transports(transport), own, gate, limits, 1);
        let (asked, notices, transcript) = (VecDeque::new(), Vec::new(), Vec::new());
        Service {
            queue,
            now: T0,
            queue_time: T0,
            timer: None,
            asked,
            notices,
            transcript,
        }
    }

    fn give(&mut self, input: Input) {
        self.try_give(input).unwrap();
    }

    fn try_give(&mut self, input: Input) -> Result<(), InputError> {
        self.queue_time = self.now;
        let result = self.queue.handle(self.now, input);
        while let Some(output) = self.queue.poll() {
            self.transcript
                .push(format!("{:>8} {}", self.elapsed(), show(&output)));
            match output {
                Output::SetTimer(at) => self.timer = at,
                Output::ChangeRefused { .. } => {}
                output => self.asked.push_back(output),
            }
        }
        assert_eq!(self.queue.check(), Ok(()));
        result
    }

    fn elapsed(&self) -> u64 {
        self.now.since(T0).as_secs()
    }

    /// Lets the time pass to the next timer.
    fn wait(&mut self) {
        self.now = self.timer.expect("the queue waits for something");
        self.give(Input::Tick);
    }

    /// Answers everything but attempts and postdelivery the plain way; gives the first of those.
    fn run(&mut self) -> Option<Output> {
        while let Some(output) = self.asked.pop_front() {
            let answer = match output {
                Output::RunPredelivery { id, .. } => {
                    let verdict = Predelivery::Try(Box::default());
                    Input::PredeliveryVerdict {
                        id,
                        verdict,
                        metadata: None,
                    }
                }
                Output::Resolve { id, mut resolution } => Input::Resolved {
                    id,
                    result: resolve(&mut resolution),
                },
                Output::Persist { id, change, dsn } => {
                    if let Change::Update(blob) = change {
                        let written = Item::decode(&blob, &mut Interner::new()).unwrap();
                        assert_eq!(Some(&written), self.queue.item(id));
                    }
                    self.notices.extend(dsn.map(|dsn| *dsn));
                    Input::Persisted { id }
                }
                other => return Some(other),
            };
            self.give(answer);
        }
        None
    }

    fn attempt(&mut self) -> (ItemId, Candidate) {
        match self.run() {
            Some(Output::StartAttempt { id, candidate, .. }) => (id, candidate),
            other => panic!("no attempt, but {other:?}"),
        }
    }

    fn ends(&mut self, id: ItemId, attempt: Box<Attempt>) {
        self.give(Input::AttemptDone { id, attempt });
    }

    /// The default action that postdelivery is shown; the script ends without a word.
    fn postdelivery(&mut self) -> Option<Action> {
        self.postdelivery_says(Verdict::Default)
    }

    fn postdelivery_says(&mut self, verdict: Verdict) -> Option<Action> {
        match self.run() {
            Some(Output::RunPostdelivery { id, situation, .. }) => {
                let metadata = None;
                self.give(Input::PostdeliveryVerdict {
                    id,
                    verdict,
                    metadata,
                    announced: None,
                });
                situation.action
            }
            other => panic!("no postdelivery, but {other:?}"),
        }
    }
}

/// An output in one line.
fn show(output: &Output) -> String {
    match output {
        Output::RunPredelivery { .. } => "predelivery".into(),
        Output::Resolve { .. } => "resolve".into(),
        Output::StartAttempt { candidate, .. } => format!("attempt {}", candidate.mx),
        Output::RunPostdelivery { situation, .. } => format!(
            "postdelivery {}{}",
            situation.action.map_or("-", Action::as_str),
            if situation.expired { " expired" } else { "" },
        ),
        Output::Persist { change, dsn, .. } => format!(
            "write {}{}",
            if *change == Change::Done {
                "done"
            } else {
                "update"
            },
            dsn.as_ref()
                .map(|d| format!(" and {} {}", d.action.as_str(), d.status))
                .unwrap_or_default(),
        ),
        Output::ChangeRefused { .. } => "change refused".into(),
        Output::SetTimer(at) => {
            format!(
                "timer {}",
                at.map_or("none".into(), |at| at.since(T0).as_secs().to_string())
            )
        }
    }
}

fn plain() -> Service<OpenGate> {
    Service::new(mx(), OpenGate, Limits::default())
}

#[test]
fn an_active_item_adds_little_to_its_memory() {
    let route = size_of::<Route>() + size_of::<Work>() + size_of::<Slot>();
    assert!(route <= 256, "{route} bytes");
}

#[test]
fn the_life_of_a_message() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    for code in [450, 451, 452] {
        let (id, _) = service.attempt();
        service.ends(id, reply(code, SmtpState::Rcpt));
        assert_eq!(service.postdelivery(), Some(Action::Queue));
        assert!(service.run().is_none());
        assert_eq!(service.queue.state(id), Some(State::Defer));
        service.wait();
    }
    let (id, _) = service.attempt();
    service.ends(id, refused());
    let (_, second) = service.attempt();
    assert_eq!(
        second.mx, "mx2.d.test",
        "the next candidate of the same attempt"
    );
    service.ends(id, reply(250, SmtpState::Eod));
    assert_eq!(service.postdelivery(), None);
    assert!(service.run().is_none() && service.queue.is_empty());
    assert_eq!(service.timer, None);
    let counters = service.queue.counters();
    assert_eq!(
        (counters.delivered, counters.delayed, counters.failed),
        (1, 3, 0)
    );
    insta::assert_snapshot!(service.transcript.join("\n"));
}

#[test]
fn five_days_of_retries_take_no_time() {
    let retry = RetryRules {
        count: 1000,
        ..RetryRules::default()
    };
    let mut service = Service::new(Transport { retry, ..mx() }, OpenGate, Limits::default());
    service.give(Input::Committed(item(1)));
    let mut attempts = Vec::new();
    while service.elapsed() < 432_000 {
        let (id, _) = service.attempt();
        attempts.push(service.elapsed());
        service.ends(id, reply(450, SmtpState::Rcpt));
        service.postdelivery();
        assert!(service.run().is_none());
        service.wait();
    }
    assert_eq!(attempts[..6], [0, 60, 960, 4560, 11760, 22560]);
    assert!(
        attempts[4..]
            .windows(2)
            .all(|pair| pair[1] - pair[0] == 10_800)
    );
    assert_eq!(
        service.elapsed(),
        432_000,
        "age ends it, not the next attempt"
    );
    let Some(Output::RunPostdelivery {
        id,
        cause,
        situation,
        ..
    }) = service.run()
    else {
        panic!("no postdelivery")
    };
    assert_eq!(
        (&*cause, situation.action),
        (&Cause::Aged, Some(Action::Bounce))
    );
    let verdict = Verdict::Default;
    service.give(Input::PostdeliveryVerdict {
        id,
        verdict,
        metadata: None,
        announced: None,
    });
    assert!(service.run().is_none() && service.queue.is_empty());
    let sent: Vec<_> = service
        .notices
        .iter()
        .map(|dsn| dsn.action.as_str())
        .collect();
    assert_eq!(sent, ["delayed", "failed"]);
}

#[test]
fn the_default_table_ends_after_thirty_retries() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let mut attempts = 0;
    loop {
        let (id, _) = service.attempt();
        attempts += 1;
        service.ends(id, reply(450, SmtpState::Rcpt));
        if service.postdelivery() == Some(Action::Bounce) {
            break;
        }
        assert!(service.run().is_none());
        service.wait();
    }
    assert_eq!(
        (attempts, service.elapsed()),
        (31, 60 + 900 + 3600 + 7200 + 26 * 10_800)
    );
}

#[test]
fn items_are_loaded_into_the_state_they_were_in() {
    let mut service = plain();
    let held = Item {
        hold: true,
        ..*item(1)
    };
    let deferred = Item {
        retryts: Some(T0.after(secs(60))),
        ..*item(2)
    };
    let due = Item {
        retryts: Some(T0),
        ..*item(3)
    };
    let aged = Item {
        aging_from: Timestamp::ZERO,
        ..*item(4)
    };
    for item in [held, deferred, due, aged] {
        service.give(Input::Loaded(Box::new(item)));
    }
    let state = |n| service.queue.state(id(n)).unwrap();
    assert_eq!(
        [1, 2, 3, 4].map(state),
        [State::Hold, State::Defer, State::Unknown, State::Unknown]
    );
    assert_eq!(service.queue.why(id(3)), Some(Why::Running("predelivery")));
    assert_eq!(
        service.queue.why(id(4)),
        Some(Why::Running("postdelivery")),
        "too old to try"
    );
    assert_eq!(
        service.try_give(Input::Loaded(item(1))),
        Err(InputError::Duplicate(id(1)))
    );
}

#[test]
fn a_transport_on_hold_holds_new_messages_only() {
    let mut service = Service::new(
        Transport { hold: true, ..mx() },
        OpenGate,
        Limits::default(),
    );
    service.give(Input::Committed(item(1)));
    assert!(service.run().is_none());
    assert_eq!(service.queue.state(id(1)), Some(State::Hold));
    service.give(Input::Control {
        id: id(1),
        action: Control::Release,
    });
    service.attempt();
    service.give(Input::Loaded(item(2)));
    service.attempt();
}

#[test]
fn predelivery_verdicts() {
    let again = |hold| {
        Box::new(Again {
            delay: Some(secs(50)),
            hold,
            ..Again::default()
        })
    };
    let bounce = Predelivery::Bounce {
        reason: Some("no".into()),
        dsn: Box::default(),
    };
    for (verdict, want) in [
        (Predelivery::Queue(again(false)), "DEFER 1"),
        (Predelivery::Queue(again(true)), "HOLD 0"),
        (Predelivery::Failed("line 3".into()), "DEFER 0"),
        (bounce, "BOUNCE"),
        (Predelivery::Delete { reason: None }, "DELETE"),
    ] {
        let mut service = plain();
        service.give(Input::Committed(item(1)));
        service.asked.clear();
        let metadata = Some(Pairs::new([("k".into(), "v".into())]).unwrap());
        service.give(Input::PredeliveryVerdict {
            id: id(1),
            verdict,
            metadata,
        });
        let got = match service.run() {
            Some(Output::RunPostdelivery { situation, .. }) => {
                situation.action.unwrap().as_str().to_owned()
            }
            None => {
                let item = service.queue.item(id(1)).unwrap();
                let state = service.queue.state(id(1)).unwrap();
                format!("{state} {}", item.retrycount)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(got, want);
        assert_eq!(
            service.queue.item(id(1)).unwrap().metadata.get("k"),
            Some(&"v".into())
        );
    }
}

#[test]
fn a_destination_that_is_not_found_goes_to_postdelivery() {
    let mut service = plain();
    service.give(Input::Committed(item_to(1, "gone.test")));
    let Some(Output::RunPostdelivery {
        cause, situation, ..
    }) = service.run()
    else {
        panic!("no postdelivery")
    };
    let Cause::Attempt(attempt) = &*cause else {
        panic!("{cause:?}")
    };
    let Outcome::Error(error) = &attempt.outcome else {
        panic!("{attempt:?}")
    };
    assert_eq!(error.kind, ErrorKind::Dns(DnsError::NxDomain));
    assert_eq!(situation.action, Some(Action::Bounce));
    let mut service = plain();
    service.give(Input::Committed(Box::new(Item {
        transportid: "none".into(),
        ..*item(1)
    })));
    let Some(Output::RunPostdelivery { situation, .. }) = service.run() else {
        panic!("no postdelivery")
    };
    assert_eq!(
        situation.action,
        Some(Action::Delete),
        "no transport, so no notices either"
    );
}

#[test]
fn a_fixed_address_needs_no_resolver() {
    let server = Some("127.0.0.1".into());
    let transport = Transport {
        server,
        mx: false,
        port: 2525,
        ..mx()
    };
    let mut service = Service::new(transport, OpenGate, Limits::default());
    service.give(Input::Committed(item(1)));
    let (_, candidate) = service.attempt();
    assert_eq!(
        (candidate.ip.to_string(), candidate.port),
        ("127.0.0.1".into(), 2525)
    );
    assert!(
        !service
            .transcript
            .iter()
            .any(|line| line.contains("resolve"))
    );
}

#[test]
fn an_item_stays_with_its_worker() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let Some(Output::RunPredelivery { worker, .. }) = service.asked.front() else {
        panic!()
    };
    let first = *worker;
    // The transport changes under way: the item's `$context` is still where it was.
    service.run();
    service.give(Input::Configure {
        transports: transports(Transport { port: 26, ..mx() }),
        own: Arc::default(),
        limits: Limits::default(),
        policies: false,
    });
    service.ends(id(1), reply(450, SmtpState::Rcpt));
    let Some(Output::RunPostdelivery { worker, .. }) = service.run() else {
        panic!()
    };
    assert_eq!(worker, first);
}

#[test]
fn a_failed_write_is_tried_again_and_nothing_moves_before() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let (id, _) = service.attempt();
    service.ends(id, reply(550, SmtpState::Rcpt));
    service.postdelivery();
    let Some(Output::Persist { dsn, .. }) = service.asked.pop_front() else {
        panic!()
    };
    service.give(Input::PersistFailed { id });
    assert_eq!(
        service.queue.why(id),
        Some(Why::WriteFailed {
            at: T0.after(secs(30))
        })
    );
    let stray = service.try_give(Input::Persisted { id });
    assert_eq!(stray, Err(InputError::NotAwaited(id, "a write")));
    service.wait();
    let Some(Output::Persist { dsn: again, .. }) = service.asked.front() else {
        panic!()
    };
    assert_eq!(*again, dsn, "the same notice");
    assert!(service.run().is_none() && service.queue.is_empty());
}

#[test]
fn answers_to_what_was_not_asked_are_refused() {
    let mut service = plain();
    service.give(Input::Loaded(Box::new(Item {
        hold: true,
        ..*item(1)
    })));
    let before = service.queue.item(id(1)).cloned();
    let inputs = |id| {
        [
            Input::PredeliveryVerdict {
                id,
                verdict: Predelivery::Delete { reason: None },
                metadata: Some(Pairs::default()),
            },
            Input::Resolved {
                id,
                result: Ok(Vec::new()),
            },
            Input::AttemptDone {
                id,
                attempt: refused(),
            },
            Input::PutBack { id },
            Input::PostdeliveryVerdict {
                id,
                verdict: Verdict::Delete,
                metadata: None,
                announced: None,
            },
            Input::Persisted { id },
            Input::PersistFailed { id },
        ]
    };
    for input in inputs(id(1)) {
        assert!(matches!(
            service.try_give(input),
            Err(InputError::NotAwaited(..))
        ));
    }
    for input in inputs(id(2)) {
        assert_eq!(service.try_give(input), Err(InputError::NotFound(id(2))));
    }
    assert_eq!(service.queue.item(id(1)).cloned(), before);
}

#[test]
fn a_change_that_could_not_be_stored_is_left_out() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let (id, _) = service.attempt();
    service.ends(id, reply(450, SmtpState::Rcpt));
    let jobid = Some(vec![b'x'; crate::codec::MAX_ENCODED].into());
    let again = Again {
        jobid,
        ..Again::default()
    };
    service.postdelivery_says(Verdict::Queue(Box::new(again)));
    assert!(service.run().is_none());
    assert!(
        service
            .transcript
            .iter()
            .any(|line| line.contains("change refused"))
    );
    assert_eq!(
        service.queue.state(id),
        Some(State::Defer),
        "queued all the same"
    );
    assert_eq!(service.queue.item(id).unwrap().jobid, None);
}

#[test]
fn after_a_delivery_the_script_cannot_keep_the_message() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let (id, _) = service.attempt();
    service.ends(id, reply(250, SmtpState::Eod));
    service.postdelivery_says(Verdict::Queue(Box::default()));
    assert!(service.run().is_none() && service.queue.is_empty());
}

#[test]
fn a_notice_carries_the_id_that_the_script_saw() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    let (first, _) = service.attempt();
    service.ends(first, reply(550, SmtpState::Rcpt));
    service.run();
    let (verdict, announced) = (Verdict::Default, Some(id(77)));
    service.give(Input::PostdeliveryVerdict {
        id: first,
        verdict,
        metadata: None,
        announced,
    });
    service.run();
    assert_eq!(service.notices[0].id, announced);
    assert_eq!(service.notices[0].transportid, "mx");
}
