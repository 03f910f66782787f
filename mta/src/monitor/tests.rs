//! The monitor before there is a server; what it says of one is tested with the programs.

use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::Connect;
use angarium_effects::Net as _;
use angarium_effects::system::{SystemClock, SystemNet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Health, Monitor};
use crate::log::Memory;

fn monitor(health: &Arc<Health>) -> Monitor {
    Monitor::start(
        Box::new(|| (Rc::new(SystemClock), Rc::new(SystemNet))),
        Some([127, 0, 0, 1].into()),
        0,
        Arc::clone(health),
        Arc::new(Memory::default()),
    )
    .expect("a free port")
}

/// Asks and gives everything that is answered.
fn ask(monitor: &Monitor, request: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let to = monitor.addresses()[0];
    local.block_on(&runtime, async {
        let mut stream = SystemNet.connect(to, &Connect::default()).await.unwrap();
        let text = format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    })
}

#[test]
fn a_server_is_not_ready_before_it_has_started_and_never_again() {
    let health = Arc::<Health>::default();
    let monitor = monitor(&health);
    let status = |request: &str| ask(&monitor, request)[9..12].to_owned();
    for path in ["/ready", "/healthy", "/metrics"] {
        let answer = ask(&monitor, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nnot ready\n"), "{answer}");
    }
    health.started();
    assert_eq!(status("GET /ready"), "200");
    let head = ask(&monitor, "HEAD /ready");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    health.stopping();
    assert_eq!(status("GET /ready"), "200");
    assert!(ask(&monitor, "GET /healthy").ends_with("shutting down\n"));
    assert_eq!(status("GET /"), "404");
    assert_eq!(status("POST /metrics"), "405");
    assert_eq!(status("DELETE /ready"), "405");
    let address = monitor.addresses()[0];
    let taken = Monitor::start(
        Box::new(|| (Rc::new(SystemClock), Rc::new(SystemNet))),
        Some(address.ip()),
        address.port(),
        Arc::clone(&health),
        Arc::new(Memory::default()),
    );
    let error = taken.err().expect("the port is taken").to_string();
    assert!(
        error.starts_with(&format!("the monitor cannot listen on {address}")),
        "{error}"
    );
    monitor.stop();
    monitor.stop();
}
