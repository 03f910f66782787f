//! The cost of a pick-up as the sub-queues grow in number, in the queue's own logic with limits to ask.
//!
//! Messages are picked up one after the other and delivered, so that each pick-up meets a message that was not looked
//! at for long, however few sub-queues there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::attempt::{Attempt, Connection, Outcome, Reply, SmtpState};
use angarium_queue::destination::{Candidate, OwnHosts};
use angarium_queue::gate::Field;
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::outcome::Verdict;
use angarium_queue::policy::spec::{Block, FieldSpec, Limits as PolicyLimits, PolicySpec};
use angarium_queue::policy::{Policies, Setup};
use angarium_queue::scheduler::{Input, Limits, Output, Predelivery, Scheduler};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_queue::transport::Transport;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Deliveries under way while others are picked up.
const RUNNING: usize = 1000;
/// Messages that are delivered before it counts, and while it counts.
const ROUNDS: u64 = 200_000;

/// Prints a row for each number of sub-queues.
pub fn measure(messages: u64) {
    println!(
        "\npick-up from {messages} active messages, {RUNNING} deliveries under way, a limit of 101 for each destination"
    );
    let batches = ROUNDS.min(messages / 4) / RUNNING as u64;
    for nodes in [10, 100, 1000, 10_000, 100_000] {
        let (mut queue, mut running) = active(messages, nodes);
        let there = queue.nodes();
        let mut spent = Duration::ZERO;
        let mut picked = 0;
        for batch in 0..2 * batches {
            let ended: Vec<ItemId> = running.drain(..).collect();
            let begin = cpu_time();
            for id in &ended {
                let attempt = Box::new(delivered());
                let done = Input::AttemptDone { id: *id, attempt };
                // A delivery ends, and the next message is picked up.
                queue.handle(NOW, done).expect("it runs");
                prepare(&mut queue, &mut running);
            }
            if batch >= batches {
                spent += cpu_time() - begin;
                picked += ended.len() as u128;
            }
            for id in ended {
                let verdict = Input::PostdeliveryVerdict {
                    id,
                    verdict: Verdict::Default,
                    metadata: None,
                    announced: None,
                };
                queue.handle(NOW, verdict).expect("it was asked");
                queue
                    .handle(NOW, Input::Persisted { id })
                    .expect("it was asked");
                prepare(&mut queue, &mut running);
            }
        }
        let each = spent.as_nanos() / picked.max(1);
        println!(
            "  {there} sub-queues: {each} ns of CPU for the end of a delivery and the next pick-up"
        );
    }
}

/// Time on a processor, which other programs do not lengthen.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = text.split_ascii_whitespace().next().expect("three numbers");
    Duration::from_nanos(nanos.parse().expect("a number"))
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

type Running = std::collections::VecDeque<ItemId>;

fn active(messages: u64, nodes: u64) -> (Scheduler<Policies>, Running) {
    let policy = PolicySpec {
        fields: vec![FieldSpec {
            field: Field::RemoteMx,
            groups: Vec::new(),
        }],
        default: Some(Block {
            limits: PolicyLimits {
                concurrency: Some(101),
                ..PolicyLimits::default()
            },
            ..Block::default()
        }),
        ..PolicySpec::default()
    };
    let setup = Setup {
        policies: vec![policy],
        ..Setup::default()
    };
    let transports = BTreeMap::from([(Text::from("mx"), Arc::new(Transport::default()))]);
    let limits = Limits {
        deliveries: RUNNING,
        ..Limits::default()
    };
    let gate = Policies::new(setup).expect("the policy can be used");
    let mut queue = Scheduler::new(transports, Arc::new(OwnHosts::default()), gate, limits, 1);
    let mut running = Running::new();
    for number in 0..messages {
        let id = ItemId {
            transaction: uuid::Uuid::from_u64_pair(number, 0),
            queue: 1,
        };
        let sender = Address::new("bounce", "sender.example");
        let domain = format!("d{}.example", number % nodes);
        let recipient = Address::new(format!("user{number}"), domain.as_str());
        let item = Box::new(Item::new(id, NOW, sender, recipient, Text::from("mx")));
        queue
            .handle(NOW, Input::Committed(item))
            .expect("it is new");
        prepare(&mut queue, &mut running);
    }
    (queue, running)
}

/// Answers what leads up to an attempt; notes the attempts that were started.
fn prepare(queue: &mut Scheduler<Policies>, running: &mut Running) {
    while let Some(output) = queue.poll() {
        let input = match output {
            Output::RunPredelivery { id, .. } => Input::PredeliveryVerdict {
                id,
                verdict: Predelivery::Try(Box::default()),
                metadata: None,
            },
            Output::Resolve { id, .. } => {
                let domain = &queue.item(id).expect("it is queued").recipient.domain;
                let candidate = Candidate {
                    mx: Text::from(format!("mx.{domain}")),
                    ip: [192, 0, 2, 1].into(),
                    port: 25,
                    preference: 10,
                    secure: false,
                };
                let result = Ok(vec![candidate]);
                Input::Resolved { id, result }
            }
            Output::StartAttempt { id, .. } => {
                running.push_back(id);
                continue;
            }
            _ => continue,
        };
        queue.handle(NOW, input).expect("the answer was awaited");
    }
}
