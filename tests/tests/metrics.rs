//! Every metric of the monitor by its name and type, and those of a server moved by what they count.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use serde_json::json;

/// The page of the monitor.
fn page(monitor: SocketAddr) -> String {
    let mut stream = TcpStream::connect(monitor).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// A relay with a monitor.
fn watched(sink: u16) -> (Bundle, SocketAddr) {
    let mut bundle = Bundle::relay(sink);
    let monitor = free_address();
    bundle.startup["monitor"] =
        json!({ "listener": { "port": monitor.port(), "address": "127.0.0.1" } });
    (bundle, monitor)
}

/// Names with what they are about: `NAME TYPE LABEL…`, where `{a,b}` stands for each of its words.
const NAMES: &str = "
    process_pid gauge
    process_runtime_seconds gauge
    process_version_{major,minor,patch} counter
    monitor_{ready,healthy} gauge
    cluster_{connected,hosts} gauge
    resolver_{pending,running} gauge
    resolver_{maxrunning,dedup} counter
    resolver_cache_size gauge
    resolver_cache_{maxsize,hits,misses,expires,evicts,skips} counter
    resolver_domain_cache_size gauge
    resolver_domain_cache_{maxsize,hits,misses,expires,evicts} counter
    servers_connections_concurrent gauge serverid
    servers_connections_maxconcurrent counter serverid
    servers_connections_{accepted,refused,turned_away,proxy_failed,tls,tls_failed} counter serverid
    servers_messages_{accepted,rejected,queued,bytes} counter serverid
    servers_scripts_{connect,proxy,helo,auth,mailfrom,rcptto,eod,disconnect}_{pending,running,suspended,threads} gauge serverid threadid
    servers_scripts_{connect,proxy,helo,auth,mailfrom,rcptto,eod,disconnect}_{finished,errors} counter serverid threadid
    queue_loader_{pending,active} gauge
    queue_loader_{count,maxactive} counter
    queue_scripts_{predelivery,postdelivery}_{pending,running,suspended,threads} gauge threadid
    queue_scripts_{predelivery,postdelivery}_{finished,errors} counter threadid
    queue_queue_{active_size,defer_size} gauge
    queue_queue_active_priorities_size gauge priority
    queue_freeze_{hold_size,update_size,update_pending} gauge
    queue_policy_concurrency_{counters,suspends} gauge
    queue_policy_rate_{buckets,suspends} gauge
    queue_policy_connectinterval_{buckets,suspends} gauge
    queue_policy_dynamic_{conditions,suspends} gauge
    queue_pickup_pending gauge
    queue_pickup_{count,skips,misses,evals,putback} counter
    queue_connections_concurrent gauge
    queue_connections_maxconcurrent counter
    queue_connections_pooling_size gauge
    queue_connections_pooling_{maxsize,hits,misses,expires,evicts,skips} counter
    queue_quota_size gauge
    queue_delivery_{delivered,delayed,failed} counter
    queue_release_pending gauge
    threads_scripts_{pending,running,scripts} gauge id
    threads_scripts_{rescheduled,maxrunning,maxscripts} counter id
    smtp_command_seconds histogram command serverid
    delivery_seconds histogram
";

/// A name with alternatives in braces as all names that it stands for.
fn expand(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let (words, after) = rest.split_once('}').unwrap();
    let names = words
        .split(',')
        .map(|word| format!("{before}{word}{after}"));
    names.flat_map(|name| expand(&name)).collect()
}

#[test]
fn every_metric_has_its_name_type_and_labels() {
    let sink = Sink::start();
    let (bundle, monitor) = watched(sink.port());
    bundle.save();
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    client
        .send("a@example.net", "b@example.org", b"Subject: x\r\n\r\nx\r\n")
        .unwrap();
    server.wait_log(&["delivery id=", "result=DELIVERED"]);
    let page = page(monitor);
    let mut wanted = BTreeMap::new();
    for line in NAMES.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (names, kind) = (words.next().unwrap(), words.next().unwrap());
        let labels: Vec<&str> = words.collect();
        for name in expand(names) {
            wanted.insert(format!("mta_{name}"), (kind.to_owned(), labels.clone()));
        }
    }
    // Types, all of them and no others.
    let types = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap());
    let types: BTreeMap<String, String> = types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let kinds: BTreeMap<String, String> = wanted
        .iter()
        .map(|(name, (kind, _))| (name.clone(), kind.clone()))
        .collect();
    assert_eq!(types, kinds);
    // A value for each, with its labels.
    for (name, (kind, labels)) in &wanted {
        let sample = match kind.as_str() {
            "counter" => format!("{name}_total"),
            "histogram" => format!("{name}_count"),
            _ => name.clone(),
        };
        let found = page.lines().find_map(|line| {
            let rest = line.strip_prefix(&sample)?;
            rest.starts_with([' ', '{']).then_some(rest)
        });
        let found = found.unwrap_or_else(|| panic!("{sample} has no value\n{page}"));
        let (shown, value) = found.rsplit_once(' ').unwrap();
        let shown = shown.trim_matches(['{', '}']);
        let shown: Vec<&str> = shown
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        assert_eq!(&shown, labels, "{sample}");
        assert!(value.parse::<f64>().is_ok(), "{sample} {value}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn connections_and_messages_of_a_server_are_counted() {
    let sink = Sink::start();
    let (mut bundle, monitor) = watched(sink.port());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    bundle.write("cert.pem", &made.cert.pem());
    bundle.write("key.pem", &made.signing_key.serialize_pem());
    let path = |name: &str| json!({ "path": bundle.path().join(name) });
    bundle.running["pki"] = json!({ "private": [
        { "id": "own", "privatekey": path("key.pem"), "certificate": path("cert.pem") }
    ]});
    bundle.startup["servers"][0]["proxyprotocol"] = json!(["127.0.0.7"]);
    bundle.server()["tls"] = json!({ "certs": { "cert": "own" } });
    bundle.server()["concurrency"] = json!({ "ip": 2 });
    bundle.hook(
        "eod",
        r#"
        if ($transaction["sender"] == "no@example.net") Reject();
        foreach ($transaction["recipients"] as $r)
            $arguments["mail"]->queue($transaction["senderaddress"], $r["address"], $r["transportid"]);
        Accept();
        "#,
    );
    let server = Server::start(&bundle);
    let now = |name: &str| -> u64 {
        let start = format!("mta_servers_{name}_total{{serverid=\"default\"}} ");
        let page = page(monitor);
        let value = page.lines().find_map(|line| line.strip_prefix(&start));
        value
            .unwrap_or_else(|| panic!("{name}\n{page}"))
            .parse()
            .unwrap()
    };
    let moved = |name: &str, to: u64| {
        assert!(
            wait::until_true(wait::SOON, || now(name) == to),
            "{name} is {}, not {to}",
            now(name)
        );
    };
    let before = now("connections_accepted");
    let mut first = Client::connect(server.address).unwrap();
    first.command("EHLO c").unwrap();
    for (sender, code) in [("a@example.net", 250), ("no@example.net", 550)] {
        let reply = first.send(sender, "b@example.org", b"x\r\n");
        assert_eq!(reply.unwrap().code, code);
    }
    moved("messages_accepted", 1);
    moved("messages_rejected", 1);
    moved("messages_queued", 1);
    assert!(now("messages_bytes") > 6);
    moved("connections_accepted", before + 1);
    // One that talks in clear where a handshake is due.
    let mut second = Client::connect(server.address).unwrap();
    second.command("EHLO c").unwrap();
    assert_eq!(second.command("STARTTLS").unwrap().code, 220);
    assert_eq!(Client::open(server.address).unwrap().greeting.code, 421);
    moved("connections_refused", 1);
    second.write(b"EHLO in clear\r\nEHLO in clear\r\n").unwrap();
    moved("connections_tls_failed", 1);
    assert_eq!(now("connections_tls"), 0);
    // A proxy that says nothing of its client.
    let proxy = Client::open_from([127, 0, 0, 7].into(), server.address);
    assert!(proxy.is_err(), "it is not greeted");
    moved("connections_proxy_failed", 1);
}
