//! Live staging (mta.md 5.3): a second running configuration for some of the new connections, to try changes on real mail.
//!
//! There is one stage at a time. A connection that fits its conditions keeps its settings to the end; the messages that it
//! brings carry the stage's id, and the queue's scripts of the stage handle them while it is there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use angarium_control::proto::{ConfigGreenConditions, ConfigGreenStatusResponse};
use angarium_effects::{Monotonic, Random};
use angarium_smtp::network::Network;

use crate::debugger::Hub;
use crate::delivery::QueueHooks;
use crate::server::Settings;

/// Which connections a stage is for.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// As they were given.
    written: ConfigGreenConditions,
    networks: Vec<Network>,
    /// Time from its begin.
    time: Option<Duration>,
}

impl Conditions {
    /// Reads conditions; `servers` are the ids that there are.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn new(
        written: ConfigGreenConditions,
        servers: &BTreeMap<String, Arc<Settings>>,
    ) -> Result<Conditions, String> {
        let network = |text: &String| {
            let network = text.parse::<Network>();
            network.map_err(|error| format!("remoteips: {error}"))
        };
        let networks = written.remoteips.iter().map(network);
        let networks = networks.collect::<Result<Vec<Network>, String>>()?;
        for id in &written.serverids {
            if !servers.contains_key(id) {
                let known: Vec<&str> = servers.keys().map(String::as_str).collect();
                let known = known.join(", ");
                return Err(format!("serverids: there is no server {id}, but {known}"));
            }
        }
        if !(0.0..=1.0).contains(&written.probability) {
            return Err("probability: it must be between 0 and 1".to_owned());
        }
        let time = match Duration::try_from_secs_f64(written.time) {
            Ok(time) => (!time.is_zero()).then_some(time),
            Err(_) => return Err("time: it must be a number of seconds".to_owned()),
        };
        Ok(Conditions {
            written,
            networks,
            time,
        })
    }

    fn fit(&self, server: &str, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let of_network = self.networks.iter().any(|of| of.contains(client));
        let ids = &self.written.serverids;
        (self.networks.is_empty() || of_network)
            && (ids.is_empty() || ids.iter().any(|id| id == server))
    }
}

/// A configuration on trial.
pub struct Stage {
    /// Its name.
    pub id: String,
    /// Whom it is for.
    pub conditions: Conditions,
    /// The settings of its servers, by their ids.
    pub servers: BTreeMap<String, Arc<Settings>>,
    /// Its scripts for the queue.
    pub queue: Arc<dyn QueueHooks>,
    /// When it began.
    pub began: Monotonic,
    /// Connections so far.
    pub connections: AtomicU64,
}

impl Stage {
    fn is_expired(&self, now: Monotonic) -> bool {
        let most = self.conditions.written.count;
        let count = self.connections.load(Ordering::Relaxed);
        (self.conditions.time).is_some_and(|time| now.since(self.began) >= time)
            || (most > 0 && count >= most)
    }

    /// Counts one more connection, if there may be one.
    fn admit(&self) -> bool {
        let most = self.conditions.written.count;
        let one_more = |count: u64| (most == 0 || count < most).then(|| count.saturating_add(1));
        let order = Ordering::Relaxed;
        self.connections
            .fetch_update(order, order, one_more)
            .is_ok()
    }
}

/// The stage that there is, if there is one.
#[derive(Default)]
pub struct Stages {
    stage: RwLock<Option<Arc<Stage>>>,
    /// Where its scripts meet their debugger.
    pub hub: Arc<Hub>,
}

impl Stages {
    /// The stage, expired or not.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Stage>> {
        let stage = self.stage.read();
        stage.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, stage: Option<Arc<Stage>>) -> Option<Arc<Stage>> {
        let mut current = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, stage)
    }

    /// Begins a stage in place of the one that there is.
    pub fn begin(&self, stage: Arc<Stage>) {
        // Scripts of the old one may stand still. They are dropped outside of the lock.
        let old = self.replace(Some(stage));
        self.hub.leave();
        drop(old);
    }

    /// Ends the stage that there is, or `only` that one; whether there was one.
    pub fn cancel(&self, only: Option<&Arc<Stage>>) -> bool {
        let current = self.current();
        let fits = |stage: &Arc<Stage>| only.is_none_or(|only| Arc::ptr_eq(only, stage));
        if !current.as_ref().is_some_and(fits) {
            return false;
        }
        let old = self.replace(None);
        self.hub.leave();
        old.is_some()
    }

    /// The settings of a new connection, if it fits; it is counted then.
    #[must_use]
    pub fn take(
        &self,
        server: &str,
        client: IpAddr,
        now: Monotonic,
        random: &dyn Random,
    ) -> Option<Arc<Settings>> {
        let stage = self.current()?;
        let settings = stage.servers.get(server)?;
        if stage.is_expired(now) || !stage.conditions.fit(server, client) {
            return None;
        }
        let share = stage.conditions.written.probability;
        #[expect(clippy::cast_precision_loss, reason = "32 bits")]
        let chance = (random.next_u64() >> 32) as f64 / 4_294_967_296.0;
        if share > 0.0 && chance >= share {
            return None;
        }
        stage.admit().then(|| Arc::clone(settings))
    }

    /// The scripts for messages that came in under the stage `id`, while it is there.
    #[must_use]
    pub fn queue(&self, id: Option<&[u8]>) -> Option<Arc<dyn QueueHooks>> {
        let id = id?;
        let stage = self.current()?;
        (stage.id.as_bytes() == id).then(|| Arc::clone(&stage.queue))
    }

    /// What `config livestage status` tells.
    #[must_use]
    pub fn status(&self, now: Monotonic) -> Option<ConfigGreenStatusResponse> {
        let stage = self.current()?;
        Some(ConfigGreenStatusResponse {
            id: stage.id.clone(),
            expired: stage.is_expired(now),
            elapsed: now.since(stage.began).as_secs_f64(),
            connections: stage.connections.load(Ordering::Relaxed),
            conditions: Some(stage.conditions.written.clone()),
        })
    }
}
