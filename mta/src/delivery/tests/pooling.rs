//! Connections that are kept for the next message, by `smtpd-delivery.yaml` and by `Try`.

use angarium_config::delivery::Delivery;
use angarium_config::{MemoryFiles, Options, Running, Source, load};

use super::super::settings::PoolPolicy;
use super::*;

/// The settings that a delivery file gives.
pub(super) fn delivery_file(text: &str) -> Arc<Delivery> {
    Arc::new(configured(text).delivery.clone())
}

/// What a delivery file gives, beside one list and one group.
fn configured(text: &str) -> Arc<Running> {
    let running = "version: '6.0'
queues:
  lists: {remotemx: {big: [sink.test]}}
  grouping: {groupings: [{id: hosts, remotemx: ['*.hosts.test']}]}
";
    let text = format!("version: '6.0'\ndelivery:\n{text}");
    let files: MemoryFiles = [
        ("smtpd.yaml", "version: '6.0'"),
        ("smtpd-app.yaml", running),
        ("smtpd-delivery.yaml", text.as_str()),
    ]
    .into_iter()
    .collect();
    let source = Source::Packed("smtpd.yaml".into());
    let loaded = load(&files, &source, &Options::default());
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    loaded.config.running
}

pub(super) fn pooled(_: &Item) -> Predelivery {
    Predelivery::Try(Box::new(Try {
        client: Client {
            pooling: Some(true),
            helo: Some("pooled.test".to_owned()),
            ..Client::default()
        },
        ..Try::default()
    }))
}

impl Setup {
    fn file(mut self, text: &str) -> Setup {
        self.settings.by_destination = delivery_file(text);
        self
    }

    /// Another domain, with a host of its own that leads to the same sink.
    fn domain(self, domain: &str, host: &str) -> Setup {
        self.host(host, 1);
        self.mx(domain, 10, host);
        self
    }
}

impl Rig {
    /// Sends messages one after the other, each once the last has arrived.
    async fn send(&mut self, to: &[&str]) {
        let before = self.deliveries(0).await.len();
        for (number, to) in to.iter().enumerate() {
            self.submit(to, MESSAGE, Change::None).await;
            let lines = self.deliveries(before + number + 1).await;
            has(&lines[before + number], &["retry=0", "result=DELIVERED"]);
        }
    }

    /// Waits until so many connections were left politely.
    async fn quits(&self, sink: &Sink, count: usize) {
        self.until(|| sink.quits() >= count).await;
        assert_eq!(sink.quits(), count);
    }
}

fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

const B: &str = "b@to.test";

#[test]
fn the_delivery_file_says_which_connections_are_kept() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .domain("other.test", "mx.other.test")
            .file("  conditions: [{if: {remotemx: '@big'}, then: {pooling: {enabled: true}}}]\n")
            .start(dir.path());
        let other = "b@other.test";
        rig.send(&[B, other, B, other, B]).await;
        assert_eq!(sink.used(), [1, 2, 1, 3, 1]);
        rig.stop().await;
    });
}

#[test]
fn nothing_is_kept_unless_something_says_so() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .file("  default: {pooling: {timeout: 100}}\n")
            .start(dir.path());
        rig.send(&[B, B]).await;
        assert_eq!(sink.used(), [1, 2]);
        rig.quits(&sink, 2).await;
        rig.stop().await;
    });
}

#[test]
fn a_connection_is_left_when_it_was_idle_for_its_time() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .file("  default: {pooling: {enabled: true, timeout: 10}}\n")
            .start(dir.path());
        rig.send(&[B]).await;
        rig.clock.advance(secs(9));
        rig.send(&[B]).await;
        // Idle time counts from the last message.
        rig.clock.advance(secs(9));
        rig.send(&[B]).await;
        assert_eq!((sink.connections(), sink.quits()), (1, 0));
        rig.clock.advance(secs(10));
        rig.quits(&sink, 1).await;
        rig.send(&[B]).await;
        assert_eq!(sink.used(), [1, 1, 1, 2]);
        rig.stop().await;
    });
}

