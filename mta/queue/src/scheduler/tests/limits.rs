//! Limits and policies: what waits for them, and what goes on.

use super::*;

#[test]
fn the_limit_of_all_deliveries_holds() {
    let limits = Limits {
        deliveries: 2,
        ..Limits::default()
    };
    let mut service = Service::new(mx(), OpenGate, limits);
    for n in 1..=3 {
        service.give(Input::Committed(item(n)));
    }
    let (first, _) = service.attempt();
    service.attempt();
    assert!(service.run().is_none());
    let ready = Why::Ready {
        before: 0,
        at_total_limit: true,
        draining: false,
    };
    assert_eq!(service.queue.why(id(3)), Some(ready));
    service.ends(first, reply(250, SmtpState::Eod));
    assert_eq!(service.postdelivery(), None);
    assert_eq!(service.attempt().0, id(3));
}

#[test]
fn a_full_queue_leaves_messages_on_disk() {
    let limits = Limits {
        messages: 1,
        ..Limits::default()
    };
    let mut service = Service::new(mx(), OpenGate, limits);
    service.give(Input::Loaded(item(1)));
    assert!(!service.queue.has_room());
    assert_eq!(
        service.try_give(Input::Loaded(item(2))),
        Err(InputError::Full(1))
    );
    let (id, _) = service.attempt();
    service.ends(id, reply(250, SmtpState::Eod));
    service.postdelivery();
    service.run();
    assert!(service.queue.has_room());
    service.give(Input::Loaded(item(2)));
}

#[test]
fn the_next_candidate_waits_for_its_own_limit() {
    // Two messages to one domain; one delivery a host at a time.
    let mut service = Service::new(mx(), DestinationGate::new(1), Limits::default());
    service.give(Input::Committed(item(1)));
    service.give(Input::Committed(item(2)));
    let (first, host) = service.attempt();
    assert_eq!((first, host.mx), (id(1), "mx1.d.test".into()));
    assert!(matches!(
        service.queue.why(id(2)),
        Some(Why::Running(_)) | Some(Why::Blocked { .. })
    ));
    service.ends(first, refused());
    let mut hosts = [service.attempt(), service.attempt()];
    hosts.sort();
    assert_eq!(
        hosts[0].1.mx, "mx2.d.test",
        "the first message went on to the second host"
    );
    assert_eq!(hosts[1].1.mx, "mx1.d.test", "the second took its place");
    // The second message's first host fails while the other host is taken: it is put back.
    service.ends(id(2), refused());
    assert!(service.run().is_none());
    let Some(Why::Blocked { by, .. }) = service.queue.why(id(2)) else {
        panic!("{:?}", service.queue.why(id(2)))
    };
    assert_eq!(by.kind, BlockKind::Concurrency);
    assert_eq!(service.queue.counters().putbacks, 1);
    service.ends(id(1), reply(250, SmtpState::Eod));
    service.postdelivery();
    assert_eq!(
        service.attempt().1.mx,
        "mx2.d.test",
        "and goes on where it was"
    );
}

/// A gate that is shut for one domain and counts its tokens.
#[derive(Debug, Default)]
struct Shut {
    taken: usize,
    open: bool,
}

impl Gate for Shut {
    fn fields(&self) -> FieldSet {
        FieldSet::default().with(crate::gate::Field::RecipientDomain)
    }

    fn grouping(&self, candidate: &Candidate, _: &Text) -> Option<Text> {
        (candidate.mx == "mx1.d.test").then(|| "&d".into())
    }

    fn admit(&mut self, fields: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
        if fields.recipientdomain == Some("shut.test".into()) && !self.open {
            let kind = BlockKind::Suspend;
            return Err(Blocked {
                limit: LimitId(1),
                until: None,
                kind,
            });
        }
        self.taken += 1;
        Ok(Grant {
            tags: vec!["tag".into()],
            ..Grant::default()
        })
    }

    fn release(&mut self, _: Ticket, how: Release, _: Timestamp, _: &mut Vec<LimitId>) {
        if how == Release::PutBack {
            self.taken -= 1;
        }
    }
}

