//! The log as messages to the system log (`environment.syslog`), in the form that syslog(3) sends them.

use std::fmt::Write as _;
use std::time::Duration;

use angarium_config::startup::Facility;
use angarium_effects::Clock as _;
use angarium_effects::local::Datagrams;
use angarium_effects::system::SystemClock;
use angarium_stdlib::calendar::{Zone, format};

use super::{Log, OneLine, Severity};

/// Where the system takes messages.
pub const DEVICE: &str = "/dev/log";
/// Longer messages are cut: receivers need not take more.
const MOST: usize = 8192;

/// The system log.
#[derive(Debug)]
pub struct Syslog {
    socket: Datagrams,
    facility: u8,
    ident: String,
    mask: u8,
    clock: fn() -> Duration,
}

impl Syslog {
    /// Messages to the socket at `device`, as the program `ident`.
    #[must_use]
    pub fn new(
        device: &str,
        facility: Facility,
        ident: &str,
        mask: u8,
        clock: fn() -> Duration,
    ) -> Syslog {
        Syslog {
            socket: Datagrams::to(device.as_ref()),
            facility: number(facility),
            ident: ident.to_owned(),
            mask,
            clock,
        }
    }

    fn message(&self, severity: Severity, id: &str, body: &str) -> String {
        let unix = (self.clock)().as_secs();
        let unix = i64::try_from(unix).unwrap_or(i64::MAX);
        let (offset, name) = SystemClock.local_offset(unix);
        let time = format(b"%b %e %H:%M:%S", unix, &Zone { offset, name });
        let mut text = format!(
            "<{}>{} {}[{}]: ",
            self.facility * 8 + severity as u8,
            String::from_utf8_lossy(&time),
            self.ident,
            std::process::id()
        );
        if !id.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "[{id}] ");
        }
        let _ = write!(text, "{}", OneLine(body));
        let mut end = text.len().min(MOST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text
    }
}

impl Log for Syslog {
    fn line(&self, severity: Severity, id: &str, body: &str) {
        if self.mask & (1 << severity as u8) != 0 {
            // A log that cannot be written has nobody to tell.
            let _ = self
                .socket
                .send(self.message(severity, id, body).as_bytes());
        }
    }
}

/// The number of a facility (RFC 5424, table 1).
fn number(facility: Facility) -> u8 {
    match facility {
        Facility::Kern => 0,
        Facility::User => 1,
        Facility::Mail => 2,
        Facility::Daemon => 3,
        Facility::Auth => 4,
        Facility::Syslog => 5,
        Facility::Lpr => 6,
        Facility::News => 7,
        Facility::Uucp => 8,
        Facility::Cron => 9,
        Facility::Authpriv => 10,
        Facility::Ftp => 11,
        Facility::Local0 => 16,
        Facility::Local1 => 17,
        Facility::Local2 => 18,
        Facility::Local3 => 19,
        Facility::Local4 => 20,
        Facility::Local5 => 21,
        Facility::Local6 => 22,
        Facility::Local7 => 23,
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads what the system would"
)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn messages_have_the_form_of_syslog_and_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let device = path.to_str().unwrap();
        let log = Syslog::new(device, Facility::Local3, "mta", 1 << 4, || Duration::ZERO);
        // Nobody listens yet.
        log.line(Severity::Warning, "", "lost");
        let receiver = UnixDatagram::bind(&path).unwrap();
        log.line(Severity::Info, "", "left out by the mask");
        log.line(Severity::Warning, "T", "disk\nfull");
        log.line(Severity::Warning, "", &"ü".repeat(MOST));
        let mut buffer = vec![0; 2 * MOST];
        let mut next = || {
            let length = receiver.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let first = next();
        // Facility 19, severity 4.
        assert!(first.starts_with("<156>"), "{first}");
        let end = format!(" mta[{}]: [T] disk?full", std::process::id());
        assert!(first.ends_with(&end), "{first}");
        let long = next();
        assert!(
            long.len() <= MOST && long.len() > MOST - 4,
            "{}",
            long.len()
        );
        // A receiver that has begun anew is found again.
        drop(receiver);
        std::fs::remove_file(&path).unwrap();
        let again = UnixDatagram::bind(&path).unwrap();
        log.line(Severity::Warning, "", "again");
        assert!(again.recv(&mut [0; 100]).unwrap() > 0);
    }
}
