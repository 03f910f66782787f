//! Operators' wishes, holds, reloads and the stop.

use super::*;

#[test]
fn retention_ends_a_hold() {
    let retry = RetryRules {
        holdage: Some(secs(1000)),
        ..RetryRules::default()
    };
    let mut service = Service::new(Transport { retry, ..mx() }, OpenGate, Limits::default());
    let held = Item {
        hold: true,
        held_since: Some(T0),
        ..*item(1)
    };
    service.give(Input::Committed(Box::new(held)));
    assert_eq!(service.timer, Some(T0.after(secs(1000))));
    service.wait();
    assert_eq!(service.postdelivery(), Some(Action::Delete));
    assert!(service.run().is_none() && service.queue.is_empty());
    assert!(service.notices.is_empty());
}

#[test]
fn a_message_may_be_held_for_longer_than_its_age() {
    let mut service = plain();
    service.give(Input::Committed(Box::new(Item {
        hold: true,
        held_since: Some(T0),
        ..*item(1)
    })));
    assert_eq!(service.timer, None, "nothing ends a hold by default");
    service.now = T0.after(secs(600_000));
    service.give(Input::Control {
        id: id(1),
        action: Control::Release,
    });
    service.attempt();
    assert!(service.queue.audit(service.now).is_empty());
}

#[test]
fn an_operator_s_wishes() {
    let bounce = Control::Bounce {
        status: None,
        diagnostic: Some("bye".into()),
    };
    let update = ItemUpdate {
        recipient_domain: Some("e.test".into()),
        ..ItemUpdate::default()
    };
    let update = Control::Update(Box::new(update));
    let deferred = || Item {
        retryts: Some(T0.after(secs(60))),
        ..*item(1)
    };
    let held = || Item {
        hold: true,
        held_since: Some(T0),
        ..*item(1)
    };
    // (item, wish, what follows)
    for (item, action, want) in [
        (deferred(), Control::Hold, "HOLD"),
        (deferred(), Control::Retry, "attempt d.test"),
        (deferred(), Control::Defer(T0.after(secs(7))), "DEFER 7"),
        (deferred(), bounce.clone(), "postdelivery BOUNCE"),
        (deferred(), Control::Delete, "postdelivery DELETE"),
        (deferred(), Control::Freeze, "UPDATE"),
        (deferred(), Control::Release, "cannot be released"),
        (deferred(), Control::Thaw, "cannot be thawed"),
        (deferred(), update.clone(), "DEFER 60"),
        (held(), Control::Hold, "HOLD"),
        (held(), Control::Release, "attempt d.test"),
        (held(), Control::Retry, "attempt d.test"),
        (held(), Control::Defer(T0.after(secs(7))), "DEFER 7"),
        (held(), bounce, "postdelivery BOUNCE"),
        (held(), update, "HOLD"),
    ] {
        let mut service = plain();
        service.give(Input::Loaded(Box::new(item)));
        let got = match service.try_give(Input::Control {
            id: id(1),
            action: action.clone(),
        }) {
            Err(error) => error.to_string(),
            Ok(()) => match service.run() {
                Some(Output::StartAttempt { .. }) => {
                    format!(
                        "attempt {}",
                        service.queue.item(id(1)).unwrap().recipient.domain
                    )
                }
                Some(output) => show(&output),
                None => {
                    let state = service.queue.state(id(1)).unwrap();
                    match service.queue.why(id(1)) {
                        Some(Why::Deferred { at, .. }) => {
                            format!("{state} {}", at.since(T0).as_secs())
                        }
                        _ => state.to_string(),
                    }
                }
            },
        };
        assert!(got.contains(want), "{action:?}: {got}");
    }
}

#[test]
fn a_message_in_transition_is_left_alone_but_may_be_frozen_for_later() {
    let mut service = plain();
    service.give(Input::Committed(item(1)));
    service.attempt();
    for action in [
        Control::Hold,
        Control::Delete,
        Control::Retry,
        Control::Defer(T0),
    ] {
        let result = service.try_give(Input::Control { id: id(1), action });
        assert_eq!(result, Err(InputError::Busy(id(1))));
    }
    service.give(Input::Control {
        id: id(1),
        action: Control::Freeze,
    });
    service.ends(id(1), reply(450, SmtpState::Rcpt));
    service.postdelivery();
    assert!(service.run().is_none());
    assert_eq!(service.queue.state(id(1)), Some(State::Update));
    service.give(Input::Control {
        id: id(1),
        action: Control::Thaw,
    });
    assert_eq!(service.queue.state(id(1)), Some(State::Defer));
    let nobody = service.try_give(Input::Control {
        id: id(7),
        action: Control::Hold,
    });
    assert_eq!(nobody, Err(InputError::NotFound(id(7))));
}

#[test]
fn the_manual_causes_reach_the_script() {
    let mut service = plain();
    service.give(Input::Loaded(Box::new(Item {
        hold: true,
        ..*item(1)
    })));
    service.give(Input::Control {
        id: id(1),
        action: Control::Delete,
    });
    let Some(Output::RunPostdelivery { cause, .. }) = service.run() else {
        panic!()
    };
    assert!(matches!(
        &*cause,
        Cause::Manual {
            removal: Removal::Delete,
            ..
        }
    ));
    // The script keeps it.
    let verdict = Verdict::Queue(Box::new(Again {
        delay: Some(secs(9)),
        ..Again::default()
    }));
    service.give(Input::PostdeliveryVerdict {
        id: id(1),
        verdict,
        metadata: None,
        announced: None,
    });
    assert!(service.run().is_none());
    assert_eq!(service.queue.state(id(1)), Some(State::Defer));
}

#[test]
fn a_reload_applies_to_messages_that_wait() {
    let mut service = plain();
    service.give(Input::Loaded(Box::new(Item {
        retryts: Some(T0.after(secs(900))),
        ..*item(1)
    })));
    let retry = RetryRules {
        maxage: secs(300),
        intervals: [Interval::secs(5, false)].into(),
        ..RetryRules::default()
    };
    let transports = transports(Transport { retry, ..mx() });
    service.give(Input::Configure {
        transports,
        own: Arc::default(),
        limits: Limits::default(),
        policies: false,
    });
    assert_eq!(service.timer, Some(T0.after(secs(300))));
    service.wait();
    assert_eq!(service.postdelivery(), Some(Action::Bounce));
}

#[test]
fn a_draining_queue_ends_what_runs_and_starts_nothing() {
    let limits = Limits {
        deliveries: 1,
        ..Limits::default()
    };
    let mut service = Service::new(mx(), OpenGate, limits);
    service.give(Input::Committed(item(1)));
    service.give(Input::Committed(item(2)));
    let (first, _) = service.attempt();
    assert!(service.run().is_none());
    service.give(Input::Drain);
    service.give(Input::Committed(item(3)));
    service.ends(first, reply(450, SmtpState::Rcpt));
    assert!(!service.queue.is_idle());
    service.postdelivery();
    assert!(service.run().is_none());
    assert!(service.queue.is_idle());
    assert_eq!(service.queue.len(), 3, "everything is still on disk");
}
