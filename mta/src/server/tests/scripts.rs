//! Scripts at the phases of a session: what they see, and what the client hears of their verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use angarium_config::{Config, FileSource, Listed, Options, Source, load};
use angarium_effects::system::SystemNet;
use angarium_effects::{Connect, Net as _, RecordData, RecordType};
use angarium_runtime::cache::Caches;
use angarium_runtime::native::ContextDecl;
use angarium_runtime::shared::SharedMemory;
use angarium_smtp::network::Network;
use angarium_smtp::server::{Closing, Hook, ProxyCommands};
use angarium_smtp::session::{CloseBy, TransportError, TransportErrorKind};
use angarium_smtp::verdict::Verdict;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{Settings, Store};
use super::sockets::{Real, connect, run};
use super::support::{Bench, Client, MemoryStore, Scripted, scripted, settings, settle, simulate};
use super::tls::{secure, with_tls};
use crate::counts::ScriptCounters;
use crate::hooks::session::SessionScripts;
use crate::hooks::steering::Door;
use crate::hooks::{CONTEXTS, variables};
use crate::log::Memory;
use crate::scripts::{NoRoot, Scripts, Services};

/// A bundle in memory.
struct Bundle(BTreeMap<PathBuf, String>);

impl FileSource for Bundle {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let mut names = BTreeMap::new();
        for path in self.0.keys() {
            let mut below = path.strip_prefix(folder).into_iter().flatten();
            if let Some(name) = below.next() {
                names.insert(name.to_owned(), below.next().is_some());
            }
        }
        if names.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let listed = names.into_iter();
        Ok(listed
            .map(|(name, folder)| Listed { name, folder })
            .collect())
    }
}

impl Bundle {
    /// A bundle with these scripts, each bound to its phase, in the spellings of a release.
    fn config(scripts: &[(&str, &str)], compat: u8) -> Config {
        let phases = scripts.iter().map(|(phase, _)| {
            let more = match *phase {
                "auth" => ", tls: false, mechanisms: [plain, LOGIN, X-ASK]",
                "eodrcpt" => ", perrecipient: true",
                _ => "",
            };
            format!("      {}: {{hook: default{more}}}\n", phase_of(phase))
        });
        let phases: String = phases.collect();
        let running = format!(
            "version: '6.0'\nscripting: {{compat: {compat}}}\nservers:\n  - id: default\n    transport: out\n    phases:\n{phases}\
             transportgroups:\n  - id: default\n    transports:\n      - id: out\n      - id: other\n"
        );
        let startup = "version: '6.0'\nservers:\n  - id: default\n    listeners: [{port: 25}]\n";
        let mut files = BTreeMap::from([
            ("/b/src/config/smtpd.yaml".into(), startup.to_owned()),
            ("/b/src/config/smtpd-app.yaml".into(), running),
        ]);
        for (phase, text) in scripts {
            let path = format!("/b/src/hooks/{}/default.hsl", phase_of(phase));
            files.insert(path.into(), (*text).to_owned());
        }
        let source = Source::Tree("/b".into());
        load(&Bundle(files), &source, &Options::default())
            .expect("a configuration")
            .config
    }
}

/// The phase of a context.
fn phase_of(context: &str) -> &str {
    match context {
        "eodrcpt" => "eod",
        phase => phase,
    }
}

/// Settings of a server that runs these scripts, and its log.
pub(super) fn with_scripts(
    store: &Arc<MemoryStore>,
    scripts: &[(&str, &str)],
) -> (Settings, Memory) {
    with_compat(store, scripts, 6)
}

