//! Sockets, TLS and HTTP of scripts against servers on loopback; names and files as older scripts ask for them.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the servers are threads with sockets of the system"
)]

mod connections;
mod files;
mod http;
mod mta_sts;
mod names;
mod servers;
mod sockets;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::Net;
use angarium_effects::dns::TableDns;
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_lang::Source;
use angarium_lang::modules::Loader;
use angarium_runtime::cache::Caches;
use angarium_runtime::host::{FileData, Files, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::value::Value;
use angarium_runtime::{Ended, Execution, Limits, Unit, convert};
use angarium_stdlib::http::background::Background;
use angarium_stdlib::network::{Names, Network};
use angarium_stdlib::{CORE, extras, regexp};
use rustls::sign::CertifiedKey;

struct Silent;

impl Output for Silent {
    fn echo(&self, _text: &[u8]) {}
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// What a script is run with.
pub struct Bench {
    /// Names that resolve.
    pub dns: TableDns,
    /// Key pairs of the configuration.
    pub keys: BTreeMap<String, Arc<CertifiedKey>>,
    /// Files of the bundle.
    pub files: BTreeMap<String, String>,
    /// Budgets of the script.
    pub limits: Limits,
    /// Requests that nobody waits for; made when the script has ended.
    pub background: Arc<Background>,
    /// Connections.
    pub net: Rc<dyn Net>,
    /// What `cache` keeps from script to script.
    pub caches: Caches,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench {
            dns: TableDns::default(),
            keys: BTreeMap::new(),
            files: BTreeMap::new(),
            limits: Limits {
                time: Some(Duration::from_secs(20)),
                ..Limits::default()
            },
            background: Background::new(|_| {}),
            net: Rc::new(SystemNet),
            caches: Caches::default(),
        }
    }
}

struct Memory(BTreeMap<String, String>);

impl Files for Memory {
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>> {
        let content = self.0.get(name)?;
        Some(Arc::new(Box::<[u8]>::from(content.as_bytes())))
    }
}

/// The modules that come with the program.
struct Extras;

impl Loader for Extras {
    fn load(&self, _path: &str) -> Option<Arc<[u8]>> {
        None
    }

    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        extras::source(name).map(Into::into)
    }
}

struct Known(BTreeMap<String, Arc<CertifiedKey>>);

impl Names for Known {
    fn address(&self, id: &str) -> Option<IpAddr> {
        (id == "loopback").then(|| IpAddr::from([127, 0, 0, 1]))
    }

    fn key_pair(&self, id: &str) -> Option<Result<Arc<CertifiedKey>, String>> {
        Some(Ok(Arc::clone(self.0.get(id)?)))
    }
}

impl Bench {
    /// The value that a script returns, in dump form.
    pub fn run(&self, script: &str) -> Result<String, String> {
        self.run_to_end(script).map_err(|ended| ended.to_string())
    }

    /// The same, with how it ended.
    pub fn run_to_end(&self, script: &str) -> Result<String, Ended> {
        let library = Arc::new(Library::new(&[&CORE]).expect("a well-formed table"));
        let source = Source {
            name: "test",
            path: "",
            text: script.as_bytes(),
        };
        let names = library.context("core").expect("the core");
        let compiled = match angarium_lang::compile(source, &names, &Extras) {
            Ok(compiled) => compiled,
            Err(rejected) => panic!("{}", rejected.render()),
        };
        let unit = match Unit::link(compiled.program, Arc::clone(&library), &regexp::ENGINE) {
            Ok(unit) => unit,
            Err(error) => panic!("{}", error.render()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut execution = Execution::new(&unit, self.host(), Vec::new(), self.limits);
            let background = Arc::clone(&self.background).serve(
                Rc::clone(&self.net),
                Rc::new(self.dns.clone()),
                Rc::new(SystemClock),
                Arc::new(Inline),
                std::future::ready(()),
            );
            let value = execution.drive().await;
            background.await;
            value.map(|value| shown(&value))
        })
    }

    fn host(&self) -> Rc<Host> {
        let host = Host::new(
            Rc::new(SystemClock),
            Rc::new(SystemRandom),
            Rc::new(self.dns.clone()),
            Arc::new(Inline),
            Rc::new(Silent),
            Rc::new(Memory(self.files.clone())),
            &regexp::ENGINE,
            "host.example".into(),
        );
        host.extend(Rc::new(self.caches.clone()));
        host.extend(Rc::new(Network {
            net: Rc::clone(&self.net),
            names: Arc::new(Known(self.keys.clone())),
            background: Some(Arc::clone(&self.background)),
        }));
        Rc::new(host)
    }
}

/// A value in dump form; a text of several lines too stands between quotes, with escapes.
fn shown(value: &Value) -> String {
    let text = String::from_utf8_lossy(&convert::dump(value)).into_owned();
    match text
        .strip_prefix("''")
        .and_then(|text| text.strip_suffix("''"))
    {
        Some(text) => format!("{text:?}"),
        None => text,
    }
}

/// The value that a script returns, in dump form.
pub fn run(script: &str) -> String {
    match Bench::default().run(script) {
        Ok(value) => value,
        Err(why) => panic!("{script}\n{why}"),
    }
}
