//! DKIM and ARC with dkimpy as the other side, and the older functions of a running server.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::mailauth::outcomes;
use angarium_tests::program::{angarium, root};
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Runs a script beside these files and gives what it printed as JSON.
fn run(script: &str, files: &[(&str, &[u8])]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("main.hsl"), script).unwrap();
    let output = Command::new(angarium())
        .args(["run", "main.hsl"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{said}", String::from_utf8_lossy(&output.stdout))
    })
}

fn testdata(name: &str) -> String {
    fs::read_to_string(root().join("stdlib/mail/src/dkim/testdata").join(name)).unwrap()
}

/// RFC 8463 §A.2.
const ED25519: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Name of the algorithm, private key, key record.
fn keys() -> [(&'static str, String, String); 3] {
    let record = |name: &str| format!("v=DKIM1; p={}", testdata(name).trim());
    [
        ("rsa-sha256", testdata("rsa1024.pem"), record("rsa1024.pub")),
        ("rsa-sha256", testdata("rsa2048.pem"), record("rsa2048.pub")),
        (
            "ed25519-sha256",
            ED25519.to_owned(),
            ED25519_RECORD.to_owned(),
        ),
    ]
}

/// Messages whose forms differ.
const MESSAGES: [&str; 5] = [
    "From: A <a@example.com>\r\nTo: b@example.com\r\nSubject: plain\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nHello\r\n",
    "From:  A\t<a@example.com> \r\nSubject: =?utf-8?q?x?=\r\n  folded \t twice\r\n\tand thrice\r\n\r\n a \t b \r\n\r\n\r\n",
    "From: a@example.com\r\nSubject: empty\r\n\r\n",
    "From: a@example.com\r\nSubject: without an end\r\n\r\nline\r\n\r\nlast",
    "From: a@example.com\r\nReceived: x\r\nReceived: y\r\nSubject: one\r\nList-Id: l\r\n\r\n\r\n\r\nbody \r\n \r\n",
];

const CANONS: [[&str; 2]; 4] = [
    ["simple", "simple"],
    ["simple", "relaxed"],
    ["relaxed", "simple"],
    ["relaxed", "relaxed"],
];

#[test]
fn dkimpy_verifies_what_is_signed_here() {
    let mut jobs = Vec::new();
    for (algorithm, key, record) in keys() {
        let files: Vec<(String, &[u8])> = MESSAGES
            .iter()
            .enumerate()
            .map(|(index, message)| (format!("m{index}"), message.as_bytes()))
            .collect();
        let mut files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        files.push(("key.txt", key.as_bytes()));
        let imports: String = (0..MESSAGES.len())
            .map(|index| format!("import $m{index} from \"txt!m{index}\";\n"))
            .collect();
        let list: Vec<String> = (0..MESSAGES.len())
            .map(|index| format!("$m{index}"))
            .collect();
        let script = format!(
            r#"
{imports}
import $key from "key.txt";
$out = [];
foreach ([{}] as $text)
    foreach ({} as $canon)
        foreach ([none, 3, 0] as $length) {{
            $mail = MailMessage::String($text);
            $done = $mail->signDKIM("test", "example.com", $key, [
                "algorithm" => "{algorithm}", "canonicalization_header" => $canon[0],
                "canonicalization_body" => $canon[1], "body_length" => $length, "timestamp" => true,
                "expiration_relative" => 3600, "identity" => "a;b@sub.example.com",
                "additional_headers" => ["received"], "oversign_headers" => ["from", "cc", "subject"]
            ]);
            if ($done === none) throw "not signed";
            $out[] = base64_encode($mail->toString());
        }}
echo json_encode($out);
"#,
            list.join(", "),
            serde_json::to_string(&CANONS).unwrap(),
        );
        let signed = run(&script, &files);
        for message in signed.as_array().unwrap() {
            jobs.push(json!({
                "do": "verify",
                "message": message,
                "records": { "test._domainkey.example.com": record },
            }));
        }
    }
    assert_eq!(jobs.len(), 3 * MESSAGES.len() * 4 * 3);
    let Some(outcomes) = outcomes(&jobs) else {
        return;
    };
    for (job, outcome) in jobs.iter().zip(outcomes) {
        let message = BASE64.decode(job["message"].as_str().unwrap()).unwrap();
        assert_eq!(
            outcome,
            json!([true]),
            "{}",
            String::from_utf8_lossy(&message)
        );
    }
}

/// The results of verifying the first DKIM-Signature of messages.
fn verify(messages: &[Vec<u8>], record: &str) -> Vec<Value> {
    let names: Vec<String> = (0..messages.len())
        .map(|index| format!("m{index}"))
        .collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(messages)
        .map(|(name, text)| (name.as_str(), text.as_slice()))
        .collect();
    let imports: String = names
        .iter()
        .map(|name| format!("import ${name} from \"txt!{name}\";\n"))
        .collect();
    let list: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
    let script = format!(
        r#"
{imports}
$out = [];
foreach ([{}] as $text) {{
    $mail = MailMessage::String($text);
    $out[] = $mail->verifyDKIM($mail->getHeader("DKIM-Signature", ["field" => true]), [
        "dns_function" => function ($name) {{
            return $name == "test._domainkey.example.com" ? ["result" => "{record}"] : ["error" => "permerror"];
        }}
    ]);
}}
echo json_encode($out);
"#,
        list.join(", ")
    );
    run(&script, &files).as_array().unwrap().clone()
}

#[test]
fn what_dkimpy_signs_verifies_here() {
    for (algorithm, key, record) in keys() {
        let mut jobs = Vec::new();
        for message in MESSAGES {
            for canon in CANONS {
                for length in [false, true] {
                    jobs.push(json!({
                        "do": "sign",
                        "message": BASE64.encode(message),
                        "key": key,
                        "canon": canon,
                        "algorithm": algorithm,
                        "length": length,
                    }));
                }
            }
        }
        let Some(outcomes) = outcomes(&jobs) else {
            return;
        };
        let signed: Vec<Vec<u8>> = jobs
            .iter()
            .zip(outcomes)
            .map(|(job, field)| {
                let mut message = BASE64.decode(field.as_str().unwrap()).unwrap();
                message.extend(BASE64.decode(job["message"].as_str().unwrap()).unwrap());
                message
            })
            .collect();
        for (message, found) in signed.iter().zip(verify(&signed, &record)) {
            let text = String::from_utf8_lossy(message);
            assert_eq!(found["result"], "pass", "{found}\n{text}");
            assert_eq!(found["tags"]["d"], "example.com");
        }
        // A letter of the subject is another one.
        let altered: Vec<Vec<u8>> = signed
            .iter()
            .map(|message| {
                let text = String::from_utf8_lossy(message).replace("Subject: ", "Subject: x");
                text.into_bytes()
            })
            .collect();
        for found in verify(&altered, &record) {
            assert_eq!(found["result"], "permerror", "{found}");
        }
    }
}

#[test]
fn arc_chains_pass_from_hand_to_hand() {
    let (_, key, record) = keys().into_iter().nth(1).unwrap();
    let records = json!({ "test._domainkey.example.com": record });
    let seal = |message: &[u8]| {
        let script = format!(
            r#"
import {{ ARC }} from "extras://arc";
import {{ AuthenticationResults }} from "extras://authentication-results";
import $text from "txt!m";
import $key from "key.txt";
$mail = MailMessage::String($text);
$dns = ["dns_function" => function ($name) {{ return ["result" => "{record}"]; }}];
$chain = ARC::chainValidate($mail, $dns);
$results = AuthenticationResults()
    ->addMethod("arc", $chain["status"], ["header.oldest-pass" => $chain["oldestpass"] ?? 0])
    ->addMethod("spf", "pass", ["smtp.mailfrom" => "example.com"])
    ->toString("lists.example.org");
if (ARC::seal($mail, "test", "example.com", $key, $chain, $results) === none) throw "not sealed";
echo json_encode(["status" => $chain["status"], "reason" => $chain["reason"] ?? "", "message" => base64_encode($mail->toString())]);
"#
        );
        let made = run(&script, &[("m", message), ("key.txt", key.as_bytes())]);
        let message = BASE64.decode(made["message"].as_str().unwrap()).unwrap();
        (
            made["status"].as_str().unwrap().to_owned(),
            made["reason"].clone(),
            message,
        )
    };
    let theirs = |message: &[u8]| {
        outcomes(&[json!({ "do": "arc", "message": BASE64.encode(message), "records": records })])
    };
    let first = format!(
        "Authentication-Results: lists.example.org; arc=none; spf=pass smtp.mailfrom=example.com\r\n{}",
        MESSAGES[1]
    );
    // Here first, and here again.
    let (status, _, one) = seal(first.as_bytes());
    assert_eq!(status, "none");
    let Some(found) = theirs(&one) else { return };
    assert_eq!(
        found[0][0],
        "pass",
        "{found:?}\n{}",
        String::from_utf8_lossy(&one)
    );
    let (status, reason, two) = seal(&one);
    assert_eq!(status, "pass", "{reason}");
    assert_eq!(
        theirs(&two).unwrap()[0][0],
        "pass",
        "{}",
        String::from_utf8_lossy(&two)
    );
    // There, on top of what was made here.
    let again = [
        b"Authentication-Results: lists.example.org; arc=pass; spf=pass smtp.mailfrom=example.com\r\n",
        two.as_slice(),
    ]
    .concat();
    // Only one result of each method may be named.
    let again = String::from_utf8(again).unwrap().replace(
        "Authentication-Results: lists.example.org; arc=none; spf=pass smtp.mailfrom=example.com\r\n",
        "",
    );
    let job =
        json!({ "do": "seal", "message": BASE64.encode(&again), "key": key, "records": records });
    let fields = outcomes(&[job]).unwrap();
    let mut three = BASE64.decode(fields[0].as_str().unwrap()).unwrap();
    assert!(!three.is_empty());
    three.extend_from_slice(again.as_bytes());
    let (status, reason, four) = seal(&three);
    assert_eq!(
        status,
        "pass",
        "{reason}\n{}",
        String::from_utf8_lossy(&three)
    );
    assert_eq!(theirs(&four).unwrap()[0][0], "pass");
    // A changed body is seen on both sides.
    let broken = String::from_utf8(four).unwrap() + "more\r\n";
    let (status, _, _) = seal(broken.as_bytes());
    assert_eq!(status, "fail");
    assert_eq!(theirs(broken.as_bytes()).unwrap()[0][0], "fail");
}

#[test]
fn the_older_functions_of_eod_work_on_the_message() {
    let record = format!("v=DKIM1; p={}", testdata("rsa1024.pub").trim());
    // Two signatures, the lower one of a domain whose key cannot be fetched.
    let signed = run(
        r#"
import $text from "txt!m";
import $key from "key.txt";
$mail = MailMessage::String($text);
$mail->signDKIM("test", "example.net", $key);
$mail = MailMessage::String($mail->toString());
$mail->signDKIM("test", "example.com", $key);
echo json_encode(base64_encode($mail->toString()));
"#,
        &[
            ("m", MESSAGES[0].as_bytes()),
            ("key.txt", testdata("rsa1024.pem").as_bytes()),
        ],
    );
    let signed = BASE64.decode(signed.as_str().unwrap()).unwrap();
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let script = r#"
$key = ''KEY'';
$mail = $arguments["mail"];
$dns = function ($name) {
    return $name == "test._domainkey.example.com" ? ["result" => "RECORD"] : ["error" => "temperror"];
};
foreach ($mail->getHeaders("DKIM-Signature", ["field" => true]) as $field)
    echo "SAID " . DKIMVerify($field, ["dns_function" => $dns])["result"];
echo "SAID " . json_encode(DKIMSDID([], ["dns_function" => $dns]));
echo "SAID " . json_encode(DKIMSDID(["example.com"], ["dns_function" => $dns]));
echo "SAID " . json_encode(DKIMSDID([], ["dns_function" => $dns, "signature_limit" => 1]));
$mail->addHeader("X-Gone", "1");
echo "SAID " . DKIMSign("test", "example.org", $key, ["discard_changes" => true]);
echo "SAID " . (DKIMSign("test", "example.org", $key, ["return_header" => true]) =~ #/^v=1; a=rsa-sha256; /);
echo "SAID " . DKIMSign("test", "example.org", "no key");
$mail->queue($transaction["senderaddress"], "b@example.com", "sink");
Accept();
"#;
    let script = script.replace("KEY", testdata("rsa1024.pem").trim());
    bundle.hook("eod", &script.replace("RECORD", &record));
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("a@example.net", "b@example.com", &signed)
        .unwrap();
    assert_eq!(reply.code, 250, "{}\n{}", reply.text, server.log());
    let log = server.log();
    let said: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("SAID ")?.1))
        .collect();
    assert_eq!(
        said,
        [
            "pass",
            "temperror",
            r#"{"example.com":"pass","example.net":"temperror"}"#,
            r#"{"example.com":"pass","example.net":"skip"}"#,
            r#"{"example.com":"pass","example.net":"skip"}"#,
            "true",
            "true",
            "false",
        ],
        "{log}"
    );
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    let message = &sink.messages()[0].content;
    let text = String::from_utf8_lossy(message);
    assert!(!text.contains("X-Gone"), "{text}");
    assert!(
        text.starts_with("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;"),
        "{text}"
    );
    let job = json!({
        "do": "verify",
        "message": BASE64.encode(message),
        "records": {
            "test._domainkey.example.com": record,
            "test._domainkey.example.net": record,
            "test._domainkey.example.org": record,
        },
    });
    if let Some(found) = outcomes(&[job]) {
        assert_eq!(found[0], json!([true, true, true]), "{text}");
    }
}