/// The same in the spellings of a release.
pub(super) fn with_compat(
    store: &Arc<MemoryStore>,
    scripts: &[(&str, &str)],
    compat: u8,
) -> (Settings, Memory) {
    let config = Bundle::config(scripts, compat);
    let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
    let compiled = match compiled {
        Ok((compiled, _)) => compiled,
        Err(errors) => panic!("{errors}"),
    };
    let server = config.running.servers.values().next().expect("a server");
    let log = Memory::default();
    let services = Services {
        memory: SharedMemory::default(),
        caches: Caches::default(),
        log: Arc::new(log.clone()),
        hostname: "mx.example".into(),
        door: Door::default(),
        outbox: Default::default(),
        counts: ScriptCounters::default(),
        common: crate::scripts::Common::default(),
    };
    let mut settings = settings(store);
    let smtp = Arc::make_mut(&mut settings.smtp);
    let configured = crate::settings::server(server, "mx.example");
    smtp.hooks = configured.hooks;
    smtp.auth = configured.auth;
    smtp.transport_id = "out".to_owned();
    settings.hooks = Arc::new(SessionScripts::new(
        Arc::new(compiled),
        services,
        server.clone(),
        Arc::clone(store) as Arc<dyn Store>,
    ));
    (settings, log)
}

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

/// Speaks until the phase has answered; gives its reply lines, and `closed` when the server closed then.
async fn answer(bench: &Bench, phase: &str, utf8: bool) -> Vec<String> {
    answer_to(bench.connect().await, phase, utf8).await
}

async fn answer_to(mut client: Client, phase: &str, utf8: bool) -> Vec<String> {
    let mail = match utf8 {
        true => "MAIL FROM:<a@example.org> SMTPUTF8\r\n",
        false => "MAIL FROM:<a@example.org>\r\n",
    };
    let steps: [(&str, &str); 7] = [
        ("connect", ""),
        ("helo", "EHLO c\r\n"),
        ("auth", "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"),
        ("mailfrom", mail),
        ("rcptto", "RCPT TO:<b@example.net>\r\n"),
        ("data", "DATA\r\n"),
        ("eod", "x\r\n.\r\n"),
    ];
    for (step, text) in steps {
        if step == "auth" && step != phase {
            continue;
        }
        if !text.is_empty() {
            client.send(text).await;
        }
        if step != phase {
            client.reply().await.expect("a reply");
            continue;
        }
        let mut lines = Vec::new();
        while let Some(line) = client.line().await {
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                break;
            }
        }
        settle().await;
        // The server may have closed already.
        let _ = client.connection.write_all(b"NOOP\r\n").await;
        match client.line().await {
            None => lines.push("closed".to_owned()),
            Some(line) => assert!(line.starts_with("250"), "{line}"),
        }
        return lines;
    }
    unreachable!("{phase}")
}

/// Scripts for the matrix: a name and the text.
const VERDICTS: &[(&str, &str)] = &[
    ("Accept", "Accept();"),
    ("Accept reason", "Accept([\"reason\" => \"Welcome\"]);"),
    (
        "Accept code",
        "Accept([\"reply_codes\" => [\"code\" => 251]]);",
    ),
    (
        "Accept enhanced",
        "Accept([\"reply_codes\" => [\"enhanced\" => [2, 3, 4]]]);",
    ),
    (
        "Accept without enhanced",
        "Accept([\"reply_codes\" => [\"enhanced\" => []]]);",
    ),
    ("Accept disconnect", "Accept([\"disconnect\" => true]);"),
    (
        "Accept wrong code",
        "Accept([\"reply_codes\" => [\"code\" => 550]]);",
    ),
    ("Reject", "Reject();"),
    ("Reject none", "Reject(none);"),
    ("Reject empty", "Reject(\"\");"),
    ("Reject empty list", "Reject([]);"),
    ("Reject reason", "Reject(\"No thanks\");"),
    ("Reject list", "Reject([\"No\", \"thanks\"]);"),
    ("Reject lines", "Reject(\"No\\r\\nthanks\\n\");"),
    (
        "Reject code",
        "Reject(\"No\", [\"reply_codes\" => [\"code\" => 599]]);",
    ),
    (
        "Reject enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => [5, 1, 1]]]);",
    ),
    (
        "Reject without enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => []]]);",
    ),
    (
        "Reject all",
        "Reject([\"No\", \"thanks\"], [\"reply_codes\" => [\"code\" => 550, \"enhanced\" => [5, 7, 1]], \"disconnect\" => true]);",
    ),
    (
        "Reject disconnect",
        "Reject(\"No\", [\"disconnect\" => true]);",
    ),
    (
        "Reject wrong code",
        "Reject(\"No\", [\"reply_codes\" => [\"code\" => 450]]);",
    ),
    (
        "Reject wrong enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => [5, 7]]]);",
    ),
    (
        "Reject wrong code, caught",
        "try { Reject(\"No\", [\"reply_codes\" => [\"code\" => 250]]); } catch ($e) { Reject(\"caught\"); }",
    ),
    ("Reject control bytes", "Reject(\"a\\tb\\x00c\\x7f\\rd\");"),
    ("Reject not ASCII", "Reject(\"n\u{e9}\");"),
    ("Reject long", "Reject(str_repeat(\"x\", 600));"),
    ("Defer", "Defer();"),
    (
        "Defer reason",
        "Defer(\"Later\", [\"disconnect\" => true]);",
    ),
    (
        "Defer code",
        "Defer([\"Later\"], [\"reply_codes\" => [\"code\" => 451, \"enhanced\" => [4, 3, 1]]]);",
    ),
    (
        "Defer wrong code",
        "Defer(\"Later\", [\"reply_codes\" => [\"code\" => 550]]);",
    ),
    ("error", "echo 1 % [];"),
    ("throw", "throw \"oops\";"),
    ("end", "$x = 1;"),
    (
        "not caught",
        "try { Reject(\"ended\"); } catch ($e) { Accept(); }",
    ),
    (
        "in a function",
        "function f() { foreach ([1] as $x) { (function () { Reject(\"deep\"); })(); } Accept(); } f(); Accept();",
    ),
];

