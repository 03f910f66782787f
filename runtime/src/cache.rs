//! `cache [options] f(args)` (language.md 15.1): results of calls, shared by all executions of the process.
//!
//! A cache belongs to a namespace and a function; in it an entry is found by its arguments. Values are frozen trees. Who
//! misses on an entry that another execution computes waits for it; if that call throws, the next one computes.

mod admin;

pub use admin::CacheInfo;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::array::{Key, View};
use crate::convert::{strict_equal, to_number, truthy};
use crate::frozen::{Freezer, Pin, Tree};
use crate::host::{Host, MessageScope};
use crate::native::{Cx, Input, Step, Task, Throw};
use crate::object::Function;
use crate::pieces::PIECE_FREEZING;
use crate::shared::ExecutionId;
use crate::value::{Kind, Value};
use crate::waits;

/// The caches of the process, or of one simulated one: an extension of the host. Clones share it.
#[derive(Clone, Default)]
pub struct Caches {
    state: Arc<Mutex<State>>,
}

/// Most bytes that all caches hold; those that were not used for the longest time go first.
const MAX_BYTES: usize = 256 << 20;
/// Most caches. Namespaces are made of what peers send, too.
const MAX_CACHES: usize = 16_384;
/// What an entry costs beside its value and key.
const ENTRY: usize = 256;

#[derive(Default)]
struct State {
    caches: HashMap<Vec<u8>, Cache>,
    /// Counts uses.
    tick: u64,
    /// What the entries of all caches hold.
    bytes: usize,
    /// The number of caches at which the expired are looked for.
    sweep_at: usize,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Vec<u8>, Entry>,
    /// Keys by the tick of their last use.
    order: BTreeMap<u64, Vec<u8>>,
    /// The tick of the last look.
    used: u64,
    /// The stamp of the file that it belongs to.
    stamp: Option<Option<u64>>,
    bytes: usize,
    /// The smallest size that a call asked for.
    size: Option<usize>,
    computing: HashMap<Vec<u8>, Computing>,
    counts: Counts,
}

/// What a cache did.
#[derive(Clone, Copy, Default)]
struct Counts {
    hits: u64,
    misses: u64,
    evicts: u64,
    /// Calls that waited for another one's result.
    waits: u64,
}

struct Entry {
    value: Arc<Tree>,
    expires: Duration,
    used: u64,
    bytes: usize,
}

struct Computing {
    execution: ExecutionId,
    wakers: Vec<Waker>,
    waiting: Vec<ExecutionId>,
}

/// What a look into a cache gave.
enum Found {
    Hit(Arc<Tree>),
    /// Another execution computes it.
    Wait,
    /// It is ours to compute, and others wait for it if the flag says so; what is there is no longer valid.
    Compute(Option<Arc<Tree>>, bool),
}

