//! Policies and suspends from their files: what a real sink gets, and when.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use rustix::process::Signal;
use serde_json::{Value, json};

const CONTENT: &[u8] =
    b"From: <a@example.net>\r\nMessage-ID: <one@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";
const SOON: Duration = Duration::from_secs(30);

fn write(bundle: &Bundle, file: &str, content: &Value) {
    bundle.write(&format!("src/config/{file}"), &format!("{content:#}"));
}

fn send(server: &Server, to: &str) {
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("a@example.net", to, CONTENT).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
}

fn reload(server: &mut Server) {
    server.signal(Signal::HUP);
    server.wait_log(&["reload file=", " ok"]);
}

#[test]
fn a_rate_holds_back_what_is_above_it_until_a_reload_takes_it_away() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.running["scripting"]["hooks"]["postdelivery"] = json!("");
    bundle.save();
    bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        "echo \"applied \" . json_encode($arguments[\"policy\"]);",
    );
    write(
        &bundle,
        "smtpd-policy.yaml",
        &json!({ "version": "6.0", "policies": [{
            "fields": ["recipientdomain"],
            "conditions": [{
                "if": { "recipientdomain": "slow.example" },
                "then": { "rate": "2/86400", "tag": "slow" },
            }],
        }] }),
    );
    let mut server = Server::start(&bundle);
    for number in 0..5 {
        send(&server, &format!("b{number}@slow.example"));
    }
    // Messages elsewhere pass by those that wait, though they came later.
    for number in 0..5 {
        send(&server, &format!("b{number}@quick.example"));
    }
    assert!(sink.wait_for(7, SOON), "{} arrived", sink.count());
    server.wait_log(&[
        "applied ",
        r#""tags":["slow"]"#,
        r#""rate":[2,86400]"#,
        r#""fields":["recipientdomain"]"#,
    ]);
    write(
        &bundle,
        "smtpd-policy.yaml",
        &json!({ "version": "6.0", "policies": [] }),
    );
    assert_eq!(sink.count(), 7, "the others wait");
    reload(&mut server);
    assert!(sink.wait_for(10, SOON), "{} arrived", sink.count());
    assert!(server.stop().success());
    assert_eq!(sink.violations(), [""; 0]);
}

#[test]
fn a_suspend_holds_everything_that_it_matches_also_over_a_restart() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    bundle.save();
    let suspends = json!([{ "recipientdomain": ["*.down.example"], "tag": "maintenance" }]);
    write(
        &bundle,
        "smtpd-suspend.yaml",
        &json!({ "version": "6.0", "suspends": suspends }),
    );
    let mut server = Server::start(&bundle);
    send(&server, "b@a.down.example");
    send(&server, "b@up.example");
    assert!(sink.wait_for(1, SOON));
    assert!(server.stop().success());
    let mut server = Server::start(&bundle);
    send(&server, "c@up.example");
    assert!(sink.wait_for(2, SOON));
    assert_eq!(sink.count(), 2, "the first one waits");
    write(
        &bundle,
        "smtpd-suspend.yaml",
        &json!({ "version": "6.0", "suspends": [] }),
    );
    reload(&mut server);
    assert!(sink.wait_for(3, SOON), "{} arrived", sink.count());
    assert!(server.stop().success());
}