#[test]
fn a_short_idle_time_behind_a_long_one_is_kept() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .domain("other.test", "mx.other.test")
            .file(
                "  conditions: [{if: {remotemx: mx.other.test}, then: {pooling: {timeout: 5}}}]
  default: {pooling: {enabled: true, timeout: 300}}
",
            )
            .start(dir.path());
        rig.send(&[B, "b@other.test"]).await;
        rig.clock.advance(secs(5));
        rig.quits(&sink, 1).await;
        rig.send(&[B]).await;
        assert_eq!(sink.used(), [1, 2, 1]);
        rig.stop().await;
    });
}

#[test]
fn a_connection_serves_its_number_of_messages() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .file("  default: {pooling: {enabled: true, transactions: 2}}\n")
            .start(dir.path());
        rig.send(&[B; 5]).await;
        assert_eq!(sink.used(), [1, 1, 2, 2, 3]);
        rig.quits(&sink, 2).await;
        rig.stop().await;
    });
}

#[test]
fn a_refused_message_leaves_a_connection_that_is_reset_before_the_next() {
    run(|dir| async move {
        let refuses = script(|_, at| (at == "RCPT").then_some(Act::Say("550 5.1.1 nobody")));
        let sink = Sink::start(local(1, 0), Offer::Nothing, refuses);
        let mut setup = Setup::to(sink.port()).file("  default: {pooling: {enabled: true}}\n");
        // No notification in between.
        let out = Text::from("out");
        let transport = &setup.settings.transports[&out];
        let transport = Transport {
            dsn_transport: None,
            ..(**transport).clone()
        };
        setup.settings.transports.insert(out, Arc::new(transport));
        // With PIPELINING the refusal would come when DATA is on its way, and an empty message end it.
        let client = ClientSettings {
            pipelining: false,
            ..ClientSettings::default()
        };
        setup
            .settings
            .clients
            .insert("out".into(), Arc::new(client));
        let mut rig = setup.start(dir.path());
        rig.submit("nobody@to.test", MESSAGE, Change::None).await;
        has(&rig.only().await, &["code=550"]);
        sink.behave(script(|_, _| None));
        rig.submit(B, MESSAGE, Change::None).await;
        has(&rig.deliveries(2).await[1], &["result=DELIVERED"]);
        assert_eq!(sink.connections(), 1);
        let commands = sink.commands();
        let verbs: Vec<&str> = commands
            .iter()
            .filter_map(|line| line.get(..4))
            .filter(|verb| ["RSET", "MAIL", "RCPT"].contains(verb))
            .collect();
        assert_eq!(verbs, ["MAIL", "RCPT", "RSET", "MAIL", "RCPT"]);
        rig.stop().await;
    });
}

#[test]
fn sessions_that_were_set_up_differently_are_never_shared() {
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
        let mut setup =
            Setup::to(sink.port()).file("  default: {pooling: {enabled: true, timeout: 99}}\n");
        let out = Arc::clone(&setup.settings.transports[&Text::from("out")]);
        let tls = |mode| TlsSettings {
            mode,
            ..TlsSettings::default()
        };
        let named = ClientSettings {
            helo: Some("other.test".to_owned()),
            ..ClientSettings::default()
        };
        let clients = [
            ("out", ClientSettings::default()),
            ("named", named),
            (
                "opportunistic",
                ClientSettings {
                    tls: tls(TlsMode::Optional),
                    ..ClientSettings::default()
                },
            ),
            (
                "required",
                ClientSettings {
                    tls: tls(TlsMode::Require),
                    ..ClientSettings::default()
                },
            ),
        ];
        for (id, client) in clients {
            let transports = &mut setup.settings.transports;
            transports.insert(id.into(), Arc::clone(&out));
            setup.settings.clients.insert(id.into(), Arc::new(client));
        }
        let mut rig = setup.start(dir.path());
        let transports = ["out", "named", "opportunistic", "required"];
        for (number, id) in transports.iter().chain(&transports).enumerate() {
            rig.submit_with("a@from.test", B, MESSAGE, Change::None, |item| {
                item.transportid = (*id).into();
            })
            .await;
            rig.deliveries(number + 1).await;
        }
        assert_eq!(sink.used(), [1, 2, 3, 4, 1, 2, 3, 4]);
        let tls: Vec<bool> = sink.received().iter().map(|one| one.tls).collect();
        assert_eq!(tls[..4], [false, false, true, true]);
        assert_eq!(tls[4..], tls[..4]);
        rig.stop().await;
    });
}

