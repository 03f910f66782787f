//! Submission over HTTP: what becomes of a message. In `requests` what is no message, in `connections` who comes and goes.

mod connections;
mod requests;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::super::{Event, Settings, Web};
use super::bundle::with_scripts;
use super::support::{Bench, Client, MemoryStore, Scripted, settings, settle, simulate};

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
