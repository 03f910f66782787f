//! Requests that are no submissions, or would be two: every one is refused, and nothing behind it is looked at.

use std::sync::Arc;

use angarium_smtp::server::StoreFailure;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::super::support::{MemoryStore, settle, simulate};
use super::{KEY, MAIL, ask, form, gzip, options, request, usual, web};
use crate::http::head;

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