#[test]
fn the_delivery_file_wins_over_the_transport_and_try_over_both() {
    fn without_pooling(item: &Item) -> Predelivery {
        let pooling = item.recipient.localpart.as_bytes() == b"alone";
        Predelivery::Try(Box::new(Try {
            client: Client {
                pooling: pooling.then_some(false),
                tls: pooling.then_some(TlsMode::Disabled),
                ..Client::default()
            },
            ..Try::default()
        }))
    }
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
        let mut rig = Setup::to(sink.port())
            .tls(TlsMode::Disabled)
            .file("  default: {pooling: {enabled: true}, tls: {mode: require}}\n")
            .hooks(Scripted {
                before: without_pooling,
                after: |_, _| Verdict::Default,
            })
            .start(dir.path());
        rig.send(&[B, "alone@to.test", B]).await;
        assert_eq!(sink.used(), [1, 2, 1]);
        let tls: Vec<bool> = sink.received().iter().map(|one| one.tls).collect();
        assert_eq!(tls, [true, false, true]);
        rig.quits(&sink, 1).await;
        rig.stop().await;
    });
}

#[test]
fn the_time_for_a_reply_is_that_of_the_destination() {
    run(|dir| async move {
        let hangs = script(|_, at| (at == "MAIL").then_some(Act::Hang));
        let sink = Sink::start(local(1, 0), Offer::Nothing, hangs);
        let mut rig = Setup::to(sink.port())
            .file(
                "  conditions: [{if: {recipientdomain: to.test}, then: {timeout: {smtp: {MAIL: 7}}}}]
  default: {timeout: {smtp: {MAIL: 9}}}
",
            )
            .start(dir.path());
        rig.submit(B, MESSAGE, Change::None).await;
        rig.until(|| sink.commands().iter().any(|line| line.starts_with("MAIL")))
            .await;
        rig.clock.advance(secs(6));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(rig.deliveries(0).await.is_empty());
        rig.clock.advance(secs(1));
        has(&rig.only().await, &["error=network", "timeout", "MAIL"]);
        rig.stop().await;
    });
}

#[test]
fn hosts_of_one_group_share_connections_if_the_policy_says_so() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut setup = Setup::to(sink.port())
            .domain("one.test", "mx.hosts.test")
            .domain("two.test", "other.hosts.test")
            .file(
                "  conditions: [{if: {grouping: '&hosts'}, then: {pooling: {transactions: 3}}}]
  default: {pooling: {enabled: true}}
",
            );
        setup.settings.pool_policy = PoolPolicy::Grouping;
        setup.settings.groupings = Arc::new(configured("  {}\n").groupings.clone());
        let port = sink.port();
        let mut rig = setup.start(dir.path());
        let (one, two) = ("b@one.test", "b@two.test");
        rig.send(&[one, two, B, one, two, B]).await;
        assert_eq!(sink.used(), [1, 1, 2, 1, 3, 2]);
        // Without the group each host has its own again.
        let Setup {
            mut settings,
            hooks,
            ..
        } = Setup::to(port).file("  default: {pooling: {enabled: true}}\n");
        settings.pool_policy = PoolPolicy::Grouping;
        let live = Live { settings, hooks };
        rig.handle.configure(Arc::new(live)).await;
        rig.send(&[one, two]).await;
        assert_eq!(sink.used()[6..], [4, 5]);
        rig.stop().await;
    });
}

#[test]
fn a_full_pool_closes_the_oldest_that_may_go() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut setup = Setup::to(sink.port())
            .domain("other.test", "mx.other.test")
            .domain("fixed.test", "mx.fixed.test")
            .file(
                "  conditions: [{if: {remotemx: mx.fixed.test}, then: {pooling: {evictable: false}}}]
  default: {pooling: {enabled: true}}
",
            );
        setup.settings.pool_size = 1;
        let mut rig = setup.start(dir.path());
        let (other, fixed) = ("b@other.test", "b@fixed.test");
        rig.send(&[B, other]).await;
        rig.quits(&sink, 1).await;
        rig.send(&[other, B]).await;
        assert_eq!(sink.used(), [1, 2, 2, 3]);
        rig.quits(&sink, 2).await;
        // This one stays, and others find no room.
        rig.send(&[fixed, B, fixed]).await;
        assert_eq!(sink.used(), [1, 2, 2, 3, 4, 5, 4]);
        rig.quits(&sink, 4).await;
        rig.stop().await;
    });
}