impl Caches {
    /// The caches that executions share whose host has none of its own.
    #[must_use]
    pub fn global() -> &'static Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        CACHES.get_or_init(Caches::default)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, call: &Place, force: bool, size: usize, now: Duration) -> Found {
        let mut state = self.state();
        let state = &mut *state;
        waits::end(call.execution);
        if state.caches.len() >= state.sweep_at.max(1024) {
            state.sweep(now);
        }
        state.tick += 1;
        let tick = state.tick;
        let cache = state.caches.entry(call.cache.clone()).or_default();
        cache.used = tick;
        let before = cache.bytes;
        if cache.stamp != call.stamp {
            cache.clear();
            cache.stamp = call.stamp;
        }
        cache.size = Some(cache.size.map_or(size, |before| before.min(size)));
        cache.shrink();
        state.bytes -= before - cache.bytes;
        let found = cache
            .entries
            .get(&call.key)
            .map(|entry| (Arc::clone(&entry.value), entry.expires > now));
        if force {
            cache.counts.misses += 1;
            return Found::Compute(found.map(|(value, _)| value), false);
        }
        if let Some((value, true)) = &found {
            cache.touch(&call.key, tick);
            cache.counts.hits += 1;
            return Found::Hit(Arc::clone(value));
        }
        let old = found.map(|(value, _)| value);
        match cache.computing.get(&call.key).map(|by| by.execution) {
            // A function that needs its own result is called again, until the call depth ends it.
            Some(other) if other == call.execution => Found::Compute(old, false),
            // Waiting would close a circle: both compute.
            Some(other) if waits::begin(call.execution, other).is_err() => {
                Found::Compute(old, false)
            }
            Some(_) => {
                if let Some(computing) = cache.computing.get_mut(&call.key) {
                    computing.waiting.push(call.execution);
                }
                cache.counts.waits += 1;
                Found::Wait
            }
            None => {
                let computing = Computing {
                    execution: call.execution,
                    wakers: Vec::new(),
                    waiting: Vec::new(),
                };
                cache.computing.insert(call.key.clone(), computing);
                Found::Compute(old, true)
            }
        }
    }

    fn store(&self, call: &Place, value: Arc<Tree>, now: Duration, ttl: Duration, lru: bool) {
        let mut state = self.state();
        let state = &mut *state;
        state.tick += 1;
        let Some(cache) = state.caches.get_mut(&call.cache) else {
            return;
        };
        // The file has changed since the call began.
        if cache.stamp != call.stamp {
            return;
        }
        let before = cache.bytes;
        let size = cache.size.unwrap_or(0);
        if !cache.entries.contains_key(&call.key) && cache.entries.len() >= size {
            if !lru || size == 0 {
                return;
            }
            cache.evict();
        }
        cache.remove(&call.key);
        let bytes = value.bytes() + 2 * call.key.len() + ENTRY;
        cache.order.insert(state.tick, call.key.clone());
        cache.bytes += bytes;
        cache.entries.insert(
            call.key.clone(),
            Entry {
                value,
                expires: now.saturating_add(ttl),
                used: state.tick,
                bytes,
            },
        );
        state.bytes = state.bytes + cache.bytes - before;
        if state.bytes > MAX_BYTES {
            state.sweep(now);
        }
    }

    /// Ends the computing of an entry: those who wait look again.
    fn finish(&self, call: &Place) {
        let computing = {
            let mut state = self.state();
            let cache = state.caches.get_mut(&call.cache);
            cache.and_then(|cache| match cache.computing.get(&call.key) {
                Some(computing) if computing.execution == call.execution => {
                    cache.computing.remove(&call.key)
                }
                _ => None,
            })
        };
        let Some(computing) = computing else { return };
        for waiter in computing.waiting {
            waits::end(waiter);
        }
        for waker in computing.wakers {
            waker.wake();
        }
    }
}

impl State {
    /// Drops what has expired, and then what was not used for the longest time, until there is room.
    fn sweep(&mut self, now: Duration) {
        for cache in self.caches.values_mut() {
            let expired = cache
                .entries
                .iter()
                .filter(|(_, entry)| entry.expires <= now);
            let expired: Vec<Vec<u8>> = expired.map(|(key, _)| key.clone()).collect();
            expired.iter().for_each(|key| cache.remove(key));
        }
        self.caches
            .retain(|_, cache| !cache.entries.is_empty() || !cache.computing.is_empty());
        self.bytes = self.caches.values().map(|cache| cache.bytes).sum();
        let mut oldest: Vec<(u64, Vec<u8>)> = self
            .caches
            .iter()
            .filter(|(_, cache)| cache.computing.is_empty())
            .map(|(key, cache)| (cache.used, key.clone()))
            .collect();
        oldest.sort_unstable();
        for (_, key) in oldest {
            let crowded = self.caches.len() > MAX_CACHES * 3 / 4;
            let full = self.bytes > MAX_BYTES / 4 * 3;
            let Some(cache) = self.caches.get_mut(&key).filter(|_| crowded || full) else {
                break;
            };
            let before = cache.bytes;
            while full
                && !cache.entries.is_empty()
                && self.bytes - before + cache.bytes > MAX_BYTES / 4 * 3
            {
                cache.evict();
            }
            self.bytes = self.bytes - before + cache.bytes;
            if crowded || cache.entries.is_empty() {
                self.bytes -= cache.bytes;
                self.caches.remove(&key);
            }
        }
        self.sweep_at = (self.caches.len() * 2).min(MAX_CACHES);
    }
}

