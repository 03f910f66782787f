//! `http()`: connections that are used again, SOCKS proxies, names beyond ASCII, certificates of our own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::servers::{request, secured, serve, web};
use crate::{Bench, run};

/// A server that answers many requests on a connection: with the number of the connection, that of the request on it, and
/// the line of the request. After `/last` it hangs up without a word; `/lost` it does not answer at all.
fn lasting() -> u16 {
    let connections = AtomicUsize::new(0);
    serve(move |mut stream| {
        let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
        for turn in 1.. {
            let Some(request) = request(&mut stream) else {
                return;
            };
            let line = request.line.trim_end_matches(" HTTP/1.1");
            if line.ends_with("/lost") && turn > 1 {
                return;
            }
            let text = format!("{number}.{turn} {line}");
            let length = text.len();
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            if stream.write_all(reply.as_bytes()).is_err() || line.ends_with("/last") {
                return;
            }
        }
    })
}

#[test]
fn a_connection_is_used_again_while_it_is_open() {
    let port = lasting();
    let script = format!(
        r#"
        $u = "http://127.0.0.1:{port}";
        $all = [];
        $all[] = http($u . "/a");
        $all[] = str_split(http($u . "/b", ["response_headers" => true]), "\r\n");
        $all[] = http($u . "/c", [], [], "x");
        $all[] = http($u . "/last");
        $all[] = http($u . "/d");
        $all[] = http($u . "/e", ["sourceip" => "127.0.0.1"]);
        $all[] = http($u . "/f", ["headers" => ["Connection: close"]]);
        $all[] = http($u . "/g");
        $all[] = http($u . "/h", ["max_file_size" => 3]);
        $all[] = http($u . "/i");
        return $all;
        "#
    );
    assert_eq!(
        run(&script),
        "[0=>\"1.1 GET /a\",1=>[0=>\"HTTP/1.1 200 OK\",1=>\"Content-Length: 10\",2=>\"\",\
         3=>\"1.2 GET /b\"],2=>\"1.3 POST /c\",\
         3=>\"1.4 GET /last\",4=>\"2.1 GET /d\",5=>\"3.1 GET /e\",6=>\"2.2 GET /f\",7=>\"4.1 GET /g\",8=>none,\
         9=>\"5.1 GET /i\"]"
    );
    // Another network has its own.
    assert_eq!(
        run(&format!(r#"return http("http://127.0.0.1:{port}/j");"#)),
        r#""6.1 GET /j""#
    );
}

#[test]
fn a_request_that_is_lost_on_an_old_connection_is_made_again_only_if_that_does_no_harm() {
    let port = lasting();
    let lost = |options: &str| {
        run(&format!(
            r#"
            $u = "http://127.0.0.1:{port}";
            http($u . "/a");
            return http($u . "/lost"{options});
            "#
        ))
    };
    assert_eq!(lost(""), r#""2.1 GET /lost""#);
    assert_eq!(lost(r#", [], [], "x""#), "none");
    // What a function makes goes over a connection of its own.
    let made = lost(r#", [], [], function ($n) closure ($u) { $x = $u; $u = ""; return $x; }"#);
    assert_eq!(made, r#""5.1 POST /lost""#);
}

/// A SOCKS proxy of either version that leads every host to `port`; gives its port and what it was asked for.
fn socks(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let proxy = serve(move |mut stream| {
        let Some(text) = greet(&mut stream) else {
            return;
        };
        list.lock().expect("no panic").push(text);
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server");
        let (mut from, mut to) = (
            stream.try_clone().expect("a copy"),
            server.try_clone().expect("a copy"),
        );
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut from, mut to) = (server, stream);
        let _ = std::io::copy(&mut from, &mut to);
    });
    (proxy, asked)
}

fn take<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn text(stream: &mut TcpStream) -> Option<String> {
    let [length] = take(stream)?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

fn until_nul(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        match take(stream)? {
            [0] => return Some(text),
            [byte] => text.push(char::from(byte)),
        }
    }
}

/// Speaks SOCKS until it is to connect; what it was asked for.
fn greet(stream: &mut TcpStream) -> Option<String> {
    let [version] = take(stream)?;
    if version == 4 {
        let [command, high, low, a, b, c, d] = take(stream)?;
        assert_eq!(command, 1);
        let user = until_nul(stream)?;
        let host = match (a, b, c, d) {
            (0, 0, 0, 1..) => until_nul(stream)?,
            _ => Ipv4Addr::new(a, b, c, d).to_string(),
        };
        let port = u16::from_be_bytes([high, low]);
        stream.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).ok()?;
        return Some(format!("4 {user}@{host}:{port}"));
    }
    let [count] = take(stream)?;
    let mut methods = vec![0; usize::from(count)];
    stream.read_exact(&mut methods).ok()?;
    let user = if methods.contains(&2) {
        stream.write_all(&[5, 2]).ok()?;
        let [1] = take(stream)? else { return None };
        let (name, password) = (text(stream)?, text(stream)?);
        stream.write_all(&[1, 0]).ok()?;
        format!("{name}:{password}")
    } else {
        stream.write_all(&[5, 0]).ok()?;
        String::new()
    };
    let [5, 1, 0, kind] = take(stream)? else {
        return None;
    };
    let host = match kind {
        1 => Ipv4Addr::from(take::<4>(stream)?).to_string(),
        3 => text(stream)?,
        _ => return None,
    };
    let port = u16::from_be_bytes(take(stream)?);
    if host.contains("refused") {
        stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
        return None;
    }
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    Some(format!("5 {user}@{host}:{port}"))
}

#[test]
fn socks_proxies_of_every_kind_lead_to_the_server() {
    let (proxy, asked) = socks(web());
    let bench = Bench::default();
    bench
        .dns
        .add_address("web.example", Ipv4Addr::new(192, 0, 2, 7).into());
    let get = |proxy_url: &str, host: &str| {
        let script =
            format!(r#"return http("http://{host}:8080/line", ["proxy" => "{proxy_url}"]);"#);
        bench.run(&script).expect("no Exception")
    };
    let good = r#""GET /line HTTP/1.1""#;
    for kind in ["socks4", "socks4a", "socks5", "socks5h"] {
        let url = format!("{kind}://127.0.0.1:{proxy}");
        assert_eq!(get(&url, "web.example"), good, "{kind}");
        let url = format!("{kind}://us%40er:pass@127.0.0.1:{proxy}");
        assert_eq!(get(&url, "web.example"), good, "{kind}");
    }
    let url = format!("socks5h://127.0.0.1:{proxy}");
    assert_eq!(get(&url, "refused.example"), "none");
    assert_eq!(get(&url, "192.0.2.8"), good);
    // A name that nobody knows is the proxy's business only where it resolves names.
    assert_eq!(get(&url, "unknown.example"), good);
    let url = format!("socks5://127.0.0.1:{proxy}");
    assert_eq!(get(&url, "unknown.example"), "none");
    // An HTTP server is no SOCKS proxy.
    assert_eq!(get(&format!("socks5://127.0.0.1:{}", web()), "a"), "none");
    assert_eq!(
        *asked.lock().expect("no panic"),
        [
            "4 @192.0.2.7:8080",
            "4 us@er@192.0.2.7:8080",
            "4 @web.example:8080",
            "4 us@er@web.example:8080",
            "5 @192.0.2.7:8080",
            "5 us@er:pass@192.0.2.7:8080",
            "5 @web.example:8080",
            "5 us@er:pass@web.example:8080",
            "5 @192.0.2.8:8080",
            "5 @unknown.example:8080",
        ]
    );
}

#[test]
fn hosts_beyond_ascii_are_asked_for_in_their_other_form() {
    let port = web();
    let bench = Bench::default();
    bench
        .dns
        .add_address("xn--bcher-kva.example", Ipv4Addr::LOCALHOST.into());
    let script = format!(r#"return http("http://Bücher.example:{port}/head");"#);
    let head = bench.run(&script).expect("no Exception");
    let host = format!(r"Host: xn--bcher-kva.example:{port}\r\n");
    assert!(head.contains(&host), "{head}");
}

#[test]
fn a_certificate_can_be_given_as_resources() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).expect("names");
    let own = params.self_signed(&key).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.der().clone()).expect("an authority");
    let provider = angarium_stdlib::tls::provider();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(provider),
    );
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            crate::servers::pair(&["web.example"]),
        )));
    let config = Arc::new(config);
    let port = serve(move |stream| {
        let mut stream = secured(stream, &config);
        crate::servers::answer(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let get = |pair: &str| {
        let script = format!(
            r#"
            $x = X509::String("{}", ["pem" => true]);
            $key = ed25519_privatekey("{}");
            $other = ed25519_privatekey("{}");
            return http("https://127.0.0.1:{port}/line", ["tls_verify_peer" => false, "tls_client_cert" => {pair}]);
            "#,
            own.pem(),
            key.serialize_pem(),
            other.serialize_pem(),
        );
        Bench::default().run(&script)
    };
    let good = Ok(r#""GET /line HTTP/1.1""#.to_owned());
    assert_eq!(
        get(r#"["x509" => $x->toResource(), "privatekey" => $key]"#),
        good
    );
    assert_eq!(
        get(r#"["x509" => $x->toResource(), "privatekey" => $key, "chain" => [$x->toResource()]]"#),
        good
    );
    assert_eq!(get("none"), Ok("none".to_owned()));
    for (pair, why) in [
        (
            r#"["x509" => $x->toResource(), "privatekey" => $other]"#,
            "does not belong to the certificate",
        ),
        (
            r#"["x509" => $x->toResource()]"#,
            "privatekey: a private key resource is needed",
        ),
        (
            r#"["privatekey" => $key]"#,
            "x509: an X509Resource is needed",
        ),
        (
            r#"["x509" => $key, "privatekey" => $key]"#,
            "x509: an X509Resource is needed",
        ),
        (
            r#"["x509" => $x->toResource(), "privatekey" => $key, "chain" => [1]]"#,
            "chain: an X509Resource is needed",
        ),
        (r#""nobody""#, "there is no key pair \"nobody\""),
    ] {
        let error = get(pair).expect_err(pair);
        assert!(error.contains(why), "{pair}: {error}");
    }
}
