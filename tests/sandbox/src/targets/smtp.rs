//! Addresses, parameters, the receiving machine of SMTP, and the header of a proxy in front of it.

use std::sync::Arc;
use std::time::Duration;

use angarium_smtp::address::{Charset, Mailbox, is_greeting_name, path, split_path};
use angarium_smtp::content::Decoder;
use angarium_smtp::param::{Extensions, Params, check_mail, check_rcpt};
use angarium_smtp::proxy_protocol;
use angarium_smtp::server::{
    AuthArguments, AuthConfig, Config, Hook, Hooks, Input, Output, Server,
};
use angarium_smtp::session::Connection;
use angarium_smtp::verdict::{Accept, ReplyOptions, Verdict};

/// A path with parameters, as after `MAIL FROM:`. What is parsed can be written and parsed again.
pub fn addresses(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = is_greeting_name(&text);
    if let Ok(mailbox) = Mailbox::parse(&text) {
        same(&mailbox);
    }
    for charset in [Charset::Ascii, Charset::Utf8] {
        let Ok((mailbox, rest)) = path(&text, charset) else {
            continue;
        };
        assert!(text.ends_with(rest));
        let (bracketed, after) = split_path(&text).expect("a path ends somewhere");
        assert_eq!((bracketed.len() + after.len(), after), (text.len(), rest));
        if let Some(mailbox) = mailbox {
            same(&mailbox);
        }
        if let Ok(params) = Params::parse(rest) {
            parameters(&params);
        }
    }
}

/// What is accepted keeps its promises, and less is accepted where less is offered.
fn parameters(params: &Params) {
    let all = Extensions {
        auth: true,
        dsn: true,
        chunking: true,
        binarymime: true,
        requiretls: true,
        mtpriority: true,
        ..Extensions::standard()
    };
    let none = Extensions::default();
    if let Ok(asked) = check_mail(params, all, 1000) {
        assert!(asked.size.is_none_or(|size| size <= 1000));
        assert!(
            asked
                .priority
                .is_none_or(|priority| (-9..=9).contains(&priority))
        );
        assert_eq!(asked.requiretls, params.get("REQUIRETLS").is_some());
    }
    for (name, value) in params.pairs() {
        assert!(!name.is_empty() && !name.contains(['\r', '\n', ' ', '=']));
        assert!(!value.contains(['\r', '\n', ' ', '=']));
    }
    let _ = check_rcpt(params, all);
    let empty = params.is_empty();
    assert_eq!(check_mail(params, none, 0).is_ok(), empty);
    assert_eq!(check_rcpt(params, none).is_ok(), empty);
}

fn same(mailbox: &Mailbox) {
    let text = mailbox.to_string();
    match Mailbox::parse(&text) {
        Ok(again) => assert_eq!(&again, mailbox, "{text}"),
        // `Postmaster` alone has no domain and is no mailbox by itself.
        Err(error) => assert!(mailbox.domain().is_empty(), "{text}: {error:?}"),
    }
}

/// The header of the PROXY protocol: however the bytes come, the same is read, and never beyond its end.
pub fn proxy_header(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    let pieces = (0..=data.len()).filter_map(|end| data.get(..end));
    let first = pieces
        .map(proxy_protocol::parse)
        .find(|found| !matches!(found, Ok(None)));
    assert_eq!(first.unwrap_or(Ok(None)), whole, "byte by byte");
    if let Ok(Some((header, used))) = whole {
        let own = data.get(..used).expect("a header within the bytes");
        assert!(header.tlvs.len() <= used && own.ends_with(&header.tlvs));
        assert_eq!(proxy_protocol::parse(own), Ok(Some((header, used))));
    }
}

/// Any split of the bytes gives the same replies, requests and messages.
pub fn smtp_server(data: &[u8]) {
    split(&config(), b"", data);
}

