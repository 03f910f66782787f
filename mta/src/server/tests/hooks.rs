//! What hooks and store do to a session, in memory.

use std::sync::Arc;
use std::time::Duration;

use angarium_effects::{RecordData, RecordType};
use angarium_smtp::server::{Hook, StoreFailure};
use angarium_smtp::verdict::{ReplyOptions, Verdict};
use tokio::io::AsyncWriteExt;

use super::super::Event;
use super::support::{MemoryStore, Scripted, scripted, settings, settle, simulate};

#[test]
fn a_message_is_stored_with_its_trace_before_the_reply() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client
            .message(
                "Subject: a\r\n\r\n..dot\r\nbare\nlf\r\n",
                "250 2.0.0 Ok: queued as ",
            )
            .await;
        let queued = store.queued.lock().expect("the lock");
        let (item, bytes) = &queued[0];
        insta::assert_snapshot!(String::from_utf8_lossy(bytes).replace(&item.id.transaction.to_string(), "ID"), @r"
        Received: from client.example (unknown [192.0.2.1])
        	by mx.example (Angarium) with ESMTP
        	id ID;
        	Tue, 14 Nov 2023 22:13:20 +0000
        Subject: a

        .dot
        bare
        lf
        ");
        assert_eq!(item.id.queue, 1);
        assert_eq!(item.sender.to_string(), "a@example.org");
        assert_eq!(item.recipient.to_string(), "b@example.net");
        assert_eq!(item.size, bytes.len() as u64);
        assert_eq!(item.serverid, "default");
        assert_eq!(item.received.as_secs_f64(), 1_700_000_000.0);
    });
}

#[test]
fn a_pipelined_group_is_answered_in_order_and_every_recipient_gets_a_copy() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client
            .send("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
            .await;
        for start in ["220", "250 ", "250 2.1.0", "250 2.1.5", "250 2.1.5", "354"] {
            client.expect(start).await;
        }
        client.send("x\r\n.\r\nNOOP\r\nQUIT\r\n").await;
        for start in ["250 2.0.0", "250", "221"] {
            client.expect(start).await;
        }
        client.expect_end().await;
        assert_eq!(store.messages(), ["x\r\n", "x\r\n"]);
    });
}

#[test]
fn replies_before_a_slow_hook_are_written_while_it_runs() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, hook| match hook {
        Hook::RcptTo { .. } => (Duration::from_secs(3600), Verdict::accept()),
        _ => (Duration::ZERO, Verdict::accept()),
    });
    simulate(scripted(&store, hooks), async |bench| {
        let mut client = bench.connect().await;
        client
            .send("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nNOOP\r\n")
            .await;
        for start in ["220", "250 ", "250 2.1.0"] {
            client.expect(start).await;
        }
        // No time limit is due while a hook runs, and nothing behind it is processed.
        bench.advance(Duration::from_secs(3599)).await;
        bench.advance(Duration::from_secs(1)).await;
        client.expect("250 2.1.5").await;
        client.expect("250").await;
    });
}

#[test]
fn one_context_serves_all_phases_of_a_connection_and_the_end_is_told() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let seen = Arc::clone(&hooks.seen);
    simulate(scripted(&store, hooks), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.message("x\r\n", "250").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
        drop(client);
        settle().await;
        assert_eq!(
            *seen.lock().expect("the lock"),
            [
                "1 Connect",
                "2 Helo",
                "3 MailFrom",
                "4 RcptTo",
                "5 Eod",
                "closed by local 221 after QUIT"
            ]
        );
        assert_eq!(bench.server.open(), 0);
    });
}

#[test]
fn a_message_accepted_after_the_client_has_left_is_kept() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, hook| match hook {
        Hook::Eod { .. } => (Duration::from_secs(5), Verdict::accept()),
        _ => (Duration::ZERO, Verdict::accept()),
    });
    let seen = Arc::clone(&hooks.seen);
    simulate(scripted(&store, hooks), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.begin_message("x\r\n").await;
        drop(client);
        bench.advance(Duration::from_secs(5)).await;
        assert_eq!(store.messages(), ["x\r\n"]);
        let seen = seen.lock().expect("the lock");
        let end = seen.last().expect("an end");
        assert!(end.starts_with("closed by remote 250 after EOD"), "{end}");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_message_leaves_nothing() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<>", "250").await;
        client.command("RCPT TO:<a@b.example>", "250").await;
        client.command("DATA", "354").await;
        client.send("x\r\n.\r").await;
        drop(client);
        settle().await;
        assert!(store.messages().is_empty());
        assert_eq!(bench.server.open(), 0);
    });
}

#[test]
fn a_half_closed_client_gets_all_its_replies() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client
            .send("HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\n")
            .await;
        client.connection.shutdown().await.expect("closed");
        for start in ["220", "250", "250", "250", "354", "250 2.0.0"] {
            client.expect(start).await;
        }
        client.expect_end().await;
        assert_eq!(store.messages(), ["x\r\n"]);
    });
}

#[test]
fn only_acceptance_and_rejection_queue() {
    for (verdict, start, copies) in [
        (Verdict::accept(), "250", 1),
        (Verdict::Reject(ReplyOptions::default()), "550 5.7.1", 1),
        (Verdict::Defer(ReplyOptions::default()), "421 4.3.0", 0),
        (Verdict::End, "421 4.3.0", 0),
        (Verdict::Error, "421 4.3.0", 0),
    ] {
        let store = Arc::new(MemoryStore::default());
        let answer = verdict.clone();
        let hooks = Scripted::new(move |_, hook| match hook {
            Hook::Eod { .. } => (Duration::ZERO, answer.clone()),
            _ => (Duration::ZERO, Verdict::accept()),
        });
        simulate(scripted(&store, hooks), async |bench| {
            let mut client = bench.connect().await;
            client.greet().await;
            client.message("x\r\n", start).await;
            assert_eq!(store.messages().len(), copies, "{verdict:?}");
        });
    }
}

