//! A bundle of configuration and scripts in a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program;

/// A bundle for `angarium serve DIR`. The folder goes with it.
#[derive(Debug)]
pub struct Bundle {
    folder: TempDir,
    /// Where the server listens.
    pub address: SocketAddr,
    /// `smtpd.yaml`; written by [`Bundle::save`].
    pub startup: Value,
    /// `smtpd-app.yaml`; written by [`Bundle::save`].
    pub running: Value,
}

impl Bundle {
    /// A relay without scripts that sends everything to a port of this machine. Limits that have nothing to do with
    /// a test are wide, retries follow after a second.
    #[must_use]
    pub fn relay(sink: u16) -> Bundle {
        let address = free_address();
        let bundle = Bundle {
            folder: tempfile::Builder::new()
                .prefix("angarium-test-")
                .tempdir()
                .expect("a temporary folder"),
            address,
            startup: json!({
                "version": "6.0",
                "servers": [{
                    "id": "default",
                    "type": "smtp",
                    "listeners": [{ "port": address.port(), "address": "127.0.0.1" }],
                }],
                "spool": {
                    "path": "spool/queue",
                    "tmp": "spool/tmp",
                    "minfree": { "bytes": 0, "inodes": 0 },
                },
            }),
            running: json!({
                "version": "6.0",
                "servers": [{
                    "id": "default",
                    "type": "smtp",
                    "hostname": "relay.example",
                    "remoteptr": false,
                    "transport": "sink",
                    "limits": { "header": 67_108_864, "headers": 67_108_864 },
                    "phases": { "data": { "maxsize": 67_108_864, "maxhops": 10_000 } },
                }],
                "transportgroups": [{
                    "id": "default",
                    "retry": { "count": 1000, "intervals": [{ "interval": 1 }] },
                    "transports": [{
                        "id": "sink",
                        "connection": { "server": "127.0.0.1", "port": sink },
                    }],
                }],
            }),
        };
        bundle.save();
        bundle
    }

    /// A copy of a bundle of `examples`, with other ports so that it runs beside anything else. The listener's port is
    /// 2525 and that of the destination 2526 in all of them.
    #[must_use]
    pub fn example(name: &str, sink: u16) -> Bundle {
        let bundle = Bundle::relay(sink);
        fs::remove_dir_all(bundle.path().join("src")).unwrap();
        let port = bundle.address.port();
        copy(&program::root().join("examples").join(name), bundle.path());
        bundle.edit(
            "src/config/smtpd.yaml",
            "port: 2525",
            &format!("port: {port}"),
        );
        bundle.edit(
            "src/config/smtpd-app.yaml",
            "port: 2526",
            &format!("port: {sink}"),
        );
        bundle
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The settings of the server in `smtpd-app.yaml`.
    pub fn server(&mut self) -> &mut Value {
        &mut self.running["servers"][0]
    }

    /// The settings of the transport group in `smtpd-app.yaml`.
    pub fn transports(&mut self) -> &mut Value {
        &mut self.running["transportgroups"][0]
    }

    /// Writes both configuration files. JSON is YAML.
    pub fn save(&self) {
        self.write("src/config/smtpd.yaml", &format!("{:#}", self.startup));
        self.write("src/config/smtpd-app.yaml", &format!("{:#}", self.running));
    }

    /// Writes the script of a phase and binds it; for `predelivery` and `postdelivery` it is there and so it runs.
    pub fn hook(&mut self, phase: &str, script: &str) {
        if phase.ends_with("delivery") {
            self.write(&format!("src/hooks/queue/{phase}.hsl"), script);
            return;
        }
        self.write(&format!("src/hooks/{phase}/default.hsl"), script);
        self.server()["phases"][phase]["hook"] = json!("default");
        self.save();
    }

    /// Writes a file of the bundle.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In one step, as an editor saves: a reload must not meet half a file.
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// Replaces text in a file of the bundle.
    ///
    /// # Panics
    /// If the text is not there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }
}

/// A port of 127.0.0.1 on which nobody listens.
///
/// It lies below the ports that systems give to outgoing connections: a server that is killed and started again finds
/// its port free.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let start = u16::try_from(std::process::id() % 119).unwrap_or(0) * 100;
    (0..12_000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}

fn copy(from: &Path, to: &Path) {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(to.join(&folder)).unwrap();
        for entry in fs::read_dir(from.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                // Left behind by whoever ran the example in its place.
                true if entry.file_name() == "spool" || entry.file_name() == "dist" => {}
                true => folders.push(name),
                false => drop(fs::copy(entry.path(), to.join(name)).unwrap()),
            }
        }
    }
}
