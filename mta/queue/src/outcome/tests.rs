//! The tables of default actions, statuses and notifications, row by row.

use super::*;
use crate::attempt::{AttemptError, Connection, SmtpState};
use crate::item::Address;
use crate::retry::{Interval, RetryRules};
use std::time::Duration;

const T0: Timestamp = Timestamp::from_secs(1_000_000);

fn item() -> Item {
    let id = ItemId {
        transaction: uuid::Uuid::nil(),
        queue: 1,
    };
    let (from, to) = (Address::new("from", "a.test"), Address::new("to", "b.test"));
    Item::new(id, T0, from, to, "mx".into())
}

fn transport() -> Transport {
    Transport {
        dsn_transport: Some("dsn".into()),
        ..Transport::default()
    }
}

fn reply(code: u16, enhanced: Option<EnhancedStatus>, state: SmtpState) -> Cause {
    let reason = vec!["no such".into(), "user".into()];
    attempt(Outcome::Result(Reply {
        code,
        enhanced,
        reason,
        state,
    }))
}

fn error(kind: ErrorKind, temporary: bool) -> Cause {
    attempt(Outcome::Error(AttemptError::new(
        kind, temporary, "it broke",
    )))
}

fn attempt(outcome: Outcome) -> Cause {
    Cause::Attempt(Attempt {
        outcome,
        connection: Some(Connection {
            remotemx: Some("mx.b.test".into()),
            ..Connection::default()
        }),
        duration: Duration::from_secs(1),
        final_delivery: false,
    })
}

struct Bench {
    item: Item,
    transport: Transport,
    request: DsnRequest,
    success_is_delivered: bool,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        Bench {
            item: item(),
            transport: transport(),
            request: DsnRequest::default(),
            success_is_delivered: false,
            now: T0,
        }
    }

    fn notify(notify: &str) -> Self {
        let mut bench = Bench::new();
        bench.request.notify = Some(notify.parse().unwrap());
        bench
    }

    fn context(&self) -> Context<'_> {
        Context {
            item: &self.item,
            transport: &self.transport,
            request: &self.request,
            success_is_delivered: self.success_is_delivered,
            now: self.now,
        }
    }

    fn situation(&self, cause: &Cause) -> Situation {
        situation(cause, &self.context())
    }

    fn decide(&self, cause: &Cause, verdict: Verdict) -> Decision {
        decide(cause, &self.context(), verdict, None, 0).unwrap()
    }
}

/// `ACTION dsn-action status type; text`, `-` for what is missing.
fn show(situation: &Situation) -> String {
    let Situation { action, dsn, .. } = situation;
    let mut words = vec![
        action.map_or("-", Action::as_str).to_owned(),
        dsn.action.map_or("-", DsnAction::as_str).to_owned(),
        dsn.status
            .map_or("-".to_owned(), |status| status.to_string()),
    ];
    words.extend(
        dsn.diagnostic
            .as_ref()
            .map(|d| format!("{}; {}", d.kind(), d.text())),
    );
    words.join(" ")
}

