//! The running example as the server, in a process of its own.
//!
//! An example that uses this passes its arguments on to `angarium::cli::main` when the first is `serve`, and has the
//! server's allocator: what is measured is then the product.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use angarium_control::Message as _;
use angarium_control::proto::{ProcessStatsResponse, process_stats_response};

use crate::control::Control;

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(300);

/// A port on which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server process. It is killed when it is dropped.
pub struct Server {
    child: Child,
    /// Its control socket, which the configuration names `control`.
    pub control: Control,
    /// From the start of the process until the control socket answers.
    pub open: Duration,
    /// From the start of the process until every message is in the queue.
    pub loaded: Duration,
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: u64,
    /// The most so far.
    pub peak: u64,
}

impl Server {
    /// Writes the configuration into `folder`, starts a server there and waits until `count` messages are in its queue.
    /// What it logs goes to the file `log`.
    pub fn start(folder: &Path, config: &[(&str, &str)], count: u64) -> Server {
        let target = folder.join("src/config");
        std::fs::create_dir_all(&target).unwrap();
        for (name, text) in config {
            std::fs::write(target.join(name), text).unwrap();
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let begin = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let control = loop {
            if let Some(control) = Control::connect(&folder.join("control")) {
                break control;
            }
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && begin.elapsed() < LONGEST,
                "no control socket: {}",
                std::fs::read_to_string(folder.join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut server = Server {
            child,
            control,
            open: begin.elapsed(),
            loaded: Duration::ZERO,
        };
        server.wait(|queue| queue.loader.unwrap_or_default().count >= count);
        server.loaded = begin.elapsed();
        server
    }

    /// Waits until the counters of the queue are as they should be.
    pub fn wait(&mut self, good: impl Fn(process_stats_response::Queue) -> bool) {
        let begin = Instant::now();
        while !good(self.stats()) {
            assert!(begin.elapsed() < LONGEST, "{:?}", self.stats());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The counters of the queue.
    pub fn stats(&mut self) -> process_stats_response::Queue {
        let data = self.control.call(b'q', None);
        let stats = ProcessStatsResponse::decode(&data[..]).unwrap();
        stats.queue.unwrap_or_default()
    }

    pub fn memory(&self) -> Memory {
        let status = self.proc("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
            number.unwrap().parse::<u64>().unwrap() << 10
        };
        Memory {
            now: field("VmRSS:"),
            peak: field("VmHWM:"),
        }
    }

    /// Time on processors so far.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // After the name in brackets: state first, user and system time as the 12th and 13th, in hundredths.
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