#[test]
fn a_pool_of_no_size_keeps_nothing() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut setup = Setup::to(sink.port()).file("  default: {pooling: {enabled: true}}\n");
        setup.settings.pool_size = 0;
        let mut rig = setup.start(dir.path());
        rig.send(&[B, B]).await;
        assert_eq!(sink.used(), [1, 2]);
        rig.stop().await;
    });
}

#[test]
fn a_reload_takes_the_new_rules_and_the_new_size() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let port = sink.port();
        let mut rig = Setup::to(port)
            .domain("other.test", "mx.other.test")
            .file("  default: {pooling: {enabled: true, timeout: 100}}\n")
            .start(dir.path());
        rig.send(&[B, "b@other.test"]).await;
        let mut new = Setup::to(port).file("  default: {pooling: {enabled: true, timeout: 10}}\n");
        new.settings.pool_size = 1;
        let live = Live {
            settings: new.settings,
            hooks: new.hooks,
        };
        rig.handle.configure(Arc::new(live)).await;
        // The oldest makes room.
        rig.quits(&sink, 1).await;
        rig.send(&["b@other.test"]).await;
        assert_eq!(sink.used(), [1, 2, 2]);
        rig.clock.advance(secs(10));
        rig.quits(&sink, 2).await;
        rig.stop().await;
    });
}

#[test]
fn a_stop_takes_leave_of_idle_connections() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port())
            .file("  default: {pooling: {enabled: true}}\n")
            .start(dir.path());
        rig.send(&[B]).await;
        assert_eq!(sink.quits(), 0);
        rig.stop().await;
        for _ in 0..1000 {
            if sink.quits() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("no QUIT");
    });
}

#[test]
fn messages_to_one_destination_share_connections() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut setup = Setup::to(sink.port()).hooks(Scripted {
            before: pooled,
            after: |_, context| {
                assert_eq!(context, Some(42));
                Verdict::Default
            },
        });
        setup.settings.limits = Limits {
            deliveries: 4,
            ..Limits::default()
        };
        let mut rig = setup.start(dir.path());
        for number in 0..100 {
            rig.submit(&format!("b{number}@to.test"), MESSAGE, Change::None)
                .await;
        }
        rig.deliveries(100).await;
        assert_eq!(sink.received().len(), 100);
        let connections = sink.connections();
        assert!(connections <= 4, "{connections} connections");
        assert!(sink.commands().contains(&"EHLO pooled.test".to_owned()));
        let stats = rig.spool.stats();
        eprintln!(
            "100 messages: {connections} connections, {} commits, {} syncs",
            stats.commits, stats.syncs
        );
        // One commit for each message, none for its completion.
        assert_eq!(stats.commits, 100);
        assert!(stats.syncs <= 110, "{}", stats.syncs);
        // The idle connections end in time, politely.
        rig.clock.advance(Duration::from_secs(31));
        rig.quits(&sink, connections).await;
        rig.stop().await;
    });
}

#[test]
fn a_pooled_connection_that_died_is_replaced_unseen() {
    run(|dir| async move {
        // Each connection is closed after its first message, without a word or with one.
        let dies = script(|number, at| match at {
            "IDLE" if number % 2 == 0 => Some(Act::Say("421 4.4.2 idle")),
            "IDLE" => Some(Act::Close),
            _ => None,
        });
        let sink = Sink::start(local(1, 0), Offer::Nothing, dies);
        let mut rig = Setup::to(sink.port())
            .file("  default: {pooling: {enabled: true}}\n")
            .start(dir.path());
        rig.send(&[B; 4]).await;
        assert_eq!(sink.used(), [1, 2, 3, 4]);
        rig.stop().await;
    });
}