#[test]
fn every_verdict_of_every_phase_gives_the_reply_of_the_table() {
    let mut table = String::new();
    for phase in ["connect", "helo", "auth", "mailfrom", "rcptto", "eod"] {
        for (name, script) in VERDICTS {
            let store = Arc::new(MemoryStore::default());
            let (settings, _) = with_scripts(&store, &[(phase, script)]);
            let mut replies = Vec::new();
            simulate(settings, async |bench| {
                replies = answer(&bench, phase, false).await;
            });
            table += &row(phase, name, &replies);
        }
        table.push('\n');
    }
    insta::assert_snapshot!("every_verdict_of_every_phase", table);
}

/// A row of the table of verdicts.
fn row(phase: &str, name: &str, replies: &[String]) -> String {
    let longest = replies.iter().map(String::len).max();
    assert!(longest <= Some(510), "{longest:?}");
    let text = replies.join(" | ");
    let text = text.replace(&"x".repeat(100), "(100 x)");
    let id = text
        .find("queued as ")
        .map_or("", |at| &text[at + 10..at + 46]);
    let text = match id {
        "" => text,
        id => text.replace(id, "ID"),
    };
    format!("{phase} {name}: {text}\n")
}

/// The same table over sockets: a server for each phase, whose script tells the cases apart by the client's address.
#[test]
fn every_verdict_gives_the_same_reply_over_sockets() {
    let mut table = String::new();
    for phase in ["connect", "helo", "auth", "mailfrom", "rcptto", "eod"] {
        let cases = VERDICTS.iter().zip(1..).map(|((_, script), number)| {
            format!("if ($client === \"127.0.1.{number}\") {{ {script} return; }}\n")
        });
        let cases: String = cases.collect();
        let script =
            format!("$client = $arguments[\"remoteip\"] ?? $connection[\"remoteip\"];\n{cases}");
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[(phase, &script)]);
        let real = Real::start(settings, 1);
        run(async {
            for ((name, _), number) in VERDICTS.iter().zip(1..) {
                let how = Connect {
                    source: Some([127, 0, 1, number].into()),
                    ..Connect::default()
                };
                let connection = SystemNet.connect(real.address, &how).await;
                let client = Client::new(connection.expect("a connection"));
                table += &row(phase, name, &answer_to(client, phase, false).await);
            }
        });
        real.stop();
        table.push('\n');
    }
    insta::assert_snapshot!("every_verdict_of_every_phase", table);
}