impl Cache {
    fn touch(&mut self, key: &[u8], tick: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.order.remove(&entry.used);
            entry.used = tick;
            self.order.insert(tick, key.to_vec());
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn evict(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.counts.evicts += 1;
            self.remove(&key);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.size.unwrap_or(usize::MAX) {
            self.evict();
        }
    }
}

/// Which entry of which cache, and for whom.
struct Place {
    cache: Vec<u8>,
    key: Vec<u8>,
    execution: ExecutionId,
    /// For a namespace that belongs to a file: what the file is like.
    stamp: Option<Option<u64>>,
}

/// What the options of one call say.
struct Options {
    ttl: f64,
    ttl_override: Value,
    ttl_function: Option<Rc<Function>>,
    update_function: Option<Rc<Function>>,
    argv_filter: Option<Vec<usize>>,
    force: bool,
    size: usize,
    namespace: Vec<u8>,
    per_message: bool,
    lru: bool,
}

impl Options {
    fn parse(view: View<'_>) -> Result<Options, Throw> {
        let mut options = Options {
            ttl: 60.0,
            ttl_override: Value::None,
            ttl_function: None,
            update_function: None,
            argv_filter: None,
            force: false,
            size: 32,
            namespace: Vec::new(),
            per_message: false,
            lru: true,
        };
        for (key, value) in view.iter() {
            let Key::String(name) = &key else {
                return Err(Throw::error("cache: an option without name"));
            };
            if value.is_none() {
                continue;
            }
            let name = name.to_text();
            let mismatch = |expected: &str| {
                Throw::error(format!(
                    "cache: option {name}: expected {expected}, got {}",
                    value.kind().name()
                ))
            };
            match &*name {
                "ttl" => options.ttl = number(&value).ok_or_else(|| mismatch("number"))?,
                "ttl_override" if value.kind() == Kind::Array => options.ttl_override = value,
                "ttl_override" => return Err(mismatch("array")),
                "ttl_function" => {
                    options.ttl_function = Some(
                        value
                            .as_function()
                            .cloned()
                            .ok_or_else(|| mismatch("function"))?,
                    );
                }
                "update_function" => {
                    options.update_function = Some(
                        value
                            .as_function()
                            .cloned()
                            .ok_or_else(|| mismatch("function"))?,
                    );
                }
                "argv_filter" => {
                    let positions = value.as_array().ok_or_else(|| mismatch("array"))?;
                    options.argv_filter = Some(
                        positions
                            .values()
                            .map(|at| to_number(&at) as usize)
                            .collect(),
                    );
                }
                "force" => options.force = truthy(&value),
                "size" => options.size = number(&value).ok_or_else(|| mismatch("number"))? as usize,
                "namespace" => {
                    options.namespace =
                        value.as_bytes().ok_or_else(|| mismatch("string"))?.to_vec();
                }
                "per_message" => options.per_message = truthy(&value),
                "lru" => options.lru = truthy(&value),
                other => return Err(Throw::error(format!("cache: unknown option {other}"))),
            }
        }
        Ok(options)
    }
}

fn number(value: &Value) -> Option<f64> {
    matches!(
        value,
        Value::Number(_) | Value::Boolean(_) | Value::String(_)
    )
    .then(|| to_number(value))
}

enum Stage {
    Look,
    Called,
    Updated,
    Timed,
    /// The result is being stored.
    Storing,
}

/// A call through a cache.
pub(crate) struct CachedCall {
    caches: Caches,
    function: Rc<Function>,
    args: Vec<Value>,
    options: Options,
    /// None when an argument cannot be a part of a key: then the call is not cached.
    place: Option<Place>,
    stage: Stage,
    /// The entry is marked as being computed by us.
    marked: bool,
    old: Option<Arc<Tree>>,
    result: Value,
    /// What is being stored, in pieces, and for how long.
    storing: Option<(Freezer, f64)>,
}

impl CachedCall {
    /// Prepares the call of `function`, whose cache is called `name`.
    pub fn new(
        host: &Rc<Host>,
        name: &[u8],
        function: Rc<Function>,
        options: &Value,
        args: &Value,
    ) -> Result<CachedCall, Throw> {
        let Some(view) = options.as_array() else {
            return Err(Throw::error("cache: options must be an array"));
        };
        let options = Options::parse(view)?;
        let args: Vec<Value> = args
            .as_array()
            .map(|view| view.values().collect())
            .unwrap_or_default();
        let mut key = Vec::new();
        let picked = args
            .iter()
            .enumerate()
            .filter(|(at, _)| match &options.argv_filter {
                Some(positions) => positions.contains(&(at + 1)),
                None => true,
            });
        let mut whole = true;
        for (_, value) in picked {
            whole = whole && write_key(&mut key, value, Some(host));
        }
        // Where no message is being handled there is one cache for all.
        let message = host
            .extension::<MessageScope>()
            .filter(|_| options.per_message);
        let message = message.map(|message| message.0.clone()).unwrap_or_default();
        let mut cache = Vec::new();
        for part in [message.as_bytes(), &options.namespace] {
            cache.extend_from_slice(&(part.len() as u64).to_le_bytes());
            cache.extend_from_slice(part);
        }
        cache.extend_from_slice(name);
        let stamp = options.namespace.starts_with(b"file:").then(|| {
            host.files
                .stamp(&String::from_utf8_lossy(&options.namespace))
        });
        let place = whole.then_some(Place {
            cache,
            key,
            execution: host.execution,
            stamp,
        });
        let caches = host
            .extension::<Caches>()
            .map_or_else(|| Caches::global().clone(), |caches| (*caches).clone());
        Ok(CachedCall {
            caches,
            function,
            args,
            options,
            place,
            stage: Stage::Look,
            marked: false,
            old: None,
            result: Value::None,
            storing: None,
        })
    }

