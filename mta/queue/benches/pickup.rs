//! The cost of moving messages through the queue: picking up one of 100,000 active messages as
//! the number of destinations grows, one of a million under a policy with a limit for each destination,
//! and a message's whole way.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::attempt::{Attempt, Connection, Outcome, Reply, SmtpState};
use angarium_queue::destination::{Candidate, OwnHosts};
use angarium_queue::gate::{DestinationGate, Field, Gate, OpenGate};
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::outcome::Verdict;
use angarium_queue::policy::spec::{Block, FieldSpec, Limits as PolicyLimits, PolicySpec};
use angarium_queue::policy::{Policies, Setup};
use angarium_queue::scheduler::{Input, Limits, Output, Predelivery, Scheduler};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_queue::transport::Transport;
use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use uuid::Uuid;

const ITEMS: u64 = 100_000;
/// Active messages where it matters that few of them are in the processor's caches.
const MANY: u64 = 1_000_000;
/// Deliveries under way meanwhile.
const RUNNING: usize = 1000;
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn item(n: u64, destination: u64) -> Box<Item> {
    Box::new(Item::new(
        ItemId {
            transaction: Uuid::from_u128(u128::from(n) << 64),
            queue: 1,
        },
        NOW,
        Address::new("bounce", "sender.example"),
        Address::new(format!("user{n}"), format!("d{destination}.example")),
        Text::from("mx"),
    ))
}

fn candidate(domain: &Text) -> Candidate {
    Candidate {
        mx: Text::from(format!("mx.{domain}")),
        ip: [192, 0, 2, 1].into(),
        port: 25,
        preference: 10,
        secure: false,
    }
}

fn queue<G: Gate>(gate: G, deliveries: usize) -> Scheduler<G> {
    let transports = BTreeMap::from([(Text::from("mx"), Arc::new(Transport::default()))]);
    let limits = Limits {
        deliveries,
        ..Limits::default()
    };
    Scheduler::new(transports, Arc::new(OwnHosts::default()), gate, limits, 1)
}

/// Answers what leads up to an attempt; gives the attempts that were started.
fn prepare<G: Gate>(queue: &mut Scheduler<G>, started: &mut Vec<ItemId>) {
    while let Some(output) = queue.poll() {
        let input = match output {
            Output::RunPredelivery { id, .. } => Input::PredeliveryVerdict {
                id,
                verdict: Predelivery::Try(Box::default()),
                metadata: None,
            },
            Output::Resolve { id, .. } => {
                let domain = &queue.item(id).expect("the item is queued").recipient.domain;
                let result = Ok(vec![candidate(domain)]);
                Input::Resolved { id, result }
            }
            Output::StartAttempt { id, .. } => {
                started.push(id);
                continue;
            }
            _ => continue,
        };
        queue.handle(NOW, input).expect("the answer was awaited");
    }
}

/// A queue of active items, and the one that is being delivered.
fn active<G: Gate>(gate: G, destinations: u64) -> (Scheduler<G>, Vec<ItemId>) {
    let mut queue = queue(gate, 1);
    let mut started = Vec::new();
    for n in 0..ITEMS {
        commit(&mut queue, n, destinations, &mut started);
    }
    (queue, started)
}

fn commit<G: Gate>(queue: &mut Scheduler<G>, n: u64, destinations: u64, started: &mut Vec<ItemId>) {
    let item = item(n, n % destinations);
    queue
        .handle(NOW, Input::Committed(item))
        .expect("a new item");
    prepare(queue, started);
}

/// A policy with a concurrency limit for each destination.
fn policies() -> Policies {
    let limits = PolicyLimits {
        concurrency: Some(101),
        ..PolicyLimits::default()
    };
    let policy = PolicySpec {
        fields: vec![FieldSpec {
            field: Field::RemoteMx,
            groups: Vec::new(),
        }],
        default: Some(Block {
            limits,
            ..Block::default()
        }),
        ..PolicySpec::default()
    };
    let setup = Setup {
        policies: vec![policy],
        ..Setup::default()
    };
    Policies::new(setup).expect("the policy can be used")
}

