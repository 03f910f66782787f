//! Messages over HTTP, in memory with a clock that the test moves.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use angarium_config::server::Implicit;
use angarium_smtp::server::StoreFailure;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::super::{Event, Settings, Web};
use super::scripts::with_scripts;
use super::support::{Bench, Client, MemoryStore, Scripted, settings, settle, simulate};
use super::tls::{secure, with_tls};
use crate::http::head;

const KEY: &str = "secret-1";

fn web(store: &Arc<MemoryStore>) -> Settings {
    let mut settings = settings(store);
    as_web(&mut settings);
    settings
}

fn as_web(settings: &mut Settings) {
    settings.web = Some(Web {
        apikeys: vec!["other".to_owned(), KEY.to_owned()],
    });
    let smtp = Arc::make_mut(&mut settings.smtp);
    smtp.transport_id = "out".to_owned();
    // Whoever has no key is nobody.
    smtp.relay = Vec::new();
}

fn options() -> Value {
    json!({
        "sender": { "localpart": "A", "domain": "Example.org" },
        "recipients": [
            { "localpart": "b", "domain": "example.net" },
            { "localpart": "c", "domain": "bücher.example" },
        ],
        "metadata": { "z": [1, null], "a": "x" },
    })
}

const MAIL: &str = "Subject: one\n\nbody\r\n.\r\nlast";

/// A form of these parts.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

fn usual() -> Vec<u8> {
    let options = options().to_string();
    form(&[("options", options.as_bytes()), ("rfc822", MAIL.as_bytes())])
}

/// A request with a body and these fields more.
fn request(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/submission HTTP/1.1\r\nHost: mx.example\r\nX-API-Key: {KEY}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The message of a refused request.
    fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .expect(&self.body)
            .to_owned()
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

impl Client {
    async fn say(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(32 << 10) {
            // A server that has heard enough closes.
            if self.connection.write_all(piece).await.is_err() {
                return;
            }
            settle().await;
        }
    }

    /// The next answer; none at the end of the stream.
    async fn answer(&mut self) -> Option<Answer> {
        let first = self.line().await?;
        let status = first.strip_prefix("HTTP/1.1 ").expect(&first);
        let status = status[..3].parse().unwrap();
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            head += &line;
            head.push('\n');
        }
        let body = self.bytes(length).await;
        Some(Answer { status, head, body })
    }

    async fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.say(bytes).await;
        self.answer().await.expect("an answer")
    }
}

/// Asks on a connection of its own.
async fn ask(bench: &Bench, bytes: &[u8]) -> Answer {
    bench.connect().await.ask(bytes).await
}

#[test]
fn a_message_is_queued_for_each_recipient_before_it_is_answered() {
    let store = Arc::new(MemoryStore {
        delay: Duration::from_secs(5),
        ..MemoryStore::default()
    });
    simulate(web(&store), async |bench| {
        let mut client = bench.connect().await;
        client.say(&request("", &usual())).await;
        bench.advance(Duration::from_secs(4)).await;
        assert!(store.messages().is_empty());
        bench.advance(Duration::from_secs(2)).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.closes()), (200, false));
        let json = answer.json();
        let id = json["transaction"]["id"].as_str().unwrap();
        assert_eq!(id.len(), 36);
        let expected = json!({
            "result": { "code": 250, "enhanced": [2, 0, 0], "reason": [format!("Ok: queued as {id}")] },
            "transaction": { "id": id },
        });
        assert_eq!(json, expected);
        // Line ends are set right, and a dot is a dot.
        let message = "Subject: one\r\n\r\nbody\r\n.\r\nlast";
        assert_eq!(store.messages(), [message, message]);
        {
            let queued = store.queued.lock().unwrap();
            let (item, bytes) = &queued[1];
            assert_eq!(item.id.to_string(), format!("{id}:2"));
            assert_eq!(item.sender.to_string(), "A@Example.org");
            assert_eq!(item.recipient.to_string(), "c@xn--bcher-kva.example");
            assert_eq!(
                (&*item.transportid.to_string(), item.senderhelo.is_none()),
                ("out", true)
            );
            let text = String::from_utf8_lossy(bytes);
            assert!(text.contains(" with HTTP\r\n\tid "), "{text}");
        }
        // The connection goes on, and each message has an id of its own.
        client.say(&request("", &usual())).await;
        bench.advance(Duration::from_secs(6)).await;
        let second = client.answer().await.expect("an answer").json();
        assert_ne!(second["transaction"]["id"], json["transaction"]["id"]);
        assert_eq!(store.messages().len(), 4);
        let events = bench.events.lock().unwrap();
        let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
        let message = lines
            .iter()
            .find(|line| line.starts_with("message "))
            .unwrap();
        assert!(
            message.starts_with("message sender=<A@Example.org> recipients=2 size="),
            "{message}"
        );
        assert!(message.contains("action=ACCEPT code=250"), "{message}");
    });
}

