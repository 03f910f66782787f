//! Servers that run scripts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_config::{Config, FileSource, Listed, Options, Source, load};
use angarium_runtime::cache::Caches;
use angarium_runtime::shared::SharedMemory;

use super::super::{Settings, Store};
use super::support::{MemoryStore, settings};
use crate::counts::ScriptCounters;
use crate::hooks::session::SessionScripts;
use crate::hooks::steering::Door;
use crate::log::Memory;
use crate::scripts::{NoRoot, Scripts, Services};

/// A bundle in memory.
pub(super) struct Bundle(BTreeMap<PathBuf, String>);

impl FileSource for Bundle {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let mut names = BTreeMap::new();
        for path in self.0.keys() {
            let mut below = path.strip_prefix(folder).into_iter().flatten();
            if let Some(name) = below.next() {
                names.insert(name.to_owned(), below.next().is_some());
            }
        }
        if names.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let listed = names.into_iter();
        Ok(listed
            .map(|(name, folder)| Listed { name, folder })
            .collect())
    }
}

impl Bundle {
    /// A bundle with these scripts, each bound to its phase, in the spellings of a release.
    pub(super) fn config(scripts: &[(&str, &str)], compat: u8) -> Config {
        let phases = scripts.iter().map(|(phase, _)| {
            let more = match *phase {
                "auth" => ", tls: false, mechanisms: [plain, LOGIN, X-ASK]",
                "eodrcpt" => ", perrecipient: true",
                _ => "",
            };
            format!("      {}: {{hook: default{more}}}\n", phase_of(phase))
        });
        let phases: String = phases.collect();
        let running = format!(
            "version: '6.0'\nscripting: {{compat: {compat}}}\nservers:\n  - id: default\n    transport: out\n    phases:\n{phases}\
             transportgroups:\n  - id: default\n    transports:\n      - id: out\n      - id: other\n"
        );
        let startup = "version: '6.0'\nservers:\n  - id: default\n    listeners: [{port: 25}]\n";
        let mut files = BTreeMap::from([
            ("/b/src/config/smtpd.yaml".into(), startup.to_owned()),
            ("/b/src/config/smtpd-app.yaml".into(), running),
        ]);
        for (phase, text) in scripts {
            let path = format!("/b/src/hooks/{}/default.hsl", phase_of(phase));
            files.insert(path.into(), (*text).to_owned());
        }
        let source = Source::Tree("/b".into());
        load(&Bundle(files), &source, &Options::default())
            .expect("a configuration")
            .config
    }
}

/// The phase of a context.
fn phase_of(context: &str) -> &str {
    match context {
        "eodrcpt" => "eod",
        phase => phase,
    }
}

/// Settings of a server that runs these scripts, and its log.
pub(super) fn with_scripts(
    store: &Arc<MemoryStore>,
    scripts: &[(&str, &str)],
) -> (Settings, Memory) {
    with_compat(store, scripts, 6)
}

/// The same in the spellings of a release.
pub(super) fn with_compat(
    store: &Arc<MemoryStore>,
    scripts: &[(&str, &str)],
    compat: u8,
) -> (Settings, Memory) {
    let config = Bundle::config(scripts, compat);
    let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
    let compiled = match compiled {
        Ok((compiled, _)) => compiled,
        Err(errors) => panic!("{errors}"),
    };
    let server = config.running.servers.values().next().expect("a server");
    let log = Memory::default();
    let services = Services {
        memory: SharedMemory::default(),
        caches: Caches::default(),
        log: Arc::new(log.clone()),
        hostname: "mx.example".into(),
        door: Door::default(),
        outbox: Default::default(),
        counts: ScriptCounters::default(),
        common: crate::scripts::Common::default(),
    };
    let mut settings = settings(store);
    let smtp = Arc::make_mut(&mut settings.smtp);
    let configured = crate::settings::server(server, "mx.example");
    smtp.hooks = configured.hooks;
    smtp.auth = configured.auth;
    smtp.transport_id = "out".to_owned();
    settings.hooks = Arc::new(SessionScripts::new(
        Arc::new(compiled),
        services,
        server.clone(),
        Arc::clone(store) as Arc<dyn Store>,
    ));
    (settings, log)
}
