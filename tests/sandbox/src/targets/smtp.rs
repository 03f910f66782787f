//! Addresses, parameters, the receiving machine of SMTP, and the header of a proxy in front of it.

use std::sync::Arc;
use std::time::Duration;

use angarium_smtp::address::{Charset, Mailbox, is_greeting_name, path, split_path};
use angarium_smtp::param::{Extensions, Params, check_mail, check_rcpt};
use angarium_smtp::proxy_protocol;
use angarium_smtp::server::{Config, Hook, Hooks, Input, Output, Server};
use angarium_smtp::session::Connection;
use angarium_smtp::verdict::{ReplyOptions, Verdict};

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
            let offered = Extensions::standard();
            let _ = check_mail(&params, offered, 1000);
            let _ = check_rcpt(&params, offered);
        }
    }
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
    let whole = session(&[data]);
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(session(&bytes), whole, "byte by byte");
    let thirds: Vec<&[u8]> = data.chunks(data.len() / 3 + 1).collect();
    assert_eq!(session(&thirds), whole, "in thirds");
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
        extensions: Extensions {
            chunking: true,
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

fn session(pieces: &[&[u8]]) -> Seen {
    let connection = Connection {
        id: "C1".to_owned(),
        priority: 0,
        remote_ip: [192, 0, 2, 1].into(),
        remote_port: 1025,
        remote_ptr: None,
        name_lookup: None,
        remote_uid: None,
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
    let mut server = Server::new(Arc::new(config()), connection, None, ids, Duration::ZERO);
    let mut seen = Seen {
        replies: String::new(),
        events: Vec::new(),
        messages: Vec::new(),
        closed: false,
    };
    let (mut content, mut read) = (Vec::new(), Vec::new());
    drain(&mut server, &mut seen, &mut content);
    for piece in pieces {
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
            // STARTTLS is not offered.
            Output::StartTls => panic!("STARTTLS was not offered"),
            Output::Close(_) => {
                assert!(!seen.closed, "closed once");
                seen.closed = true;
            }
        }
    }
}