#[test]
fn parts_may_be_compressed_and_come_in_any_order_and_pieces() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let options = options().to_string();
        let body = form(&[
            ("rfc822.gzip", &gzip(MAIL.as_bytes())),
            ("options.gzip", &gzip(options.as_bytes())),
        ]);
        let bytes = request("", &body);
        let mut client = bench.connect().await;
        for byte in &bytes {
            client.connection.write_all(&[*byte]).await.unwrap();
        }
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(store.messages().len(), 2);
        // Chunks, and a client that waits to be told to go on.
        let head = format!(
            "POST /v1/submission?pretty=true HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        client.say(head.as_bytes()).await;
        assert_eq!(
            client.line().await.as_deref(),
            Some("HTTP/1.1 100 Continue")
        );
        assert_eq!(client.line().await.as_deref(), Some(""));
        for piece in body.chunks(10) {
            client
                .say(format!("{:x}\r\n", piece.len()).as_bytes())
                .await;
            client.say(piece).await;
            client.say(b"\r\n").await;
        }
        client
            .say(b"0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        let answer = client.answer().await.unwrap();
        assert!(
            answer
                .body
                .starts_with("{\n  \"result\": {\n    \"code\": 250,"),
            "{answer:?}"
        );
        // What follows chunks is not looked at.
        assert!(answer.closes());
        assert_eq!(client.line().await, None);
    });
}

#[test]
fn only_who_has_a_key_submits() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let bytes = request("", &usual());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for wrong in [
            text.replace(&format!("X-API-Key: {KEY}\r\n"), ""),
            text.replace(KEY, "secret-2"),
            text.replace(KEY, ""),
            text.replace("X-API-Key", "Authorization"),
            text.replace("X-API-Key:", "X-API-Key: other\r\nX-API-Key:"),
        ] {
            let answer = ask(&bench, wrong.as_bytes()).await;
            assert_eq!(answer.status, 401, "{wrong}");
            assert!(answer.closes() && answer.head.contains("www-authenticate: "));
            assert_eq!(answer.message(), "X-API-Key is missing or wrong");
        }
        assert!(store.messages().is_empty());
        let events = bench.events.lock().unwrap();
        let refused = events
            .iter()
            .find(|event| matches!(event, Event::Request { .. }));
        assert_eq!(
            refused.unwrap().to_string(),
            "request serverid=default remoteip=192.0.2.1 status=401 reason=\"X-API-Key is missing or wrong\""
        );
    });
}

#[test]
fn without_keys_those_submit_who_relay_but_no_web_page_in_their_browser() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    settings.web = Some(Web::default());
    Arc::make_mut(&mut settings.smtp).relay = vec!["192.0.2.1".parse().unwrap()];
    simulate(settings, async |bench| {
        let bytes = request("", &usual());
        assert_eq!(ask(&bench, &bytes).await.status, 200);
        let mut stranger = bench.connect_from([192, 0, 2, 2]).await;
        assert_eq!(stranger.ask(&bytes).await.status, 401);
        let from_page = request("Origin: https://evil.example\r\n", &usual());
        assert_eq!(ask(&bench, &from_page).await.status, 401);
    });
}