/// A transaction in which the input cuts a body into chunks: each byte of `data` is the length of a
/// chunk, and the body is the same data. One message comes of it, whatever the bytes are: lines with
/// their ends made whole, or all of it as it is under BINARYMIME.
pub fn bdat(data: &[u8]) {
    let mut config = config();
    config.limits.commands = u32::MAX;
    config.limits.size = 0;
    config.limits.hops = u32::MAX;
    for (parameter, binary) in [("", false), (" BODY=BINARYMIME", true)] {
        let mut input = format!("MAIL FROM:<a@b>{parameter}\r\nRCPT TO:<a@b>\r\n").into_bytes();
        let mut rest = data;
        for size in data {
            let (chunk, after) = rest.split_at(usize::from(*size).min(rest.len()));
            input.extend(format!("BDAT {}\r\n", chunk.len()).bytes());
            input.extend_from_slice(chunk);
            rest = after;
        }
        input.extend(format!("BDAT {} LAST\r\n", rest.len()).bytes());
        input.extend_from_slice(rest);
        input.extend(b"NOOP\r\n");
        let seen = split(&config, b"EHLO c\r\n", &input);
        let mut expected = Vec::new();
        if binary {
            expected.extend_from_slice(data);
        } else {
            let mut decoder = Decoder::counted();
            assert_eq!(decoder.decode(data, &mut expected), data.len());
            decoder.finish(&mut expected);
        }
        assert_eq!(seen.messages, [expected]);
        assert!(
            seen.replies.ends_with("\r\n250 2.0.0 Ok\r\n"),
            "{}",
            seen.replies
        );
    }
    // The same bytes as what a client says between BDAT and its octets.
    let begin = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT ";
    split(&self::config(), begin, data);
}

/// The bytes are what a client says after AUTH. Nobody is let in but by the hook, which sees whole
/// credentials only, and no secret comes back in a reply.
pub fn auth(data: &[u8]) {
    let mut config = config();
    config.limits.errors = 100;
    config.auth = Some(AuthConfig {
        mechanisms: ["PLAIN", "LOGIN", "X-ASK"].map(str::to_owned).to_vec(),
        tls_only: false,
    });
    for mechanism in ["", "PLAIN ", "LOGIN\r\n", "X-ASK "] {
        let begin = format!("EHLO c\r\nAUTH {mechanism}");
        let seen = split(&config, begin.as_bytes(), data);
        let let_in = seen.replies.matches("\r\n235 ").count();
        let asked = seen
            .events
            .iter()
            .filter(|event| event.starts_with("Auth"))
            .count();
        assert!(let_in <= 1 && let_in <= asked, "{}", seen.replies);
    }
}

/// Runs a session whole, byte by byte and in thirds; it is the same each time.
fn split(config: &Config, begin: &[u8], data: &[u8]) -> Seen {
    let whole = session(config, begin, &[data]);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(session(config, begin, &bytes), whole, "byte by byte");
    let thirds: Vec<&[u8]> = data.chunks(data.len() / 3 + 1).collect();
    assert_eq!(session(config, begin, &thirds), whole, "in thirds");
    for line in whole.replies.split_terminator("\r\n") {
        assert!(
            line.len() <= 510 && !line.contains(['\r', '\n']),
            "{line:?}"
        );
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        assert!(
            code.is_some_and(|code| (200..600).contains(&code)),
            "{line:?}"
        );
    }
    whole
}

#[derive(Debug, PartialEq)]
struct Seen {
    replies: String,
    events: Vec<String>,
    messages: Vec<Vec<u8>>,
    closed: bool,
}

fn config() -> Config {
    let mut config = Config {
        hostname: "mx.example".to_owned(),
        hooks: Hooks {
            connect: true,
            helo: true,
            mailfrom: true,
            rcptto: true,
            ..Hooks::default()
        },
        relay: vec!["0.0.0.0/0".parse().expect("a network")],
        xclient: vec!["192.0.2.0/24".parse().expect("a network")],
        extensions: Extensions {
            chunking: true,
            binarymime: true,
            mtpriority: true,
            limits: true,
            ..Extensions::standard()
        },
        ..Config::default()
    };
    config.limits.line = 80;
    config.limits.errors = 8;
    config.limits.size = 200;
    config.limits.hops = 1;
    config
}

