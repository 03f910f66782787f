//! One run of a hook: host, variables, script, verdict. The connect and rcptto hooks of the quickstart bundle.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use angarium::hooks::steering::Door;
use angarium::hooks::variables::{Map, address};
use angarium::log::Memory;
use angarium::pool::HeavyPool;
use angarium::scripts::{NoRoot, Run, Scripts, Services};
use angarium::worker::Effects;
use angarium_config::{HookType, Options, Source, bundle, load};
use angarium_effects::dns::TableDns;
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use criterion::{Criterion, criterion_group, criterion_main};

fn variables(remote: &str, domain: &str) -> Vec<(&'static str, Value)> {
    let arguments = Map::default()
        .with("recipient", format!("you@{domain}"))
        .with("address", address("you", domain))
        .with("params", Map::default())
        .with("transportid", "");
    let connection = Map::default()
        .with("id", "c")
        .with("remoteip", remote)
        .with("serverid", "default");
    vec![
        ("arguments", arguments.into()),
        ("connection", connection.into()),
        ("transaction", Map::default().with("id", "t").into()),
        ("context", Value::None),
    ]
}

fn hooks(criterion: &mut Criterion) {
    let dir = Path::new("bundle");
    let files = bundle::quickstart(dir);
    let config = load(&files, &Source::Tree(dir.to_owned()), &Options::default())
        .unwrap()
        .config;
    let (scripts, _) =
        Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot)).unwrap();
    let scripts = Arc::new(scripts);
    let services = Services {
        memory: SharedMemory::default(),
        caches: Caches::default(),
        log: Arc::new(Memory::default()),
        hostname: "host".into(),
        door: Door::default(),
        outbox: Default::default(),
        counts: angarium::counts::ScriptCounters::default(),
        common: angarium::scripts::Common::default(),
    };
    let effects = Effects {
        clock: Rc::new(SystemClock),
        random: Rc::new(SystemRandom),
        dns: Rc::new(TableDns::default()),
        net: Rc::new(SystemNet),
    };
    let pool = HeavyPool::inline();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for hook in [HookType::Connect, HookType::RcptTo] {
        let script = config
            .running
            .scripts
            .values()
            .find(|script| script.hook == hook)
            .unwrap();
        let unit = scripts.unit(hook, &script.id).unwrap();
        criterion.bench_function(&format!("{hook} hook"), |bencher| {
            bencher.iter(|| {
                let run = Run {
                    unit,
                    hook,
                    server: "default",
                    id: "id",
                    variables: variables("192.0.2.1", "example.com"),
                };
                let pool = Arc::clone(&pool) as Arc<dyn angarium_runtime::host::Pool>;
                black_box(
                    runtime
                        .block_on(scripts.run(&services, &effects, pool, run, |_| {}))
                        .fuel,
                )
            });
        });
    }
}

criterion_group!(benches, hooks);
criterion_main!(benches);
