//! `TLSSocket` and `X509`.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::servers::{pair, secured, serve, tls};
use crate::{Bench, run};

/// Sends back what comes until the client closes TLS, then closes it too.
fn echo(names: &[&str]) -> u16 {
    let config = tls(&pair(names));
    serve(move |stream| {
        let mut stream = secured(stream, &config);
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
        // Then in clear.
        let mut plain = stream.sock;
        let mut buffer = [0; 64];
        if let Ok(count) = plain.read(&mut buffer) {
            let _ = plain.write_all(&buffer[..count]);
        }
    })
}

fn with(port: u16, options: &str, rest: &str) -> String {
    format!(
        r#"
        $s = Socket("AF_INET", "SOCK_STREAM");
        $s->connect("127.0.0.1", {port});
        $s->settimeout(5);
        $t = TLSSocket($s{options});
        {rest}
        "#
    )
}

#[test]
fn bytes_go_both_ways_and_tls_is_closed_on_both_sides() {
    let port = echo(&["mx.example"]);
    let script = with(
        port,
        "",
        r#"
        $all = [];
        $all[] = [$t->recv(1), $t->errno()];
        $all[] = is_object($t->handshake());
        $all[] = $t->send("hello");
        $all[] = $t->recv(100);
        $all[] = $t->errno();
        $all[] = $t->shutdown();
        $all[] = $t->shutdown();
        $all[] = [$t->recv(1), $t->errno()];
        $below = $t->toSocket();
        $below->send("clear");
        $all[] = $below->recv(5, "MSG_WAITALL");
        return $all;
        "#,
    );
    assert_eq!(
        run(&script),
        r#"[0=>[0=>none,1=>1],1=>true,2=>5,3=>"hello",4=>0,5=>0,6=>1,7=>[0=>"",1=>6],8=>"clear"]"#
    );
}