#[test]
fn a_suspended_message_ends_by_its_age() {
    let mut service = Service::new(mx(), Shut::default(), Limits::default());
    service.give(Input::Committed(item_to(1, "Shut.test")));
    service.give(Input::Committed(item(2)));
    assert_eq!(service.attempt().0, id(2));
    assert!(service.run().is_none());
    assert!(matches!(
        service.queue.why(id(1)),
        Some(Why::Blocked { before: 0, .. })
    ));
    service.ends(id(2), reply(250, SmtpState::Eod));
    let Some(Output::RunPostdelivery { grouping, tags, .. }) = service.run() else {
        panic!()
    };
    assert_eq!((grouping, tags), (Some("&d".into()), vec!["tag".into()]));
    assert_eq!(service.timer, Some(T0.after(secs(432_000))));
    service.wait();
    assert_eq!(service.postdelivery(), Some(Action::Bounce));
}

#[test]
fn lifting_a_suspend_lets_the_messages_go() {
    let mut service = Service::new(mx(), Shut::default(), Limits::default());
    service.give(Input::Committed(item_to(1, "shut.test")));
    assert!(service.run().is_none());
    service.queue.gate_mut().open = true;
    service.give(Input::PoliciesChanged);
    assert_eq!(service.attempt().0, id(1));
    service.give(Input::PutBack { id: id(1) });
    assert_eq!(service.attempt().0, id(1));
    assert_eq!(
        service.queue.gate().taken,
        1,
        "the token of the put-back was returned"
    );
}

/// A gate that suspends one host.
#[derive(Debug)]
struct HostSuspended(Option<Text>);

impl Gate for HostSuspended {
    fn fields(&self) -> FieldSet {
        FieldSet::default()
    }

    fn is_suspended(&self, fields: &Fields) -> bool {
        self.0.is_some() && fields.remotemx == self.0
    }

    fn admit(&mut self, fields: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
        let kind = BlockKind::Suspend;
        let blocked = Blocked {
            limit: LimitId(0),
            until: None,
            kind,
        };
        if self.is_suspended(fields) {
            Err(blocked)
        } else {
            Ok(Grant::default())
        }
    }

    fn release(&mut self, _: Ticket, _: Release, _: Timestamp, _: &mut Vec<LimitId>) {}
}

#[test]
fn a_suspended_host_is_passed_over_if_there_is_another() {
    let limits = Limits {
        deliveries: 0,
        ..Limits::default()
    };
    for (suspended, want) in [("mx1.d.test", "mx2.d.test"), ("mx2.d.test", "mx1.d.test")] {
        let gate = HostSuspended(Some(suspended.into()));
        let mut service = Service::new(mx(), gate, Limits::default());
        service.give(Input::Committed(item(1)));
        assert_eq!(service.attempt().1.mx, want);
        // A message that waits already follows a change.
        let mut service = Service::new(mx(), HostSuspended(None), limits);
        service.give(Input::Committed(item(1)));
        assert!(service.run().is_none());
        service.queue.gate_mut().0 = Some(suspended.into());
        service.queue.limits.deliveries = 1;
        service.give(Input::PoliciesChanged);
        assert_eq!(service.attempt().1.mx, want);
    }
}

#[test]
fn high_priority_goes_first_from_the_loader_on() {
    let limits = Limits {
        preparing: 1,
        deliveries: 1,
        ..Limits::default()
    };
    let mut service = Service::new(mx(), OpenGate, limits);
    for n in 1..=3 {
        service.give(Input::Loaded(item(n)));
    }
    service.give(Input::Loaded(Box::new(Item {
        priority: Priority::High,
        ..*item(9)
    })));
    assert_eq!(service.queue.why(id(2)), Some(Why::Loader { before: 1 }));
    let mut order = Vec::new();
    for _ in 0..4 {
        let (id, _) = service.attempt();
        order.push(id.transaction.as_u128());
        service.ends(id, reply(250, SmtpState::Eod));
        service.postdelivery();
    }
    assert_eq!(
        order[1], 9,
        "the first was in predelivery already: {order:?}"
    );
}
