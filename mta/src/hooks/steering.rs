//! What scripts do with the queue as a whole: limits, suspends, quotas (stdlib.md, "Queue and server
//! state").
//!
//! The [library](angarium_stdlib::queue) reads the arguments; here they become messages to the queue.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use angarium_effects::LocalFuture;
use angarium_queue::gate::Field;
use angarium_queue::matcher::Pattern;
use angarium_queue::policy::rate::Rate;
use angarium_queue::policy::spec::{Block, Limits, Property, SuspendSpec, When};
use angarium_queue::policy::{DynamicSpec, DynamicSuspend};
use angarium_queue::text::Text;
use angarium_smtp::network::Network;
use angarium_stdlib::queue::{self, Policy, Queue, Suspend, Values};

use crate::delivery::{Handle, Line, Switchboard};
use crate::log::{Log, Severity};
use crate::server::VirtualServer;

/// The way from scripts to the queue and the servers, open once these have started.
#[derive(Clone, Default)]
pub struct Door(Arc<Behind>);

#[derive(Default)]
struct Behind {
    queue: OnceLock<Handle>,
    servers: RwLock<Vec<Weak<VirtualServer>>>,
}

impl Door {
    /// Leads to this queue from now on.
    pub fn open(&self, queue: Handle) {
        // A process has one queue; a second one would be a mistake that changes nothing.
        let _ = self.0.queue.set(queue);
    }

    /// Where connections of scripts are listed.
    #[must_use]
    pub fn switchboard(&self) -> Switchboard {
        let queue = self.0.queue.get();
        queue.map_or_else(Switchboard::default, Handle::switchboard)
    }

    /// Leads to these servers from now on.
    pub fn serve<'a>(&self, servers: impl IntoIterator<Item = &'a Arc<VirtualServer>>) {
        let mut list = self
            .0
            .servers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *list = servers.into_iter().map(Arc::downgrade).collect();
    }

    /// What scripts reach, if it is open. Refusals go to `log`, about `id`.
    #[must_use]
    pub fn steering(&self, log: Arc<dyn Log>, id: &str) -> Option<Steering> {
        Some(Steering {
            queue: self.0.queue.get()?.clone(),
            behind: Arc::clone(&self.0),
            log,
            id: id.to_owned(),
        })
    }
}

/// The queue as one execution reaches it.
pub struct Steering {
    queue: Handle,
    behind: Arc<Behind>,
    log: Arc<dyn Log>,
    id: String,
}

impl Queue for Steering {
    fn set_policy(&self, policy: Policy) -> LocalFuture<'static, Result<Vec<u8>, String>> {
        let (queue, spec) = (self.queue.clone(), dynamic_policy(policy));
        Box::pin(async move {
            let id = queue.set_policy(spec?).await;
            id.map(|id| id.as_bytes().to_vec())
                .map_err(|error| error.to_string())
        })
    }

    fn delete_policy(&self, id: Vec<u8>) -> LocalFuture<'static, Result<bool, String>> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let found = queue.delete_policy(Text::from(id)).await;
            found.map_err(|error| error.to_string())
        })
    }

    fn set_suspend(&self, suspend: Suspend) -> LocalFuture<'static, Result<Vec<u8>, String>> {
        let (queue, suspend) = (self.queue.clone(), dynamic_suspend(suspend));
        Box::pin(async move {
            let id = queue.set_suspend(suspend?).await;
            id.map(|id| id.as_bytes().to_vec())
                .map_err(|error| error.to_string())
        })
    }

    fn quota(&self, name: Vec<u8>) -> LocalFuture<'static, Result<(u64, u64), String>> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let used = queue.quota(name).await;
            used.map(|used| (used.count, used.bytes))
                .map_err(|error| error.to_string())
        })
    }

    fn server_concurrency(&self, server: &str, address: Option<&str>) -> Option<usize> {
        let servers = self
            .behind
            .servers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut servers = servers.iter().filter_map(Weak::upgrade);
        let server = servers.find(|one| one.id == server)?;
        let Some(address) = address else {
            return Some(server.open());
        };
        let network: Network = address.parse().ok()?;
        Some(server.open_from(|from| network.contains(from)))
    }

    fn refused(&self, function: &'static str, why: &str, origin: &str) {
        let line = Line::new(function)
            .text("error", why)
            .with("origin", origin);
        self.log.line(Severity::Warning, &self.id, line.as_str());
    }
}

fn field(name: &str) -> Result<Field, String> {
    Field::named(name).ok_or_else(|| format!("`{name}` is no field"))
}

fn when(values: &Values) -> Result<When, String> {
    values
        .iter()
        .map(|(name, texts)| {
            let field = field(name)?;
            let read = |text: &String| Pattern::parse(field, text);
            let patterns: Result<Vec<Pattern>, _> = texts.iter().map(read).collect();
            Ok((
                field,
                patterns.map_err(|error| format!("{field}: {error}"))?,
            ))
        })
        .collect()
}

fn properties(list: Vec<(String, queue::Property)>) -> Arc<[(Text, Property)]> {
    list.into_iter()
        .map(|(name, value)| {
            let value = match value {
                queue::Property::Text(text) => Property::Text(Text::from(text)),
                queue::Property::Number(number) => Property::Number(number),
                queue::Property::Boolean(truth) => Property::Boolean(truth),
            };
            (Text::from(name), value)
        })
        .collect()
}

fn dynamic_policy(policy: Policy) -> Result<DynamicSpec, String> {
    let fields = policy.fields.iter().map(|name| field(name));
    Ok(DynamicSpec {
        id: policy.how.id.map(Text::from),
        fields: fields.collect::<Result<_, _>>()?,
        when: when(&policy.condition)?,
        then: Block {
            limits: Limits {
                concurrency: policy.concurrency,
                rate: policy
                    .rate
                    .map(|(count, interval)| Rate { count, interval }),
                connect_interval: policy.connectinterval,
            },
            tag: policy.tag.map(Text::from),
            stop: policy.stop,
            properties: properties(policy.properties),
            origin: Text::from(policy.how.origin),
        },
        ttl: Some(policy.how.ttl),
        update: policy.how.update,
        kind: policy.how.kind.map(Text::from),
    })
}

fn dynamic_suspend(suspend: Suspend) -> Result<DynamicSuspend, String> {
    Ok(DynamicSuspend {
        id: suspend.how.id.map(Text::from),
        spec: SuspendSpec {
            when: when(&suspend.fields)?,
            tag: suspend.tag.map(Text::from),
            properties: properties(suspend.properties),
            origin: Text::from(suspend.how.origin),
        },
        ttl: Some(suspend.how.ttl),
        update: suspend.how.update,
    })
}
