//! Scripts and the network, with real parts: name servers (dnsmasq, and stubs that fail), a web server (Python), TLS
//! (OpenSSL), mail servers (Python's sockets through the sink).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use angarium_tests::program::{self, angarium, installed, python, python_script};
use tempfile::TempDir;

/// A program that runs beside a test and ends with it.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python script that prints a line when it is ready.
fn part(script: &str, arguments: &[&str]) -> (Part, Vec<u16>) {
    let mut child = Command::new(python())
        .arg(python_script(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ports = line.split_whitespace().map(|port| port.parse().unwrap());
    let ports = ports.collect();
    (Part(child), ports)
}

/// What a script prints.
fn script(text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("test.hsl");
    fs::write(&file, text).unwrap();
    let output = Command::new(angarium())
        .arg("run")
        .arg(&file)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{text}\n{out}{err}");
    out
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// A name in the form of RFC 1035, in hexadecimal digits.
fn wire(name: &str) -> String {
    let mut hex = String::new();
    for label in name.split('.') {
        hex.push_str(&format!("{:02x}", label.len()));
        hex.extend(label.bytes().map(|byte| format!("{byte:02x}")));
    }
    hex + "00"
}

#[test]
fn every_type_of_record_and_every_failure_of_a_name_server() {
    if !installed("dnsmasq") {
        return;
    }
    let (_stubs, stubs) = part("dns_stub.py", &[]);
    let [servfail, formerr, notimp, refused, silent, secure] = stubs[..] else {
        panic!("{stubs:?}");
    };
    let port = free_port();
    let soa = format!(
        "{}{}00000001000000020000000300000004{:08x}",
        wire("ns.test"),
        wire("admin.test"),
        5
    );
    let long = vec!["x".repeat(250); 12].join(",");
    let folder = TempDir::new().unwrap();
    let configuration = format!(
        "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/test/\nlocal-ttl=77\n\
         host-record=a.test,192.0.2.1,2001:db8::1\nmx-host=mail.test,mx2.test,20\nmx-host=mail.test,mx1.test,10\n\
         txt-record=txt.test,part one,part two\ncname=alias.test,a.test\n\
         ptr-record=1.2.0.192.in-addr.arpa,host.test\nsrv-host=_sip._tcp.test,sip.test,5060,1,2\n\
         caa-record=caa.test,0,issue,ca.test\ndns-rr=ns.test,2,{}\ndns-rr=soa.test,6,{soa}\n\
         dns-rr=_25._tcp.test,52,030101abcd\nserver=/fail.example/127.0.0.1#{servfail}\n\
         server=/secure.example/127.0.0.1#{secure}\nproxy-dnssec\n",
        wire("ns1.test"),
    );
    let path = folder.path().join("dnsmasq.conf");
    fs::write(&path, configuration).unwrap();
    let mut command = Command::new("dnsmasq");
    command
        .arg("--keep-in-foreground")
        // Lines of a file may not be so long.
        .arg(format!("--txt-record=big.test,{long}"))
        .arg(format!("--conf-file={}", path.display()))
        .arg(format!(
            "--pid-file={}",
            folder.path().join("pid").display()
        ));
    if program::is_root() {
        command.arg("--user=root");
    }
    let _dnsmasq = Part(command.stdin(Stdio::null()).spawn().unwrap());
    let ask = |name: &str, kind: &str, more: &str| {
        let text = format!(
            r#"echo dns_query("{name}", ["type" => "{kind}", "servers" => ["127.0.0.1"], "port" => {port}, "timeout" => 10{more}]);"#
        );
        script(&text).trim_end().to_owned()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask("a.test", "a", "").contains("error") && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let mut wrong = Vec::new();
    let mut check = |name: &str, kind: &str, more: &str, expected: &str| {
        let found = ask(name, kind, more);
        if found != expected {
            wrong.push(format!("{name} {kind}{more}:\n  {found}\n  {expected}"));
        }
    };
    let plain = |values: &str| format!(r#"["result"=>[{values}],"dnssec"=>false]"#);
    for (name, kind, values) in [
        ("a.test", "a", r#"0=>"192.0.2.1""#),
        ("A.Test.", "A", r#"0=>"192.0.2.1""#),
        ("a.test", "aaaa", r#"0=>"2001:db8::1""#),
        ("mail.test", "mx", r#"0=>"mx1.test",1=>"mx2.test""#),
        ("txt.test", "txt", r#"0=>"part onepart two""#),
        ("alias.test", "cname", r#"0=>"a.test""#),
        ("alias.test", "a", r#"0=>"192.0.2.1""#),
        ("ns.test", "ns", r#"0=>"ns1.test""#),
        ("1.2.0.192.in-addr.arpa", "ptr", r#"0=>"host.test""#),
        ("soa.test", "soa", r#"0=>"ns.test admin.test 1 2 3 4 5""#),
        ("_sip._tcp.test", "srv", r#"0=>"1 2 5060 sip.test""#),
        ("_25._tcp.test", "tlsa", r#"0=>"3 1 1 abcd""#),
        ("caa.test", "caa", r#"0=>''0 issue "ca.test"''"#),
    ] {
        check(name, kind, "", &plain(values));
    }
    check(
        "mail.test",
        "mx",
        r#", "extended_result" => true"#,
        r#"["result"=>[0=>["ttl"=>77,"value"=>"mx1.test","preference"=>10,"exchange"=>"mx1.test"],1=>["ttl"=>77,"value"=>"mx2.test","preference"=>20,"exchange"=>"mx2.test"]],"dnssec"=>false]"#,
    );
    check(
        "_25._tcp.test",
        "tlsa",
        r#", "extended_result" => true"#,
        r#"["result"=>[0=>["ttl"=>77,"value"=>"3 1 1 abcd","usage"=>3,"selector"=>1,"mtype"=>1,"data"=>"abcd"]],"dnssec"=>false]"#,
    );
    // The server hands on what its own server says of an answer.
    check(
        "www.secure.example",
        "a",
        "",
        r#"["result"=>[0=>"192.0.2.7"],"dnssec"=>true]"#,
    );
    let failed = |error: &str| format!(r#"["error"=>"{error}","dnssec"=>false]"#);
    check("missing.test", "a", "", &failed("NXDOMAIN"));
    check("a.test", "mx", "", &failed("NO_DATA"));
    check("www.fail.example", "a", "", &failed("SERVFAIL"));
    check("", "a", "", &failed("NO_RECOVERY"));
    check("a..test", "a", "", &failed("NO_RECOVERY"));
    check("a b.test", "a", "", &failed("NO_RECOVERY"));
    check(r"a.test\r\nb.test", "a", "", &failed("NO_RECOVERY"));
    check(r"a.test\x00", "a", "", &failed("NO_RECOVERY"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (port, expected) in [
        (servfail, "SERVFAIL"),
        (formerr, "FORMERR"),
        (notimp, "NOTIMP"),
        (refused, "REFUSED"),
        (silent, "TRY_AGAIN"),
    ] {
        let text = format!(
            r#"echo dns_query("a.test", ["servers" => ["127.0.0.1"], "port" => {port}, "timeout" => 1])["error"];"#
        );
        assert_eq!(script(&text).trim_end(), expected);
    }
    // An answer that does not fit a datagram comes over TCP.
    let text = format!(
        r#"echo length(dns_query("big.test", ["type" => "txt", "servers" => ["127.0.0.1"], "port" => {port}])["result"][0]);"#
    );
    assert_eq!(script(&text), "3000\n");
    let error =
        r#"try { dns_query("a.test", ["type" => "any"]); } catch ($e) { echo $e->message(); }"#;
    assert_eq!(script(error), "dns_query: unknown record type \"any\"\n");
}

#[test]
fn requests_to_a_web_server_in_python() {
    let folder = TempDir::new().unwrap();
    let (_web, ports) = part("web.py", &[folder.path().to_str().unwrap()]);
    let [plain, secure, proxy] = ports[..] else {
        panic!("{ports:?}");
    };
    let http = |rest: &str| {
        let text = format!(
            "$u = \"http://127.0.0.1:{plain}\"; $s = \"https://localhost:{secure}\"; echo {rest};"
        );
        script(&text).trim_end().to_owned()
    };
    assert_eq!(
        http(r#"explode("\n", http($u . "/request?q=$1", ["method" => "PUT"], ["ä &"], ""))[0]"#),
        "PUT /request?q=%C3%A4%20%26"
    );
    assert_eq!(http(r#"http($u . "/gone")"#), "");
    assert_eq!(
        http(r#"http($u . "/gone", ["extended_result" => true])"#),
        r#"["status"=>410,"content"=>"gone"]"#
    );
    assert_eq!(
        http(r#"explode("\n", http($u . "/moved", ["redirects" => 1], [], "x"))[0]"#),
        "GET /request?moved"
    );
    assert_eq!(
        http(r#"http($u . "/kept", ["redirects" => 1], [], "body")"#),
        "body"
    );
    assert_eq!(http(r#"http($u . "/slow", ["timeout" => 0.2])"#), "");
    // A body that a function makes.
    let upload = format!(
        r#"
        $n = 0;
        $body = http("http://127.0.0.1:{plain}/echo", [], [], function ($most) closure ($n) {{
            $n += 1;
            return $n > 300 ? "" : str_repeat("0123456789", 100);
        }});
        echo length($body) . " " . $n;
        "#
    );
    assert_eq!(script(&upload).trim_end(), "300000 301");
    // A socket of the machine.
    let path = folder.path().join("unix");
    assert_eq!(
        http(&format!(
            r#"http("http://anything/echo", ["unix_socket_path" => "{}"], [], "local")"#,
            path.display()
        )),
        "local"
    );
    // TLS.
    assert_eq!(http(r#"http($s . "/peer")"#), "");
    assert_eq!(
        http(r#"http($s . "/peer", ["tls_default_ca" => true])"#),
        ""
    );
    assert_eq!(
        http(r#"http($s . "/peer", ["tls_verify_peer" => false])"#),
        "False"
    );
    assert_eq!(
        http(r#"http($s . "/peer", ["tls_verify_peer" => false, "tls_verify_host" => true])"#),
        "False"
    );
    assert_eq!(
        http(&format!(
            r#"http("https://127.0.0.1:{secure}/peer", ["tls_verify_peer" => false, "tls_verify_host" => true])"#
        )),
        ""
    );
    // The proxy, for both.
    assert_eq!(
        http(&format!(
            r#"http($u . "/request", ["proxy" => "http://127.0.0.1:{proxy}"])[0:24]"#
        )),
        "through the proxy: GET /"
    );
    assert_eq!(
        http(&format!(
            r#"http($s . "/peer", ["proxy" => "http://127.0.0.1:{proxy}", "tls_verify_peer" => false])"#
        )),
        "False"
    );
    // Requests that nobody waits for are made before the program ends; the first one is made twice.
    let background = format!(
        r#"
        $options = ["background" => true, "background_retry_count" => 2, "background_retry_delay" => 0.05];
        foreach (["one", "two"] as $body) echo http("http://127.0.0.1:{plain}/remember", $options, [], $body);
        "#
    );
    assert_eq!(script(&background), "true\ntrue\n");
    assert_eq!(http(r#"http($u . "/kept-bodies")"#), "one,one,two");
}

/// `openssl s_server` with these options; it reverses each line that it gets.
fn openssl(folder: &TempDir, options: &[&str]) -> (Part, u16) {
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let (key, cert) = (
        folder.path().join("key.pem"),
        folder.path().join("cert.pem"),
    );
    if !cert.exists() {
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args(["-subj", "/C=SE/O=Test/CN=tls.test", "-addext"])
            .args(["subjectAltName=DNS:tls.test,DNS:*.wild.test", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let mut child = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            &format!("127.0.0.1:{port}"),
            "-rev",
            "-key",
        ])
        .arg(&key)
        .arg("-cert")
        .arg(&cert)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ACCEPT") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "no s_server");
    }
    // What it prints is read, so that it never waits.
    thread::spawn(move || {
        let _ = output.read_to_end(&mut Vec::new());
    });
    (Part(child), port)
}

#[test]
fn tls_with_openssl() {
    if !installed("openssl") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let talk = |port: u16, options: &str| {
        let text = format!(
            r#"
            $s = Socket("AF_INET", "SOCK_STREAM");
            $s->settimeout(10);
            if (!$s->connect("127.0.0.1", {port})) {{ echo "no connection"; return; }}
            $t = TLSSocket($s, [{options}]);
            if (!$t->handshake()) {{ echo "no handshake " . $t->errno(); return; }}
            $t->send("hello\n");
            $line = "";
            while ($line[-1:] != "\n") $line .= $t->recv(100);
            $x = $t->getpeerx509();
            echo str_strip($line) . " " . string($x->subject()) . " " . string($x->subject_alt_name());
            echo $t->getpeercert(["fingerprint" => "sha1"])["fingerprint"];
            echo $x->public_key(["pem" => true])[0:26] . " " . $t->shutdown();
            "#
        );
        script(&text)
    };
    let fingerprint = |folder: &TempDir| {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha1", "-in"])
            .arg(folder.path().join("cert.pem"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, digits) = text.trim_end().split_once('=').unwrap();
        digits.replace(':', "").to_ascii_lowercase()
    };
    {
        let (_server, port) = openssl(&folder, &[]);
        let expected = format!(
            "olleh [0=>[0=>\"C\",1=>\"SE\"],1=>[0=>\"O\",1=>\"Test\"],2=>[0=>\"CN\",1=>\"tls.test\"]] \
             [\"DNS\"=>[0=>\"tls.test\",1=>\"*.wild.test\"]]\n{}\n-----BEGIN PUBLIC KEY----- 0\n",
            fingerprint(&folder)
        );
        for options in [
            "",
            r#""tls_sni" => "tls.test""#,
            r#""tls_protocols" => "TLSv1.2""#,
            r#""tls_protocols" => "TLSv1.2", "tls_ciphers" => "ECDHE-RSA-CHACHA20-POLY1305""#,
            r#""tls_verify_name" => ["a.wild.test"]"#,
        ] {
            assert_eq!(talk(port, options), expected, "{options}");
        }
        for options in [
            r#""tls_verify_name" => ["other.test"]"#,
            r#""tls_verify_ca" => true, "tls_default_ca" => true"#,
            r#""tls_protocols" => "!TLSv1.2,!TLSv1.3""#,
        ] {
            assert_eq!(talk(port, options), "no handshake 1\n", "{options}");
        }
    }
    let (_server, port) = openssl(
        &folder,
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
    );
    assert!(talk(port, "").starts_with("olleh"));
    let other = r#""tls_protocols" => "TLSv1.2", "tls_ciphers" => "ECDHE-RSA-AES256-GCM-SHA384""#;
    assert_eq!(talk(port, other), "no handshake 1\n");
    assert_eq!(
        talk(port, r#""tls_protocols" => "TLSv1.3""#),
        "no handshake 1\n"
    );
}

#[test]
fn openssl_takes_a_certificate_that_a_script_has_as_resources() {
    if !installed("openssl") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=client.test", "-keyout", &path("client.key")])
        .args(["-out", &path("client.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let authority = path("client.pem");
    let (_server, port) = openssl(
        &folder,
        &[
            "-Verify",
            "1",
            "-verify_return_error",
            "-CAfile",
            &authority,
        ],
    );
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    let talk = |pair: &str| {
        let text = format!(
            r#"
            $x = X509::String("{}", ["pem" => true]);
            $key = rsa_privatekey("{}");
            $s = Socket("AF_INET", "SOCK_STREAM");
            $s->settimeout(10);
            $s->connect("127.0.0.1", {port});
            $t = TLSSocket($s, ["tls_client_cert" => {pair}]);
            $t->handshake();
            $t->send("hello\n");
            echo str_strip($t->recv(100) ?? "nothing");
            "#,
            read("client.pem"),
            read("client.key")
        );
        script(&text)
    };
    let pair = r#"["x509" => $x->toResource(), "privatekey" => $key]"#;
    assert_eq!(talk(pair), "olleh\n");
    assert_eq!(talk("none"), "nothing\n");
}

/// A mail server that takes everything, and keeps what it is sent; each connection begins with `before` bytes that are no
/// commands.
fn taking(ehlo: &'static str, before: usize) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (kept, all) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut writer = stream.try_clone().unwrap();
            let mut reader = BufReader::new(stream);
            let mut sent = vec![0; before];
            reader.read_exact(&mut sent).unwrap();
            writer.write_all(b"220 mx.test\r\n").unwrap();
            let mut content = false;
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                sent.extend_from_slice(&line);
                content = content && line != b".\r\n";
                let reply = match &*line {
                    _ if content => "",
                    b"DATA\r\n" => "354 go\r\n",
                    line if line.starts_with(b"EHLO") => ehlo,
                    line if line.starts_with(b"XCLIENT") => "220 mx.test\r\n",
                    b"QUIT\r\n" => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                content = content || line == b"DATA\r\n";
                if writer.write_all(reply.as_bytes()).is_err() {
                    break;
                }
                line.clear();
            }
            let _ = kept.send(sent);
        }
    });
    (port, all)
}

#[test]
fn a_script_of_its_own_sends_mail_and_queues_none() {
    let (port, all) = taking("250-mx.test\r\n250 XCLIENT NAME ADDR\r\n", 0);
    let text = format!(
        r#"
        $server = ["host" => "127.0.0.1", "port" => {port}, "helo" => "me.test", "xclient" => ["addr" => "192.0.2.9", "LOGIN" => "x"]];
        $sent = MIME()->addHeader("Subject", "s")->setBody("hi")->send("a@b.test", ["c@d.test"], $server);
        echo [$sent["result"]["code"], $sent["result"]["state"], $sent["connection"]["remoteip"]];
        echo smtp_lookup_rcpt($server, "", "c@d.test");
        foreach ([
            function () {{ MIME()->queue("", "a@b.test", "out"); }},
            function () {{ MailMessage::String("")->queue("", "a@b.test", "out"); }},
            function () {{ mail("", "a@b.test", "s", "b", "out"); }},
            function () {{ MIME()->send("", ["a@b.test"], "out"); }},
            function () {{ queue_suspend(["transportid" => "out"], 60); }},
        ] as $f)
            try {{ $f(); echo "done"; }} catch ($e) {{ echo $e->message(); }}
        "#
    );
    assert_eq!(
        script(&text),
        "[0=>250,1=>\"EOD\",2=>\"127.0.0.1\"]\n1\n\
         queue: there is no queue here: no server runs this script\n\
         queue: there is no queue here: no server runs this script\n\
         mail: there is no queue here: no server runs this script\n\
         send: unknown transport \"out\"\n\
         queue_suspend: there is no queue here\n"
    );
    let greeting = "EHLO me.test\r\nXCLIENT ADDR=192.0.2.9\r\nEHLO me.test\r\n";
    let sent = String::from_utf8(all.recv().unwrap()).unwrap();
    assert!(
        sent.starts_with(&format!(
            "{greeting}MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: s\r\n"
        )) && sent.ends_with("\r\nhi\r\n.\r\nQUIT\r\n"),
        "{sent}"
    );
    let asked = String::from_utf8(all.recv().unwrap()).unwrap();
    assert!(
        asked.starts_with(&format!("{greeting}MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\n")),
        "{asked}"
    );
}

#[test]
fn a_proxy_is_told_who_connects_to_whom() {
    let (port, all) = taking("250 mx.test\r\n", 28);
    let text = format!(
        r#"
        $server = ["host" => "198.51.100.1", "port" => 2525, "sourceip" => "192.0.2.7",
            "proxyprotocol" => ["server" => "127.0.0.1", "port" => {port}]];
        $sent = MIME()->setBody("hi")->send("", ["c@d.test"], $server);
        echo [$sent["result"]["code"], $sent["connection"]["localip"], $sent["connection"]["remoteip"]];
        foreach ([["server" => "name", "port" => 1], ["server" => "127.0.0.1"], "127.0.0.1"] as $proxy)
            try {{ smtp_lookup_rcpt(["proxyprotocol" => $proxy], "", "c@d.test"); }} catch ($e) {{ echo $e->message(); }}
        foreach ([["A B" => "x"], ["ADDR" => []], ["ADDR" => str_repeat("x", 200)], "x"] as $xclient)
            try {{ smtp_lookup_rcpt(["xclient" => $xclient], "", "c@d.test"); }} catch ($e) {{ echo $e->message(); }}
        "#
    );
    let option = "smtp_lookup_rcpt: option";
    assert_eq!(
        script(&text),
        format!(
            "[0=>250,1=>\"192.0.2.7\",2=>\"198.51.100.1\"]\n\
             {option} proxyprotocol: server: an IP address is needed\n\
             {option} proxyprotocol: expected a port from 1 to 65535\n\
             {option} proxyprotocol: expected array, got string\n\
             {option} xclient: \"A B\" is no name of an attribute\n\
             {option} xclient: expected strings, got array\n\
             {option} xclient: the attributes have more than 160 bytes\n\
             {option} xclient: expected array, got string\n"
        )
    );
    let sent = all.recv().unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 7, 198, 51, 100, 1, 0, 0]);
    header.extend(2525_u16.to_be_bytes());
    assert_eq!(sent[..28], header);
    assert!(sent[28..].starts_with(b"EHLO "));
}

/// A mail server that says what the table says; gives its port.
fn mail(replies: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                let say = |line: &str| {
                    let found = replies.iter().find(|(start, _)| line.starts_with(start));
                    found.map_or("250 ok", |(_, reply)| reply)
                };
                let _ = writer.write_all(format!("{}\r\n", say("BANNER")).as_bytes());
                let mut line = String::new();
                while matches!(reader.read_line(&mut line), Ok(1..)) {
                    let _ = writer.write_all(format!("{}\r\n", say(&line)).as_bytes());
                    line.clear();
                }
            });
        }
    });
    port
}

#[test]
fn mail_servers_are_asked_about_recipients_and_users() {
    let port = mail(&[
        ("BANNER", "220 mx.test"),
        ("EHLO", "250-mx.test\r\n250-PIPELINING\r\n250 AUTH PLAIN"),
        ("RCPT TO:<no@", "550 5.1.1 nobody"),
        ("RCPT TO:<later@", "450 4.2.1 later"),
        ("MAIL FROM:<bad@", "553 not you"),
        ("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 ok"),
        ("AUTH PLAIN AHNsb3cAeA==", "454 later"),
        ("AUTH", "535 no"),
        ("DATA", "354 go"),
    ]);
    let server = format!(r#"["host" => "127.0.0.1", "port" => {port}]"#);
    let ask = |rest: &str| {
        script(&format!("$s = {server}; echo {rest};"))
            .trim_end()
            .to_owned()
    };
    assert_eq!(ask(r#"smtp_lookup_rcpt($s, "", "yes@a.test")"#), "1");
    assert_eq!(ask(r#"smtp_lookup_rcpt($s, "", "no@a.test")"#), "0");
    assert_eq!(ask(r#"smtp_lookup_rcpt($s, "", "later@a.test")"#), "-1");
    assert_eq!(
        ask(r#"smtp_lookup_rcpt($s, "bad@a.test", "yes@a.test")"#),
        "0"
    );
    assert_eq!(
        ask(
            r#"smtp_lookup_rcpt($s, ["localpart" => "a", "domain" => "b.test"], ["localpart" => "no", "domain" => "c.test"], ["extended_result" => true])"#
        ),
        r#"["error_code"=>550,"error_message"=>"5.1.1 nobody","on_rcptto"=>true,"tls"=>["started"=>false]]"#
    );
    assert_eq!(ask(r#"smtp_lookup_auth($s, "user", "secret")"#), "1");
    assert_eq!(ask(r#"smtp_lookup_auth($s, "user", "wrong")"#), "0");
    assert_eq!(ask(r#"smtp_lookup_auth($s, "slow", "x")"#), "-1");
    // Without a server, without TLS that is required, with an address that would break the command.
    let closed = free_port();
    assert_eq!(
        ask(&format!(
            r#"smtp_lookup_rcpt(["host" => "127.0.0.1", "port" => {closed}], "", "yes@a.test")"#
        )),
        "-1"
    );
    assert_eq!(
        ask(r#"smtp_lookup_rcpt($s + ["tls" => "require"], "", "yes@a.test")"#),
        "-1"
    );
    assert_eq!(
        ask(r#"smtp_lookup_rcpt($s, "", "yes@a.test\r\nDATA")"#),
        "-1"
    );
    let refused = format!(
        r#"try {{ smtp_lookup_rcpt({server} + ["tls" => "dane"], "", "a@b.test"); }} catch ($e) {{ echo $e->message(); }}"#
    );
    assert_eq!(
        script(&refused),
        "smtp_lookup_rcpt: option tls: the mode dane is not available yet: no resolver here validates DNSSEC\n"
    );
}

#[test]
fn the_module_and_the_function_count_the_same_hits() {
    let text = r#"
        import { rate as limit } from "extras://rate";
        foreach ([1, 2, 3] as $n) echo limit("mail", "a", 2, 60);
        echo rate("mail", "a", 0, 60);
        echo rate("mail", "a", 2, 60, ["sync" => false]);
        echo rate("mail", "a", -1, 60);
    "#;
    assert_eq!(script(text), "true\ntrue\nfalse\n2\ntrue\n\n");
}
