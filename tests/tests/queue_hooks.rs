//! What predelivery and postdelivery are told, from a running server: one message for each way that an attempt may end.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use serde_json::{Value, json};

const CONTENT: &[u8] = b"From: <a@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";

const EOD: &str = r#"
$mail = $arguments["mail"];
$mail->addHeader("X-Added", "yes");
$options = [
    "metadata" => ["colour" => "blue"],
    "jobid" => "job",
    "tenantid" => "tenant",
    "priority" => 1,
    "dsn" => ["envid" => "env", "ret" => "HDRS", "notify" => "SUCCESS,FAILURE", "orcpt" => "rfc822;o@example.com"],
];
foreach ($transaction["recipients"] as $recipient) {
    $mail->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"], $options);
    $told = History("DELIVER", $recipient["address"], ["transportid" => $recipient["transportid"], "reason" => "say \"hi\"", "metadata" => ["a" => "b"]]);
    if ($told !== true) Reject("no history");
}
$file = $mail->toFile();
$first = $file->readline();
if ($first !== "X-Added: yes" or $file->getPath() !== none) Reject("toFile gives " . $first);
Accept();
"#;

/// Shows the message's two files: their sizes, whether the added field is there, and how they end.
const FILES: &str = r#"
function about($resource) {
    $file = File($resource);
    $added = $file->readline() === "X-Added: yes";
    $size = $file->seek(0, "SEEK_END");
    $file->seek(-8, "SEEK_END");
    return ["size" => $size, "added" => $added, "end" => $file->read(100), "path" => $file->getPath()];
}
function shown($message) {
    $files = [about($message["file"]["original"]), about($message["file"]["modified"])];
    unset($message["file"]);
    return [$message, $files];
}
"#;

const PREDELIVERY: &str = r#"
echo "PRE " . json_encode([$arguments, shown($message), GetMetaData()]);
$context = ["left" => "behind"];
SetMetaData([...GetMetaData(), "seen" => "once"]);
switch ($message["recipientaddress"]["localpart"]) {
    case "bounce":
        Bounce(["reason" => "not this one"]);
    case "delete":
        Delete(["reason" => "forget it"]);
    case "tried":
        Try(["sender" => "Tried@Example.net", "recipient" => "else@example.org", "jobid" => "other", "tenantid" => "another", "dsn" => ["envid" => "env2"]]);
}
Try();
"#;

const POSTDELIVERY: &str = r#"
echo "POST " . json_encode([$arguments, shown($message), $context, GetMetaData()]);
if (isset($arguments["action"])) Delete();
"#;

/// The value that a script printed after this word.
fn printed(server: &Server, id: &str, word: &str) -> Value {
    let line = server.wait_log(&[id, word]);
    let (_, text) = line.split_once(word).unwrap();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Hides what differs from run to run, and checks it.
fn settle(value: &mut Value, id: &str, ports: &[u16]) {
    let mut work = vec![("", value)];
    while let Some((key, value)) = work.pop() {
        match value {
            Value::Object(map) => {
                work.extend(map.iter_mut().map(|(key, value)| (key.as_str(), value)))
            }
            Value::Array(list) => work.extend(list.iter_mut().map(|value| (key, value))),
            Value::String(text) => {
                *text = text.replace(id, "(transaction)");
                if key == "helo" {
                    "(host)".clone_into(text);
                }
                for port in ports {
                    *text = text.replace(&port.to_string(), "(port)");
                }
                let is_uuid = text.len() == 36 && text.matches('-').count() == 4;
                if is_uuid {
                    "(id)".clone_into(text);
                }
            }
            Value::Number(number) => match key {
                "duration" => {
                    assert!(
                        number
                            .as_f64()
                            .is_some_and(|seconds| (0.0..60.0).contains(&seconds))
                    );
                    *value = json!("(seconds)");
                }
                "ts" => {
                    assert!(number.as_f64().is_some_and(|time| time > 1.7e9));
                    *value = json!("(time)");
                }
                // The Received field has names and numbers of this run.
                "size" => *value = json!("(size)"),
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn each_end_of_an_attempt_is_told_in_full() {
    let accept = Sink::start();
    let later = Sink::behaving(Behaviour::Reply(Stage::Rcpt, "451 4.3.0 Not now"));
    let never = Sink::behaving(Behaviour::Reply(Stage::End, "554 5.6.0 Not that"));
    let nobody = free_address().port();
    let ports = [accept.port(), later.port(), never.port(), nobody];
    let mut bundle = Bundle::relay(accept.port());
    let names = ["accept", "later", "never", "nobody"];
    let transports = names.iter().zip(ports).map(|(name, port)| {
        json!({ "id": name, "connection": { "server": "127.0.0.1", "port": port, "timeout": 5 } })
    });
    bundle.transports()["transports"] = transports.collect();
    bundle.transports()["dsn"] = json!({ "transport": "accept" });
    bundle.server()["transport"] = json!("accept");
    bundle.hook(
        "rcptto",
        "Accept([\"transportid\" => $arguments[\"address\"][\"domain\"]]);\n",
    );
    bundle.hook("eod", EOD);
    bundle.hook("predelivery", &format!("{FILES}{PREDELIVERY}"));
    bundle.hook("postdelivery", &format!("{FILES}{POSTDELIVERY}"));
    let mut server = Server::start(&bundle);
    let mut text = String::new();
    for recipient in [
        "B@accept",
        "tried@accept",
        "b@later",
        "b@never",
        "b@nobody",
        "bounce@accept",
        "delete@accept",
    ] {
        let mut client = Client::connect(server.address).unwrap();
        let reply = client.send("A@Example.net", recipient, CONTENT).unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
        let (_, id) = reply.text.rsplit_once("queued as ").unwrap();
        let id = id.trim();
        if recipient == "B@accept" {
            let line = server.wait_log(&[id, "history "]);
            let (_, line) = line.split_once("history ").unwrap();
            text += &format!("history {line}\n");
        }
        for word in ["PRE ", "POST "] {
            let mut value = printed(&server, id, word);
            let files = value[1][1].take();
            let (original, modified) = (&files[0], &files[1]);
            let size = |file: &Value| file["size"].as_u64().unwrap();
            assert_eq!(
                (&original["added"], &modified["added"]),
                (&json!(false), &json!(true))
            );
            assert_eq!(
                size(original) + "X-Added: yes\r\n".len() as u64,
                size(modified)
            );
            assert_eq!(value[1][0]["size"], modified["size"]);
            for file in [original, modified] {
                assert_eq!(
                    (&file["end"], &file["path"]),
                    (&json!("Hello!\r\n"), &Value::Null)
                );
            }
            settle(&mut value, id, &ports);
            text += &format!("{recipient} {word}{value}\n");
        }
    }
    server.stop();
    insta::assert_snapshot!(text);
}
