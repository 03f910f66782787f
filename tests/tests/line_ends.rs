//! What scripts put into headers, addresses, host names, paths, log lines, parameters of SMTP and fields of HTTP cannot end a line
//! there: CR, LF and NUL are refused or encoded.
//!
//! The arguments are those of the table of built-ins (`angarium functions --json`). Each that takes a text is tried here with hostile
//! ones, or stands in `line_ends/other.txt` because it becomes no such text; one that is in neither list fails the test. A server
//! runs the scripts; what it says to its clients, to an SMTP server, to a web server and to its log is looked through.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use angarium_tests::bundle::Bundle;
use angarium_tests::program::angarium;
use angarium_tests::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

#[path = "line_ends/probes.rs"]
mod probes;

use probes::{
    CALLS, HOOKS, MESSAGES, Probe, QUEUE_OPTIONS, QUEUES, SERVER_OPTIONS, SERVERS, VALUES,
};

/// Hostile texts as literals of the language. A line of their own would begin with `INJECTED`.
const HOSTILE: [&str; 6] = [
    r#""a\r\nINJECTED: b""#,
    r#""a\nINJECTED: b""#,
    r#""a\rINJECTED: b""#,
    r#""a\x00INJECTED: b""#,
    r#""\r\nINJECTED: b\r\n\r\nINJECTED\r\n""#,
    r#""a\r\n.\r\nINJECTED: b\r\n.""#,
];

/// Why a text that goes out is not as it should be.
fn broken(bytes: &[u8]) -> Option<String> {
    let begins = |line: &[u8]| line.starts_with(b"INJECTED") || line.contains(&0);
    let line = bytes
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .find(|line| begins(line))?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// Keeps what comes in on a port, a connection a thread.
#[derive(Clone)]
struct Recorder {
    port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start(answer: fn(&mut BufReader<TcpStream>, &Recorder) -> std::io::Result<()>) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Recorder {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
        };
        let shared = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                std::thread::spawn(move || answer(&mut BufReader::new(stream), &shared));
            }
        });
        recorder
    }

    fn line(&self, stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line)?;
        self.seen.lock().unwrap().extend_from_slice(&line);
        match line.is_empty() {
            true => Err(std::io::ErrorKind::UnexpectedEof.into()),
            false => Ok(line),
        }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until nothing has come for two seconds, or for so many seconds: some deliveries are tried again and again.
    fn wait_quiet(&self, most: u64) {
        let (mut last, mut since) = (self.count(), Instant::now());
        let begun = Instant::now();
        while since.elapsed() < Duration::from_secs(2)
            && begun.elapsed() < Duration::from_secs(most)
        {
            std::thread::sleep(Duration::from_millis(50));
            if self.count() != last {
                (last, since) = (self.count(), Instant::now());
            }
        }
    }

    fn check(&self, what: &str) {
        let seen = self.seen.lock().unwrap();
        assert_eq!(broken(&seen), None, "{what}");
        assert!(!seen.is_empty(), "nothing came to the {what}");
    }
}

/// An SMTP server that takes everything and announces what makes clients say more.
fn smtp(stream: &mut BufReader<TcpStream>, recorder: &Recorder) -> std::io::Result<()> {
    converse(stream, recorder, b"250 ok\r\n")
}

/// As [`smtp`], but the recipients of the cases come too early.
fn refusing(stream: &mut BufReader<TcpStream>, recorder: &Recorder) -> std::io::Result<()> {
    converse(stream, recorder, b"450 later\r\n")
}

