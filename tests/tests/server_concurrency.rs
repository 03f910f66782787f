//! What scripts are told of the connections of a server, wherever these are served.
#![allow(
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::net::{IpAddr, Ipv4Addr};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::wait;
use serde_json::{Value, json};

/// Tells the client what it asks for in MAIL: all connections of the server, and those of an address, a network and
/// a server that does not exist.
const TELL: &str = r#"
$asked = $arguments["address"]["localpart"];
Reject(json_encode([
    server_concurrency("default"),
    server_concurrency("default", "127.0.0.1"),
    server_concurrency("default", "127.0.0.2"),
    server_concurrency("default", "127.0.0.0/30"),
    server_concurrency("default", "127.0.0.4/30"),
    server_concurrency("default", "no address"),
    server_concurrency($asked),
]));
"#;

fn told(client: &mut Client, asked: &str) -> Value {
    let reply = client.command(&format!("MAIL FROM:<{asked}@example.net>"));
    let reply = reply.unwrap();
    let text = reply.text.split_once('[').unwrap().1;
    serde_json::from_str(&format!("[{text}")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn open(server: &Server, last: u8) -> Client {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let mut client = Client::open_from(source, server.address).unwrap();
    assert_eq!(client.greeting.code, 220);
    assert_eq!(client.command("EHLO client.example").unwrap().code, 250);
    client
}

#[test]
fn connections_are_counted_over_all_workers_by_address_and_network() {
    let mut bundle = Bundle::relay(1);
    // Two workers: new connections go to the one that has fewer, so both have some.
    bundle.startup["servers"][0]["threads"] = json!({ "event": 2 });
    bundle.hook("mailfrom", TELL);
    let server = Server::start(&bundle);
    let mut clients: Vec<Client> = [1, 1, 2, 2, 2, 5, 6].map(|last| open(&server, last)).into();
    let gone = wait::until_true(wait::SOON, || {
        // The connection with which the start was awaited has ended by now.
        told(&mut clients[0], "default")[0] == json!(7)
    });
    assert!(gone);
    // Every connection is told the same, on whichever worker it is.
    for client in &mut clients {
        let all = json!([7, 2, 3, 5, 2, null, 7]);
        assert_eq!(told(client, "default"), all);
    }
    assert_eq!(told(&mut clients[0], "nobody")[6], Value::Null);
    // Whoever leaves is not counted any more.
    for mut client in clients.drain(2..4) {
        assert_eq!(client.command("QUIT").unwrap().code, 221);
    }
    drop(clients.pop());
    let left = wait::until_true(wait::SOON, || {
        told(&mut clients[0], "default") == json!([4, 2, 1, 3, 1, null, 4])
    });
    assert!(left, "{}", told(&mut clients[0], "default"));
}
