//! `cache [options] f(args)` (language.md 15.1): results of calls, shared by all executions of the process.
//!
//! A cache belongs to a namespace and a function; in it an entry is found by its arguments. Values are frozen trees. Who
//! misses on an entry that another execution computes waits for it; if that call throws, the next one computes.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::array::{Key, View};
use crate::convert::{to_number, truthy};
use crate::frozen::{Pin, Tree, freeze};
use crate::host::Host;
use crate::native::{Cx, Input, Step, Task, Throw};
use crate::object::Function;
use crate::shared::ExecutionId;
use crate::value::{Kind, Value};

/// The caches of the process, or of one simulated one: an extension of the host. Clones share it.
#[derive(Clone, Default)]
pub struct Caches {
    state: Arc<Mutex<HashMap<Vec<u8>, Cache>>>,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Vec<u8>, Entry>,
    /// Keys by the tick of their last use.
    order: BTreeMap<u64, Vec<u8>>,
    tick: u64,
    /// The smallest size that a call asked for.
    size: Option<usize>,
    computing: HashMap<Vec<u8>, Computing>,
}

struct Entry {
    value: Arc<Tree>,
    expires: Duration,
    used: u64,
}

struct Computing {
    execution: ExecutionId,
    wakers: Vec<Waker>,
}

/// What a look into a cache gave.
enum Found {
    Hit(Arc<Tree>),
    /// Another execution computes it.
    Wait,
    /// It is ours to compute; what is there is no longer valid.
    Compute(Option<Arc<Tree>>),
}

impl Caches {
    /// The caches that executions share whose host has none of its own.
    fn global() -> &'static Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        CACHES.get_or_init(Caches::default)
    }

    fn state(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Cache>> {
        // Nothing panics while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, call: &Place, force: bool, size: usize, now: Duration) -> Found {
        let mut state = self.state();
        let cache = state.entry(call.cache.clone()).or_default();
        cache.size = Some(cache.size.map_or(size, |before| before.min(size)));
        cache.shrink();
        let found = cache
            .entries
            .get(&call.key)
            .map(|entry| (Arc::clone(&entry.value), entry.expires > now));
        if force {
            return Found::Compute(found.map(|(value, _)| value));
        }
        if let Some((value, true)) = &found {
            cache.touch(&call.key);
            return Found::Hit(Arc::clone(value));
        }
        match cache.computing.get(&call.key) {
            Some(computing) if computing.execution != call.execution => return Found::Wait,
            // A function that needs its own result is called again, until the call depth ends it.
            Some(_) => {}
            None => {
                let computing = Computing {
                    execution: call.execution,
                    wakers: Vec::new(),
                };
                cache.computing.insert(call.key.clone(), computing);
            }
        }
        Found::Compute(found.map(|(value, _)| value))
    }

    fn store(&self, call: &Place, value: Arc<Tree>, expires: Duration, lru: bool) {
        let mut state = self.state();
        let Some(cache) = state.get_mut(&call.cache) else {
            return;
        };
        let size = cache.size.unwrap_or(0);
        if !cache.entries.contains_key(&call.key) && cache.entries.len() >= size {
            if !lru || size == 0 {
                return;
            }
            cache.evict();
        }
        if let Some(old) = cache.entries.remove(&call.key) {
            cache.order.remove(&old.used);
        }
        cache.tick += 1;
        cache.order.insert(cache.tick, call.key.clone());
        cache.entries.insert(
            call.key.clone(),
            Entry {
                value,
                expires,
                used: cache.tick,
            },
        );
    }

    /// Ends the computing of an entry: those who wait look again.
    fn finish(&self, call: &Place) {
        let computing = {
            let mut state = self.state();
            state
                .get_mut(&call.cache)
                .and_then(|cache| match cache.computing.get(&call.key) {
                    Some(computing) if computing.execution == call.execution => {
                        cache.computing.remove(&call.key)
                    }
                    _ => None,
                })
        };
        for waker in computing.into_iter().flat_map(|computing| computing.wakers) {
            waker.wake();
        }
    }
}

impl Cache {
    fn touch(&mut self, key: &[u8]) {
        self.tick += 1;
        if let Some(entry) = self.entries.get_mut(key) {
            self.order.remove(&entry.used);
            entry.used = self.tick;
            self.order.insert(self.tick, key.to_vec());
        }
    }

    fn evict(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.entries.remove(&key);
        }
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
                // There is one cache for all messages where no message is being handled.
                "per_message" => {}
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
            whole = whole && write_key(&mut key, value);
        }
        let mut cache = (options.namespace.len() as u64).to_le_bytes().to_vec();
        cache.extend_from_slice(&options.namespace);
        cache.extend_from_slice(name);
        let place = whole.then_some(Place {
            cache,
            key,
            execution: host.execution,
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
            Found::Compute(old) => {
                self.marked = !self.options.force;
                self.old = old;
                self.call()
            }
            Found::Wait => {
                let caches = self.caches.clone();
                let (cache, key) = (place.cache.clone(), place.key.clone());
                Step::Await(Box::pin(poll_fn(move |context| {
                    let mut state = caches.state();
                    match state
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

    fn time(&mut self, cx: &Cx<'_>) -> Result<Step, Throw> {
        if let Some(function) = &self.options.ttl_function {
            self.stage = Stage::Timed;
            return Ok(Step::Call(
                Rc::clone(function),
                [self.result.clone()].into_iter().collect(),
            ));
        }
        let own =
            Key::cast(&self.result).and_then(|key| self.options.ttl_override.as_array()?.get(&key));
        let ttl = own.map_or(self.options.ttl, |ttl| to_number(&ttl));
        self.store(cx, ttl)
    }

    fn store(&mut self, cx: &Cx<'_>, ttl: f64) -> Result<Step, Throw> {
        if let Some(place) = &self.place
            && ttl > 0.0
        {
            let tree = freeze(&self.result).map_err(|error| Throw::error(error.to_string()))?;
            let lifetime = Duration::try_from_secs_f64(ttl).unwrap_or(Duration::MAX);
            let expires = cx.host.clock.monotonic().0.saturating_add(lifetime);
            self.caches.store(place, tree, expires, self.options.lru);
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
        }
    }
}

impl Drop for CachedCall {
    fn drop(&mut self) {
        if self.marked
            && let Some(place) = &self.place
        {
            self.caches.finish(place);
        }
    }
}

/// Appends the form of an argument that strictly equal values share and no others; false if it has none: objects and
/// functions are told apart by identity, which other executions do not share.
fn write_key(out: &mut Vec<u8>, value: &Value) -> bool {
    // The entries of an array are sorted, as their order does not count.
    enum Item {
        Value(Value),
        Key(Vec<u8>),
    }
    let mut pending = vec![Item::Value(value.clone())];
    while let Some(item) = pending.pop() {
        if out.len() > 1 << 20 {
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
            Item::Value(_) => return false,
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
        Key::None | Key::Tombstone(_) => vec![b'0'],
    }
}