#[test]
fn the_options_say_what_is_verified() {
    let port = echo(&["mx.example", "*.wild.example"]);
    let handshake = |options: &str| {
        let script = with(
            port,
            options,
            "$done = is_object($t->handshake()); return [$done, $t->errno()];",
        );
        run(&script)
    };
    let (yes, no) = ("[0=>true,1=>0]", "[0=>false,1=>1]");
    assert_eq!(handshake(""), yes);
    assert_eq!(handshake(r#", ["tls_sni" => "mx.example"]"#), yes);
    assert_eq!(handshake(r#", ["tls_verify_name" => ["mx.example"]]"#), yes);
    assert_eq!(
        handshake(r#", ["tls_verify_name" => ["other.example", "a.wild.example"]]"#),
        yes
    );
    assert_eq!(
        handshake(r#", ["tls_verify_name" => ["a.b.wild.example"]]"#),
        no
    );
    assert_eq!(handshake(r#", ["tls_verify_name" => []]"#), no);
    assert_eq!(handshake(r#", ["tls_verify_ca" => true]"#), no);
    assert_eq!(
        handshake(r#", ["tls_verify_ca" => true, "tls_default_ca" => true]"#),
        no
    );
    assert_eq!(handshake(r#", ["tls_protocols" => "!TLSv1.3"]"#), yes);
    assert_eq!(handshake(r#", ["tls_protocols" => "TLSv1,TLSv1.1"]"#), no);
    assert_eq!(handshake(r#", ["tls_ciphers" => "RC4-MD5"]"#), yes);
    assert_eq!(
        handshake(r#", ["tls_ciphers" => "RC4-MD5", "tls_protocols" => "TLSv1.2"]"#),
        no
    );
}

#[test]
fn the_certificate_of_the_peer_is_read() {
    let port = echo(&["mx.example", "other.example"]);
    let script = with(
        port,
        "",
        r#"
        $before = $t->getpeerx509();
        $t->handshake();
        $x = $t->getpeerx509();
        $old = $t->getpeercert(["fingerprint" => "sha256"]);
        $again = X509::String($x->export(["pem" => true]), ["pem" => true]);
        return [
            $before,
            $x->subject(),
            $x->subject_alt_name(),
            $x->version(),
            $x->not_valid_before() < time() and time() < $x->not_valid_after(),
            $x->serial_number() === $old["serial_number"],
            sha2($x->export(), 256) === $old["fingerprint"],
            $again->export() === X509($x->toResource())->export(),
            length(X509::String($x->export(["pem" => true]) . $x->export(["pem" => true]), ["pem" => true, "multiple" => true])),
            $old["subject"],
            $x->extensions()[0]["oid"],
        ];
        "#,
    );
    assert_eq!(
        run(&script),
        "[0=>none,1=>[0=>[0=>\"CN\",1=>\"rcgen self signed cert\"]],\
         2=>[\"DNS\"=>[0=>\"mx.example\",1=>\"other.example\"]],3=>2,4=>true,5=>true,6=>true,7=>true,8=>2,\
         9=>[\"CN\"=>\"rcgen self signed cert\"],10=>\"2.5.29.17\"]"
    );
}

#[test]
fn a_peer_that_is_gone_or_silent_has_its_number() {
    let config = tls(&pair(&["mx.example"]));
    let port = serve(move |stream| {
        let mut stream = secured(stream, &config);
        let _ = stream.write_all(b"x");
        let _ = stream.flush();
        let _ = stream.read(&mut [0; 10]);
        // Closed without a word.
    });
    let script = with(
        port,
        "",
        r#"
        $t->handshake();
        $all = [$t->recv(10)];
        $s->settimeout(0.05);
        $all[] = [$t->recv(10), $t->errno()];
        $s->settimeout(5);
        $t->send("go");
        $all[] = [$t->recv(10), $t->errno()];
        return $all;
        "#,
    );
    assert_eq!(
        run(&script),
        r#"[0=>"x",1=>[0=>none,1=>2],2=>[0=>none,1=>5]]"#
    );
    let port = serve(|mut stream| {
        let _ = stream.write_all(b"220 not TLS at all\r\n");
        let _ = stream.read(&mut [0; 1000]);
    });
    let script = with(port, "", "return [$t->handshake(), $t->errno()];");
    assert_eq!(run(&script), "[0=>none,1=>1]");
}

#[test]
fn a_script_can_be_the_server_and_show_a_certificate() {
    let mut bench = Bench::default();
    bench.keys.insert("own".to_owned(), pair(&["mx.example"]));
    // The test's server is the client of TLS.
    let port = serve(|stream| {
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::clone(angarium_stdlib::tls::provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "mx.example".try_into().expect("a name");
        let connection =
            rustls::ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = rustls::StreamOwned::new(connection, stream);
        // It trusts nobody: the server hears an alert.
        let _ = stream.write_all(b"x");
    });
    let script = with(
        port,
        r#", ["server" => true, "tls_client_cert" => "own"]"#,
        "return [$t->handshake(), $t->errno()];",
    );
    assert_eq!(bench.run(&script).as_deref(), Ok("[0=>none,1=>1]"));
    let script = with(port, r#", ["server" => true]"#, "return $t->handshake();");
    assert_eq!(bench.run(&script).as_deref(), Ok("none"));
    let script = with(port, r#", ["tls_client_cert" => "nobody"]"#, "return 1;");
    let error = bench.run(&script).expect_err("no key pair");
    assert!(error.contains("there is no key pair \"nobody\""), "{error}");
}

#[test]
fn chains_of_certificates_are_verified() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = || KeyPair::generate().expect("a key");
    let root = CertifiedIssuer::self_signed(authority("root"), key()).expect("a certificate");
    let middle =
        CertifiedIssuer::signed_by(authority("middle"), key(), &root).expect("a certificate");
    let other = CertifiedIssuer::self_signed(authority("root"), key()).expect("a certificate");
    let leaf_key = key();
    let leaf = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("names");
        change(&mut params);
        let made = params.signed_by(&leaf_key, &middle);
        made.expect("a certificate").pem()
    };
    let good = leaf(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection]
    });
    let old = leaf(|params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let verify = |call: &str| {
        let script = format!(
            r#"
            $pem = ["pem" => true];
            $root = X509::String("{}", $pem); $middle = X509::String("{}", $pem); $other = X509::String("{}", $pem);
            $leaf = X509::String("{good}", $pem); $old = X509::String("{old}", $pem);
            $r = {call};
            return isset($r["error"]) ? $r["error"] : $r["result"];
            "#,
            root.pem(),
            middle.pem(),
            other.pem()
        );
        Bench::default().run(&script)
    };
    for (call, expected) in [
        ("$leaf->verify([$root], [$middle])", "true"),
        ("$leaf->verify([$root, $middle->toResource()])", "true"),
        ("$leaf->verify([$middle], [], [])", "true"),
        ("$leaf->verify([$leaf])", "true"),
        ("$root->verify([$root])", "true"),
        (
            "$leaf->verify([$root])",
            "\"no chain leads to an authority of the list\"",
        ),
        (
            "$leaf->verify([])",
            "\"no chain leads to an authority of the list\"",
        ),
        (
            "$old->verify([$root], [$middle])",
            "\"a certificate has expired\"",
        ),
        (
            "$old->verify([$old])",
            "\"the certificate is not valid at this time\"",
        ),
    ] {
        assert_eq!(verify(call).as_deref(), Ok(expected), "{call}");
    }
    let wrong_key = verify("$leaf->verify([$other], [$middle])").expect("no Exception");
    assert_ne!(wrong_key, "true");
    assert!(verify("$leaf->verify([1])").is_err());
    let error = verify("$leaf->verify([$root], [], [1])").expect_err("no lists");
    assert!(error.contains("revocation lists"), "{error}");
}

#[test]
fn the_common_name_stands_for_a_certificate_without_names() {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "mx.example");
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = angarium_stdlib::tls::provider();
    let pair = rustls::sign::CertifiedKey::from_der(vec![made.der().clone()], der.into(), provider);
    let config = tls(&Arc::new(pair.expect("a pair")));
    let port = serve(move |stream| {
        let mut stream = secured(stream, &config);
        let _ = stream.write_all(b"x");
        let _ = stream.read(&mut [0; 10]);
    });
    let handshake = |name: &str| {
        let options = format!(r#", ["tls_verify_name" => ["{name}"]]"#);
        run(&with(port, &options, "return is_object($t->handshake());"))
    };
    assert_eq!(handshake("mx.example"), "true");
    assert_eq!(handshake("other.example"), "false");
}