/// The proxy hook stands outside of the table of phases: what it says of known, unknown and malformed lines.
#[test]
fn every_verdict_of_the_proxy_hook_gives_its_reply() {
    let codes = "\"reply_codes\" => [\"code\" => 550, \"enhanced\" => [5, 7, 1]]";
    let verdicts = [
        ("Pass", "Pass();".to_owned()),
        ("Pass other", "Pass([\"command\" => \"HELP\"]);".to_owned()),
        ("Pass nothing", "Pass([\"command\" => \"\"]);".to_owned()),
        (
            "Pass two lines",
            "Pass([\"command\" => \"NOOP\\r\\nQUIT\"]);".to_owned(),
        ),
        ("Reply", "Reply();".to_owned()),
        ("Reply empty", "Reply(\"\");".to_owned()),
        ("Reply lines", "Reply([\"a\", \"b\\nc\"]);".to_owned()),
        ("Reply codes", format!("Reply(\"No\", [{codes}]);")),
        (
            "Reply code",
            "Reply(\"No\", [\"reply_codes\" => [\"code\" => 450]]);".to_owned(),
        ),
        (
            "Reply enhanced",
            "Reply(\"Ok\", [\"reply_codes\" => [\"enhanced\" => [2, 0, 0]]]);".to_owned(),
        ),
        (
            "Reply wrong code",
            "Reply(\"No\", [\"reply_codes\" => [\"code\" => 199]]);".to_owned(),
        ),
        (
            "Reply and close",
            format!("Reply(\"No\", [{codes}, \"disconnect\" => true]);"),
        ),
        (
            "Reply injected",
            "Reply(\"a\\r\\n221 b\\r221 c\\x00\");".to_owned(),
        ),
        ("error", "throw 1;".to_owned()),
        ("end", "$x = 1;".to_owned()),
    ];
    let mut table = String::new();
    for (name, script) in &verdicts {
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[("proxy", script)]);
        simulate(settings, async |bench| {
            for line in ["VRFY a", "XYZZY", "BREV FR\u{c5}N:<a@b.test>", "QUIT"] {
                let mut client = bench.connect().await;
                client.expect("220").await;
                client.send(&format!("{line}\r\n")).await;
                let mut lines = Vec::new();
                while let Some(reply) = client.line().await {
                    let last = reply.as_bytes().get(3) != Some(&b'-');
                    lines.push(reply);
                    if last {
                        break;
                    }
                }
                settle().await;
                // The server may have closed already.
                let _ = client.connection.write_all(b"NOOP\r\n").await;
                let closed = match client.line().await {
                    None => " | closed",
                    Some(_) => "",
                };
                table += &format!("{name}, {line}: {}{closed}\n", lines.join(" | "));
                drop(client);
                settle().await;
            }
        });
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nothing_that_a_script_gives_ends_a_line_or_a_field() {
    let scripts = [
        (
            "connect",
            "Accept([\"reason\" => \"hi\\r\\n250 ok\\rthere\\x00\", \"remoteptr\" => \"evil\\r\\nX-A: 1\"]);",
        ),
        (
            "helo",
            "Accept([\"host\" => \"evil\\r\\nX-B: 1\", \"reason\" => \"a\\nb\", \"extensions\" => [\"X-1\\r\\n500 no\", \"SIZE\"]]);",
        ),
        (
            "mailfrom",
            "Accept([\"sender\" => \"a@b.test>\\r\\nRCPT TO:<c\"]);",
        ),
        (
            "rcptto",
            "Accept([\"recipient\" => [\"localpart\" => \"a\\r\\nDATA\", \"domain\" => \"b.test\"]]);",
        ),
    ];
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &scripts[..3]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        for line in ["220-hi", "220 250 okthere?"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
        client.send("EHLO c\r\n").await;
        for line in ["250-a", "250-b", "250-X-1?500 no", "250 SIZE"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
        client.command("MAIL FROM:<a@example.org>", "450").await;
    });
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &scripts[3..]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<a@example.org>", "250").await;
        client.command("RCPT TO:<a@example.org>", "450").await;
    });
    let eod = "$mail = $arguments[\"mail\"]; $mail->addHeader(\"X-A\", \"a\\r\\nBcc: b\\r\\n\\r\\nbody\"); \
               $mail->setHeader(\"Subject\", \"s\\nX-C: c\", [\"encode\" => false]); \
               try { $mail->addHeader(\"X-B: x\\r\\nBcc\", \"b\"); } catch ($e) { echo \"refused\"; } \
               MailMessage::String($mail->toString())->queue(\"\", \"a@b.test\", \"out\"); Accept(\"ok\\r\\n221 bye\");";
    let store = Arc::new(MemoryStore::default());
    let scripts = [scripts[0], scripts[1], ("eod", eod)];
    let (settings, log) = with_scripts(&store, &scripts);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        client.command("EHLO c", "250").await;
        client.begin_message("Subject: x\r\n\r\nx\r\n").await;
        for line in ["250-ok", "250 221 bye"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
    });
    assert!(log.lines().iter().any(|line| line.ends_with("refused")));
    let queued = store.queued.lock().expect("the lock");
    let (_, bytes) = &queued[0];
    let text = String::from_utf8_lossy(bytes);
    let (header, _) = text.split_once("\r\n\r\n").expect("a body");
    for line in header.split("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        let known = ["Received", "Subject", "X-A"].contains(&name) || line.starts_with(['\t', ' ']);
        assert!(known, "{line}");
    }
}

