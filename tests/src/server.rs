//! A running `angarium serve`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::bundle::Bundle;
use crate::client::Client;
use crate::program;
use crate::wait;

/// A server process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it greets.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[must_use]
    pub fn start(bundle: &Bundle) -> Server {
        let mut server = Server::spawn(bundle);
        server.wait_ready();
        server
    }

    /// Starts a server and does not wait.
    #[must_use]
    pub fn spawn(bundle: &Bundle) -> Server {
        Server::spawn_with(bundle.path(), bundle.address, &[])
    }

    /// Starts a server on the bundle in `folder`, with more arguments.
    #[must_use]
    pub fn spawn_with(folder: &Path, address: SocketAddr, arguments: &[&str]) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = folder.join(format!("log-{number}.txt"));
        let output = File::create(&log).unwrap();
        let child = Command::new(program::angarium())
            .arg("serve")
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("angarium starts");
        Server {
            child,
            address,
            log,
        }
    }

    /// Waits until the server greets.
    ///
    /// # Panics
    /// If it ends before, or does not greet in time.
    pub fn wait_ready(&mut self) {
        let greeted = wait::until(wait::SOON, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(Err(status));
            }
            Client::connect(self.address).ok().map(Ok)
        });
        match greeted {
            Some(Ok(mut client)) => drop(client.command("QUIT")),
            Some(Err(status)) => panic!("the server ended: {status}\n{}", self.log()),
            None => panic!("the server does not greet\n{}", self.log()),
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }

    /// Stops it gracefully and waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end(Duration::from_secs(45))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait_end(&mut self, deadline: Duration) -> ExitStatus {
        wait::until(deadline, || self.child.try_wait().unwrap())
            .unwrap_or_else(|| panic!("the server does not end\n{}", self.log()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Removes its log, where a thousand of them would fill a disk.
    pub fn remove_log(&self) {
        let _ = std::fs::remove_file(&self.log);
    }

    /// Waits until a line is logged that holds all of these, and returns it.
    ///
    /// # Panics
    /// If there is none in time.
    pub fn wait_log(&self, words: &[&str]) -> String {
        wait::until(wait::SOON, || {
            let log = self.log();
            let mut lines = log.lines();
            lines
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned)
        })
        .unwrap_or_else(|| panic!("no line of the log holds {words:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("the end of the server's log:");
            for line in lines.iter().skip(lines.len().saturating_sub(15)) {
                println!("  {line}");
            }
        }
    }
}

/// Runs `angarium` to its end.
///
/// # Panics
/// If it does not end in time.
#[must_use]
pub fn run(arguments: &[&str]) -> Output {
    let mut child = Command::new(program::angarium())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("angarium starts");
    if wait::until(wait::SOON, || child.try_wait().unwrap()).is_none() {
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        panic!("angarium {arguments:?} does not end: {output:?}");
    }
    child.wait_with_output().unwrap()
}
