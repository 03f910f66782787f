//! TLS with real clients, inwards and outwards: STARTTLS, TLS from the first byte, certificates of both sides.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};

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

/// A program in Python that exits well.
fn python(script: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program::python())
        .args(["-c", script])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `openssl s_client -brief` says of a server, and whether it was content.
fn openssl(address: &str, options: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", address])
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text)
}

/// Certificates in a folder, each `NAME.pem` with `NAME.key`: `ca` signs those with a `*` before their names, the others
/// sign themselves.
fn certificates(folder: &Path, ca: &str, names: &[&str]) {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, ca);
    let own = params.self_signed(&authority).unwrap().pem();
    fs::write(folder.join(format!("{ca}.pem")), own).unwrap();
    let issuer = Issuer::new(params, authority);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let plain = name.trim_start_matches('*');
        let mut params = CertificateParams::new(vec![format!("{plain}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, plain);
        if plain == "expired" {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let made = match name.starts_with('*') {
            true => params.signed_by(&key, &issuer).unwrap(),
            false => params.self_signed(&key).unwrap(),
        };
        fs::write(folder.join(format!("{plain}.pem")), made.pem()).unwrap();
        fs::write(folder.join(format!("{plain}.key")), key.serialize_pem()).unwrap();
    }
}

/// Key pairs of the configuration, of files with these names.
fn pairs(names: &[&str]) -> Value {
    let pair = |name: &&str| {
        json!({
            "id": name,
            "privatekey": { "path": format!("{name}.key") },
            "certificate": { "path": format!("{name}.pem") },
        })
    };
    json!({ "private": names.iter().map(pair).collect::<Vec<_>>() })
}

/// A relay with the second listener `tls`, on which TLS starts with the first byte.
fn with_implicit(sink: u16) -> (Bundle, String) {
    let mut bundle = Bundle::relay(sink);
    certificates(bundle.path(), "ca", &["*relay"]);
    let address = free_address();
    let port = bundle.startup["servers"][0]["listeners"][0].clone();
    bundle.startup["servers"][0]["listeners"] =
        json!([port, { "id": "tls", "port": address.port(), "address": "127.0.0.1" }]);
    bundle.startup["pki"] = pairs(&["relay"]);
    bundle.server()["tls"] = json!({ "certs": { "cert": "relay" }, "implicit": ["tls"] });
    bundle.save();
    (bundle, address.to_string())
}

#[test]
fn tls_starts_with_the_first_byte_on_the_listeners_that_are_named() {
    let sink = Sink::start();
    let (bundle, address) = with_implicit(sink.port());
    let server = Server::start(&bundle);
    if program::installed("python3") {
        let script = "import smtplib, ssl, sys\n\
            c = ssl.create_default_context(cafile='ca.pem'); c.check_hostname = False\n\
            s = smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[1]), context=c, timeout=60)\n\
            s.ehlo('client.example')\n\
            assert 'starttls' not in s.esmtp_features and s.docmd('STARTTLS')[0] >= 500\n\
            s.sendmail('from@example.net', ['to@example.com'], b'Subject: x\\r\\n\\r\\ny\\r\\n')\n\
            s.quit()\n";
        let port = address.rsplit(':').next().unwrap();
        python(script, &[port], bundle.path());
        assert!(sink.wait_for(1, Duration::from_secs(30)));
        let content = String::from_utf8_lossy(&sink.messages()[0].content).into_owned();
        assert!(content.contains(" with ESMTPS"), "{content}");
    }
    // Who speaks in clear hears an alert and no SMTP.
    let mut stream = TcpStream::connect(&address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(b"EHLO client.example\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(matches!(answer.as_slice(), [] | [0x15, ..]), "{answer:?}");
    server.wait_log(&["tls serverid=default remoteip=127.0.0.1 error=", "corrupt"]);
    // The other listener greets in clear and offers STARTTLS.
    let mut client = Client::connect(server.address).unwrap();
    let ehlo = client.command("EHLO client.example").unwrap();
    assert!(ehlo.text.contains("STARTTLS"), "{}", ehlo.text);
}

#[test]
fn the_certificate_is_that_of_the_name_that_is_asked_for() {
    if !program::installed("openssl") {
        return;
    }
    let (mut bundle, address) = with_implicit(1);
    certificates(
        bundle.path(),
        "ca",
        &["*relay", "*exact", "*below", "*foreign"],
    );
    bundle.startup["pki"] = pairs(&["relay", "exact", "below", "foreign"]);
    bundle.server()["tls"]["certs"]["sni"] = json!([
        { "hostname": "MX.example.com", "cert": "exact" },
        { "hostname": "*.example.com", "cert": "below" },
        { "hostname": "bl\u{e5}b\u{e4}r.example", "cert": "foreign" },
    ]);
    bundle.save();
    let server = Server::start(&bundle);
    let clear = server.address.to_string();
    for (name, expected) in [
        ("mx.example.com", "exact"),
        ("Mx.Example.Com", "exact"),
        ("other.example.com", "below"),
        ("a.other.example.com", "relay"),
        ("example.com", "relay"),
        ("xn--blbr-noae.example", "foreign"),
        ("unknown.example", "relay"),
    ] {
        let ways: [(&str, &[&str]); 2] = [(&address, &[]), (&clear, &["-starttls", "smtp"])];
        for (address, more) in ways {
            let (_, text) = openssl(
                address,
                &[&["-servername", name], more].concat(),
                bundle.path(),
            );
            let wanted = [format!("CN = {expected}\n"), format!("CN={expected}\n")];
            assert!(
                wanted.iter().any(|one| text.contains(one)),
                "{name}: {text}"
            );
        }
    }
    let (_, text) = openssl(&address, &["-noservername"], bundle.path());
    assert!(text.contains("relay"), "{text}");
}

/// Tells in the reply to MAIL what the script sees of the client's certificate.
const TELL: &str = r#"
$tls = $connection["tls"];
if (!isset($tls["peercert"])) Reject("none");
$cert = $tls["peercert"];
$x509 = X509($cert["x509"]);
Reject(json_encode([$x509->subject(), $cert["error"], count($cert["chain"]), $tls["protocol"]]));
"#;

/// Shows a certificate and says what the server answers to MAIL.
const SHOW: &str = "import smtplib, ssl, sys\n\
    port, name, version = sys.argv[1:]\n\
    c = ssl._create_unverified_context()\n\
    c.minimum_version = c.maximum_version = getattr(ssl.TLSVersion, version)\n\
    if name: c.load_cert_chain(name + '.pem', name + '.key')\n\
    try:\n\
    \x20   s = smtplib.SMTP_SSL('127.0.0.1', int(port), context=c, timeout=60)\n\
    \x20   s.ehlo('client.example')\n\
    \x20   print(s.docmd('MAIL FROM:<a@example.net>')[1].decode())\n\
    \x20   s.quit()\n\
    except (OSError, smtplib.SMTPException) as e:\n\
    \x20   print('failed', e)\n";

#[test]
fn scripts_see_the_certificate_of_a_client_and_what_is_wrong_with_it() {
    if !program::installed("python3") {
        return;
    }
    let (mut bundle, address) = with_implicit(1);
    let folder = bundle.path().to_owned();
    certificates(&folder, "other", &["*stranger"]);
    certificates(
        &folder,
        "ca",
        &["*relay", "*good", "*expired", "alone", "listed"],
    );
    // A chain that ends in an authority that nobody trusts.
    let chain =
        ["stranger.pem", "other.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    fs::write(folder.join("long.pem"), chain.concat()).unwrap();
    fs::copy(folder.join("stranger.key"), folder.join("long.key")).unwrap();
    let listed =
        ["ca.pem", "listed.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    fs::write(folder.join("trusted.pem"), listed.concat()).unwrap();
    bundle.server()["tls"]["clientcert"] = json!({ "ca": { "path": "trusted.pem" } });
    bundle.hook("mailfrom", TELL);
    let server = Server::start(&bundle);
    let port = address.rsplit(':').next().unwrap().to_owned();
    let show = |name: &str, version: &str| python(SHOW, &[&port, name, version], &folder);
    for (version, shown) in [("TLSv1_3", "TLSv1.3"), ("TLSv1_2", "TLSv1.2")] {
        for (name, subject, error, rest) in [
            ("good", "good", 0, 0),
            ("listed", "listed", 0, 0),
            ("expired", "expired", 10, 0),
            ("alone", "alone", 18, 0),
            ("long", "stranger", 19, 1),
            ("stranger", "stranger", 21, 0),
        ] {
            let told = show(name, version);
            let told: Value = serde_json::from_str(told.split_once(' ').unwrap().1.trim())
                .unwrap_or_else(|problem| panic!("{name}: {problem}: {told}"));
            assert_eq!(
                told,
                json!([[["CN", subject]], error, rest, shown]),
                "{name}"
            );
        }
        assert!(
            show("", version).trim().ends_with(" none"),
            "nothing was shown"
        );
    }
    // The other way in: what STARTTLS shows is the same.
    let script = SHOW.replace(
        "SMTP_SSL('127.0.0.1', int(port), context=c, timeout=60)",
        "SMTP('127.0.0.1', int(port), timeout=60); s.starttls(context=c)",
    );
    let told = python(
        &script,
        &[&server.address.port().to_string(), "good", "TLSv1_3"],
        &folder,
    );
    assert!(told.contains("good"), "{told}");

    // Who is not asked shows nothing.
    bundle.server()["tls"]["clientcert"] = json!(["192.0.2.0/24"]);
    bundle.save();
    server.signal(rustix::process::Signal::HUP);
    server.wait_log(&["reload file=", " ok"]);
    assert!(show("good", "TLSv1_3").trim().ends_with(" none"));
}

#[test]
fn where_a_certificate_is_required_only_a_good_one_will_do() {
    if !program::installed("python3") {
        return;
    }
    let (mut bundle, address) = with_implicit(1);
    let folder = bundle.path().to_owned();
    certificates(&folder, "other", &["*stranger"]);
    certificates(&folder, "ca", &["*relay", "*good", "*expired"]);
    bundle.server()["tls"]["clientcert"] = json!({ "require": true, "ca": { "path": "ca.pem" } });
    bundle.hook("mailfrom", TELL);
    let server = Server::start(&bundle);
    let port = address.rsplit(':').next().unwrap().to_owned();
    for version in ["TLSv1_3", "TLSv1_2"] {
        let show = |name: &str| python(SHOW, &[&port, name, version], &folder);
        assert!(show("good").contains("\"good\""), "{version}");
        for name in ["", "stranger", "expired"] {
            let told = show(name);
            assert!(told.starts_with("failed"), "{version} {name}: {told}");
        }
    }
    server.wait_log(&["tls serverid=default", "peer sent no certificates"]);
    server.wait_log(&["tls serverid=default", "UnknownIssuer"]);
    let without = json!({ "require": true, "ca": { "path": "relay.key" } });
    bundle.server()["tls"]["clientcert"] = without;
    bundle.save();
    server.signal(rustix::process::Signal::HUP);
    server.wait_log(&[
        "reload file=",
        " error=",
        "servers[].tls of the server default",
        "BEGIN CERTIFICATE",
    ]);
    assert!(python(SHOW, &[&port, "good", "TLSv1_3"], &folder).contains("\"good\""));
}

#[test]
fn the_ciphers_and_versions_are_those_of_the_configuration() {
    if !program::installed("openssl") {
        return;
    }
    let (mut bundle, address) = with_implicit(1);
    bundle.server()["tls"]["ciphers"] = json!("ECDHE+CHACHA20:ECDHE+AES128:!aNULL");
    bundle.save();
    let server = Server::start(&bundle);
    let folder = bundle.path();
    let of_12 = |ciphers: &str| openssl(&address, &["-tls1_2", "-cipher", ciphers], folder);
    // The server's order counts, not the client's.
    let (_, text) = of_12(
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305",
    );
    assert!(
        text.contains("Ciphersuite: ECDHE-ECDSA-CHACHA20-POLY1305"),
        "{text}"
    );
    let (good, text) = of_12("ECDHE-ECDSA-AES256-GCM-SHA384");
    assert!(!good, "{text}");
    server.wait_log(&["tls serverid=default", "NoCipherSuitesInCommon"]);
    bundle.server()["tls"]["protocols"] = json!("TLSv1.3");
    bundle.server()["tls"]["ciphers"] = json!("TLS_CHACHA20_POLY1305_SHA256");
    bundle.save();
    server.signal(rustix::process::Signal::HUP);
    server.wait_log(&["reload file=", " ok"]);
    let folder = bundle.path();
    let (good, text) = openssl(&address, &[], folder);
    assert!(
        good && text.contains("Ciphersuite: TLS_CHACHA20_POLY1305_SHA256"),
        "{text}"
    );
    assert!(!openssl(&address, &["-tls1_2"], folder).0);
}