/// The end of a delivery and the next pick-up. As many messages come as go, which is not measured, so that each
/// pick-up meets a message that was not looked at for long.
fn under_a_policy(c: &mut Criterion) {
    let mut group = c.benchmark_group("end a delivery and pick up one of 1,000,000");
    group.sample_size(20);
    for destinations in [10, 1000, 100_000] {
        let mut queue = queue(policies(), RUNNING);
        let mut started = Vec::new();
        for n in 0..MANY {
            commit(&mut queue, n, destinations, &mut started);
        }
        let mut next = MANY;
        group.bench_function(
            format!("{destinations} destinations with a limit each"),
            |b| {
                b.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    let mut left = usize::try_from(rounds).expect("it fits");
                    while left > 0 {
                        let ended: Vec<ItemId> = started.drain(..left.min(RUNNING)).collect();
                        left -= ended.len();
                        let begin = WallTime.start();
                        for id in &ended {
                            let (id, attempt) = (*id, Box::new(delivered()));
                            let done = Input::AttemptDone { id, attempt };
                            queue.handle(NOW, done).expect("it runs");
                            prepare(&mut queue, &mut started);
                        }
                        spent += WallTime.end(begin);
                        for id in ended {
                            leave(&mut queue, id);
                            commit(&mut queue, next, destinations, &mut started);
                            next += 1;
                        }
                    }
                    spent
                });
            },
        );
    }
    group.finish();
}

/// From the end of an attempt to the end of the message.
fn leave<G: Gate>(queue: &mut Scheduler<G>, id: ItemId) {
    let end = Input::PostdeliveryVerdict {
        id,
        verdict: Verdict::Default,
        metadata: None,
        announced: None,
    };
    queue.handle(NOW, end).expect("it was asked");
    queue
        .handle(NOW, Input::Persisted { id })
        .expect("it was asked");
}

fn pickup(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick up one of 100,000");
    for destinations in [10, 100, 1000, 10_000, 100_000] {
        let (mut queue, mut started) = active(OpenGate, destinations);
        group.bench_function(format!("{destinations} destinations"), |b| {
            b.iter(|| {
                let id = started.pop().expect("a delivery runs");
                queue.handle(NOW, Input::PutBack { id }).expect("it runs");
                prepare(&mut queue, &mut started);
                black_box(&started);
            });
        });
    }
    // With a limit to be asked, taken and given back at every pick-up.
    let (mut queue, mut started) = active(DestinationGate::new(1), 10_000);
    group.bench_function("10000 destinations with a limit each", |b| {
        b.iter(|| {
            let id = started.pop().expect("a delivery runs");
            queue.handle(NOW, Input::PutBack { id }).expect("it runs");
            prepare(&mut queue, &mut started);
            black_box(&started);
        });
    });
    group.finish();
}

fn whole_way(c: &mut Criterion) {
    let mut queue = queue(OpenGate, 1000);
    let mut started = Vec::new();
    let mut n = 0;
    c.bench_function("a message from commit to delivery", |b| {
        b.iter(|| {
            n += 1;
            commit(&mut queue, n, 1000, &mut started);
            let id = started.pop().expect("it is delivered");
            let attempt = Box::new(delivered());
            queue
                .handle(NOW, Input::AttemptDone { id, attempt })
                .expect("it runs");
            leave(&mut queue, id);
            while queue.poll().is_some() {}
        });
    });
}

fn delivered() -> Attempt {
    Attempt {
        outcome: Outcome::Result(Reply {
            code: 250,
            enhanced: None,
            reason: Vec::new(),
            state: SmtpState::Eod,
        }),
        connection: Some(Connection::default()),
        duration: Duration::from_millis(1),
        final_delivery: false,
    }
}

fn start_up(c: &mut Criterion) {
    let blobs: Vec<Vec<u8>> = (0..ITEMS)
        .map(|n| {
            let mut item = item(n, n % 10_000);
            item.retryts = Some(NOW.after(Duration::from_secs(n)));
            item.encode().expect("it is small")
        })
        .collect();
    let mut group = c.benchmark_group("start-up");
    group.sample_size(10);
    group.bench_function("load 100,000 deferred items", |b| {
        b.iter(|| {
            let mut queue = queue(OpenGate, 1);
            for blob in &blobs {
                let item = Item::decode(blob, queue.interner()).expect("it was encoded");
                queue
                    .handle(NOW, Input::Loaded(Box::new(item)))
                    .expect("a new item");
                while queue.poll().is_some() {}
            }
            queue.len()
        });
    });
    group.finish();
}

criterion_group!(benches, pickup, under_a_policy, whole_way, start_up);
criterion_main!(benches);