#[test]
fn default_actions() {
    use SmtpState::{Auth, Banner, Data, Ehlo, Eod, Mail, Rcpt, StartTls};
    let status = |class, subject, detail| Some(EnhancedStatus::new(class, subject, detail));
    let bench = Bench::new();
    for (cause, want) in [
        (reply(250, None, Eod), "- - -"),
        (reply(299, None, Eod), "- - -"),
        (
            reply(450, None, Rcpt),
            "QUEUE - 4.0.0 smtp; 450 no such user",
        ),
        (
            reply(451, status(4, 7, 1), Mail),
            "QUEUE - 4.7.1 smtp; 451 4.7.1 no such user",
        ),
        (
            reply(550, status(5, 1, 1), Rcpt),
            "BOUNCE failed 5.1.1 smtp; 550 5.1.1 no such user",
        ),
        (
            reply(552, None, Data),
            "BOUNCE failed 5.0.0 smtp; 552 no such user",
        ),
        (
            reply(554, None, Eod),
            "BOUNCE failed 5.0.0 smtp; 554 no such user",
        ),
        (
            reply(554, None, Banner),
            "BOUNCE failed 5.0.0 smtp; 554 no such user",
        ),
        (
            reply(550, None, Ehlo),
            "BOUNCE failed 5.0.0 smtp; 550 no such user",
        ),
        (
            reply(502, None, StartTls),
            "BOUNCE failed 5.0.0 smtp; 502 no such user",
        ),
        (
            reply(535, None, Auth),
            "BOUNCE failed 5.0.0 smtp; 535 no such user",
        ),
        (
            error(ErrorKind::Network, true),
            "QUEUE - 4.4.1 x-error; it broke",
        ),
        (
            error(ErrorKind::Tls, true),
            "QUEUE - 4.7.5 x-error; it broke",
        ),
        (
            error(ErrorKind::Dns(DnsError::Other), true),
            "QUEUE - 4.0.0 x-error; it broke",
        ),
        (
            error(ErrorKind::Protocol, true),
            "QUEUE - 4.0.0 x-error; it broke",
        ),
        (
            error(ErrorKind::Dns(DnsError::NxDomain), false),
            "BOUNCE failed 5.1.2 x-error; it broke",
        ),
        (
            error(ErrorKind::Dns(DnsError::NullMx), false),
            "BOUNCE failed 5.1.10 x-error; it broke",
        ),
        (
            error(ErrorKind::Dns(DnsError::NoData), false),
            "BOUNCE failed 5.0.0 x-error; it broke",
        ),
        (
            error(ErrorKind::Config, false),
            "BOUNCE failed 5.0.0 x-error; it broke",
        ),
        (
            Cause::Aged,
            "BOUNCE failed 4.4.7 x-error; the message could not be delivered in time",
        ),
        (
            Cause::Retention,
            "DELETE - 5.0.0 x-error; the message was held for its longest time",
        ),
    ] {
        assert_eq!(show(&bench.situation(&cause)), want, "{cause:?}");
    }
}

#[test]
fn removals_by_script_and_by_hand() {
    let bench = Bench::new();
    let script = |removal, reason: Option<&str>| Cause::Script {
        removal,
        reason: reason.map(Text::from),
        dsn: DsnOptions::default(),
    };
    let by_hand = |removal, status, diagnostic: Option<&str>| Cause::Manual {
        removal,
        status,
        diagnostic: diagnostic.map(Text::from),
    };
    let gone = Some(EnhancedStatus::new(5, 2, 1));
    for (cause, want) in [
        (
            script(Removal::Bounce, Some("spam")),
            "BOUNCE failed 5.0.0 x-error; spam",
        ),
        (
            script(Removal::Delete, Some("spam")),
            "DELETE - 5.0.0 x-error; spam",
        ),
        (
            by_hand(Removal::Bounce, gone, Some("moved")),
            "BOUNCE failed 5.2.1 x-error; moved",
        ),
        (
            by_hand(Removal::Bounce, None, None),
            "BOUNCE failed 5.0.0 x-error; bounced by the administrator",
        ),
        (
            by_hand(Removal::Delete, None, None),
            "DELETE - 5.0.0 x-error; deleted by the administrator",
        ),
    ] {
        assert_eq!(show(&bench.situation(&cause)), want, "{cause:?}");
        let decision = bench.decide(&cause, Verdict::Default);
        assert_eq!(
            matches!(decision, Decision::Bounce(Some(_))),
            want.starts_with("BOUNCE")
        );
    }
    let off = Bench {
        transport: Transport::default(),
        ..Bench::new()
    };
    assert!(show(&off.situation(&script(Removal::Bounce, None))).starts_with("DELETE -"));
    let own_transport = Cause::Script {
        removal: Removal::Bounce,
        reason: None,
        dsn: DsnOptions {
            transportid: Some("other".into()),
            ..DsnOptions::default()
        },
    };
    assert!(show(&off.situation(&own_transport)).starts_with("BOUNCE failed"));
}

