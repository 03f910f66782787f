//! The client against our own server machine, and against nonsense.

use proptest::prelude::*;

use super::*;
use crate::server;

/// How messages are sent.
#[derive(Clone, Copy)]
struct How {
    pipelining: bool,
    chunking: bool,
    binary: bool,
}

/// Sends messages with our client to our server, `step` bytes at a time in both directions.
fn relay(messages: &[Vec<u8>], how: How, step: usize) -> Vec<Vec<u8>> {
    let How {
        pipelining,
        chunking,
        binary,
    } = how;
    let mut config = server::testing::open_config();
    config.extensions.chunking = true;
    config.extensions.binarymime = true;
    let mut sink = server::testing::Bench::new(config);
    let mut client = Client::new(
        Config {
            pipelining,
            tls: TlsMode::Required,
            ..plain()
        },
        false,
        Duration::ZERO,
    );
    let now = Duration::ZERO;
    let mut messages_left = messages.iter();
    let mut current: &[u8] = &[];
    let mut sent = 0;
    while !client.is_closed() {
        while let Some(output) = client.poll() {
            match output {
                Output::StartTls => client.handle(now, Input::TlsDone),
                Output::Content => {
                    for piece in current.chunks(step.max(1)) {
                        client.handle(now, Input::Content(piece));
                    }
                    client.handle(now, Input::ContentEnd);
                }
                Output::Ready | Output::Done(_) => {
                    if let Output::Done(outcomes) = &output {
                        assert!(outcomes.iter().all(Outcome::is_success), "{outcomes:?}");
                        sent += 1;
                    }
                    match messages_left.next() {
                        Some(message) => {
                            current = message;
                            let mut transaction = transaction(&["b@x", "c@x"]);
                            transaction.chunking = chunking;
                            transaction.demands.binary = binary;
                            client.handle(now, Input::Begin(Box::new(transaction)));
                        }
                        None => client.handle(now, Input::Quit),
                    }
                }
                Output::Failed { outcome, .. } => panic!("{}", show(&outcome)),
                Output::Close => {}
            }
        }
        let written = client.requests().to_vec();
        client.written(written.len());
        for piece in written.chunks(step) {
            sink.feed(piece);
        }
        let replies = sink.replies();
        for piece in replies.as_bytes().chunks(step) {
            client.handle(now, Input::Bytes(piece));
        }
    }
    assert_eq!(sent, messages.len());
    sink.messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_the_client_sends_the_server_stores(
        messages in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200), 0..4),
        pipelining: bool,
        chunking: bool,
        step in 1usize..100,
    ) {
        let how = How { pipelining, chunking, binary: false };
        let stored = relay(&messages, how, step);
        prop_assert_eq!(stored.len(), messages.len());
        for (message, stored) in messages.iter().zip(&stored) {
            // Normalising what is normal changes nothing: a second hop sees the same bytes.
            let again = relay(std::slice::from_ref(stored), How { chunking: !chunking, ..how }, step);
            prop_assert_eq!(&again[0], stored);
            let bytes = |text: &[u8]| text.iter().filter(|b| !b" \r\n".contains(b)).copied().collect::<Vec<u8>>();
            prop_assert_eq!(bytes(message), bytes(stored));
        }
    }

    #[test]
    fn binary_messages_arrive_byte_for_byte(
        message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..300),
        pipelining: bool,
        step in 1usize..100,
    ) {
        let message = [b"A: b\r\n\r\n", &message[..]].concat();
        let stored = relay(std::slice::from_ref(&message), How { pipelining, chunking: false, binary: true }, step);
        prop_assert_eq!(stored, [message]);
    }

    #[test]
    fn no_server_makes_the_client_hang_or_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"220 a\r\n".to_vec()), Just(b"250 a\r\n".to_vec()), Just(b"250-PIPELINING\r\n".to_vec()),
                Just(b"250-CHUNKING\r\n".to_vec()),
                Just(b"354 a\r\n".to_vec()), Just(b"450 a\r\n".to_vec()), Just(b"550 a\r\n".to_vec()),
                Just(b"421 a\r\n".to_vec()), Just(b"334 a\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ], 0..30),
        chunking: bool,
    ) {
        let mut client = Client::new(plain(), false, Duration::ZERO);
        let now = Duration::ZERO;
        let mut results = 0;
        let mut begun = 0;
        let mut drain = |client: &mut Client| {
            while let Some(output) = client.poll() {
                match output {
                    Output::Ready => {
                        begun += 1;
                        let mut transaction = transaction(&["b@x"]);
                        transaction.chunking = chunking;
                        client.handle(now, Input::Begin(Box::new(transaction)));
                    }
                    Output::Content => {
                        client.handle(now, Input::Content(&[b'x'; 70_000]));
                        client.handle(now, Input::ContentEnd);
                    }
                    Output::Done(outcomes) => {
                        assert_eq!(outcomes.len(), 1);
                        results += 1;
                    }
                    _ => {}
                }
            }
        };
        for piece in &pieces {
            client.handle(now, Input::Bytes(piece));
            drain(&mut client);
        }
        client.handle(now, Input::Gone(None));
        drain(&mut client);
        prop_assert_eq!(results, begun);
        prop_assert!(client.is_closed());
    }
}