#[test]
fn the_hook_sees_the_request_and_decides_the_answer() {
    let store = Arc::new(MemoryStore::default());
    let script = r#"
        $context = isset($context) ? $context + 1 : 1;
        $http = $arguments["http"];
        echo json_encode([$context, $arguments["metadata"], $http["method"], $http["path"], $http["query"],
            $http["headers"]["x-tag"], isset($connection["helo"]), $connection["remoteip"],
            $transaction["sender"], count($transaction["recipients"]), $transaction["recipients"][0]["transportid"]]);
        foreach ($transaction["recipients"] as $r)
            $arguments["mail"]->queue($transaction["senderaddress"], $r["address"], "other");
        if ($http["headers"]["x-tag"] == "reject")
            Reject(["No", "thanks\r\nforged"], ["reply_codes" => ["code" => 554, "enhanced" => [5, 7, 9]]]);
        if ($http["headers"]["x-tag"] == "defer") Defer("later");
        if ($http["headers"]["x-tag"] == "error") throw Exception("oops");
        if ($http["headers"]["x-tag"] == "end") return;
        Accept(["reason" => "fine", "metadata" => ["z" => 1, "a" => [true, none]]]);
    "#;
    let (mut settings, log) = with_scripts(&store, &[("eod", script)]);
    as_web(&mut settings);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        let bytes = request("X-Tag: a\r\nX-Tag: b\r\n", &usual());
        let text = String::from_utf8_lossy(&bytes);
        let text = text.replace("/submission", "/submission?a=%41+b&pretty=false");
        let answer = client.ask(text.as_bytes()).await;
        assert_eq!(answer.status, 200);
        let end = ",\"metadata\":{\"z\":1,\"a\":[true,null]}}\n";
        assert!(answer.body.ends_with(end), "{}", answer.body);
        assert_eq!(answer.json()["result"]["reason"], json!(["fine"]));
        let line = log
            .lines()
            .into_iter()
            .find(|line| line.contains("POST"))
            .unwrap();
        let (_, seen) = line.split_once("] ").unwrap();
        assert_eq!(
            seen,
            r#"[1,{"a":"x","z":[1,null]},"POST","/v1/submission",{"a":"A b","pretty":"false"},"a, b",false,"192.0.2.1","a@example.org",2,"out"]"#
        );
        assert_eq!(store.messages().len(), 2);
        // `$context` begins anew, and what is refused is as SMTP has it.
        for (tag, status, code, enhanced, reason, queued) in [
            (
                "reject",
                400,
                554,
                json!([5, 7, 9]),
                json!(["No", "thanks", "forged"]),
                4,
            ),
            ("defer", 503, 421, json!([4, 3, 0]), json!(["later"]), 4),
            (
                "error",
                503,
                421,
                json!([4, 3, 0]),
                json!(["Internal error, try again later"]),
                4,
            ),
            (
                "end",
                503,
                421,
                json!([4, 3, 0]),
                json!(["Try again later"]),
                4,
            ),
        ] {
            let answer = client
                .ask(&request(&format!("X-Tag: {tag}\r\n"), &usual()))
                .await;
            assert_eq!(answer.status, status, "{tag}: {answer:?}");
            let json = answer.json();
            assert_eq!(
                json["result"],
                json!({"code": code, "enhanced": enhanced, "reason": reason}),
                "{tag}"
            );
            assert!(json.get("metadata").is_none());
            assert_eq!(store.messages().len(), queued, "{tag}");
        }
        assert!(
            log.lines()
                .iter()
                .filter(|line| line.contains("POST"))
                .all(|line| line.contains("] [1,"))
        );
    });
}

