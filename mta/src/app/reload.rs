//! What is read again while the server runs: by a reload, for one part of the queue, to be checked, or for a trial.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};

use angarium_config::{Config, FileSource, Listed, Source, Tree};
use angarium_control::proto::ConfigGreenDeployRequest;
use angarium_effects::Clock as _;
use angarium_effects::system::SystemClock;

use super::certificates::server_tls;
use super::kept::{Kept, Recorder};
use super::{
    App, Parts, StartError, compile, delivery_settings, metrics, queue_scripts, server_settings,
};
use crate::control::Part;
use crate::delivery::Live;
use crate::hooks::delivery::StagedScripts;
use crate::resolver;
use crate::scripts::Scripts;
use crate::server::{Settings, VirtualServer};
use crate::staging::{Conditions, Stage};

impl App {
    /// Reads the running configuration and all scripts again. Either everything in it is taken, or nothing.
    ///
    /// # Errors
    /// What is wrong; the server goes on as it was.
    pub async fn reload(&self) -> Result<Vec<String>, StartError> {
        let recorder = Recorder::new(&*self.place.files);
        let (new, mut warnings) = self.read_again(&recorder)?;
        let kept = recorder.contents();
        let (scripts, script_warnings) = compile(&new, &self.place, None)?;
        warnings.extend(script_warnings);
        // Everything that can fail comes before the first thing that takes effect.
        let resolver = resolver::Settings::from_config(&new.running.resolver)?;
        let settings = delivery_settings(&new, &self.hostname, &self.place)?;
        for (server, settings) in self.settings_of_servers(&new, &scripts, None)? {
            server.reload(settings);
        }
        self.resolver.reconfigure(resolver);
        self.services.common.metrics.declare(metrics(&new.running));
        let hooks = Arc::new(StagedScripts {
            scripts: queue_scripts(&scripts, &self.services, &self.spool),
            stages: Arc::clone(&self.stages),
        });
        self.configure_queue(Live { settings, hooks }).await;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = new;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(warnings)
    }

    /// The settings that each server has under a configuration; one that it leaves out keeps its own.
    fn settings_of_servers(
        &self,
        new: &Config,
        scripts: &Arc<Scripts>,
        stage: Option<&str>,
    ) -> Result<Vec<(&Arc<VirtualServer>, Settings)>, StartError> {
        let parts = Parts {
            running: &new.running,
            place: &self.place,
            scripts,
            services: &self.services,
            store: &self.store,
            hostname: &self.hostname,
            stage,
        };
        let written = |server: &Arc<VirtualServer>| {
            let mut all = new.running.servers.values();
            all.find(|written| written.id.to_string() == server.id)
        };
        let servers = self.servers.iter();
        servers
            .filter_map(|server| Some((server, written(server)?)))
            .map(|(server, written)| Ok((server, server_settings(written, &parts)?)))
            .collect()
    }

    /// The configuration as the files have it now, with the startup configuration in force.
    fn read_again(&self, files: &dyn FileSource) -> Result<(Config, Vec<String>), StartError> {
        let startup = self.config().startup;
        let loaded =
            angarium_config::reload(files, &self.place.source, &self.place.options, &startup)
                .map_err(StartError::Config)?;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        let running = loaded.config;
        Ok((Config { startup, running }, warnings))
    }

