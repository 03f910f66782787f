//! What scripts see of a session: every variable of the tables, and its value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use angarium_effects::{RecordData, RecordType};
use angarium_runtime::native::ContextDecl;
use angarium_smtp::server::Closing;
use angarium_smtp::session::{CloseBy, TransportError, TransportErrorKind};

use super::bundle::with_scripts;
use super::support::{Bench, Client, MemoryStore, settle, simulate};
use super::tls::{secure, with_tls};
use crate::hooks::{CONTEXTS, variables};
use crate::log::Memory;

/// Prints every path of a value with its type.
const WALK: &str = r#"
function type($value) {
    if (is_array($value)) return "array";
    if (is_string($value)) return "string";
    if (is_number($value)) return "number";
    if (is_boolean($value)) return "boolean";
    if (is_object($value)) return "object";
    return "other";
}
function walk($path, $value) {
    echo $path . " " . type($value);
    if (is_array($value)) foreach ($value as $key => $inner) walk($path . "." . $key, $inner);
}
walk("\$arguments", $arguments);
walk("\$connection", $connection);
walk("\$transaction", $transaction);
if ($context !== none) walk("\$context", $context);
"#;

/// The scripts that print what they see, with what ends them.
fn walkers() -> Vec<(&'static str, String)> {
    [
        ("connect", "$context = 1; Accept();"),
        ("proxy", "Pass();"),
        ("helo", "Accept();"),
        (
            "auth",
            "if (isset($arguments[\"state\"]) and $arguments[\"state\"] == 0) Reply(\"?\"); Accept([\"username\" => \"me\"]);",
        ),
        ("mailfrom", "Accept();"),
        ("rcptto", "Accept();"),
        ("eod", "Accept();"),
        ("disconnect", ""),
    ]
    .into_iter()
    .map(|(phase, end)| (phase, format!("echo \"{phase}\";{WALK}{end}\n")))
    .collect()
}

/// What the scripts printed: `PATH TYPE` by phase.
fn seen(log: &Memory) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut seen: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut phase = String::new();
    for line in log.lines() {
        let body = line
            .split_once("] ")
            .map_or(line.as_str(), |(_, body)| body);
        match body.split_once(' ') {
            Some((path, kind)) if path.starts_with('$') => {
                let entry = (path.to_owned(), kind.to_owned());
                seen.entry(phase.clone()).or_default().insert(entry);
            }
            _ => {
                if CONTEXTS.iter().any(|context| context.name == body) {
                    phase = body.to_owned();
                }
            }
        }
    }
    seen
}

fn context(name: &str) -> &'static ContextDecl {
    CONTEXTS
        .iter()
        .find(|context| context.name == name)
        .expect("a context")
}

/// Runs `talk` against the walkers and gives what they saw.
fn walk(
    remote_ptr: bool,
    talk: impl AsyncFnOnce(&Bench, Client),
) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let store = Arc::new(MemoryStore::default());
    let scripts = walkers();
    let scripts: Vec<(&str, &str)> = scripts
        .iter()
        .map(|(phase, text)| (*phase, text.as_str()))
        .collect();
    let (settings, log) = with_scripts(&store, &scripts);
    let mut settings = with_tls(settings);
    settings.remote_ptr = remote_ptr;
    simulate(settings, async |bench| {
        bench.dns.add(
            "1.2.0.192.in-addr.arpa",
            RecordType::Ptr,
            RecordData::Ptr("client.example".to_owned()),
        );
        bench
            .dns
            .add_address("client.example", [192, 0, 2, 1].into());
        let client = bench.connect().await;
        talk(&bench, client).await;
        settle().await;
    });
    seen(&log)
}

/// The shortest session: no name, HELO, no TLS, no parameters, and the client just leaves.
fn plain() -> BTreeMap<String, BTreeSet<(String, String)>> {
    walk(false, async |_, mut client| {
        client.expect("220").await;
        client.command("HELO client.example", "250").await;
        client.message("x\r\n", "250").await;
        drop(client);
    })
}

/// A session with everything that a client can bring along today.
fn rich() -> BTreeMap<String, BTreeSet<(String, String)>> {
    walk(true, async |_, mut client| {
        client.greet().await;
        client.command("STARTTLS", "220").await;
        let mut client = secure(client).await;
        client.command("EHLO client.example", "250").await;
        client.command("AUTH X-ASK", "334 Pw==").await;
        client.command("AA==", "235").await;
        // Greeting again is allowed, and only then does the helo hook see the log-in.
        client.command("EHLO client.example", "250").await;
        client
            .command("MAIL FROM:<A@Example.org> SIZE=1", "250")
            .await;
        client.command("RCPT TO:<B@Example.net>", "250").await;
        client.command("RCPT TO:<c@example.net>", "250").await;
        client.command("DATA", "354").await;
        client.send("x\r\n.\r\n").await;
        client.expect("250").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
    })
}

/// What these sessions do not have, and why.
const NOT_YET: &[(&str, &str)] = &[
    (
        "$arguments.remoteuid",
        "the network in memory has no Unix sockets",
    ),
    (
        "$connection.remoteuid",
        "the network in memory has no Unix sockets",
    ),
    (
        "$arguments.remoteuser",
        "the network in memory has no Unix sockets",
    ),
    ("$arguments.proxyip", "no proxy is in front"),
    ("$arguments.proxytlv", "no proxy is in front"),
    (
        "$connection.tls.peercert",
        "no client certificate is asked for",
    ),
    ("$arguments.metadata", "it is no submission over HTTP"),
    ("$arguments.http", "it is no submission over HTTP"),
];