fn session(config: &Config, begin: &[u8], pieces: &[&[u8]]) -> Seen {
    let connection = Connection {
        id: "C1".to_owned(),
        priority: 0,
        remote_ip: [192, 0, 2, 1].into(),
        remote_port: 1025,
        remote_ptr: None,
        name_lookup: None,
        remote_uid: None,
        remote_user: None,
        local_ip: [192, 0, 2, 25].into(),
        local_port: 25,
        server_id: "default".to_owned(),
        proxy_ip: None,
        proxy_tlv: None,
    };
    let mut count = 0;
    let ids = Box::new(move || {
        count += 1;
        format!("T{count}")
    });
    let config = Arc::new(config.clone());
    let mut server = Server::new(config, connection, None, ids, Duration::ZERO);
    let mut seen = Seen {
        replies: String::new(),
        events: Vec::new(),
        messages: Vec::new(),
        closed: false,
    };
    let (mut content, mut read) = (Vec::new(), Vec::new());
    drain(&mut server, &mut seen, &mut content);
    for piece in std::iter::once(&begin).chain(pieces) {
        read.extend_from_slice(piece);
        while !read.is_empty() && server.wants_input() {
            let used = server.handle(Duration::ZERO, Input::Bytes(&read));
            read.drain(..used);
            drain(&mut server, &mut seen, &mut content);
        }
    }
    let replies = server.replies().to_vec();
    seen.replies = String::from_utf8(replies).expect("replies are UTF-8");
    seen
}

/// `user` with `secret` is right; X-ASK wants `yes` after two questions.
fn log_in(arguments: &AuthArguments) -> Verdict {
    match arguments {
        AuthArguments::Credentials { username, password } => {
            assert!(!username.contains('\0') && !password.contains('\0'));
            match username == "user" && password == "secret" {
                true => Verdict::accept(),
                false => Verdict::End,
            }
        }
        AuthArguments::Exchange { state: 2, response } if response.as_deref() == Some(b"yes") => {
            Verdict::Accept(Box::new(Accept {
                username: Some("asked".to_owned()),
                ..Accept::default()
            }))
        }
        AuthArguments::Exchange { state, .. } if *state < 2 => Verdict::Reply {
            reply: ReplyOptions::reason(b"question"),
            next: false,
        },
        AuthArguments::Exchange { .. } => Verdict::Reject(ReplyOptions::default()),
    }
}

fn drain(server: &mut Server, seen: &mut Seen, content: &mut Vec<u8>) {
    while let Some(output) = server.poll() {
        let now = Duration::ZERO;
        match output {
            Output::Hook(hook) => {
                seen.events.push(format!("{hook:?}"));
                let verdict = match &hook {
                    Hook::RcptTo { recipient, .. } if recipient.localpart() == "no" => {
                        Verdict::Reject(ReplyOptions::default())
                    }
                    Hook::Auth { arguments, .. } => log_in(arguments),
                    Hook::Eod { size } => {
                        seen.messages.push(std::mem::take(content));
                        match size % 2 {
                            1 => Verdict::End,
                            _ => Verdict::accept(),
                        }
                    }
                    _ => Verdict::accept(),
                };
                server.handle(now, Input::Verdict(verdict));
            }
            Output::OpenBody => {
                server.handle(now, Input::Stored);
            }
            Output::Body(chunk) => {
                assert!(!chunk.is_empty() && chunk.len() <= 2 * 64 * 1024 + 2);
                content.extend_from_slice(&chunk);
                server.handle(now, Input::Stored);
            }
            Output::AbortBody => {
                content.clear();
                seen.events.push("AbortBody".to_owned());
            }
            Output::Introduced => seen.events.push("Introduced".to_owned()),
            // STARTTLS is not offered.
            Output::StartTls => panic!("STARTTLS was not offered"),
            Output::Close(_) => {
                assert!(!seen.closed, "closed once");
                seen.closed = true;
            }
        }
    }
}
