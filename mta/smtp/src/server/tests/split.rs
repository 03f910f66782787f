//! Any split of the bytes gives the same replies, requests and messages.

use proptest::prelude::*;

use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Hook, Hooks};
use crate::verdict::{ReplyOptions, Verdict};

fn config() -> Config {
    let mut config = open_config();
    config.hooks = Hooks {
        connect: true,
        helo: true,
        mailfrom: true,
        rcptto: true,
        ..Hooks::default()
    };
    config.limits.line = 60;
    config.limits.errors = 5;
    config.limits.size = 80;
    config.limits.hops = 1;
    config.extensions.starttls = false;
    config.extensions.chunking = true;
    config
}

#[derive(Debug, PartialEq)]
struct Seen {
    replies: String,
    events: Vec<String>,
    messages: Vec<Vec<u8>>,
    closed: bool,
}

fn run(pieces: &[&[u8]]) -> Seen {
    let mut bench = Bench::answering(config(), |hook, _| match hook {
        Hook::RcptTo { recipient, .. } if recipient.localpart() == "no" => {
            Verdict::Reject(ReplyOptions::default())
        }
        Hook::Eod { size } if size % 2 == 1 => Verdict::End,
        _ => Verdict::accept(),
    });
    for piece in pieces {
        bench.feed(piece);
    }
    Seen {
        replies: bench.replies(),
        closed: bench.closing.is_some(),
        events: bench.events,
        messages: bench.messages,
    }
}

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just("EHLO c\r\n"),
        Just("MAIL FROM:<a@b>\r\n"),
        Just("RCPT TO:<a@b>\r\n"),
        Just("RCPT TO:<no@b>\r\n"),
        Just("DATA\r\n"),
        Just("Received: x\r\n"),
        Just("\r\n"),
        Just(".\r\n"),
        Just("..x\r\n"),
        Just("x\n.\r\n"),
        Just("x\r.\r\n"),
        Just("NOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
        Just("RSET\r\n"),
        Just("BDAT 5\r\na\r\n.\r"),
        Just("BDAT 7 LAST\r\n\r\n.\r\n\n\r"),
        Just("BDAT 0\r\n"),
        Just("BDAT 90 LAST\r\n"),
        Just("BDAT 4 FIRST\r\nQUIT"),
        Just("FOO\r\n"),
        Just("NOOP\n"),
        Just("QUIT\r\n"),
    ];
    prop_oneof![
        12 => text.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_session(
        start in prop_oneof![
            Just("".to_owned()),
            Just("EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n".to_owned()),
        ],
        fragments in proptest::collection::vec(fragment(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut input = start.into_bytes();
        input.extend(fragments.concat());
        let whole = run(&[&input]);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&run(&bytes), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&input[from..cut]);
            from = cut;
        }
        pieces.push(&input[from..]);
        prop_assert_eq!(&run(&pieces), &whole);
    }

    #[test]
    fn replies_are_always_well_formed(input in proptest::collection::vec(fragment(), 0..20)) {
        let seen = run(&[&input.concat()]);
        prop_assert!(seen.replies.ends_with("\r\n"));
        for line in seen.replies.split_terminator("\r\n") {
            prop_assert!(line.len() <= 510 && !line.contains(['\r', '\n']));
            let (code, rest) = line.split_at(3);
            prop_assert!(code.parse::<u16>().is_ok_and(|code| (200..600).contains(&code)));
            prop_assert!(rest.starts_with([' ', '-']));
        }
    }
}