#[test]
fn failures_of_the_store_are_temporary_and_the_session_goes_on() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        let begin = |failure| *store.fail_begin.lock().expect("the lock") = Some(failure);
        for (failure, start) in [
            (StoreFailure::Full, "452 4.3.1"),
            (StoreFailure::Broken, "451 4.3.0"),
        ] {
            begin(failure);
            client.command("MAIL FROM:<>", "250").await;
            client.command("RCPT TO:<a@b.example>", "250").await;
            client.command("DATA", start).await;
            *store.fail_append.lock().expect("the lock") = Some(failure);
            client.message("x\r\n", start).await;
            *store.fail_commit.lock().expect("the lock") = Some(failure);
            client.message("x\r\n", start).await;
        }
        *store.refusal.lock().expect("the lock") = Some("the disk is full".to_owned());
        client.command("MAIL FROM:<>", "452 4.3.1").await;
        *store.refusal.lock().expect("the lock") = None;
        client.message("x\r\n", "250").await;
        assert_eq!(store.messages(), ["x\r\n"]);
        let events = bench.events.lock().expect("the lock");
        let lost = events
            .iter()
            .filter(|event| matches!(event, Event::NotStored { .. }));
        assert_eq!(lost.count(), 6);
    });
}

#[test]
fn a_message_in_chunks_is_told_of_once_with_the_answer_that_ended_it() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = settings(&store);
    let smtp = Arc::make_mut(&mut settings.smtp);
    smtp.extensions.chunking = true;
    smtp.limits.size = 100;
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        let begin = "MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 3\r\nabc";
        // The refusal of the second chunk comes in the same breath as the answer to the first.
        client
            .send(&format!(
                "{begin}BDAT 200 LAST\r\n{}NOOP\r\n",
                "x".repeat(200)
            ))
            .await;
        for reply in [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.0.0 Ok, chunk",
            "552",
            "250",
        ] {
            client.expect(reply).await;
        }
        // What the client gives up itself has no result.
        client.send(&format!("{begin}RSET\r\n")).await;
        for reply in [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.0.0 Ok, chunk",
            "250 2.0.0 Ok",
        ] {
            client.expect(reply).await;
        }
        let events = bench.events.lock().expect("the lock");
        let lines: Vec<(&str, String)> = events
            .iter()
            .filter(|event| matches!(event, Event::Message { .. } | Event::Refused { .. }))
            .map(|event| (event.id(), event.to_string()))
            .collect();
        let [(refused, refusal), (message, result)] = &lines[..] else {
            panic!("{lines:?}");
        };
        let (refused, refusal, message, result) = match result.starts_with("message") {
            true => (refused, refusal, message, result),
            false => (message, result, refused, refusal),
        };
        assert_eq!(refused, message);
        assert!(
            refusal.starts_with("refuse command=BDAT code=552"),
            "{refusal}"
        );
        assert!(result.contains("action=REJECT code=552"), "{result}");
    });
}

#[test]
fn the_clients_name_is_looked_up_and_waited_for_no_longer_than_five_seconds() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = settings(&store);
    settings.remote_ptr = true;
    simulate(settings, async |bench| {
        let name = RecordData::Ptr("client.example".to_owned());
        bench
            .dns
            .add("1.2.0.192.in-addr.arpa", RecordType::Ptr, name);
        bench
            .dns
            .add_address("client.example", [192, 0, 2, 1].into());
        let mut client = bench.connect().await;
        client.greet().await;
        client.message("x\r\n", "250").await;
        let queued = store.queued.lock().expect("the lock");
        let text = String::from_utf8_lossy(&queued[0].1).into_owned();
        assert!(text.starts_with("Received: from client.example (client.example [192.0.2.1])"));
    });
}

#[test]
fn a_reload_concerns_later_connections_only() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut old = bench.connect().await;
        old.greet().await;
        let mut renamed = settings(&store);
        Arc::make_mut(&mut renamed.smtp).hostname = "new.example".to_owned();
        bench.server.reload(renamed);
        let mut new = bench.connect().await;
        new.expect("220 new.example").await;
        old.command("EHLO c", "250 ").await;
        old.message("x\r\n", "250").await;
    });
}

#[test]
fn an_idle_session_is_small() {
    let store = Arc::new(MemoryStore::default());
    let mut sizes = Vec::new();
    simulate(settings(&store), async |bench| {
        let _client = bench.connect().await;
        settle().await;
        sizes = bench.sizes.borrow().clone();
    });
    // What the task holds beside the session itself, which is in a box of its own.
    assert!(sizes[0] < 2048, "{sizes:?}");
}

#[test]
fn the_log_has_every_connection_and_message_and_the_dialogue_if_asked_but_no_content() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = settings(&store);
    settings.verbose = true;
    Arc::make_mut(&mut settings.smtp).limits.size = 100;
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.message("secret\r\n", "250 2.0.0").await;
        client.message(&"secret\r\n".repeat(20), "552 5.3.4").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
        drop(client);
        settle().await;
        let events = bench.events.lock().expect("the lock");
        let mut ids = Vec::new();
        let mut text = String::new();
        for event in events.iter() {
            let id = event.id().to_owned();
            let number = ids
                .iter()
                .position(|known| *known == id)
                .unwrap_or(ids.len());
            if number == ids.len() {
                ids.push(id);
            }
            text += &format!("[{number}] {event}\n");
        }
        for (number, id) in ids.iter().enumerate() {
            text = text.replace(id, &format!("ID{number}"));
        }
        insta::assert_snapshot!(text);
    });
}
