//! What scripts share: `memory_*`, `cache` and `rate`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_control::proto::{
    HslCacheClearRequest, HslCacheClearResponse, HslCacheResponse, HslMemoryDeleteRequest,
    HslMemoryDeleteResponse, HslMemoryListRequest, HslMemoryListResponse, HslMemoryResponse,
    HslMemoryStoreRequest, HslMemoryStoreResponse, HslRateClearRequest, HslRateClearResponse,
    HslRateRequest, HslRateResponse, PagingResponse, StringValue, hsl_cache_response,
    hsl_rate_response,
};
use angarium_effects::Clock;
use angarium_effects::clock::timeout;
use angarium_runtime::cache::Caches;
use angarium_runtime::frozen::{Pin, Tree, freeze};
use angarium_runtime::shared::{ExecutionId, Guard, SharedMemory};
use angarium_runtime::value::Value;
use angarium_stdlib::json::{self, Form};
use angarium_stdlib::rate::{Counted, Rates};

use super::filter::text_test;

/// Keys of a list if the request does not say.
const PAGE: u64 = 100;
/// How long a key may be held by a script before a request for it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stored value as JSON.
fn shown(tree: &Arc<Tree>) -> Result<String, String> {
    let form = Form {
        ascii: false,
        pretty: false,
    };
    let value = Pin::new(tree).root();
    let json = json::encode(&value, form).map_err(|_| "The value has no form as JSON")?;
    Ok(text(&json))
}

fn parsed(json: &str) -> Result<Value, String> {
    json::decode(json.as_bytes()).map_err(|error| format!("Bad JSON: {error}"))
}

/// Takes the lock of a key as a script would, so that no update of a script is cut in half.
async fn locked(memory: &SharedMemory, clock: &Rc<dyn Clock>, key: &str) -> Result<Guard, String> {
    let lock = memory.lock(key.as_bytes(), ExecutionId::next());
    match timeout(&**clock, PATIENCE, lock).await {
        Some(Ok(guard)) => Ok(guard),
        _ => Err(format!("A script holds {key}")),
    }
}

/// `hsl memory fetch`; a key that is not there has an empty text, which is no JSON.
pub(super) fn fetch(memory: &SharedMemory, key: &str) -> Result<HslMemoryResponse, String> {
    let value = memory.get(key.as_bytes());
    let value = value.as_ref().map(shown).transpose()?.unwrap_or_default();
    Ok(HslMemoryResponse { value })
}