    fn call(&mut self) -> Step {
        self.stage = Stage::Called;
        Step::Call(
            Rc::clone(&self.function),
            std::mem::take(&mut self.args).into_iter().collect(),
        )
    }

    fn look(&mut self, cx: &Cx<'_>) -> Step {
        let Some(place) = &self.place else {
            return self.call();
        };
        let now = cx.host.clock.monotonic().0;
        match self
            .caches
            .look(place, self.options.force, self.options.size, now)
        {
            Found::Hit(tree) => Step::Done(Pin::new(&tree).root()),
            Found::Compute(old, marked) => {
                self.marked = marked;
                self.old = old;
                self.call()
            }
            Found::Wait => {
                let caches = self.caches.clone();
                let (cache, key) = (place.cache.clone(), place.key.clone());
                Step::Await(Box::pin(poll_fn(move |context| {
                    let mut state = caches.state();
                    match state
                        .caches
                        .get_mut(&cache)
                        .and_then(|cache| cache.computing.get_mut(&key))
                    {
                        None => Poll::Ready(Ok(Value::None)),
                        Some(computing) => {
                            if !computing
                                .wakers
                                .iter()
                                .any(|waker| waker.will_wake(context.waker()))
                            {
                                computing.wakers.push(context.waker().clone());
                            }
                            Poll::Pending
                        }
                    }
                })))
            }
        }
    }

    fn time(&mut self, cx: &mut Cx<'_>) -> Result<Step, Throw> {
        if let Some(function) = &self.options.ttl_function {
            self.stage = Stage::Timed;
            return Ok(Step::Call(
                Rc::clone(function),
                [self.result.clone()].into_iter().collect(),
            ));
        }
        // A key that only looks like the result would be another one.
        let whole = !matches!(&self.result, Value::Number(number) if number.fract() != 0.0);
        let own = whole
            .then(|| Key::cast(&self.result))
            .flatten()
            .and_then(|key| self.options.ttl_override.as_array()?.get(&key));
        let ttl = own.map_or(self.options.ttl, |ttl| to_number(&ttl));
        self.store(cx, ttl)
    }

    fn store(&mut self, cx: &mut Cx<'_>, ttl: f64) -> Result<Step, Throw> {
        if self.place.is_some() && ttl > 0.0 {
            self.stage = Stage::Storing;
            self.storing = Some((Freezer::new(&self.result), ttl));
        }
        self.go_on_storing(cx)
    }