#[test]
fn temporary_failures_bounce_once_expired() {
    let mut bench = Bench::new();
    let busy = reply(450, None, SmtpState::Rcpt);
    let greylisted = reply(451, Some(EnhancedStatus::new(4, 7, 1)), SmtpState::Rcpt);
    bench.item.retrycount = 29;
    assert!(!bench.situation(&busy).expired);
    bench.item.retrycount = 30;
    let at_count = bench.situation(&busy);
    assert!(at_count.expired);
    assert_eq!(
        show(&at_count),
        "BOUNCE failed 4.4.7 smtp; 450 no such user"
    );
    bench.item.retrycount = 0;
    bench.now = T0.after(Duration::from_secs(432_000));
    for (cause, status) in [
        (&busy, "4.4.7"),
        (&greylisted, "4.7.1"),
        (&error(ErrorKind::Network, true), "4.4.7"),
        (&error(ErrorKind::Tls, true), "4.7.5"),
    ] {
        let late = bench.situation(cause);
        assert_eq!((late.expired, late.action), (true, Some(Action::Bounce)));
        assert_eq!(late.dsn.status.unwrap().to_string(), status, "{cause:?}");
    }
    let success = bench.situation(&reply(250, None, SmtpState::Eod));
    assert_eq!((success.expired, success.action), (true, None));
}

#[test]
fn who_is_notified_of_what() {
    let bounce = reply(550, None, SmtpState::Rcpt);
    let success = reply(250, None, SmtpState::Eod);
    let delay = reply(450, None, SmtpState::Rcpt);
    let late = |mut bench: Bench| {
        bench.transport.retry = RetryRules {
            intervals: [Interval::secs(60, true)].into(),
            ..RetryRules::default()
        };
        bench
    };
    let null = |mut bench: Bench| {
        bench.item.sender = Address::default();
        bench
    };
    // (sender's wish, notice of failure, of delay, of success)
    type Make = Box<dyn Fn() -> Bench>;
    let rows: [(&str, Make, [bool; 3]); 8] = [
        ("nothing said", Box::new(Bench::new), [true, true, false]),
        (
            "NEVER",
            Box::new(|| Bench::notify("NEVER")),
            [false, false, false],
        ),
        (
            "SUCCESS",
            Box::new(|| Bench::notify("SUCCESS")),
            [false, false, true],
        ),
        (
            "FAILURE",
            Box::new(|| Bench::notify("FAILURE")),
            [true, false, false],
        ),
        (
            "DELAY",
            Box::new(|| Bench::notify("DELAY")),
            [false, true, false],
        ),
        (
            "all",
            Box::new(|| Bench::notify("SUCCESS,FAILURE,DELAY")),
            [true, true, true],
        ),
        (
            "null sender",
            Box::new(move || null(Bench::notify("SUCCESS,FAILURE,DELAY"))),
            [false; 3],
        ),
        (
            "notices off",
            Box::new(|| Bench {
                transport: Transport::default(),
                ..Bench::notify("SUCCESS,FAILURE,DELAY")
            }),
            [false; 3],
        ),
    ];
    for (what, make, want) in rows {
        let bench = late(make());
        let got = [&bounce, &delay, &success].map(|cause| {
            let decision = bench.decide(cause, Verdict::Default);
            let dsn = match &decision {
                Decision::Done(dsn) | Decision::Bounce(dsn) | Decision::Requeue { dsn, .. } => dsn,
                Decision::Delete => &None,
            };
            let shown = bench.situation(cause).dsn.action;
            assert_eq!(
                shown,
                dsn.as_ref().map(|dsn| dsn.action),
                "the script sees what happens"
            );
            dsn.is_some()
        });
        assert_eq!(got, want, "{what}");
    }
}

#[test]
fn success_is_reported_by_whoever_knows() {
    let with = |announces_dsn, final_delivery| {
        let Cause::Attempt(mut attempt) = reply(250, None, SmtpState::Eod) else {
            unreachable!()
        };
        attempt.connection = Some(Connection {
            dsn: announces_dsn,
            ..Connection::default()
        });
        attempt.final_delivery = final_delivery;
        Cause::Attempt(attempt)
    };
    for (forwarded, final_delivery, script_says, want) in [
        (false, false, false, Some(DsnAction::Relayed)),
        (false, true, false, Some(DsnAction::Delivered)),
        (false, false, true, Some(DsnAction::Delivered)),
        (true, false, false, None),
        (true, false, true, None),
    ] {
        let bench = Bench {
            success_is_delivered: script_says,
            ..Bench::notify("SUCCESS")
        };
        let shown = bench.situation(&with(forwarded, final_delivery));
        assert_eq!(shown.dsn.action, want);
        assert_eq!(shown.dsn.status, want.map(|_| EnhancedStatus::new(2, 0, 0)));
    }
}