#[test]
fn what_a_hook_must_not_write_is_refused_before_it_runs() {
    for (phase, script) in [
        ("connect", "$arguments[\"remoteip\"] = \"192.0.2.1\";"),
        ("helo", "$connection = [];"),
        ("rcptto", "$transaction[\"sender\"] = \"a@b.test\";"),
        ("eod", "unset($transaction[\"id\"]);"),
    ] {
        let config = Bundle::config(&[(phase, script)], 6);
        let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
        let Err(errors) = compiled else {
            panic!("{phase} takes {script}");
        };
        assert!(errors.to_string().contains("read-only"), "{errors}");
    }
}

#[test]
fn a_hook_that_is_not_there_for_a_domain_makes_no_open_relay() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, hook| match hook {
        Hook::RcptTo { .. } => (Duration::ZERO, Verdict::NoHook),
        _ => (Duration::ZERO, Verdict::accept()),
    });
    let mut settings = scripted(&store, hooks);
    Arc::make_mut(&mut settings.smtp).relay = Network::loopback();
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<a@example.org>", "250").await;
        client.command("RCPT TO:<b@example.net>", "550 5.7.1").await;
        client.command("DATA", "554").await;
    });
    assert!(store.messages().is_empty());
}

const SLEEP: &str = "sleep(1); Accept([\"reason\" => \"awake\"]);";

#[test]
fn two_thousand_sleeping_sessions_wake_at_the_same_moment() {
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &[("rcptto", SLEEP)]);
    simulate(settings, async |bench| {
        let mut clients = Vec::new();
        for _ in 0..2000 {
            let mut client = bench.connect().await;
            client.send("EHLO c\r\nMAIL FROM:<>\r\n").await;
            client.expect("220").await;
            client.expect("250 ").await;
            client.expect("250 2.1.0").await;
            clients.push(client);
        }
        for client in &mut clients {
            client.send("RCPT TO:<a@b.test>\r\nNOOP\r\n").await;
        }
        // Each turn of the loop serves some tens of tasks.
        for _ in 0..50 {
            settle().await;
        }
        bench.clock.advance(Duration::from_millis(999));
        for _ in 0..50 {
            settle().await;
        }
        for client in &mut clients {
            let mut byte = [0];
            let read = client.connection.read(&mut byte);
            let waits = futures_util::future::poll_immediate(std::pin::pin!(read)).await;
            assert!(waits.is_none(), "an answer before its time");
        }
        bench.clock.advance(Duration::from_millis(1));
        for client in &mut clients {
            client.expect("250 2.1.5 awake").await;
            client.expect("250 2.0.0").await;
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "real sessions take real time")]
fn two_thousand_sleeping_sessions_hold_no_thread() {
    const COUNT: usize = 2000;
    if !descriptors(2 * COUNT as u64 + 200) {
        println!("skipped: this system gives a process too few descriptors");
        return;
    }
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &[("rcptto", SLEEP)]);
    let real = Real::start(settings, 1);
    run(async {
        let mut clients = Vec::new();
        for _ in 0..COUNT {
            let mut client = connect(real.address).await;
            client.send("EHLO c\r\nMAIL FROM:<>\r\n").await;
            client.expect("220").await;
            client.expect("250 ").await;
            client.expect("250 2.1.0").await;
            clients.push(client);
        }
        let began = std::time::Instant::now();
        for client in &mut clients {
            client.send("RCPT TO:<a@b.test>\r\n").await;
        }
        for client in &mut clients {
            client.expect("250 2.1.5 awake").await;
        }
        let took = began.elapsed();
        println!("{COUNT} sessions slept a second on one worker and answered after {took:?}");
        // One after another they would take half an hour. The bound is wide for builds that are not optimised.
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(10),
            "{took:?}"
        );
    });
    real.stop();
}