    fn go_on_storing(&mut self, cx: &mut Cx<'_>) -> Result<Step, Throw> {
        if let (Some(place), Some((freezer, ttl))) = (&self.place, &mut self.storing) {
            let mut spent = 0;
            let tree = freezer.go_on(&mut spent, PIECE_FREEZING);
            cx.charge(spent);
            let Some(tree) = tree? else {
                return Ok(Step::Again);
            };
            let ttl = *ttl;
            let lifetime = Duration::try_from_secs_f64(ttl).unwrap_or(Duration::MAX);
            let now = cx.host.clock.monotonic().0;
            self.caches
                .store(place, tree, now, lifetime, self.options.lru);
        }
        Ok(Step::Done(std::mem::take(&mut self.result)))
    }
}

impl Task for CachedCall {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        let value = match input {
            Input::Start => Value::None,
            Input::Value(value) => value,
        };
        match self.stage {
            Stage::Look => Ok(self.look(cx)),
            Stage::Called => {
                self.result = value;
                if let (Some(function), Some(old)) = (&self.options.update_function, &self.old) {
                    self.stage = Stage::Updated;
                    let old = Pin::new(old).root();
                    return Ok(Step::Call(
                        Rc::clone(function),
                        [old, self.result.clone()].into_iter().collect(),
                    ));
                }
                self.time(cx)
            }
            Stage::Updated => {
                self.result = value;
                self.time(cx)
            }
            Stage::Timed => self.store(cx, to_number(&value)),
            Stage::Storing => self.go_on_storing(cx),
        }
    }
}

impl Drop for CachedCall {
    fn drop(&mut self) {
        let Some(place) = &self.place else { return };
        if matches!(self.stage, Stage::Look) {
            // Its execution ended while it waited.
            waits::end(place.execution);
        }
        if self.marked {
            self.caches.finish(place);
        }
    }
}

/// The objects and functions that an execution passed to cached calls. They are kept until it ends, so that no later
/// one takes the place of one that is gone.
#[derive(Default)]
struct Identities(RefCell<Vec<Value>>);

/// As many objects and functions of an execution have entries in caches; calls with others are made each time.
const MAX_IDENTITIES: usize = 256;

impl Identities {
    /// The number of an object or function in its execution.
    fn number(host: &Host, value: &Value) -> Option<u64> {
        let identities = host.extension::<Identities>().unwrap_or_else(|| {
            host.extend(Rc::new(Identities::default()));
            host.extension().unwrap_or_default()
        });
        let mut known = identities.0.borrow_mut();
        let at = match known.iter().position(|other| strict_equal(other, value)) {
            Some(at) => at,
            None if known.len() < MAX_IDENTITIES => {
                known.push(value.clone());
                known.len() - 1
            }
            None => return None,
        };
        Some(at as u64)
    }
}

