//! A rig that runs a whole bundle: its configuration files and the scripts of the queue.

use angarium_config::{MemoryFiles, Options, Source, load};

use super::*;
use crate::scripts::{Keys, NoRoot};
use crate::tls::KeyPair;

/// A transport group with one transport that delivers by MX to a port.
pub(super) fn transports(port: u16, more: &str) -> String {
    format!(
        "version: '6.0'
transportgroups:
  - id: default
    retry: {{count: 30, intervals: [{{interval: 60}}]}}
    transports:
      - id: out
        connection: {{port: {port}}}
{more}"
    )
}

/// The key pairs of a configuration, which has them as text.
fn pairs(running: &angarium_config::Running) -> Keys {
    use angarium_config::pki::KeySource;
    let text = |source: &KeySource| match source {
        KeySource::Data(text) => text.clone(),
        KeySource::Path(path) => panic!("{}", path.display()),
    };
    let pairs = running.pki.iter().map(|(id, written)| {
        let certificate = written.certificate.as_ref().map(text).unwrap_or_default();
        let pair = KeyPair::from_pem(certificate.as_bytes(), text(&written.privatekey).as_bytes());
        let pair = pair.map_err(|error| error.to_string());
        (id.clone(), pair.map(|pair| pair.certified()))
    });
    pairs.collect()
}

impl Setup {
    /// The settings and scripts of a bundle: files below `config/` and `hooks/queue/`.
    pub(super) fn bundle(files: &[(&str, &str)]) -> Setup {
        let startup = ("/b/src/config/smtpd.yaml".to_owned(), "version: '6.0'");
        let given = files.iter();
        let given = given.map(|(path, text)| (format!("/b/src/{path}"), *text));
        let files: MemoryFiles = given.chain([startup]).collect();
        let loaded = load(&files, &Source::Tree("/b".into()), &Options::default());
        let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
        let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
        let (scripts, _) = compiled.unwrap_or_else(|errors| panic!("{errors}"));
        let scripts = scripts.with_keys(pairs(&config.running));
        let keys = pairs(&config.running);
        let settings = Settings::from_config(&config.running, &keys, "mta.test", Vec::new());
        let setup = Setup {
            settings: settings.expect("settings"),
            scripts: Some(Arc::new(scripts)),
            ..Setup::to(25)
        };
        setup.host("sink.test", 1);
        setup
    }

    /// Domains with one MX each, `mx.` and the domain, on 127.0.0.1.
    pub(super) fn domains(self, names: &[&str]) -> Setup {
        for name in names {
            let host = format!("mx.{name}");
            self.host(&host, 1);
            self.mx(name, 10, &host);
        }
        self
    }
}

impl Rig {
    /// Moves the clock, in steps, and lets everything happen that follows.
    pub(super) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.settled().await;
        }
    }

    /// Waits until nothing moves but what a limit stops.
    pub(super) async fn settled(&self) {
        for _ in 0..5000 {
            let moving = self.handle.inspect(|queue| {
                let running = queue.running();
                let moving = running.loader + running.preparing + running.resolving;
                moving + running.deliveries + running.finisher + running.finishing + running.writing
            });
            if moving.await.expect("a queue") == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("something moves for ever");
    }

    /// Lines of the log with this text.
    pub(super) fn lines(&self, text: &str) -> Vec<String> {
        let lines = self.log.lines().into_iter();
        lines.filter(|line| line.contains(text)).collect()
    }
}