fn converse(
    stream: &mut BufReader<TcpStream>,
    recorder: &Recorder,
    to_cases: &[u8],
) -> std::io::Result<()> {
    stream.get_mut().write_all(b"220 sink\r\n")?;
    let mut content = false;
    loop {
        let line = recorder.line(stream)?;
        if content {
            content = line.trim_ascii() != b".";
            if !content {
                stream.get_mut().write_all(b"250 ok\r\n")?;
            }
            continue;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-sink\r\n250-AUTH PLAIN LOGIN\r\n250-XCLIENT NAME ADDR HELO LOGIN PROTO\r\n250-DSN\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n",
            b"AUTH" => b"235 ok\r\n",
            b"RCPT" if line.starts_with(b"RCPT TO:<c") => to_cases,
            b"XCLI" => b"220 sink\r\n",
            b"DATA" => {
                content = true;
                b"354 go on\r\n"
            }
            b"QUIT" => {
                stream.get_mut().write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        stream.get_mut().write_all(reply)?;
    }
}

/// A web server without pages.
fn http(stream: &mut BufReader<TcpStream>, recorder: &Recorder) -> std::io::Result<()> {
    let mut length = 0_u64;
    loop {
        let line = recorder.line(stream)?;
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim_ascii().is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    stream.take(length.min(1 << 20)).read_to_end(&mut body)?;
    recorder.seen.lock().unwrap().extend_from_slice(&body);
    stream
        .get_mut()
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// All arguments and options of the table that take a text, as `NAME.argument` and `NAME[option]`; in hooks with their name before.
fn arguments() -> BTreeSet<String> {
    let output = Command::new(angarium())
        .args(["functions", "--json"])
        .output()
        .unwrap();
    let table: Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut add = |name: &str, function: &Value| {
        let takes_text = |entry: &Value| {
            list(&entry["types"]).iter().any(|written| {
                let written = written.as_str().unwrap_or_default();
                ["string", "array", "any"].contains(&written.split('<').next().unwrap_or_default())
            })
        };
        for parameter in list(&function["params"]).iter().filter(|p| takes_text(p)) {
            match parameter["name"].as_str().unwrap() {
                "options" => {}
                parameter => drop(found.insert(format!("{name}.{parameter}"))),
            }
        }
        for option in list(&function["options"]).iter().filter(|o| takes_text(o)) {
            found.insert(format!("{name}[{}]", option["name"].as_str().unwrap()));
        }
    };
    for (context, entry) in table["contexts"].as_object().unwrap() {
        let prefix = match context.as_str() {
            "core" => String::new(),
            hook => format!("{hook} "),
        };
        for function in list(&entry["functions"]) {
            add(
                &format!("{prefix}{}", function["name"].as_str().unwrap()),
                &function,
            );
        }
        for class in list(&entry["classes"]) {
            let name = class["name"].as_str().unwrap();
            add(name, &class);
            for (members, sign) in [("methods", "."), ("static", "::")] {
                for method in list(&class[members]) {
                    add(
                        &format!("{name}{sign}{}", method["name"].as_str().unwrap()),
                        &method,
                    );
                }
            }
        }
    }
    for function in list(&table["legacy"]) {
        add(function["name"].as_str().unwrap(), &function);
    }
    found
}

/// Members of a server stand in the table as options; those of functions are in an argument besides.
fn member(name: &str, option: &str) -> String {
    match name.contains('.') {
        true => format!("{name}[{option}]"),
        false => format!("{name}.server {name}[{option}]"),
    }
}

/// The probes of functions that take the members of a server, or options of the queue.
fn grouped() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (name, call) in SERVERS {
        for (option, plain, value) in SERVER_OPTIONS {
            let members =
                format!("\"host\" => \"127.0.0.1\", \"port\" => SMTP, \"{option}\" => {value}");
            all.push((
                member(name, option),
                (*plain).to_owned(),
                call.replace("MEMBERS", &members),
            ));
        }
    }
    for (name, call) in QUEUES {
        for (option, plain, value) in QUEUE_OPTIONS {
            let options = format!("[\"{option}\" => {value}]");
            all.push((
                format!("{name}[{option}]"),
                (*plain).to_owned(),
                call.replace("OPTIONS", &options),
            ));
        }
    }
    all
}

fn owned(probes: &[Probe]) -> Vec<(String, String, String)> {
    let own =
        |&(covers, plain, code): &Probe| (covers.to_owned(), plain.to_owned(), code.to_owned());
    probes.iter().map(own).collect()
}

#[test]
fn every_argument_is_tried_or_is_no_line() {
    let mut tried: BTreeSet<String> = BTreeSet::new();
    let core = [VALUES, MESSAGES, CALLS].map(owned).concat();
    for (covers, ..) in core.iter().chain(&grouped()) {
        tried.extend(covers.split(' ').map(|argument| argument.replace('~', " ")));
    }
    for (hook, covers, _) in HOOKS {
        tried.extend(
            covers
                .split(' ')
                .map(|argument| format!("{hook} {argument}")),
        );
    }
    let mut other = BTreeSet::new();
    for line in include_str!("line_ends/other.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        // `hook? NAME: argument [option] …`
        let Some((name, list)) = line.split_once(": ") else {
            continue;
        };
        for argument in list.split(' ') {
            let sign = if argument.starts_with('[') { "" } else { "." };
            assert!(
                other.insert(format!("{name}{sign}{argument}")),
                "{line} is there twice"
            );
        }
    }
    let all = arguments();
    let known = |name: &String| tried.contains(name) || other.contains(name);
    let missing: Vec<&String> = all.iter().filter(|name| !known(name)).collect();
    assert!(
        missing.is_empty(),
        "neither tried nor in other.txt: {missing:#?}"
    );
    let gone: Vec<&String> = tried
        .union(&other)
        .filter(|name| !all.contains(*name))
        .collect();
    assert!(gone.is_empty(), "not in the table: {gone:#?}");
    let both: Vec<&String> = tried.intersection(&other).collect();
    assert!(both.is_empty(), "tried, and in other.txt: {both:#?}");
    println!("arguments: {} of {}", all.len(), all.len());
}

const HEAD: &str = r#"
function flat($v) {
    if (!is_array($v)) return is_object($v) ? "" : string($v ?? "");
    $text = "";
    foreach ($v as $key => $value) $text = $text . flat($key) . " " . flat($value) . " ";
    return $text;
}
function message() { return MailMessage::String("Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nbody\r\n"); }
// A message, and the part of another one, after a change.
function changed($change) {
    $mail = message();
    $change($mail);
    $other = MailMessage::String("Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nSubject: s\r\n\r\none\r\n--a--\r\n");
    $change($other->getByID("0.1"));
    return $mail->toString() . $other->toString();
}
function signed($change) {
    $mail = message();
    $change($mail);
    return $mail->toString();
}
// Calls all, so that one that is refused does not hide the others.
function refusals($calls) {
    foreach ($calls as $call) {
        try { $call(); } catch ($e) { $e = none; }
    }
}
"#;

/// One line of what a script says: the number of the probe, that of the text, and the result in base64 or `thrown`.
fn results(log: &str) -> Vec<(usize, usize, Option<Vec<u8>>)> {
    let said = log.lines().filter_map(|line| line.split_once("SAID "));
    said.map(|(_, said)| {
        let words: Vec<&str> = said.split(' ').collect();
        let result = match *words.get(2).unwrap() {
            "thrown" => None,
            text => Some(BASE64.decode(text).unwrap()),
        };
        (words[0].parse().unwrap(), words[1].parse().unwrap(), result)
    })
    .collect()
}

#[test]
fn no_argument_can_end_a_line_where_it_goes() {
    let (sink, web) = (Recorder::start(smtp), Recorder::start(http));
    let mut bundle = Bundle::relay(sink.port);
    let probes = [owned(VALUES), owned(MESSAGES), owned(CALLS), grouped()].concat();
    let kinds = [VALUES.len(), VALUES.len() + MESSAGES.len()];
    let mut script = format!("{HEAD}$eod = $arguments[\"mail\"];\n");
    for (number, (_, plain, code)) in probes.iter().enumerate() {
        let code = code
            .replace("SMTP", &sink.port.to_string())
            .replace("HTTP", &web.port.to_string())
            .replace("FOLDER", &bundle.path().display().to_string())
            .replace("KEY", "0123456789abcdef0123456789abcdef");
        let texts = HOSTILE
            .iter()
            .copied()
            .chain([plain.as_str()])
            .collect::<Vec<_>>()
            .join(", ");
        let _ = write!(
            script,
            "foreach ([{texts}] as $i => $x) {{\n  try {{ $r = {code}; echo \"SAID {number} $i \" . base64_encode(flat($r)); }}\n  \
             catch ($e) {{ echo \"SAID {number} $i thrown\"; }}\n}}\n"
        );
    }
    script +=
        "$arguments[\"mail\"]->queue(\"a@b.example\", \"c@d.example\", \"sink\");\nAccept();\n";
    // Files and sockets that are there, so that it is the name that is refused.
    for name in ["a", "a\r\nINJECTED: b", "a\nINJECTED: b", "a\rINJECTED: b"] {
        fs::write(bundle.path().join(name), "text\n").unwrap();
    }
    bundle.hook("eod", &script);
    bundle.startup["scripting"] = json!({ "limits": { "time": 280 } });
    bundle.save();
    let server = Server::start(&bundle);
    let mut client = angarium_tests::client::Client::connect(server.address).unwrap();
    let reply = client
        .send(
            "a@b.example",
            "c@d.example",
            b"Subject: x\r\n\r\nbody\r\n.\r\n",
        )
        .unwrap();
    assert_eq!(reply.code, 250, "{}\n{}", reply.text, server.log());
    sink.wait_quiet(60);
    let log = server.log();
    let results = results(&log);
    assert_eq!(results.len(), probes.len() * (HOSTILE.len() + 1));
    let mut wrong = Vec::new();
    for (number, text, result) in &results {
        let (covers, plain, code) = &probes[*number];
        let Some(result) = result else {
            if *text == HOSTILE.len() && plain != "none" {
                wrong.push(format!("{covers}: {code} throws for {plain} too"));
            }
            continue;
        };
        if *text == HOSTILE.len()
            && code.ends_with(": $x")
            && result.is_empty()
            && !covers.starts_with("Socket.connect")
        {
            wrong.push(format!("{covers}: {code} finds nothing"));
        }
        let bad = if *number < kinds[0] {
            // A value is to hold no line end at all.
            result
                .iter()
                .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
                .then(|| String::from_utf8_lossy(result).into_owned())
        } else if *number < kinds[1] {
            broken(result).or_else(|| ends_early(result))
        } else {
            None
        };
        if let Some(bad) = bad {
            wrong.push(format!("{covers}: {code} gives {bad:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sink.check("SMTP server");
    web.check("web server");
    check_log(&log);
    println!("probes: {} of {}", probes.len(), probes.len());
}

/// A message whose header ends before its own end, or has an end of line of its own kind in it.
fn ends_early(message: &[u8]) -> Option<String> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
    let header = &message[..end];
    let stray = header.iter().enumerate().any(|(at, byte)| {
        (*byte == b'\r') != (header.get(at + 1) == Some(&b'\n'))
            && (*byte == b'\r' || header.get(at + 1) == Some(&b'\n'))
    });
    stray.then(|| String::from_utf8_lossy(header).into_owned())
}

/// Every line of the log begins with its time.
fn check_log(log: &str) {
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.contains('\0'), "{line:?}");
    }
}

/// The texts that a hook may meet, by number.
fn choose(hook: &str) -> String {
    let (place, wanted) = match hook {
        "connect" => (
            "\"c\" . string(floor((memory_inc(\"n\") - 1) / 6)) . \"h\" . string((memory_inc(\"m\") - 1) % 6)",
            "",
        ),
        "helo" => ("$arguments[\"host\"]", ""),
        "auth" => ("$arguments[\"username\"]", ""),
        "mailfrom" => ("$arguments[\"sender\"]", ""),
        "rcptto" => ("$arguments[\"recipient\"]", ""),
        "proxy" => ("$arguments[\"command\"]", "Pass();"),
        "eod" => ("$transaction[\"sender\"]", ""),
        "eodrcpt" => ("$sender", "Deliver();"),
        _ => ("$message[\"recipient\"]", ""),
    };
    let hostile = HOSTILE.join(", ");
    let otherwise = match (hook, wanted) {
        ("predelivery", _) => "Try();",
        ("postdelivery", _) => "Default();",
        ("proxy" | "eodrcpt", wanted) => wanted,
        _ => "Accept();",
    };
    let mut script = format!(
        "$found = pcre_match(''c([0-9]+)h([0-9]+)'', {place});\nif ($found == []) {{ {otherwise} }}\n$case = number($found[1]);\n\
         $x = [{hostile}][number($found[2])];\n"
    );
    for (number, (_, _, code)) in HOOKS.iter().filter(|(name, ..)| *name == hook).enumerate() {
        let _ = writeln!(script, "if ($case == {number}) {{ {code} }}");
    }
    script + otherwise
}

/// Reads a reply; none when the connection has ended. Every line has to be one of a reply.
fn reply(stream: &mut BufReader<TcpStream>, hook: &str) -> Option<u16> {
    loop {
        let mut line = Vec::new();
        stream
            .read_until(b'\n', &mut line)
            .ok()
            .filter(|count| *count > 0)?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let whole = text
            .strip_suffix("\r\n")
            .unwrap_or_else(|| panic!("{hook}: {text:?}"));
        assert!(!whole.contains(['\r', '\n', '\0']), "{hook}: {text:?}");
        assert!(!whole.starts_with("INJECTED"), "{hook}: {text:?}");
        let code = whole.get(..3).and_then(|code| code.parse().ok());
        let code: u16 = code.unwrap_or_else(|| panic!("{hook}: {text:?}"));
        match whole.as_bytes().get(3) {
            Some(b'-') => {}
            Some(b' ') | None => return Some(code),
            Some(_) => panic!("{hook}: {text:?}"),
        }
    }
}

fn session(server: &Server, hook: &str, case: &str) {
    let stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut stream = BufReader::new(stream);
    let name = |wanted: &str| {
        if hook == wanted {
            case.to_owned()
        } else {
            "plain".to_owned()
        }
    };
    if reply(&mut stream, hook) != Some(220) {
        return;
    }
    let sender = if hook.starts_with("eod") {
        case.to_owned()
    } else {
        name("mailfrom")
    };
    let recipient = if hook.ends_with("delivery") {
        case.to_owned()
    } else {
        name("rcptto")
    };
    let mut lines = vec![format!("EHLO {}.example", name("helo"))];
    if hook == "auth" {
        lines.push(format!(
            "AUTH PLAIN {}",
            BASE64.encode(format!("\0{case}\0p"))
        ));
    }
    if hook == "proxy" {
        lines.push(format!("NOOP {case}"));
    }
    lines.extend([
        format!("MAIL FROM:<{sender}@a.example>"),
        format!("RCPT TO:<{recipient}@b.example>"),
        "DATA".to_owned(),
        "Subject: x\r\n\r\nbody\r\n.".to_owned(),
        "QUIT".to_owned(),
    ]);
    for line in lines {
        if stream
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())
            .is_err()
        {
            return;
        }
        match reply(&mut stream, hook) {
            None | Some(421 | 221) => return,
            // An answer to a challenge, which ends the dialogue.
            Some(334) => {
                let _ = stream.get_mut().write_all(b"*\r\n");
                let _ = reply(&mut stream, hook);
            }
            Some(code) if line == "DATA" && code != 354 => return,
            Some(_) => {}
        }
    }
}

#[test]
fn no_verdict_of_a_hook_can_end_a_line_where_it_goes() {
    let hooks: BTreeSet<&str> = HOOKS.iter().map(|(hook, ..)| *hook).collect();
    for hook in hooks {
        let sink = Recorder::start(if hook == "postdelivery" {
            refusing
        } else {
            smtp
        });
        let mut bundle = Bundle::relay(sink.port);
        match hook {
            "eodrcpt" => {
                bundle.hook("eod", &choose(hook));
                bundle.server()["phases"]["eod"]["perrecipient"] = json!(true);
            }
            _ => bundle.hook(hook, &choose(hook)),
        }
        if hook == "auth" {
            bundle.server()["phases"]["auth"]["tls"] = json!(false);
        }
        if hook == "proxy" {
            bundle.server()["phases"]["proxy"]["commands"] = json!(["NOOP"]);
        }
        bundle.save();
        // The connection that waits for the server is the first one that the connect hook meets.
        let server = Server::start(&bundle);
        let cases = HOOKS.iter().filter(|(name, ..)| *name == hook).count();
        for case in 0..cases {
            for text in 0..HOSTILE.len() {
                session(&server, hook, &format!("c{case}h{text}"));
            }
        }
        sink.wait_quiet(6);
        check_log(&server.log());
        assert_eq!(broken(&sink.seen.lock().unwrap()), None, "{hook}");
    }
    println!("hooks: {} of {}", HOOKS.len(), HOOKS.len());
}