#[test]
fn what_is_no_submission_is_refused_with_a_reason() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let options = options().to_string();
        let options = options.as_bytes();
        let mail = MAIL.as_bytes();
        for (parts, reason) in [
            (vec![("options", options)], "there is no part rfc822"),
            (vec![("rfc822", mail)], "there is no part options"),
            (
                vec![("options", options), ("rfc822", mail), ("rfc822", mail)],
                "there are several parts rfc822",
            ),
            (
                vec![("options", options), ("options.gzip", mail)],
                "there are several parts options",
            ),
            (vec![("file\nx", mail)], "the part \"file"),
            (
                vec![("options", b"{".as_slice())],
                "there is no part rfc822",
            ),
            (
                vec![("options", b"{".as_slice()), ("rfc822", mail)],
                "options: EOF while parsing",
            ),
            (vec![("rfc822.gzip", mail)], "a part is not gzip"),
            (
                vec![("rfc822.gzip", &gzip(mail)[..20])],
                "a part is not gzip, or is cut off",
            ),
        ] {
            let answer = ask(&bench, &request("", &form(&parts))).await;
            let message = answer.message();
            assert_eq!(answer.status, 400, "{message}");
            assert!(
                message.starts_with(reason) || reason.contains("file"),
                "{message}"
            );
        }
        let text = String::from_utf8_lossy(&request("", &usual())).into_owned();
        for (bytes, status) in [
            (text.replace("multipart/form-data", "multipart/mixed"), 400),
            (text.replace("POST", "PUT"), 405),
            (text.replace("POST", "GET"), 405),
            (text.replace("/v1/submission", "/"), 404),
            (text.replace("/v1/submission", "/v1/submission/"), 404),
            (text.replace("--b--", "--b x"), 400),
        ] {
            let answer = ask(&bench, bytes.as_bytes()).await;
            assert_eq!(answer.status, status, "{bytes}");
        }
        assert!(store.messages().is_empty());
    });
}