/// Whether the process may have so many descriptors.
fn descriptors(count: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    let wider = Rlimit {
        current: Some(count),
        maximum: limit.maximum,
    };
    limit.maximum.is_none_or(|most| most >= count) && setrlimit(Resource::Nofile, wider).is_ok()
}

#[test]
fn a_text_outside_ascii_is_sent_to_clients_that_asked_for_it() {
    for (phase, want) in [
        ("connect", "521 5.7.1 n??"),
        ("helo", "554 n??"),
        ("mailfrom", "554 5.7.1 n\u{e9}"),
        ("rcptto", "554 5.7.1 n\u{e9}"),
        ("eod", "550 5.7.1 n\u{e9}"),
    ] {
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[(phase, "Reject(\"n\u{e9}\");")]);
        simulate(settings, async |bench| {
            assert_eq!(answer(&bench, phase, true).await[0], want, "{phase}");
        });
    }
}

/// Runs this dialogue, `command` for each line, and shows it with what the script printed.
fn dialogue(scripts: &[(&str, &str)], lines: &[&str]) -> String {
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_scripts(&store, scripts);
    let mut text = String::new();
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.reply().await.expect("a banner");
        for line in lines {
            client.send(&format!("{line}\r\n")).await;
            let reply = client.reply().await.unwrap_or_else(|| "closed".to_owned());
            text += &format!("C: {line}\nS: {reply}\n");
        }
    });
    for line in log.lines() {
        let said = line.split_once("] ").map_or("", |(_, said)| said);
        text += &format!("{said}\n");
    }
    text
}