/// Appends the form of an argument that strictly equal values share and no others; false if it has none. Objects and
/// functions are told apart by identity, which other executions do not share.
fn write_key(out: &mut Vec<u8>, value: &Value, host: Option<&Host>) -> bool {
    // The entries of an array are sorted, as their order does not count.
    enum Item {
        Value(Value),
        Key(Vec<u8>),
    }
    const MOST: usize = 1 << 20;
    let mut pending = vec![Item::Value(value.clone())];
    while let Some(item) = pending.pop() {
        // An integer key and the shortest value take ten bytes.
        let more = match &item {
            Item::Value(value) => match value.as_array() {
                Some(view) => view.len().saturating_sub(1) * 10,
                None => value.as_bytes().map_or(0, <[u8]>::len),
            },
            Item::Key(key) => key.len(),
        };
        if out.len() + more > MOST {
            return false;
        }
        match item {
            Item::Key(bytes) => out.extend_from_slice(&bytes),
            Item::Value(Value::None) => out.push(b'0'),
            Item::Value(Value::Boolean(boolean)) => {
                out.extend_from_slice(&[b'b', u8::from(boolean)])
            }
            // NaN differs from itself: such a call is never found again.
            Item::Value(Value::Number(number)) if number.is_nan() => return false,
            Item::Value(Value::Number(number)) => {
                out.push(b'n');
                out.extend_from_slice(&(number + 0.0).to_bits().to_le_bytes());
            }
            Item::Value(Value::String(string)) => {
                out.push(b's');
                out.extend_from_slice(&(string.len() as u64).to_le_bytes());
                out.extend_from_slice(string.as_bytes());
            }
            Item::Value(array @ Value::Array(_)) => {
                let Some(view) = array.as_array() else {
                    return false;
                };
                out.push(b'a');
                out.extend_from_slice(&(view.len() as u64).to_le_bytes());
                let mut entries: Vec<(Vec<u8>, Value)> = view
                    .iter()
                    .map(|(key, value)| (key_bytes(&key), value))
                    .collect();
                entries.sort_by(|a, b| b.0.cmp(&a.0));
                for (key, value) in entries {
                    pending.push(Item::Value(value));
                    pending.push(Item::Key(key));
                }
            }
            Item::Value(other) => {
                let numbered =
                    host.and_then(|host| Some((host, Identities::number(host, &other)?)));
                let Some((host, number)) = numbered else {
                    return false;
                };
                out.push(b'i');
                out.extend_from_slice(&host.execution.to_bytes());
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    true
}

fn key_bytes(key: &Key) -> Vec<u8> {
    match key {
        Key::Integer(number) => {
            let mut bytes = vec![b'i'];
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes
        }
        Key::String(string) => {
            let mut bytes = vec![b's'];
            bytes.extend_from_slice(&(string.len() as u64).to_le_bytes());
            bytes.extend_from_slice(string.as_bytes());
            bytes
        }
        Key::None | Key::Gap => vec![b'0'],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn place(cache: &str, key: &str, execution: ExecutionId, stamp: Option<u64>) -> Place {
        Place {
            cache: cache.into(),
            key: key.into(),
            execution,
            stamp: stamp.map(Some),
        }
    }

    fn tree(text: &str) -> Arc<Tree> {
        crate::frozen::freeze(&Value::from(text)).unwrap()
    }

    fn is_hit(caches: &Caches, place: &Place) -> bool {
        matches!(
            caches.look(place, true, 32, NOW),
            Found::Compute(Some(_), _)
        )
    }

    #[test]
    fn a_file_that_has_changed_clears_its_caches() {
        let (caches, me) = (Caches::default(), ExecutionId::next());
        let old = place("f", "k", me, Some(1));
        assert!(!is_hit(&caches, &old));
        caches.store(&old, tree("old"), NOW, Duration::MAX, true);
        assert!(is_hit(&caches, &old));
        let new = place("f", "k", me, Some(2));
        assert!(!is_hit(&caches, &new));
        caches.store(&old, tree("old"), NOW, Duration::MAX, true);
        assert!(
            !is_hit(&caches, &new),
            "a call that began before the change"
        );
    }

    #[test]
    fn what_waits_in_a_circle_computes() {
        let caches = Caches::default();
        let (a, b) = (ExecutionId::next(), ExecutionId::next());
        let look = |key, execution| caches.look(&place("f", key, execution, None), false, 32, NOW);
        assert!(matches!(look("1", a), Found::Compute(None, true)));
        assert!(matches!(look("2", b), Found::Compute(None, true)));
        assert!(matches!(look("2", a), Found::Wait));
        assert!(matches!(look("1", b), Found::Compute(None, false)));
    }

    #[test]
    fn caches_and_their_bytes_are_bounded() {
        let (caches, me) = (Caches::default(), ExecutionId::next());
        for number in 0..MAX_CACHES + 10 {
            let place = place(&number.to_string(), "k", me, None);
            caches.look(&place, true, 32, NOW);
            caches.store(&place, tree("v"), NOW, Duration::MAX, true);
        }
        let count = caches.state().caches.len();
        assert!((MAX_CACHES / 2..=MAX_CACHES).contains(&count), "{count}");
        let large = tree(&"x".repeat(1 << 20));
        for number in 0..400 {
            let place = place("large", &number.to_string(), me, None);
            caches.look(&place, true, 1000, NOW);
            caches.store(&place, Arc::clone(&large), NOW, Duration::MAX, true);
        }
        let state = caches.state();
        assert!(state.bytes <= MAX_BYTES, "{}", state.bytes);
        let sum: usize = state.caches.values().map(|cache| cache.bytes).sum();
        assert_eq!(state.bytes, sum);
        assert!(state.caches[&b"large"[..]].entries.len() > 100);
    }

    #[test]
    fn expired_entries_make_room() {
        let (caches, me) = (Caches::default(), ExecutionId::next());
        for number in 0..2000 {
            let place = place(&number.to_string(), "k", me, None);
            let now = Duration::from_secs(number);
            caches.look(&place, true, 32, now);
            caches.store(&place, tree("v"), now, Duration::from_secs(60), true);
        }
        assert!(caches.state().caches.len() <= 1100);
    }
}