#[test]
fn sizes_are_bounded_to_the_byte() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    {
        let limits = &mut Arc::make_mut(&mut settings.smtp).limits;
        (limits.size, limits.header, limits.headers, limits.hops) = (1000, 300, 400, 2);
        limits.recipients = 2;
    }
    simulate(settings, async |bench| {
        let options = options().to_string();
        let options = options.as_bytes();
        let post = async |name: &str, mail: &[u8]| {
            let body = form(&[("options", options), (name, mail)]);
            ask(&bench, &request("", &body)).await
        };
        let text = |length: usize| format!("\r\n{}", "x".repeat(length - 2)).into_bytes();
        assert_eq!(post("rfc822", &text(999)).await.status, 200);
        assert_eq!(post("rfc822", &text(1000)).await.status, 200);
        let over = post("rfc822", &text(1001)).await;
        assert_eq!(
            (over.status, over.message().as_str()),
            (413, "the message is longer than 1000 bytes")
        );
        assert_eq!(post("rfc822.gzip", &gzip(&text(1000))).await.status, 200);
        assert_eq!(post("rfc822.gzip", &gzip(&text(1001))).await.status, 413);
        // A thousand bytes that want to be a gigabyte.
        assert_eq!(
            post("rfc822.gzip", &gzip(&vec![b'x'; 1 << 20]))
                .await
                .status,
            413
        );
        let bomb = form(&[("options.gzip", &gzip(&vec![b' '; (1 << 20) + 1]))]);
        assert_eq!(ask(&bench, &request("", &bomb)).await.status, 413);
        let header = |length: usize| format!("A: {}\r\n\r\n", "x".repeat(length - 5)).into_bytes();
        assert_eq!(post("rfc822", &header(300)).await.status, 200);
        let over = post("rfc822", &header(301)).await;
        assert_eq!(
            (over.status, over.json()["result"]["code"].as_u64()),
            (400, Some(552))
        );
        let hops = |count| format!("{}\r\nx", "Received: x\r\n".repeat(count)).into_bytes();
        assert_eq!(post("rfc822", &hops(2)).await.status, 200);
        let over = post("rfc822", &hops(3)).await;
        assert_eq!(
            (over.status, over.json()["result"]["code"].as_u64()),
            (400, Some(554))
        );
        // Said to be too long: not a byte of it is read.
        let said = String::from_utf8_lossy(&request("", &usual())).into_owned();
        let (head, _) = said.split_once("Content-Length").unwrap();
        let answer = ask(
            &bench,
            format!("{head}Content-Length: 99999999\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!((answer.status, answer.closes()), (413, true));
        // Not said, and too long all the same.
        let mut client = bench.connect().await;
        client
            .say(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
            .await;
        client.say(b"--b\r\n").await;
        let mut sent = 0;
        while sent < 2 << 20
            && client
                .connection
                .write_all(format!("8000\r\n{}\r\n", "x".repeat(0x8000)).as_bytes())
                .await
                .is_ok()
        {
            sent += 0x8000;
            settle().await;
        }
        assert_eq!(client.answer().await.unwrap().status, 400);
        let three = json!({"sender": null, "recipients": [{"localpart": "b", "domain": "c.test"}]});
        let mut many = three.clone();
        for _ in 0..2 {
            let one = many["recipients"][0].clone();
            many["recipients"].as_array_mut().unwrap().push(one);
        }
        for (options, status) in [(three, 200), (many, 400)] {
            let body = form(&[
                ("options", options.to_string().as_bytes()),
                ("rfc822", b"x"),
            ]);
            assert_eq!(ask(&bench, &request("", &body)).await.status, status);
        }
    });
}

#[test]
fn a_message_that_cannot_be_kept_is_not_accepted() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let bytes = request("", &usual());
        let mut client = bench.connect().await;
        *store.fail_commit.lock().unwrap() = Some(StoreFailure::Broken);
        let answer = client.ask(&bytes).await;
        assert_eq!(
            (answer.status, answer.json()["result"]["code"].as_u64()),
            (503, Some(451))
        );
        *store.fail_begin.lock().unwrap() = Some(StoreFailure::Full);
        let answer = client.ask(&bytes).await;
        assert_eq!(
            (answer.status, answer.json()["result"]["code"].as_u64()),
            (503, Some(452))
        );
        *store.refusal.lock().unwrap() = Some("full".to_owned());
        let answer = ask(&bench, &bytes).await;
        assert_eq!(answer.json()["result"]["enhanced"], json!([4, 3, 1]));
        assert!(answer.head.contains("retry-after: "));
        *store.refusal.lock().unwrap() = None;
        assert!(store.messages().is_empty());
        assert_eq!(ask(&bench, &bytes).await.status, 200);
    });
}

#[test]
fn no_request_hides_in_another() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let whole = String::from_utf8_lossy(&request("", &usual())).into_owned();
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        let with = |fields: &str| {
            format!("POST /v1/submission HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n{fields}\r\n")
        };
        for (fields, status) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
            ("Content-Length: +5\r\n", 400),
            ("Content-Length: 5, 5\r\n", 400),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding: chunked, identity\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                501,
            ),
            ("X: y\nTransfer-Encoding: chunked\r\n", 400),
            ("X: y\r\n Transfer-Encoding: chunked\r\n", 400),
            ("X: y\rz\r\n", 400),
            ("Host: b\r\n", 400),
        ] {
            let mut client = bench.connect().await;
            client
                .say(format!("{}0\r\n\r\n{hidden}{whole}", with(fields)).as_bytes())
                .await;
            let answer = client.answer().await.expect("an answer");
            assert!(
                answer.status == status || (status == 501 && answer.status == 400),
                "{fields:?}: {answer:?}"
            );
            assert!(answer.closes(), "{fields:?}");
            assert_eq!(client.line().await, None, "{fields:?}");
        }
        assert!(store.messages().is_empty());
        // Chunks with sizes that two readers could take for different ones.
        for chunks in [
            "5 \nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhelloXX0\r\n\r\n",
            "-1\r\n\r\n",
            "ffffffffffffffff1\r\n",
        ] {
            let mut client = bench.connect().await;
            let fields =
                "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n";
            client
                .say(format!("{}{chunks}{hidden}", with(fields)).as_bytes())
                .await;
            let answer = client.answer().await.expect("an answer");
            assert_eq!((answer.status, answer.closes()), (400, true), "{chunks:?}");
            assert_eq!(client.line().await, None, "{chunks:?}");
        }
        // Requests that are sent at once are answered one after the other, each as a whole.
        let mut client = bench.connect().await;
        client
            .say(format!("{whole}{whole}{hidden}").as_bytes())
            .await;
        for status in [200, 200, 404] {
            assert_eq!(client.answer().await.unwrap().status, status);
        }
        assert_eq!(store.messages().len(), 4);
    });
}

