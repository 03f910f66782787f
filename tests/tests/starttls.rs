//! STARTTLS with real clients, inwards and outwards.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use serde_json::json;

/// A relay that offers STARTTLS with a certificate that openssl makes.
fn with_certificate(sink: u16) -> Option<Bundle> {
    if !program::installed("openssl") {
        return None;
    }
    let mut bundle = Bundle::relay(sink);
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=relay.example",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:relay.example",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(bundle.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    bundle.startup["pki"] = json!({ "private": [{
        "id": "own",
        "privatekey": { "path": "key.pem" },
        "certificate": { "path": "cert.pem" },
    }] });
    bundle.server()["tls"] = json!({ "certs": { "cert": "own" } });
    bundle.save();
    Some(bundle)
}

#[test]
fn openssl_sees_the_certificate_and_speaks_tls_1_2_and_1_3() {
    let sink = Sink::start();
    let Some(bundle) = with_certificate(sink.port()) else {
        return;
    };
    let server = Server::start(&bundle);
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-starttls",
                "smtp",
                "-brief",
                version,
                "-servername",
                "relay.example",
            ])
            .args([
                "-CAfile",
                "cert.pem",
                "-verify_return_error",
                "-verify_hostname",
                "relay.example",
            ])
            .args(["-connect", &server.address.to_string()])
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(
            text.contains(&format!("Protocol version: {name}")),
            "{text}"
        );
        assert!(text.contains("Verification: OK"), "{text}");
    }
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-starttls",
            "smtp",
            "-brief",
            "-tls1_1",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
        ])
        .args(["-connect", &server.address.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "TLS 1.1 is not spoken");
}

#[test]
fn a_message_over_starttls_is_marked_in_its_received_field() {
    let sink = Sink::start();
    let Some(bundle) = with_certificate(sink.port()) else {
        return;
    };
    if !program::installed("python3") {
        return;
    }
    let server = Server::start(&bundle);
    let script = "import smtplib, ssl, sys\n\
        s = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), timeout=60)\n\
        c = ssl.create_default_context(cafile=sys.argv[2]); c.check_hostname = False\n\
        s.starttls(context=c)\n\
        assert s.docmd('STARTTLS')[0] >= 500 and not s.esmtp_features\n\
        s.ehlo('client.example')\n\
        assert 'starttls' not in s.esmtp_features and s.docmd('STARTTLS')[0] >= 500\n\
        s.sendmail('from@example.net', ['to@example.com'], b'Subject: x\\r\\n\\r\\n' + b'y' * 300000 + b'\\r\\n')\n\
        s.quit()\n";
    let output = Command::new(program::python())
        .args(["-c", script, &server.address.port().to_string()])
        .arg(bundle.path().join("cert.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    let message = &sink.messages()[0];
    assert!(message.content.ends_with(b"yyyy\r\n") && message.content.len() > 300_000);
    let header = String::from_utf8_lossy(&message.content[..1000]).into_owned();
    assert!(header.contains(" with ESMTPS"), "{header}");
}

#[test]
fn what_is_pipelined_behind_starttls_is_thrown_away() {
    let Some(bundle) = with_certificate(1) else {
        return;
    };
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let ehlo = client.command("EHLO client.example").unwrap();
    assert!(ehlo.text.contains("STARTTLS"), "{}", ehlo.text);
    client
        .write(b"STARTTLS\r\nMAIL FROM:<injected@example.net>\r\n")
        .unwrap();
    assert_eq!(client.reply().unwrap().code, 220);
    // Nothing in clear text comes any more: the injected command has no answer.
    assert!(client.command("NOOP").is_err());
}

#[test]
fn between_two_servers_tls_is_used_where_it_is_offered() {
    let sink = Sink::start();
    let Some(second) = with_certificate(sink.port()) else {
        return;
    };
    let _second = Server::start(&second);
    let mut first = Bundle::relay(second.address.port());
    first.transports()["session"] =
        json!({ "helo": "first.example", "tls": { "mode": "require" } });
    first.save();
    let server = Server::start(&first);
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send(
            "from@example.net",
            "to@example.com",
            b"Subject: x\r\n\r\nx\r\n",
        )
        .unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
    assert!(
        sink.wait_for(1, Duration::from_secs(30)),
        "{}",
        server.log()
    );
    let content = String::from_utf8_lossy(&sink.messages()[0].content).into_owned();
    let hops: Vec<&str> = content.split("Received: ").skip(1).collect();
    assert_eq!(hops.len(), 2, "{content}");
    assert!(
        hops[0].contains("first.example") && hops[0].contains(" with ESMTPS"),
        "{content}"
    );
}

#[test]
fn without_an_offer_optional_goes_on_in_clear_text_and_require_waits() {
    let sink = Sink::start();
    for (mode, arrives) in [("optional", true), ("require", false)] {
        let mut bundle = Bundle::relay(sink.port());
        bundle.transports()["session"] = json!({ "tls": { "mode": mode } });
        bundle.save();
        let server = Server::start(&bundle);
        let before = sink.count();
        let mut client = Client::connect(server.address).unwrap();
        let reply = client
            .send(
                "from@example.net",
                "to@example.com",
                b"Subject: x\r\n\r\nx\r\n",
            )
            .unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
        let line = server.wait_log(&["delivery ", "result="]);
        assert_eq!(line.contains("result=DELIVERED"), arrives, "{line}");
        assert_eq!(sink.count() - before, usize::from(arrives));
    }
}