#[test]
fn the_auth_hook_decides_who_a_client_is() {
    let auth = r#"
        echo json_encode($arguments);
        if ($arguments["mechanism"] === "X-ASK") {
            if ($arguments["state"] == 0) Reply("who?\nnow");
            if ($arguments["state"] == 1) Reply();
            Accept(["username" => "asked", "reason" => "Hello"]);
        }
        if ($arguments["username"] === "user" and $arguments["password"] === "secret") Accept();
        if ($arguments["username"] === "later") Defer();
    "#;
    let mailfrom = "echo json_encode($connection[\"auth\"] ?? \"nobody\"); Accept();";
    let scripts = [("auth", auth), ("mailfrom", mailfrom)];
    let mut text = String::new();
    for lines in [
        &[
            "EHLO c",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "MAIL FROM:<>",
        ][..],
        &[
            "EHLO c",
            "AUTH LOGIN",
            "dXNlcg==",
            "c2VjcmV0",
            "MAIL FROM:<>",
        ],
        &["EHLO c", "AUTH X-ASK", "bWU=", "", "MAIL FROM:<>"],
        &["EHLO c", "AUTH X-ASK =", "*", "MAIL FROM:<>"],
        &[
            "EHLO c",
            "AUTH PLAIN AHVzZXIAd3Jvbmc=",
            "AUTH PLAIN AGxhdGVyAHg=",
            "MAIL FROM:<>",
        ],
    ] {
        text += &dialogue(&scripts, lines);
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_proxy_hook_sees_changes_and_answers_lines() {
    let proxy = r#"
        echo json_encode([$arguments, $transaction["sender"] ?? "none yet"]);
        switch ($arguments["command"]) {
            case "PASS": Pass(["command" => "NOOP"]);
            case "REPLY": Reply();
            case "LINES": Reply(["one", "two"], ["reply_codes" => ["code" => 299, "enhanced" => [2, 0, 1]]]);
            case "WRONG": Reply("x", ["reply_codes" => ["code" => 600]]);
            case "SPLIT": Pass(["command" => "NOOP\r\nQUIT"]);
            case "BYE": Reply("Bye", ["reply_codes" => ["code" => 221, "enhanced" => [2, 0, 0]], "disconnect" => true]);
        }
    "#;
    let lines = [
        "EHLO c",
        "PASS",
        "REPLY",
        "LINES",
        "WRONG",
        "SPLIT",
        "MAIL FROM:<a@example.org>",
        "REPLY",
        "NOOP",
        "BYE",
        "NOOP",
    ];
    insta::assert_snapshot!(dialogue(&[("proxy", proxy)], &lines));
}

#[test]
fn a_line_that_is_not_named_reaches_the_proxy_hook_when_the_last_one_asked_for_it() {
    let store = Arc::new(MemoryStore::default());
    let script =
        "echo $arguments[\"command\"]; Pass([\"next\" => $arguments[\"command\"] === \"XSTART\"]);";
    let (mut settings, log) = with_scripts(&store, &[("proxy", script)]);
    let verbs = vec!["xstart".to_owned()];
    Arc::make_mut(&mut settings.smtp).hooks.proxy = ProxyCommands::Starting(verbs);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        for line in ["NOOP", "XSTART", "VRFY a", "HELP"] {
            client.send(&format!("{line}\r\n")).await;
            client.reply().await.expect("a reply");
        }
    });
    let seen = log.lines();
    let seen: Vec<&str> = seen
        .iter()
        .filter_map(|line| line.split_once("] ").map(|(_, said)| said))
        .collect();
    assert_eq!(seen, ["XSTART", "VRFY a"]);
}

#[test]
fn the_message_of_eod_has_parts_and_other_messages_share_its_commit() {
    for (end, committed) in [
        ("Accept();", 3),
        ("Reject();", 3),
        ("Defer();", 0),
        ("throw 1;", 0),
    ] {
        let store = Arc::new(MemoryStore::default());
        let script = format!(
            r#"
            $mail = $arguments["mail"];
            echo json_encode([$mail->getType(), $mail->getSize() > 0, $mail->getID(), length($mail->getParts())]);
            $mail->setHeader("Subject", "changed");
            $mail->appendPart(MIME()->setBody("more"));
            $mail->queue("", "a@b.test", "out");
            MIME()->setBody("other")->queue("", "c@d.test", "other");
            MailMessage::String($mail->toString())->queue("", "e@f.test", "out");
            {end}
            "#
        );
        let (settings, log) = with_scripts(&store, &[("eod", &script)]);
        simulate(settings, async |bench| {
            answer(&bench, "eod", false).await;
        });
        let lines = log.lines().join("\n");
        assert!(lines.contains("[null,true,\"0\",0]"), "{lines}");
        let queued = store.queued.lock().expect("the lock");
        assert_eq!(queued.len(), committed, "{end} {lines}");
        if committed > 0 {
            let transactions: BTreeSet<_> = queued.iter().map(|(item, _)| item.id).collect();
            assert_eq!(transactions.len(), 3);
            let text = |at: usize| String::from_utf8_lossy(&queued[at].1).into_owned();
            assert!(text(1).ends_with("\r\n\r\nother"), "{}", text(1));
            assert!(
                text(2).contains("Subject: changed\r\n") && text(2).contains("\r\nmore\r\n--="),
                "{}",
                text(2)
            );
            assert_eq!(&*queued[1].0.transportid.to_str(), "other");
        }
    }
}