/// `hsl memory list`
pub(super) fn list(
    memory: &SharedMemory,
    wanted: &HslMemoryListRequest,
) -> Result<HslMemoryListResponse, String> {
    let wanted_key = wanted.condition.as_ref().and_then(|of| of.key.as_ref());
    let test = wanted_key.map(text_test).transpose()?;
    let mut keys = memory.keys();
    keys.retain(|key| test.as_ref().is_none_or(|test| test(key)));
    keys.sort_unstable();
    let paging = wanted.paging.unwrap_or_default();
    let limit = if paging.limit == 0 {
        PAGE
    } else {
        paging.limit
    };
    let keys = keys
        .iter()
        .skip(usize::try_from(paging.offset).unwrap_or(usize::MAX));
    let keys = keys.take(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(HslMemoryListResponse {
        keys: keys.map(|key| text(key)).collect(),
    })
}

/// `hsl memory store`
pub(super) async fn store(
    memory: &SharedMemory,
    clock: &Rc<dyn Clock>,
    wanted: &HslMemoryStoreRequest,
) -> Result<HslMemoryStoreResponse, String> {
    let tree = freeze(&parsed(&wanted.value)?).map_err(|_| "The value cannot be stored")?;
    let _guard = locked(memory, clock, &wanted.key).await?;
    let stored = memory.set(wanted.key.as_bytes(), Some(tree));
    let old = stored.map_err(|error| error.to_string())?;
    let old = old.as_ref().filter(|_| wanted.r#return).map(shown);
    Ok(HslMemoryStoreResponse {
        value: old.transpose()?.unwrap_or_default(),
    })
}

/// `hsl memory delete`: the value is read and removed in one step.
pub(super) async fn delete(
    memory: &SharedMemory,
    clock: &Rc<dyn Clock>,
    wanted: &HslMemoryDeleteRequest,
) -> Result<HslMemoryDeleteResponse, String> {
    let _guard = locked(memory, clock, &wanted.key).await?;
    if wanted.r#return {
        // Before it goes: a value without a form as JSON stays.
        memory
            .get(wanted.key.as_bytes())
            .as_ref()
            .map(shown)
            .transpose()?;
    }
    let old = memory.set(wanted.key.as_bytes(), None);
    let old = old.map_err(|error| error.to_string())?;
    let value = old.as_ref().filter(|_| wanted.r#return).map(shown);
    Ok(HslMemoryDeleteResponse {
        affected: u64::from(old.is_some()),
        value: value.transpose()?.unwrap_or_default(),
    })
}

/// `hsl rate list`, in the order of namespaces and entries.
pub(super) fn rates(
    rates: &Rates,
    clock: &dyn Clock,
    wanted: &HslRateRequest,
) -> Result<HslRateResponse, String> {
    let least = wanted.conditions.unwrap_or_default();
    let interval = match least.interval {
        0.0 => None,
        seconds => Some(Duration::try_from_secs_f64(seconds).map_err(|_| "Bad interval")?),
    };
    let (namespace, entry) = (wanted.namespace.as_ref(), wanted.entry.as_ref());
    let mut found = rates.list(interval, clock.monotonic(), |counted| {
        let has = |part: &str| {
            part.is_empty() || memchr::memmem::find(&counted.entry, part.as_bytes()).is_some()
        };
        namespace.is_none_or(|name| name.value.as_bytes() == counted.namespace)
            && entry.is_none_or(|part| has(&part.value))
            && counted.hits >= least.count
    });
    let total = found.len() as u64;
    let order = |counted: &Counted| {
        (
            counted.namespace.clone(),
            counted.entry.clone(),
            counted.is_local,
        )
    };
    found.sort_by_cached_key(order);
    let paging = wanted.paging.unwrap_or_default();
    let limit = match paging.limit {
        0 => PAGE,
        limit => limit,
    };
    let page = found
        .iter()
        .skip(usize::try_from(paging.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let now = clock.unix();
    Ok(HslRateResponse {
        items: page
            .map(|counted| hsl_rate_response::Item {
                namespace: text(&counted.namespace),
                entry: text(&counted.entry),
                local: counted.hits,
                // There are no other hosts yet.
                total: counted.hits,
                last: now.saturating_sub(counted.age).as_secs_f64(),
                nosync: counted.is_local,
            })
            .collect(),
        paging: Some(PagingResponse { total }),
    })
}

/// `hsl rate clear`
pub(super) fn clear_rates(
    rates: &Rates,
    clock: &dyn Clock,
    wanted: &HslRateClearRequest,
) -> HslRateClearResponse {
    let is = |asked: Option<&StringValue>, name: &[u8]| {
        asked.is_none_or(|asked| asked.value.as_bytes() == name)
    };
    let affected = rates.clear(clock.monotonic(), |counted| {
        is(wanted.namespace.as_ref(), &counted.namespace)
            && is(wanted.entry.as_ref(), &counted.entry)
    });
    HslRateClearResponse { affected }
}

/// `hsl cache list`
pub(super) fn caches(caches: &Caches) -> HslCacheResponse {
    let list = caches.list();
    let items = list.iter().map(|cache| hsl_cache_response::Item {
        namespace: text(&cache.namespace),
        function: text(&cache.function),
        maxsize: cache.maxsize.unwrap_or(0) as u64,
        size: cache.size as u64,
        hits: cache.hits,
        misses: cache.misses,
        evicts: cache.evicts,
        waits: cache.waits,
    });
    HslCacheResponse {
        items: items.collect(),
    }
}

/// `hsl cache clear`
pub(super) fn clear(
    caches: &Caches,
    wanted: &HslCacheClearRequest,
) -> Result<HslCacheClearResponse, String> {
    let mut arguments = BTreeMap::new();
    for (place, json) in &wanted.arguments {
        arguments.insert(*place, parsed(json)?);
    }
    let part = |of: &Option<StringValue>| of.as_ref().map(|of| of.value.clone().into_bytes());
    let (namespace, function) = (part(&wanted.namespace), part(&wanted.function));
    let affected = caches.remove(namespace.as_deref(), function.as_deref(), &arguments);
    Ok(HslCacheClearResponse { affected })
}
