//! Requests that nobody waits for: `http()` with the option `background`.
//!
//! A process has one [`Background`]. Requests of one queue are made one after the other, those of different queues
//! beside each other. The host has [`Background::serve`] run on a thread of its choice.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_effects::{Clock, Dns, Net};
use angarium_runtime::host::Pool;
use tokio::sync::Notify;

use super::exchange::{Outside, exchange};
use super::request::Request;

/// Queues that are served beside each other.
const QUEUES: usize = 16;
/// Requests that may wait in all.
const MOST_REQUESTS: usize = 10_000;
/// Bytes that these may hold in memory in all.
const MOST_BYTES: usize = 64 << 20;
/// Bytes that are allowed for besides the body of each.
const EACH: usize = 1024;

/// Requests that wait to be made.
pub struct Background {
    queues: [Queue; QUEUES],
    held: Mutex<Held>,
    /// Hears of requests that failed for good.
    failed: Box<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    more: Notify,
}

#[derive(Default)]
struct Held {
    requests: usize,
    bytes: usize,
}

/// A request with what is to be done when it fails.
pub(crate) struct Waiting {
    pub request: Request,
    pub retries: u32,
    pub delay: Duration,
}

impl Background {
    /// Nothing waits yet. `failed` is told of each request that failed for good, in a sentence.
    #[must_use]
    pub fn new(failed: impl Fn(&str) + Send + Sync + 'static) -> Arc<Background> {
        Arc::new(Background {
            queues: std::array::from_fn(|_| Queue::default()),
            held: Mutex::default(),
            failed: Box::new(failed),
        })
    }

    /// Queues a request; false when too many wait.
    pub(crate) fn add(&self, hash: f64, waiting: Waiting) -> bool {
        let bytes = waiting.request.body.held().saturating_add(EACH);
        {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let sum = held.bytes.saturating_add(bytes);
            if held.requests >= MOST_REQUESTS || sum > MOST_BYTES {
                return false;
            }
            held.requests += 1;
            held.bytes = sum;
        }
        // Any number has a queue: NaN that of 0.
        let index = (hash as i64).rem_euclid(QUEUES as i64) as usize;
        if let Some(queue) = self.queues.get(index) {
            let mut list = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            list.push_back(waiting);
            drop(list);
            queue.more.notify_one();
        }
        true
    }

    /// How many requests wait or are being made.
    #[must_use]
    pub fn pending(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.requests
    }

    /// Makes requests as they come, until `stop` has come and none is left.
    pub async fn serve(
        self: Arc<Self>,
        net: Rc<dyn Net>,
        dns: Rc<dyn Dns>,
        clock: Rc<dyn Clock>,
        pool: Arc<dyn Pool>,
        stop: impl Future<Output = ()>,
    ) {
        let outside = Outside {
            net,
            dns,
            clock,
            pool,
        };
        let stopping = Cell::new(false);
        let queues = self
            .queues
            .iter()
            .map(|queue| self.serve_one(queue, &outside, &stopping));
        let all = futures_util::future::join_all(queues);
        let told = async {
            stop.await;
            stopping.set(true);
            for queue in &self.queues {
                queue.more.notify_one();
            }
        };
        futures_util::future::join(all, told).await;
    }

    async fn serve_one(&self, queue: &Queue, outside: &Outside, stopping: &Cell<bool>) {
        loop {
            let next = {
                let mut list = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                list.pop_front()
            };
            match next {
                Some(waiting) => {
                    let bytes = waiting.request.body.held().saturating_add(EACH);
                    self.make(outside, waiting).await;
                    let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                    held.requests = held.requests.saturating_sub(1);
                    held.bytes = held.bytes.saturating_sub(bytes);
                }
                None if stopping.get() => return,
                None => queue.more.notified().await,
            }
        }
    }

    async fn make(&self, outside: &Outside, waiting: Waiting) {
        let Waiting {
            request,
            retries,
            delay,
        } = waiting;
        let mut left = retries;
        loop {
            let why = match exchange(outside, request.clone(), None).await {
                Ok(answer) if (200..300).contains(&answer.status) => return,
                Ok(answer) => format!("the answer was {}", answer.status),
                Err(error) => error.to_string(),
            };
            if left == 0 {
                let (scheme, place) = (
                    if request.url.secure { "https" } else { "http" },
                    request.url.authority(),
                );
                let text = format!("a background request to {scheme}://{place} failed: {why}");
                (self.failed)(&text);
                return;
            }
            left -= 1;
            outside.clock.sleep(delay).await;
        }
    }
}