#[test]
fn every_variable_of_a_session_is_there_when_its_table_says_so() {
    let (plain, rich) = (plain(), rich());
    let contexts = [
        "connect",
        "proxy",
        "helo",
        "mailfrom",
        "rcptto",
        "eod",
        "disconnect",
    ];
    for context in contexts.map(context) {
        let (plain, rich) = (&plain[context.name], &rich[context.name]);
        let paths = |set: &BTreeSet<(String, String)>| -> BTreeMap<String, String> {
            set.iter().cloned().collect()
        };
        let (plain, rich) = (paths(plain), paths(rich));
        for variable in context.variables {
            let what = format!("{} {}", context.name, variable.path);
            let kind = match variable.types {
                "EODMailMessage" => "object",
                other => other,
            };
            let not_yet = NOT_YET
                .iter()
                .any(|(path, _)| variable.path.starts_with(path));
            // How each of the others was made present is in `rich`; errors have a test of their own.
            let by_error = variable.path.starts_with("$arguments.error.");
            let is_context = variable.path == "$context";
            let found = rich.get(variable.path).map(String::as_str);
            if not_yet || by_error {
                assert_eq!(found, None, "{what} in the rich session");
                assert_eq!(
                    plain.get(variable.path),
                    None,
                    "{what} in the plain session"
                );
            } else if is_context {
                // `connect` finds none and leaves 1.
                let want = (context.name != "connect").then_some("number");
                assert_eq!(found, want, "{what}");
            } else {
                assert_eq!(found, Some(kind), "{what} in the rich session");
                let brought = [
                    "$arguments.remoteptr",
                    "$connection.remoteptr",
                    "$connection.tls.",
                    "$connection.auth.",
                    "$arguments.extensions",
                ];
                let brought = brought.iter().any(|path| variable.path.starts_with(path));
                assert_eq!(
                    plain.contains_key(variable.path),
                    !brought,
                    "{what} in the plain session"
                );
            }
        }
        // And nothing beyond the table.
        let declared = |path: &str| {
            context.variables.iter().any(|variable| {
                variable.path == path
                    || variable.path.starts_with(&format!("{path}."))
                    || path.starts_with(&format!("{}.", variable.path))
            })
        };
        for path in plain.keys().chain(rich.keys()) {
            assert!(
                declared(path),
                "{} {path} is not in the table",
                context.name
            );
        }
    }
}

#[test]
fn the_values_of_a_session_are_those_of_the_wire() {
    let store = Arc::new(MemoryStore::default());
    let show = "echo json_encode([$arguments, $connection, $transaction, $context]);";
    let eod = "echo json_encode([$connection, $transaction, $context]); Accept();";
    let connect = format!("{show} $context = [\"n\" => 1];");
    let more = format!("{show} $context[\"n\"] += 1;");
    let scripts = [
        ("connect", connect.as_str()),
        ("helo", more.as_str()),
        ("mailfrom", more.as_str()),
        ("rcptto", more.as_str()),
        ("eod", eod),
        ("disconnect", show),
    ];
    let (mut settings, log) = with_scripts(&store, &scripts);
    settings.remote_ptr = true;
    simulate(settings, async |bench| {
        bench.dns.add(
            "1.2.0.192.in-addr.arpa",
            RecordType::Ptr,
            RecordData::Ptr("client.example".to_owned()),
        );
        bench
            .dns
            .add_address("client.example", [192, 0, 2, 1].into());
        let mut client = bench.connect().await;
        client.greet().await;
        client
            .command("MAIL FROM:<\"A B\"@Example.ORG> BODY=8BITMIME", "250")
            .await;
        client.command("RCPT TO:<C@Example.NET>", "250").await;
        client.command("RCPT TO:<d@example.net>", "250").await;
        client.command("DATA", "354").await;
        client.send("x\r\n.\r\n").await;
        client.expect("250").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
        drop(client);
        settle().await;
    });
    let mut text = String::new();
    let mut ids: Vec<String> = Vec::new();
    for line in log.lines() {
        text += &line;
        text.push('\n');
    }
    let is_id =
        |word: &str| word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
    for word in text.split(['[', ']', '"', ' ']) {
        if is_id(word) && !ids.iter().any(|id| id == word) {
            ids.push(word.to_owned());
        }
    }
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("ID{number}"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_error_of_the_transport_is_told_at_the_end() {
    let seen = walk(false, async |_, mut client| {
        client.greet().await;
        client.command("STARTTLS", "220").await;
        // No handshake.
        client.send("EHLO again\r\nEHLO again\r\n").await;
        settle().await;
    });
    let has = |path: &str, kind: &str| {
        seen["disconnect"].contains(&(format!("$arguments.{path}"), kind.to_owned()))
    };
    assert!(has("error.reason", "string") && has("error.type", "string"));
    assert!(has("reply.code", "number") && has("reply.state", "string"));
    // An error of the system has its number.
    let closing = Closing {
        by: CloseBy::Remote,
        reply: None,
        error: Some(TransportError {
            kind: TransportErrorKind::Socket,
            reason: "Connection reset by peer".to_owned(),
            code: Some(104),
        }),
    };
    let arguments = variables::disconnect_arguments(&closing);
    let arguments = arguments.as_array().expect("an array");
    let error = arguments.get_str("error").expect("an error");
    let code = error.as_array().and_then(|error| error.get_str("code"));
    assert_eq!(code.and_then(|code| code.as_number()), Some(104.0));
    assert!(arguments.get_str("reply").is_none());
}