#[test]
fn a_script_overrides_the_default() {
    let bench = Bench::new();
    let bounce = reply(550, Some(EnhancedStatus::new(5, 1, 1)), SmtpState::Rcpt);
    let hour = Again {
        delay: Some(Duration::from_secs(3600)),
        ..Again::default()
    };
    let Decision::Requeue {
        schedule,
        again,
        dsn,
    } = bench.decide(&bounce, Verdict::Queue(Box::new(hour)))
    else {
        panic!("not queued")
    };
    assert_eq!(schedule.at, T0.after(Duration::from_secs(3600)));
    assert_eq!(again.reason, Some("550 5.1.1 no such user".into()));
    assert_eq!(dsn, None);

    let verdict = Verdict::Bounce {
        reason: Some("gone away".into()),
        dsn: Box::default(),
    };
    let Decision::Bounce(Some(dsn)) = bench.decide(&bounce, verdict) else {
        panic!("no bounce")
    };
    assert_eq!(
        dsn.diagnostic,
        Some(Diagnostic::Smtp("550 5.1.1 gone away".into()))
    );
    assert_eq!(dsn.recipient, bench.item.sender);
    assert_eq!(dsn.transportid, "dsn");
    assert_eq!(dsn.remote_mta, Some("mx.b.test".into()));
    assert_eq!(dsn.in_reply_to, Some("RCPT"));
    assert_eq!(dsn.last_attempt, Some(T0));

    assert_eq!(bench.decide(&bounce, Verdict::Delete), Decision::Delete);
}

#[test]
fn queue_may_exceed_the_count_and_announce_a_delay() {
    let mut bench = Bench::new();
    bench.item.retrycount = 99;
    let again = Again {
        delay: Some(Duration::from_secs(3600)),
        dsn_delayed: true,
        dsn: DsnOptions {
            subject_prepend: Some("Late: ".into()),
            ..DsnOptions::default()
        },
        ..Again::default()
    };
    let busy = reply(450, None, SmtpState::Rcpt);
    let Decision::Requeue {
        schedule,
        dsn: Some(dsn),
        ..
    } = bench.decide(&busy, Verdict::Queue(Box::new(again.clone())))
    else {
        panic!("not queued with a notice")
    };
    assert_eq!(schedule.retrycount, 100);
    assert_eq!(dsn.action, DsnAction::Delayed);
    assert_eq!(dsn.options.subject_prepend, Some("Late: ".into()));
    assert_eq!(
        dsn.will_retry_until,
        Some(T0.after(Duration::from_secs(3600))),
        "the script went beyond the count: no retry follows by itself"
    );
    assert_eq!(dsn.status.to_string(), "4.0.0");
    bench.request.notify = Some(Notify::FAILURE);
    let quiet = bench.decide(&busy, Verdict::Queue(Box::new(again)));
    assert!(matches!(quiet, Decision::Requeue { dsn: None, .. }));
}

#[test]
fn a_delivered_message_cannot_be_queued_again() {
    let bench = Bench::new();
    let done = reply(250, None, SmtpState::Eod);
    for verdict in [
        Verdict::Queue(Box::default()),
        Verdict::Bounce {
            reason: None,
            dsn: Box::default(),
        },
        Verdict::Delete,
    ] {
        assert_eq!(
            decide(&done, &bench.context(), verdict, None, 0),
            Err(AlreadyDelivered)
        );
    }
    assert_eq!(bench.decide(&done, Verdict::Default), Decision::Done(None));
}

#[test]
fn a_notice_to_nobody_is_not_made() {
    let bench = Bench::new();
    let dsn = DsnOptions {
        recipient: Some(Address::default()),
        ..DsnOptions::default()
    };
    let verdict = Verdict::Bounce {
        reason: None,
        dsn: Box::new(dsn),
    };
    let bounce = reply(550, None, SmtpState::Rcpt);
    assert_eq!(bench.decide(&bounce, verdict), Decision::Bounce(None));
}