#[test]
fn heads_are_bounded() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let base = with("X: \r\n").len();
        let long = |length: usize| with(&format!("X: {}\r\n", "x".repeat(length - base)));
        assert_eq!(ask(&bench, long(head::MOST).as_bytes()).await.status, 404);
        for bytes in [
            long(head::MOST + 1),
            long(1 << 20),
            with(&"X: y\r\n".repeat(head::MOST_FIELDS)),
            format!("GET /{}", "x".repeat(1 << 20)),
        ] {
            let mut client = bench.connect().await;
            client.say(bytes.as_bytes()).await;
            let answer = client.answer().await.expect("an answer");
            assert!(matches!(answer.status, 431 | 414), "{answer:?}");
            assert_eq!(client.line().await, None);
        }
        assert_eq!(
            ask(
                &bench,
                with(&"X: y\r\n".repeat(head::MOST_FIELDS - 1)).as_bytes()
            )
            .await
            .status,
            404
        );
        for no_http in [
            "EHLO a\r\n\r\n",
            "\x16\x03\x01\x02\0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            let mut client = bench.connect().await;
            client.say(no_http.as_bytes()).await;
            if let Some(answer) = client.answer().await {
                assert!(
                    matches!(answer.status, 400 | 505),
                    "{no_http:?}: {answer:?}"
                );
            }
            assert_eq!(client.line().await, None, "{no_http:?}");
        }
    });
}

