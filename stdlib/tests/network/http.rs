//! `http()`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium_runtime::{Ended, Limits};

use crate::servers::{answer, closed, pair, request, secured, serve, tls, web};
use crate::{Bench, run};

fn get(port: u16, path: &str, rest: &str) -> String {
    run(&format!(
        "return http(\"http://127.0.0.1:{port}{path}\"{rest});"
    ))
}

#[test]
fn the_body_of_a_good_answer_is_given_and_none_for_others() {
    let port = web();
    assert_eq!(get(port, "/line?a=b#c", ""), r#""GET /line?a=b HTTP/1.1""#);
    assert_eq!(get(port, "/chunked", ""), r#""abcde""#);
    assert_eq!(get(port, "/until-close", ""), r#""all of it""#);
    assert_eq!(get(port, "/early", ""), r#""body""#);
    for path in ["/missing", "/moved", "/short", "/nonsense"] {
        assert_eq!(get(port, path, ""), "none", "{path}");
    }
    assert_eq!(
        get(closed(), "/line", r#", ["extended_result" => true]"#),
        "none"
    );
    assert_eq!(
        get(port, "/missing", r#", ["extended_result" => true]"#),
        r#"["status"=>404,"content"=>"nothing"]"#
    );
    assert_eq!(
        get(port, "/missing", r#", ["response_headers" => true]"#),
        r#""HTTP/1.1 404 Not Found\r\nX-Odd-Case: Yes\r\nx-second: 2\r\nContent-Length: 7\r\n\r\nnothing""#
    );
    assert_eq!(
        get(port, "/early", r#", ["response_headers" => true]"#),
        r#""HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 4\r\n\r\nbody""#
    );
    assert_eq!(get(port, "/line", r#", ["method" => "HEAD"]"#), r#""""#);
}

#[test]
fn the_request_says_what_the_options_say() {
    let port = web();
    let head = get(
        port,
        "/head",
        r#", ["headers" => ["X-A: 1", "X-A: 2", "User-Agent: me", "Accept:", "Content-Length: 7"], "method" => "DELETE"]"#,
    );
    assert!(head.starts_with(r#""DELETE /head HTTP/1.1\r\n"#), "{head}");
    assert!(head.contains(r"X-A: 1\r\nX-A: 2\r\n"), "{head}");
    assert!(head.contains(r"User-Agent: me\r\n"), "{head}");
    assert!(!head.contains("Accept"), "{head}");
    assert!(!head.contains("Content-Length: 7"), "{head}");
    assert!(
        head.contains(&format!(r"Host: 127.0.0.1:{port}\r\n")),
        "{head}"
    );
    let head = run(&format!(
        "return http(\"http://us%20er:pw@127.0.0.1:{port}/head\");"
    ));
    assert!(
        head.contains(r"Authorization: Basic dXMgZXI6cHc=\r\n"),
        "{head}"
    );
    assert_eq!(
        get(
            port,
            "/line?q=$1&r=$2&s=$3",
            r#", [], ["a b&c", "\r\nX: y"]"#
        ),
        r#""GET /line?q=a%20b%26c&r=%0D%0AX%3A%20y&s=$3 HTTP/1.1""#
    );
}

#[test]
fn nothing_breaks_out_of_a_request() {
    let port = web();
    for line in [
        "X: a\\r\\nY: b",
        "X: a\\nb",
        "X: a\\x00b",
        "X\\r\\nY: b",
        "X",
    ] {
        let script = format!(
            "return http(\"http://127.0.0.1:{port}/head\", [\"headers\" => [\"{line}\"]]);"
        );
        let error = Bench::default().run(&script).expect_err(line);
        assert!(error.contains("the header"), "{error}");
    }
    let script = format!(
        "return http(\"http://127.0.0.1:{port}/head\", [\"method\" => \"GET / HTTP/1.1\\r\\nX: y\"]);"
    );
    assert!(Bench::default().run(&script).is_err());
    for url in [
        "http://127.0.0.1/\\r\\nX: y",
        "http://127.0.0.1\\x00.example/",
        "http://a b/",
        "ftp://127.0.0.1/",
        "",
    ] {
        assert_eq!(run(&format!("return http(\"{url}\");")), "none", "{url}");
    }
    let form = get(port, "/body", r#", [], [], ["a\"\r\nX: y" => "1"]"#);
    assert!(
        form.contains(r#"name=\"a%22%0D%0AX: y\"\r\n\r\n1\r\n"#),
        "{form}"
    );
}

#[test]
fn bodies_are_strings_forms_files_and_functions() {
    let port = web();
    let head = get(port, "/head", r#", [], [], "a=b""#);
    assert!(head.starts_with(r#""POST "#), "{head}");
    assert!(
        head.contains(r"Content-Type: application/x-www-form-urlencoded\r\n"),
        "{head}"
    );
    assert_eq!(get(port, "/body", r#", [], [], "a=b""#), r#""a=b""#);
    let head = get(
        port,
        "/head",
        r#", ["headers" => ["content-type: text/plain"]], [], "a=b""#,
    );
    assert!(head.contains(r"Content-Type: text/plain\r\n"), "{head}");
    assert!(!head.contains("urlencoded"), "{head}");
    let form = get(
        port,
        "/body",
        r#", [], [], ["name" => "value", "n" => 5, "f" => File::String("data")]"#,
    );
    assert!(
        form.contains(r#"form-data; name=\"name\"\r\n\r\nvalue\r\n--"#),
        "{form}"
    );
    assert!(
        form.contains(
            r#"name=\"f\"; filename=\"file\"\r\nContent-Type: application/octet-stream\r\n\r\ndata\r\n--"#
        ),
        "{form}"
    );
    assert_eq!(
        get(
            port,
            "/length",
            r#", [], [], File::String(str_repeat("x", 300000))"#
        ),
        r#""300000""#
    );
    let script = format!(
        r#"
        $left = 5;
        $asked = [];
        $answer = http("http://127.0.0.1:{port}/length", [], [], function ($most) closure ($left, $asked) {{
            $asked[] = $most;
            $left -= 1;
            if ($left < 0) return "";
            return str_repeat("x", 100000);
        }});
        return [$answer, length($asked), $asked[0] > 0];
        "#
    );
    assert_eq!(run(&script), r#"[0=>"500000",1=>6,2=>true]"#);
    let head = get(port, "/head", r#", [], [], function ($n) { return none; }"#);
    assert!(head.contains(r"Transfer-Encoding: chunked\r\n"), "{head}");
    let script = format!(
        r#"try {{ http("http://127.0.0.1:{port}/length", [], [], function ($n) {{ throw "mine"; }}); }} catch ($e) {{ return $e; }}"#
    );
    assert_eq!(run(&script), r#""mine""#);
}

#[test]
fn redirects_are_followed_as_often_as_asked() {
    let port = web();
    assert_eq!(
        get(port, "/moved", r#", ["redirects" => 1], [], "body""#),
        r#""GET /line?moved HTTP/1.1""#
    );
    assert_eq!(
        get(port, "/kept", r#", ["redirects" => 1], [], "body""#),
        r#""body""#
    );
    assert_eq!(
        get(
            port,
            "/loop",
            r#", ["redirects" => 3, "extended_result" => true]"#
        ),
        r#"["status"=>301,"content"=>""]"#
    );
    assert_eq!(get(port, "/away", r#", ["redirects" => -1]"#), "none");
    assert_eq!(
        get(
            port,
            "/kept",
            r#", ["redirects" => 1], [], function ($n) { return ""; }"#
        ),
        "none"
    );
    // Another server hears no secrets.
    let seen = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&seen);
    let other = serve(move |mut stream| {
        if let Some(request) = request(&mut stream) {
            *heard.lock().expect("no panic") = request.head;
        }
        let _ = stream.write_all(b"HTTP/1.1 204 Gone\r\n\r\n");
    });
    let first = serve(move |mut stream| {
        request(&mut stream);
        let reply = format!(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other}/x\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = stream.write_all(reply.as_bytes());
    });
    let found = run(&format!(
        r#"return http("http://u:p@127.0.0.1:{first}/", ["redirects" => 1, "headers" => ["Cookie: a", "authorization: b", "X-C: c"]]);"#
    ));
    assert_eq!(found, r#""""#);
    let seen = seen.lock().expect("no panic").clone();
    assert!(
        seen.contains("X-C: c") && !seen.contains("Cookie") && !seen.contains("uthorization"),
        "{seen}"
    );
}

#[test]
fn time_and_size_are_limited() {
    let port = web();
    assert_eq!(get(port, "/slow", r#", ["timeout" => 0.1]"#), "none");
    assert_eq!(get(port, "/big", r#", ["max_file_size" => 1000]"#), "none");
    assert_eq!(
        run(&format!(
            r#"return length(http("http://127.0.0.1:{port}/big", ["max_file_size" => 1048576]));"#
        )),
        "1048576"
    );
    let bench = Bench {
        limits: Limits {
            memory: Some(512 << 10),
            time: Some(Duration::from_secs(20)),
            ..Limits::default()
        },
        ..Bench::default()
    };
    let script = format!(r#"return http("http://127.0.0.1:{port}/big");"#);
    assert!(matches!(
        bench.run_to_end(&script),
        Err(Ended::Limit("memory"))
    ));
    let bench = Bench {
        limits: Limits {
            time: Some(Duration::from_millis(100)),
            ..Limits::default()
        },
        ..Bench::default()
    };
    let script = format!(r#"return http("http://127.0.0.1:{port}/slow");"#);
    assert!(matches!(
        bench.run_to_end(&script),
        Err(Ended::Limit("time"))
    ));
    // A server that takes the connection and says nothing to TLS.
    let silent = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1]);
        std::thread::sleep(Duration::from_secs(3));
    });
    assert_eq!(
        run(&format!(
            r#"return http("https://127.0.0.1:{silent}/", ["connect_timeout" => 0.1]);"#
        )),
        "none"
    );
    assert!(
        Bench::default()
            .run(r#"return http("http://a/", ["timeout" => -1]);"#)
            .is_err()
    );
}

#[test]
fn names_are_resolved_and_addresses_tried_in_turn() {
    let port = web();
    let bench = Bench::default();
    bench
        .dns
        .add_address("web.example", IpAddr::from([127, 0, 0, 9]));
    bench
        .dns
        .add_address("web.example", Ipv4Addr::LOCALHOST.into());
    let script =
        format!(r#"return http("http://Web.Example:{port}/line", ["sourceip" => "127.0.0.1"]);"#);
    assert_eq!(bench.run(&script).as_deref(), Ok(r#""GET /line HTTP/1.1""#));
    let script =
        format!(r#"return http("http://localhost:{port}/line", ["sourceipid" => "loopback"]);"#);
    assert_eq!(bench.run(&script).as_deref(), Ok(r#""GET /line HTTP/1.1""#));
    assert_eq!(
        bench
            .run(r#"return http("http://nowhere.example/");"#)
            .as_deref(),
        Ok("none")
    );
    let error = bench.run(r#"return http("http://a/", ["sourceipid" => "x"]);"#);
    assert!(
        error
            .expect_err("no address")
            .contains("there is no address \"x\"")
    );
    let script =
        format!(r#"return http("http://127.0.0.1:{port}/line", ["sourceip" => "192.0.2.1"]);"#);
    assert_eq!(bench.run(&script).as_deref(), Ok("none"));
}

#[test]
fn a_socket_of_the_machine_stands_for_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            answer(&mut stream);
        }
    });
    let found = run(&format!(
        r#"return http("http://docker/head", ["unix_socket_path" => "{}"]);"#,
        path.display()
    ));
    assert!(found.contains(r"Host: docker\r\n"), "{found}");
    assert_eq!(
        run(r#"return http("http://docker/", ["unix_socket_path" => "/nowhere"]);"#),
        "none"
    );
}

/// A proxy that connects every host to `port`; gives its port and what it was asked for.
fn proxy(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let proxy = serve(move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        list.lock().expect("no panic").push(text.clone());
        if !text.starts_with("CONNECT ") {
            let mut rest = std::io::Cursor::new(head);
            let line = request(&mut rest)
                .map(|request| request.line)
                .unwrap_or_default();
            let length = line.len();
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}");
            let _ = stream.write_all(reply.as_bytes());
            return;
        }
        if text.contains("refused.example") {
            let _ = stream.write_all(b"HTTP/1.1 403 No\r\n\r\n");
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
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

#[test]
fn https_is_verified_as_the_options_say_also_through_a_proxy() {
    let config = tls(&pair(&["web.example"]));
    let port = serve(move |stream| {
        let mut stream = secured(stream, &config);
        answer(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let bench = Bench::default();
    for name in ["web.example", "other.example"] {
        bench.dns.add_address(name, Ipv4Addr::LOCALHOST.into());
    }
    let get = |host: &str, options: &str| {
        let script = format!(r#"return http("https://{host}:{port}/line", [{options}]);"#);
        bench.run(&script).expect("no Exception")
    };
    let good = r#""GET /line HTTP/1.1""#;
    assert_eq!(get("web.example", ""), "none");
    assert_eq!(get("web.example", r#""tls_default_ca" => true"#), "none");
    assert_eq!(get("web.example", r#""tls_verify_peer" => false"#), good);
    assert_eq!(get("web.example", r#""ssl_verify_peer" => false"#), good);
    assert_eq!(get("other.example", r#""tls_verify_peer" => false"#), good);
    let named = r#""tls_verify_peer" => false, "tls_verify_host" => true"#;
    assert_eq!(get("web.example", named), good);
    assert_eq!(get("other.example", named), "none");
    let (through, asked) = proxy(port);
    let with_proxy =
        format!(r#""tls_verify_peer" => false, "proxy" => "http://u:p@127.0.0.1:{through}""#);
    assert_eq!(get("anywhere.example", &with_proxy), good);
    assert_eq!(get("refused.example", &with_proxy), "none");
    let asked = asked.lock().expect("no panic");
    assert!(
        asked[0].starts_with(&format!("CONNECT anywhere.example:{port} HTTP/1.1\r\n"))
            && asked[0].contains("Proxy-Authorization: Basic dTpw\r\n"),
        "{asked:?}"
    );
}

#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let (through, asked) = proxy(closed());
    let found = run(&format!(
        r#"return http("http://u:p@web.example:8080/a?b", ["proxy" => "127.0.0.1:{through}"]);"#
    ));
    assert_eq!(found, r#""GET http://web.example:8080/a?b HTTP/1.1""#);
    let asked = asked.lock().expect("no panic");
    assert!(asked[0].contains("Host: web.example:8080\r\n"), "{asked:?}");
    let error =
        Bench::default().run(r#"return http("http://a/", ["proxy" => "ftp://127.0.0.1"]);"#);
    assert!(
        error
            .expect_err("no such proxy")
            .contains("is no URL of a proxy")
    );
    let port = web();
    assert_eq!(
        get(port, "/line", r#", ["proxy" => ""]"#),
        r#""GET /line HTTP/1.1""#
    );
}

#[test]
fn background_requests_are_made_in_order_and_again_after_a_failure() {
    let came = Arc::new(AtomicUsize::new(0));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let (count, list) = (Arc::clone(&came), Arc::clone(&bodies));
    let port = serve(move |mut stream| {
        let Some(request) = request(&mut stream) else {
            return;
        };
        let text = String::from_utf8_lossy(&request.body).into_owned();
        list.lock().expect("no panic").push(text);
        // The first one fails.
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 {
            503
        } else {
            200
        };
        let reply = format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(reply.as_bytes());
    });
    let bench = Bench::default();
    let script = format!(
        r#"
        $all = [];
        $options = ["background" => true, "background_retry_count" => 1, "background_retry_delay" => 0.01];
        $all[] = http("http://127.0.0.1:{port}/", $options, [], "one");
        $first = true;
        $all[] = http("http://127.0.0.1:{port}/", $options, [], function ($n) closure ($first) {{
            if (!$first) return "";
            $first = false;
            return "two";
        }});
        $all[] = http("http://127.0.0.1:{port}/", $options, [], File::String("three"));
        return $all;
        "#
    );
    assert_eq!(
        bench.run(&script).as_deref(),
        Ok("[0=>true,1=>true,2=>true]")
    );
    assert_eq!(
        *bodies.lock().expect("no panic"),
        ["one", "one", "two", "three"]
    );
    assert_eq!(bench.background.pending(), 0);
    // What waits is bounded.
    let script = r#"
        $n = 0;
        while (http("http://127.0.0.1:1/", ["background" => true], [], str_repeat("x", 10000000)) === true) $n += 1;
        return $n;
    "#;
    assert_eq!(bench.run(script).as_deref(), Ok("6"));
}
