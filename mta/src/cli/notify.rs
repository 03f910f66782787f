//! What the service manager is told of a server: ready, reloading, stopping (sd_notify(3)).

use std::path::Path;

use angarium_effects::local::Datagrams;
use rustix::time::{ClockId, clock_gettime};

/// The socket of the service manager, if one started the process.
pub(super) struct Manager(Option<Datagrams>);

impl Manager {
    /// The one that `NOTIFY_SOCKET` names. An abstract name is passed over: system managers have a path.
    pub(super) fn of_process() -> Manager {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let path = name.as_deref().map(Path::new);
        Manager(path.filter(|path| path.is_absolute()).map(Datagrams::to))
    }

    /// Everything is up, or the reload is over.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let (seconds, rest) = (now.tv_sec, now.tv_nsec / 1000);
        let now = seconds.saturating_mul(1_000_000).saturating_add(rest);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The process is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.0 {
            // A manager that does not listen goes by its own limits of time.
            let _ = socket.send(message.as_bytes());
        }
    }
}