    /// Reads one file of the queue again, or the settings of the resolver; the rest stays as it is, and what is
    /// wrong in other files meanwhile does not matter.
    ///
    /// # Errors
    /// What is wrong; the server goes on as it was.
    pub async fn reload_part(&self, part: Part) -> Result<Vec<String>, StartError> {
        if part == Part::All {
            return self.reload().await;
        }
        let kept = self.kept.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = self.file_of(part);
        let files = Kept {
            files: &*self.place.files,
            kept: &kept,
            fresh: &fresh,
        };
        let recorder = Recorder::new(&files);
        let (new, warnings) = self.read_again(&recorder)?;
        let read = recorder.contents();
        let mut config = self.config();
        let mut running = (*config.running).clone();
        let mut setup = (*running.policies).clone();
        match part {
            Part::All => {}
            Part::Policies => {
                setup.algorithm = new.running.policies.algorithm;
                setup.policies.clone_from(&new.running.policies.policies);
            }
            Part::Suspends => setup.suspends.clone_from(&new.running.policies.suspends),
            Part::Delivery => running.delivery = new.running.delivery.clone(),
            Part::Resolver => {
                let settings = resolver::Settings::from_config(&new.running.resolver)?;
                running.resolver = new.running.resolver.clone();
                self.resolver.reconfigure(settings);
            }
        }
        running.policies = Arc::new(setup);
        config.running = Arc::new(running);
        if part != Part::Resolver {
            let settings = delivery_settings(&config, &self.hostname, &self.place)?;
            let hooks = Arc::clone(&self.live().hooks);
            self.configure_queue(Live { settings, hooks }).await;
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        // Of smtpd-app.yaml only the resolver's settings are in force: it stays as it was taken.
        if part != Part::Resolver {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = read;
        }
        Ok(warnings)
    }

    /// The name of the file that a part is in.
    fn file_of(&self, part: Part) -> OsString {
        let startup = self.config().startup;
        let environment = &startup.environment;
        let path = match (&self.place.source, part) {
            // A source tree always has its own.
            (Source::Tree(_), _) => None,
            (_, Part::Policies) => environment.policyconf.as_ref(),
            (_, Part::Suspends) => environment.suspendconf.as_ref(),
            (_, Part::Delivery) => environment.deliveryconf.as_ref(),
            (_, Part::All | Part::Resolver) => environment.appconf.as_ref(),
        };
        let name = path.and_then(|path| path.file_name());
        name.unwrap_or(part.file().as_ref()).to_owned()
    }

    /// Checks another text of the running configuration as a reload would.
    pub(super) fn check_text(&self, text: &str) -> Result<(), StartError> {
        let (new, _) = self.read_again(&self.with_text(text))?;
        compile(&new, &self.place, None)?;
        for server in new.running.servers.values() {
            server_tls(server, &new.running, &self.place)?;
        }
        resolver::Settings::from_config(&new.running.resolver)?;
        delivery_settings(&new, &self.hostname, &self.place)?;
        Ok(())
    }

    /// The server's files, with this text in place of the running configuration.
    fn with_text<'a>(&'a self, text: &'a str) -> Replaced<'a> {
        let appconf = self.config().startup.environment.appconf.clone();
        let name = appconf.as_ref().and_then(|path| path.file_name());
        Replaced {
            files: &*self.place.files,
            name: name.unwrap_or("smtpd-app.yaml".as_ref()).to_owned(),
            text,
        }
    }

    /// The configuration with a packed text of the running one, which has all scripts in it.
    fn read_packed(&self, text: &str) -> Result<Config, StartError> {
        let files = self.with_text(text);
        // What lies in a source tree is not of it; relative paths are seen from the bundle's folder as before.
        let source = match &self.place.source {
            Source::Tree(folder) => {
                let tree = Tree::find(&files, folder).map_err(StartError::Config)?;
                Source::Packed(tree.root.join("smtpd.yaml"))
            }
            packed => packed.clone(),
        };
        let startup = self.config().startup;
        let loaded = angarium_config::reload(&files, &source, &self.place.options, &startup);
        let running = loaded.map_err(StartError::Config)?.config;
        Ok(Config { startup, running })
    }

    /// Compiles a configuration under the name of a stage. Nothing has changed after an error.
    pub(super) fn stage_of(&self, wanted: ConfigGreenDeployRequest) -> Result<Arc<Stage>, String> {
        if wanted.id.is_empty() {
            return Err("id: a stage needs a name".to_owned());
        }
        let told = |error: StartError| error.to_string();
        let new = self.read_packed(&wanted.config).map_err(told)?;
        // Its messages are delivered as the configuration in force says.
        let known = self.config().running;
        for id in new.running.transports.keys() {
            if !known.transports.contains_key(id) {
                return Err(format!(
                    "transportgroups: the configuration in force has no transport {id}, and a stage brings none"
                ));
            }
        }
        let hub = Some(Arc::clone(&self.stages.hub));
        let (scripts, _) = compile(&new, &self.place, hub).map_err(told)?;
        let settings = self.settings_of_servers(&new, &scripts, Some(&wanted.id));
        let settings = settings.map_err(told)?.into_iter();
        let servers: BTreeMap<String, Arc<Settings>> = settings
            .map(|(server, settings)| (server.id.clone(), Arc::new(settings)))
            .collect();
        let conditions = Conditions::new(wanted.conditions.unwrap_or_default(), &servers)?;
        Ok(Arc::new(Stage {
            id: wanted.id,
            conditions,
            servers,
            queue: queue_scripts(&scripts, &self.services, &self.spool),
            began: SystemClock.monotonic(),
            connections: AtomicU64::new(0),
        }))
    }
}

/// Files of which one has another text.
struct Replaced<'a> {
    files: &'a dyn FileSource,
    name: OsString,
    text: &'a str,
}

impl FileSource for Replaced<'_> {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match path.file_name() {
            Some(name) if name == self.name => Ok(self.text.as_bytes().to_vec()),
            _ => self.files.read(path),
        }
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<Listed>> {
        self.files.list(path)
    }
}
