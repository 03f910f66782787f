//! `extras://mta-sts` against a web server whose certificate checks (RFC 8461 §3.3).
//!
//! The authorities of the system are read once by a process: the test runs itself as another one, which has our own
//! authority for them.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::dns::{DnsError, RecordData, RecordType, TableDns};
use angarium_effects::net::{Connect, Listener};
use angarium_effects::system::SystemNet;
use angarium_effects::{Connection, LocalFuture, Net};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

use crate::servers::{request, secured, serve, tls};
use crate::{Bench, run};

/// Tells the test that it is the other process.
const CHILD: &str = "ANGARIUM_TEST_MTA_STS";

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: *.good.example\r\nmax_age: 3\r\n";

#[test]
fn policies_are_fetched_over_https_and_outlive_their_server() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return fetch(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"))
        .expect("a certificate");
    let names = [
        "good", "redirect", "html", "broken", "missing", "big", "gone",
    ];
    let names = names.map(|name| format!("mta-sts.{name}.example")).to_vec();
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(names).expect("names");
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    write("leaf", leaf.der());
    write("key", &key.serialize_der());
    let ended = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "mta_sts::policies_are_fetched_over_https_and_outlive_their_server",
        ])
        .env(CHILD, folder.path())
        .env(
            "SSL_CERT_FILE",
            write("authority", authority.pem().as_bytes()),
        )
        .env_remove("SSL_CERT_DIR")
        .output()
        .expect("the other process");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// The system's network, where the port of https is another one.
struct Https(u16);

impl Net for Https {
    fn connect(
        &self,
        mut to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, std::io::Result<Box<dyn Connection>>> {
        assert_eq!(to.port(), 443);
        to.set_port(self.0);
        SystemNet.connect(to, how)
    }

    fn listen(&self, at: SocketAddr, backlog: Option<u32>) -> std::io::Result<Rc<dyn Listener>> {
        SystemNet.listen(at, backlog)
    }
}

fn fetch(folder: &Path) {
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    let key = PrivatePkcs8KeyDer::from(read("key"));
    let provider = angarium_stdlib::tls::provider();
    let pair = CertifiedKey::from_der(vec![read("leaf").into()], key.into(), provider);
    let config = tls(&Arc::new(pair.expect("a pair")));
    let port = serve(move |stream| {
        let mut stream = secured(stream, &config);
        let Some(request) = request(&mut stream) else {
            return;
        };
        assert_eq!(request.line, "GET /.well-known/mta-sts.txt HTTP/1.1");
        let host = request
            .head
            .lines()
            .find_map(|line| line.strip_prefix("Host: mta-sts."));
        let html = "<p>".to_owned();
        let (status, kind, body) = match host.unwrap_or_default().trim_end_matches(".example") {
            "good" | "wrong" => ("200 OK", "text/plain; charset=utf-8", POLICY.to_owned()),
            "redirect" => (
                "301 Moved\r\nLocation: https://mta-sts.good.example/.well-known/mta-sts.txt",
                "text/plain",
                String::new(),
            ),
            "html" => ("200 OK", "text/html", html),
            "broken" => ("200 OK", "text/plain", "mode: enforce\n".to_owned()),
            "big" => (
                "200 OK",
                "text/plain",
                format!("{POLICY}x: {}\n", "y".repeat(70_000)),
            ),
            _ => ("404 No", "text/plain", String::new()),
        };
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(reply.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let mut bench = Bench {
        net: Rc::new(Https(port)),
        ..Bench::default()
    };
    let sts = |bench: &Bench, domain: &str, what: &str| {
        let script = format!(
            r#"import {{ mta_sts }} from "extras://mta-sts"; $r = mta_sts("{domain}.example"); return {what};"#
        );
        bench.run(&script).expect("no Exception")
    };
    let dns = |ids: &[(&str, &str)]| {
        let dns = TableDns::default();
        for (name, id) in ids {
            let record = RecordData::Txt(format!("v=STSv1; id={id};").into_bytes());
            dns.add(&format!("_mta-sts.{name}.example"), RecordType::Txt, record);
            let host = format!("mta-sts.{name}.example");
            match *name {
                "gone" => dns.fail(&host, RecordType::A, DnsError::NxDomain),
                _ => dns.add_address(&host, Ipv4Addr::LOCALHOST.into()),
            }
        }
        dns
    };
    bench.dns = dns(&[
        ("good", "1"),
        ("redirect", "1"),
        ("html", "1"),
        ("broken", "1"),
        ("missing", "1"),
        ("big", "1"),
        ("gone", "1"),
        ("wrong", "1"),
    ]);
    let good = r#"[0=>"enforce",1=>[0=>"*.good.example"],2=>3,3=>"1"]"#;
    let shape = r#"[$r["policy"]["mode"], $r["policy"]["mx"], $r["policy"]["max_age"], $r["id"]]"#;
    assert_eq!(sts(&bench, "good", shape), good);
    for (name, tlsrpt) in [
        ("redirect", "sts-policy-fetch-error"),
        ("missing", "sts-policy-fetch-error"),
        ("big", "sts-policy-fetch-error"),
        ("gone", "sts-policy-fetch-error"),
        // The certificate is not for this one.
        ("wrong", "sts-policy-fetch-error"),
        ("html", "sts-policy-invalid"),
        ("broken", "sts-policy-invalid"),
    ] {
        let found = sts(
            &bench,
            name,
            r#"[isset($r["policy"]), is_string($r["error"]), $r["tlsrpt"]]"#,
        );
        assert_eq!(
            found,
            format!(r#"[0=>false,1=>true,2=>"{tlsrpt}"]"#),
            "{name}"
        );
    }
    // The record is gone, or names a policy that cannot be had: the one before counts until it is too old.
    bench.dns = dns(&[]);
    assert_eq!(sts(&bench, "good", shape), good);
    bench.dns = dns(&[("good", "2")]);
    bench.net = Rc::new(Https(crate::servers::closed()));
    assert_eq!(sts(&bench, "good", shape), good);
    assert_eq!(run("return sleep(3) >= 3;"), "true");
    assert_eq!(
        sts(&bench, "good", r#"$r["tlsrpt"]"#),
        r#""sts-policy-fetch-error""#
    );
    bench.dns = dns(&[]);
    assert_eq!(sts(&bench, "good", "$r"), "none");
}