#[test]
fn slow_clients_are_let_go() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    {
        let smtp = Arc::make_mut(&mut settings.smtp);
        smtp.timeouts.idle = Duration::from_secs(100);
        smtp.timeouts.command = Duration::from_secs(30);
        smtp.timeouts.data = Duration::from_secs(600);
        smtp.limits.min_rate = 10;
    }
    simulate(settings, async |bench| {
        let bytes = request("", &usual());
        // Says nothing.
        let mut silent = bench.connect().await;
        bench.advance(Duration::from_secs(99)).await;
        assert_eq!(silent.ask(&bytes).await.status, 200);
        bench.advance(Duration::from_secs(101)).await;
        assert_eq!(silent.line().await, None);
        // A byte of the head each second: the time is that of the whole head.
        let mut slow = bench.connect().await;
        for byte in &bytes[..40] {
            if slow.connection.write_all(&[*byte]).await.is_err() {
                break;
            }
            bench.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(slow.answer().await.unwrap().status, 408);
        assert_eq!(slow.line().await, None);
        // A byte of the body each second: too few in a minute.
        let head = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let mut slow = bench.connect().await;
        slow.say(&bytes[..head]).await;
        for byte in bytes[head..].iter().take(72) {
            if slow.connection.write_all(&[*byte]).await.is_err() {
                break;
            }
            bench.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(slow.answer().await.unwrap().status, 408);
        assert_eq!(slow.line().await, None);
        // Ten bytes a second are enough, however long it takes.
        let mut steady = bench.connect().await;
        steady.say(&bytes[..head]).await;
        for piece in bytes[head..].chunks(20) {
            steady.say(piece).await;
            bench.advance(Duration::from_secs(2)).await;
        }
        assert_eq!(steady.answer().await.unwrap().status, 200);
        assert_eq!(store.messages().len(), 4);
        let events = bench.events.lock().unwrap();
        let timeouts = events
            .iter()
            .filter(|event| event.to_string().contains("reason=\"timeout\""));
        assert_eq!(timeouts.count(), 3);
    });
}

#[test]
fn a_client_that_goes_does_not_undo_its_message_and_a_stop_waits_for_it() {
    let store = Arc::new(MemoryStore {
        delay: Duration::from_secs(5),
        ..MemoryStore::default()
    });
    simulate(web(&store), async |bench| {
        let bytes = request("", &usual());
        let mut gone = bench.connect().await;
        gone.say(&bytes).await;
        settle().await;
        drop(gone);
        bench.advance(Duration::from_secs(6)).await;
        assert_eq!(store.messages().len(), 2);
        // A stop lets idle clients go and answers who is being served.
        let mut idle = bench.connect().await;
        let mut half = bench.connect().await;
        half.say(&bytes[..30]).await;
        let mut busy = bench.connect().await;
        busy.say(&bytes).await;
        settle().await;
        bench.stopper.stop();
        settle().await;
        assert_eq!(idle.line().await, None);
        assert_eq!(half.line().await, None);
        bench.advance(Duration::from_secs(6)).await;
        let answer = busy.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.closes()), (200, true));
        assert_eq!(busy.line().await, None);
    });
}

#[test]
fn clients_beyond_the_limit_hear_so_in_http() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    settings.total = 1;
    simulate(settings, async |bench| {
        let mut first = bench.connect().await;
        settle().await;
        let mut second = bench.connect().await;
        let answer = second.answer().await.expect("an answer");
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (503, "too many connections")
        );
        assert_eq!(second.line().await, None);
        assert_eq!(first.ask(&request("", &usual())).await.status, 200);
    });
}

#[test]
fn an_operator_ends_idle_connections() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let mut client = bench.connect().await;
        assert_eq!(client.ask(&request("", &usual())).await.status, 200);
        let open = bench.server.connections.list();
        assert_eq!(open.len(), 1);
        assert_eq!(
            open[0]
                .transactions
                .load(std::sync::atomic::Ordering::Relaxed),
            1
        );
        let reply = angarium_smtp::reply::Reply::fixed(421, None, "bye");
        assert!(open[0].lever.pull(reply));
        settle().await;
        assert_eq!(client.line().await, None);
        drop(client);
        settle().await;
        assert!(bench.server.connections.list().is_empty());
        let events = bench.events.lock().unwrap();
        let last = events.last().unwrap().to_string();
        assert!(
            last.starts_with("disconnect reason=\"closed by the administrator\" transactions=1"),
            "{last}"
        );
    });
}

#[test]
fn https_speaks_tls_from_the_first_byte() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = with_tls(web(&store));
    settings.implicit = Implicit::All(true);
    simulate(settings, async |bench| {
        let mut client = secure(bench.connect().await).await;
        assert_eq!(client.ask(&request("", &usual())).await.status, 200);
        let queued = store.queued.lock().unwrap();
        let text = String::from_utf8_lossy(&queued[0].1).into_owned();
        assert!(text.contains(" with HTTPS\r\n"), "{text}");
    });
}

#[test]
fn a_script_that_is_no_submission_has_no_request() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, angarium_smtp::verdict::Verdict::accept()));
    let mut settings = web(&store);
    settings.hooks = Arc::new(hooks);
    simulate(settings, async |bench| {
        // Hooks that know nothing of submissions treat them as messages.
        let answer = ask(&bench, &request("", &usual())).await;
        assert_eq!((answer.status, store.messages().len()), (200, 2));
    });
}
