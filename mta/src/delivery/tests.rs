//! The sending half in one process: a spool on disk, real sockets on loopback, a table as DNS, and a
//! clock that the test moves.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests wait for real sockets, in real time"
)]

mod pooling;
mod sink;
mod threads;

use std::any::Any;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::disk::SystemDisk;
use angarium_effects::dns::{DnsError, TableDns};
use angarium_effects::system::SystemNet;
use angarium_effects::{Clock, LocalFuture, RecordData, RecordType, SeededRandom, VirtualClock};
use angarium_mail::edits::{Edit, Edits, Replacement};
use angarium_mail::header::HeaderBlock;
use angarium_queue::dsn::{DsnOptions, Notify};
use angarium_queue::index::State;
use angarium_queue::item::{Address, Item, ItemId, Pairs};
use angarium_queue::outcome::Verdict;
use angarium_queue::retry::{Again, Interval, RetryRules};
use angarium_queue::scheduler::{Control, Limits};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use angarium_queue::transport::Transport;
use angarium_spool::{Config, Spool};
use tempfile::TempDir;
use tokio::task::{JoinHandle, LocalSet};
use uuid::Uuid;

use super::service::serve;
use super::settings::{ClientSettings, DsnSettings, TlsSettings};
use super::*;
use crate::hooks::queue::{Client, Predelivery, TlsMode, Try};
use crate::log::Memory;
use crate::pool::HeavyPool;
use crate::server::{Change, Queued, SpoolStore, Store};
use crate::worker::{Effects, Stopper, Worker};
use sink::{Act, Offer, Script, Sink, local};

const MESSAGE: &[u8] =
    b"From: a@from.test\r\nMessage-ID: <one@from.test>\r\nSubject: Hello\r\n\r\n\
    .dot\r\n..two\r\nlast\r\n";

/// A queue with its spool.
struct Rig {
    worker: Rc<Worker>,
    stopper: Stopper,
    clock: VirtualClock,
    handle: Handle,
    service: JoinHandle<()>,
    spool: Spool,
    store: SpoolStore,
    log: Memory,
    next: u128,
}

/// What a rig is made with.
struct Setup {
    settings: Settings,
    hooks: Arc<dyn QueueHooks>,
    dns: TableDns,
}

impl Setup {
    /// One transport `out` that delivers by MX to this port, with a short retry table; its
    /// notifications go by `out` too.
    fn to(port: u16) -> Setup {
        let transport = Transport {
            port,
            retry: RetryRules {
                count: 3,
                intervals: [Interval::secs(60, false), Interval::secs(900, false)].into(),
                ..RetryRules::default()
            },
            dsn_transport: Some("out".into()),
            ..Transport::default()
        };
        let mut settings = Settings {
            hostname: "mta.test".to_owned(),
            ..Settings::default()
        };
        settings
            .transports
            .insert("out".into(), Arc::new(transport));
        let setup = Setup {
            settings,
            hooks: Arc::new(NoQueueHooks),
            dns: TableDns::default(),
        };
        setup.host("sink.test", 1);
        for domain in ["to.test", "from.test"] {
            setup.mx(domain, 10, "sink.test");
        }
        setup
    }

    fn host(&self, name: &str, last: u8) {
        let address = std::net::Ipv4Addr::from([127, 0, 0, last]);
        self.dns.add(name, RecordType::A, RecordData::A(address));
    }

    fn mx(&self, domain: &str, preference: u16, exchange: &str) {
        let data = RecordData::Mx {
            preference,
            exchange: exchange.to_owned(),
        };
        self.dns.add(domain, RecordType::Mx, data);
    }

    fn tls(mut self, mode: TlsMode) -> Setup {
        let client = ClientSettings {
            tls: TlsSettings {
                mode,
                ..TlsSettings::default()
            },
            ..ClientSettings::default()
        };
        self.settings.clients.insert("out".into(), Arc::new(client));
        self
    }

    fn hooks(mut self, hooks: impl QueueHooks + 'static) -> Setup {
        self.hooks = Arc::new(hooks);
        self
    }

    fn start(self, dir: &Path) -> Rig {
        // The disk's threads have a clock of their own.
        let config = Config {
            prepare_segments: false,
            minfree_bytes: 0,
            minfree_inodes: 0,
            ..Config::new(dir.join("queue"), dir.join("tmp"))
        };
        let now: angarium_spool::Now = Arc::new(|| {
            use angarium_effects::system::SystemClock;
            SystemClock.monotonic()
        });
        let (spool, recovered) = Spool::open(Arc::new(SystemDisk), config, now).expect("a spool");
        let clock = VirtualClock::new(Duration::from_secs(1_800_000_000));
        let effects = Effects {
            clock: Rc::new(clock.clone()),
            random: Rc::new(SeededRandom::new(7)),
            dns: Rc::new(self.dns),
            net: Rc::new(SystemNet),
        };
        let pool = HeavyPool::inline();
        let (worker, stopper) = Worker::alone(effects, Arc::clone(&pool));
        let log = Memory::default();
        let start = Start {
            spool: spool.clone(),
            recovered,
            live: Arc::new(Live {
                settings: self.settings,
                hooks: self.hooks,
            }),
            pool,
            log: Arc::new(log.clone()),
        };
        let (handle, service) = serve(start, Rc::clone(&worker));
        Rig {
            worker,
            stopper,
            clock,
            store: SpoolStore::new(spool.clone(), handle.sink()),
            handle,
            service: tokio::task::spawn_local(service),
            spool,
            log,
            next: 1,
        }
    }
}

impl Rig {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(u64::try_from(self.clock.unix().as_micros()).expect("a time"))
    }

    async fn submit(&mut self, to: &str, message: &[u8], change: Change) -> ItemId {
        self.submit_from("a@from.test", to, message, change).await
    }

    async fn submit_from(
        &mut self,
        from: &str,
        to: &str,
        message: &[u8],
        change: Change,
    ) -> ItemId {
        self.submit_with(from, to, message, change, |_| {}).await
    }

    /// Takes a message as the server does, to the sync.
    async fn submit_with(
        &mut self,
        from: &str,
        to: &str,
        message: &[u8],
        change: Change,
        with: impl FnOnce(&mut Item),
    ) -> ItemId {
        let mut writer = self.store.begin(&self.worker).expect("room");
        for piece in message.chunks(100_000) {
            writer.append(piece.to_vec()).await.expect("room");
        }
        let mail = writer.finish().await.expect("a message");
        let id = ItemId {
            transaction: Uuid::from_u128(self.next),
            queue: 1,
        };
        self.next += 1;
        let address = |text: &str| {
            let (localpart, domain) = text.split_once('@').unwrap_or_default();
            Address::new(localpart, domain)
        };
        let mut item = Item::new(id, self.now(), address(from), address(to), "out".into());
        item.size = mail.len();
        with(&mut item);
        let queued = Queued { item, mail, change };
        let committed = self.store.commit(&self.worker, vec![queued]).await;
        committed.expect("durable");
        id
    }

    /// Waits, in real time and without moving the clock, until the log has so many lines of
    /// deliveries; gives them.
    async fn deliveries(&self, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let lines = self.log.lines().into_iter();
            lines.filter(|line| line.contains("] delivery ")).collect()
        };
        self.until(|| lines().len() >= count).await;
        lines()
    }

    async fn until(&self, done: impl Fn() -> bool) {
        for _ in 0..5000 {
            if done() {
                // What follows from it in the same moment.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!(
            "it did not happen; the log:\n{}",
            self.log.lines().join("\n")
        );
    }

    /// Waits until nothing is being done.
    async fn idle(&self) {
        for _ in 0..5000 {
            let idle = self.handle.inspect(|queue| {
                let moving = [State::Unknown, State::Sending, State::Active];
                queue.is_idle() && moving.iter().all(|state| queue.count(*state) == 0)
            });
            if idle.await.expect("a queue") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the queue is never idle");
    }

    async fn state(&self, id: ItemId) -> Option<State> {
        self.handle
            .inspect(move |queue| queue.state(id))
            .await
            .expect("a queue")
    }

    /// The one line of the only delivery.
    async fn only(&self) -> String {
        let lines = self.deliveries(1).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.into_iter().next().expect("a line")
    }

    async fn stop(self) {
        let stop = self.handle.stop(Duration::from_secs(30));
        stop.await;
        self.stopper.stop();
        self.service.await.expect("the service ends");
        drop(self.store);
        self.spool.close().expect("closed");
    }
}

/// Runs a test on its own thread's runtime.
fn run<F: Future<Output = ()>>(test: impl FnOnce(TempDir) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = TempDir::new().expect("a folder");
    LocalSet::new().block_on(&runtime, test(dir));
}

fn script(script: impl Fn(usize, &str) -> Option<Act> + 'static) -> Script {
    Rc::new(script)
}

fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn what_arrives_is_what_was_received_with_the_edits_of_its_copy() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let mut long = b"Subject: long\r\n\r\n".to_vec();
        long.extend((0..400_000_u32).map(|n| if n % 80 == 79 { b'\n' } else { 0xe9 }));
        long.extend(b"\r\n");
        let edits = |length: usize| {
            let list = vec![Edit {
                span: 0..0,
                with: Replacement::Bytes(b"X-Added: yes\r\n".to_vec()),
            }];
            let edits = Edits::new(length as u64, list).expect("edits");
            Change::Edits(edits.to_bytes().into())
        };
        rig.submit("plain@to.test", MESSAGE, Change::None).await;
        rig.submit("edited@to.test", MESSAGE, edits(MESSAGE.len()))
            .await;
        rig.submit("long@to.test", &long, edits(long.len())).await;
        rig.deliveries(3).await;
        let received = sink.received();
        let of = |name: &str| {
            let found = received.iter().find(|message| message.rcpt.contains(name));
            found.expect(name)
        };
        assert_eq!(of("plain@").data, MESSAGE);
        assert_eq!(
            of("plain@").mail,
            format!("MAIL FROM:<a@from.test> SIZE={}", MESSAGE.len())
        );
        assert_eq!(of("edited@").data, [b"X-Added: yes\r\n", MESSAGE].concat());
        // A line that ended in LF alone ends in CRLF on the way out (mta.md 3.2).
        let normal: Vec<u8> = long.iter().copied().filter(|byte| *byte != b'\r').collect();
        let normal = normal
            .split(|byte| *byte == b'\n')
            .collect::<Vec<_>>()
            .join(&b"\r\n"[..]);
        assert!(of("long@").data == [b"X-Added: yes\r\n", &normal[..]].concat());
        assert!(of("long@").mail.contains("BODY=8BITMIME"));
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn each_way_to_fail_has_its_outcome() {
    let refused =
        |phase: &'static str, text| script(move |_, at| (at == phase).then_some(Act::Say(text)));
    let close = |phase: &'static str| script(move |_, at| (at == phase).then_some(Act::Close));
    let cases: Vec<(Script, &[&str])> = vec![
        (
            refused("RCPT", "450 4.2.1 later"),
            &[
                "code=450",
                r#"reason="4.2.1 later""#,
                "result=QUEUE",
                "delay=60",
            ],
        ),
        (
            refused("RCPT", "550 5.1.1 no such user"),
            &[
                "code=550",
                r#"reason="5.1.1 no such user""#,
                "result=BOUNCE",
            ],
        ),
        (
            refused("MAIL", "552 5.3.4 too big"),
            &["code=552", "result=BOUNCE"],
        ),
        (
            refused("EOD", "554 5.7.1 spam"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            refused("EOD", "451 4.3.0 disk"),
            &["code=451", "result=QUEUE"],
        ),
        (
            refused("BANNER", "421 4.3.2 busy"),
            &["code=421", "result=QUEUE"],
        ),
        (
            refused("BANNER", "554 5.3.2 no"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            refused("BANNER", "SSH-2.0-nonsense"),
            &["error=protocol", "result=QUEUE"],
        ),
        (
            refused("RCPT", "250-a\r\n550 b"),
            &["error=protocol", "result=QUEUE"],
        ),
        (
            refused("BODY", "554 5.0.0 stop"),
            &["code=554", "result=BOUNCE"],
        ),
        (
            close("BANNER"),
            &["error=network", "before the banner", "result=QUEUE"],
        ),
        (close("MAIL"), &["error=network", "result=QUEUE"]),
        (close("BODY"), &["error=network", "result=QUEUE"]),
        (close("EOD"), &["error=network", "result=QUEUE"]),
    ];
    for (number, (behaviour, want)) in cases.into_iter().enumerate() {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::Nothing, behaviour);
            let mut setup = Setup::to(sink.port());
            // A notification would be one more delivery.
            setup.settings.transports.clear();
            let quiet = Transport {
                port: sink.port(),
                dsn_transport: Some("gone".into()),
                ..Transport::default()
            };
            setup
                .settings
                .transports
                .insert("out".into(), Arc::new(quiet));
            let mut rig = setup.start(dir.path());
            rig.submit_from("", "b@to.test", MESSAGE, Change::None)
                .await;
            let line = rig.only().await;
            eprintln!("case {number}: {line}");
            has(&line, want);
            assert!(sink.received().is_empty());
            rig.stop().await;
        });
    }
}

#[test]
fn a_peer_that_hangs_is_left_when_its_time_is_up() {
    for (phase, commands, limit) in [("BANNER", 0, 300), ("RCPT", 3, 300), ("EOD", 4, 600)] {
        run(|dir| async move {
            let hang = script(move |_, at| (at == phase).then_some(Act::Hang));
            let sink = Sink::start(local(1, 0), Offer::Nothing, hang);
            let mut rig = Setup::to(sink.port()).start(dir.path());
            let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
            let before = sink.clone();
            rig.until(move || before.connections() == 1 && before.commands().len() >= commands)
                .await;
            rig.clock.advance(Duration::from_secs(limit - 1));
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(rig.state(id).await, Some(State::Sending));
            rig.clock.advance(Duration::from_secs(2));
            has(
                &rig.only().await,
                &["error=network", "timeout", "result=QUEUE"],
            );
            rig.idle().await;
            assert_eq!(rig.state(id).await, Some(State::Defer));
            rig.stop().await;
        });
    }
}

#[test]
fn tls_is_used_as_its_mode_says() {
    let cases: &[(Offer, TlsMode, &[&str], Option<bool>)] = &[
        (
            Offer::SelfSigned,
            TlsMode::Optional,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
        (
            Offer::SelfSigned,
            TlsMode::Require,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
        (
            Offer::SelfSigned,
            TlsMode::Disabled,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Nothing,
            TlsMode::Optional,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Nothing,
            TlsMode::Require,
            &["error=tls", "not offered", "QUEUE"],
            None,
        ),
        (
            Offer::Broken,
            TlsMode::Optional,
            &["DELIVERED"],
            Some(false),
        ),
        (
            Offer::Broken,
            TlsMode::Require,
            &["error=tls", "handshake", "QUEUE"],
            None,
        ),
        (
            Offer::SelfSigned,
            TlsMode::RequireVerify,
            &["error=tls", "UnknownIssuer", "QUEUE"],
            None,
        ),
        (
            Offer::SelfSigned,
            TlsMode::OptionalVerify,
            &["tls=TLSv1.3", "DELIVERED"],
            Some(true),
        ),
    ];
    for &(offer, mode, want, delivered) in cases {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), offer, script(|_, _| None));
            let mut rig = Setup::to(sink.port()).tls(mode).start(dir.path());
            rig.submit("b@to.test", MESSAGE, Change::None).await;
            let line = rig.only().await;
            eprintln!("{offer:?} {mode:?}: {line}");
            has(&line, want);
            let tls = sink.received().first().map(|message| message.tls);
            assert_eq!(tls, delivered, "{offer:?} {mode:?}");
            rig.stop().await;
        });
    }
}

#[test]
fn a_required_certificate_has_to_prove_what_is_asked() {
    for (host, names, delivered) in [
        (false, &[][..], true),
        (true, &[], true),
        (false, &["other.test", "sink.test"], true),
        (true, &["other.test"], false),
    ] {
        run(|dir| async move {
            let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
            let mut setup = Setup::to(sink.port()).tls(TlsMode::RequireVerify);
            setup.settings.authorities = Some(Arc::new(sink.authority()));
            let mut client = (*setup.settings.client(&"out".into())).clone();
            client.tls.verify_host = host;
            client.tls.verify_names = names.iter().map(|name| (*name).to_owned()).collect();
            setup
                .settings
                .clients
                .insert("out".into(), Arc::new(client));
            let mut rig = setup.start(dir.path());
            rig.submit("b@to.test", MESSAGE, Change::None).await;
            let line = rig.only().await;
            let want = if delivered { "DELIVERED" } else { "error=tls" };
            has(&line, &[want]);
            assert_eq!(sink.received().len(), usize::from(delivered));
            rig.stop().await;
        });
    }
}

#[test]
fn destinations_are_found_as_rfc_5321_says() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let setup = Setup::to(sink.port());
        // Nothing listens on 127.0.0.9: the second host serves.
        setup.host("down.test", 9);
        setup.mx("two.test", 10, "down.test");
        setup.mx("two.test", 20, "sink.test");
        setup.mx("null.test", 0, "");
        setup.host("implicit.test", 1);
        setup
            .dns
            .fail("broken.test", RecordType::Mx, DnsError::ServFail);
        let mut rig = setup.start(dir.path());
        for to in ["two", "null", "implicit", "broken", "unknown"] {
            let to = format!("{to}@{to}.test");
            rig.submit_from("", &to, MESSAGE, Change::None).await;
        }
        let lines = rig.deliveries(5).await;
        let of = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.contains(&format!("recipient={name}@")));
            found.expect(name).as_str()
        };
        has(of("two"), &["remotemx=sink.test", "result=DELIVERED"]);
        has(
            of("implicit"),
            &["remotemx=implicit.test", "result=DELIVERED"],
        );
        has(of("null"), &["error=dns", "null MX", "result="]);
        has(of("broken"), &["error=dns", "SERVFAIL", "result=QUEUE"]);
        has(of("unknown"), &["error=dns", "does not exist"]);
        rig.idle().await;
        let counts = rig.handle.counts().await.expect("a queue");
        assert_eq!((counts.items, counts.defer), (1, 1));
        rig.stop().await;
    });
}

#[test]
fn a_message_is_tried_again_by_the_table_and_survives_a_restart() {
    run(|dir| async move {
        let later = || script(|_, at| (at == "RCPT").then_some(Act::Say("451 4.7.1 later")));
        let sink = Sink::start(local(1, 0), Offer::Nothing, later());
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        has(
            &rig.deliveries(1).await[0],
            &["retry=0", "result=QUEUE", "delay=60"],
        );
        rig.idle().await;
        rig.clock.advance(Duration::from_secs(59));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(rig.state(id).await, Some(State::Defer));
        rig.clock.advance(Duration::from_secs(1));
        has(
            &rig.deliveries(2).await[1],
            &["retry=1", "result=QUEUE", "delay=900"],
        );
        rig.stop().await;

        let mut rig = Setup::to(sink.port()).start(dir.path());
        tokio::time::sleep(Duration::from_millis(20)).await;
        let found = rig.handle.items(|_, _| true).await.expect("a queue");
        assert_eq!(found.len(), 1);
        let (item, state) = &found[0];
        assert_eq!((item.id, item.retrycount, *state), (id, 2, State::Defer));
        assert_eq!(
            item.retryreason.as_ref().map(Text::to_string).as_deref(),
            Some("451 4.7.1 later")
        );
        sink.behave(script(|_, _| None));
        // The clock of the new rig starts where that of the old one did.
        rig.clock.advance(Duration::from_secs(60 + 900));
        has(&rig.only().await, &["retry=2", "result=DELIVERED"]);
        assert_eq!(sink.received()[0].data, MESSAGE);
        rig.next += 1;
        rig.stop().await;

        let rig = Setup::to(sink.port()).start(dir.path());
        tokio::time::sleep(Duration::from_millis(20)).await;
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn a_bounce_reaches_the_sender() {
    run(|dir| async move {
        let no = script(|number, at| {
            (number == 1 && at == "RCPT").then_some(Act::Say("550 5.1.1 no such user"))
        });
        let sink = Sink::start(local(1, 0), Offer::Nothing, no);
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let lines = rig.deliveries(2).await;
        has(&lines[0], &["result=BOUNCE"]);
        has(&lines[1], &["recipient=a@from.test", "result=DELIVERED"]);
        let received = sink.received();
        assert_eq!(received.len(), 1);
        assert!(received[0].mail.starts_with("MAIL FROM:<>"));
        assert_eq!(received[0].rcpt, "RCPT TO:<a@from.test>");
        let header = HeaderBlock::read(&received[0].data[..]).expect("a header");
        let field = |name: &str| header.value(name.as_bytes(), 0, true).unwrap_or_default();
        assert!(
            field("Content-Type").contains("report-type=\"delivery-status\"")
                || field("Content-Type").contains("report-type=delivery-status")
        );
        assert_eq!(field("In-Reply-To"), "<one@from.test>");
        assert_eq!(field("Auto-Submitted"), "auto-replied");
        assert_eq!(field("Subject"), "Undeliverable: Hello");
        let text = String::from_utf8_lossy(&received[0].data).into_owned();
        has(
            &text,
            &[
                "Reporting-MTA: dns; mta.test",
                "Final-Recipient: rfc822; b@to.test",
                "Action: failed",
                "Status: 5.1.1",
                "Remote-MTA: dns; sink.test",
                "Diagnostic-Code: smtp; 550 5.1.1 no such user",
                "Message-ID: <one@from.test>",
            ],
        );
        let dsn = rig
            .log
            .lines()
            .into_iter()
            .find(|line| line.contains("] dsn "));
        has(
            &dsn.expect("a line"),
            &[&format!("for={id}"), "action=failed", "to=a@from.test"],
        );
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn success_is_reported_where_it_was_asked_for_and_the_peer_does_not() {
    for (lmtp, action) in [(false, "relayed"), (true, "delivered")] {
        run(|dir| async move {
            let sink = Sink::accepting();
            let mut setup = Setup::to(sink.port());
            let client = ClientSettings {
                lmtp,
                ..ClientSettings::default()
            };
            setup
                .settings
                .clients
                .insert("out".into(), Arc::new(client));
            let dsn = DsnSettings {
                from: Some("reports@mta.test".to_owned()),
                subject_prepend: Some("[report] ".to_owned()),
                original_headers: Some(false),
                ..DsnSettings::default()
            };
            setup.settings.dsn.insert("out".into(), Arc::new(dsn));
            let mut rig = setup.start(dir.path());
            rig.submit_with("a@from.test", "b@to.test", MESSAGE, Change::None, |item| {
                item.dsn.notify = Some(Notify::SUCCESS);
                item.dsn.envid = Some("ticket 7".into());
                item.dsn.orcpt = Some("rfc822;B@to.test".into());
            })
            .await;
            rig.deliveries(2).await;
            let received = sink.received();
            assert_eq!(received.len(), 2);
            // Without the extension nothing of it is said.
            assert_eq!(received[0].rcpt, "RCPT TO:<b@to.test>");
            let text = String::from_utf8_lossy(&received[1].data).into_owned();
            has(
                &text,
                &[
                    "From: Mail Delivery System <reports@mta.test>",
                    "Subject: [report] ",
                    &format!("Action: {action}"),
                    "Original-Envelope-Id: ticket 7",
                    "Original-Recipient: rfc822; B@to.test",
                ],
            );
            assert!(!text.contains("text/rfc822-headers"));
            let greeting = if lmtp {
                "LHLO mta.test"
            } else {
                "EHLO mta.test"
            };
            assert!(sink.commands().contains(&greeting.to_owned()));
            rig.stop().await;
        });
    }
}

#[test]
fn a_delay_is_reported_once_when_the_table_says_so() {
    run(|dir| async move {
        let later = script(|number, at| {
            (at == "RCPT" && number != 2).then_some(Act::Say("450 4.2.0 later"))
        });
        let sink = Sink::start(local(1, 0), Offer::Nothing, later);
        let mut setup = Setup::to(sink.port());
        let transport = Transport {
            retry: RetryRules {
                intervals: [Interval::secs(60, true)].into(),
                ..RetryRules::default()
            },
            ..(*setup.settings.transports[&Text::from("out")]).clone()
        };
        setup
            .settings
            .transports
            .insert("out".into(), Arc::new(transport));
        let mut rig = setup.start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        // The second connection takes the notice.
        rig.deliveries(2).await;
        let text = String::from_utf8_lossy(&sink.received()[0].data).into_owned();
        has(
            &text,
            &[
                "Subject: Delayed: Hello",
                "Action: delayed",
                "Status: 4.2.0",
                "Will-Retry-Until:",
            ],
        );
        rig.idle().await;
        rig.clock.advance(Duration::from_secs(60));
        has(&rig.deliveries(3).await[2], &["retry=1", "result=QUEUE"]);
        rig.idle().await;
        assert_eq!(sink.received().len(), 1);
        assert_eq!(rig.state(id).await, Some(State::Defer));
        rig.stop().await;
    });
}

#[test]
fn a_message_from_nobody_is_never_bounced() {
    run(|dir| async move {
        let no = script(|_, at| (at == "RCPT").then_some(Act::Say("550 no")));
        let sink = Sink::start(local(1, 0), Offer::Nothing, no);
        let mut rig = Setup::to(sink.port()).start(dir.path());
        rig.submit_from("", "b@to.test", MESSAGE, Change::None)
            .await;
        has(&rig.only().await, &["code=550"]);
        assert!(!rig.log.lines().iter().any(|line| line.contains("] dsn ")));
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

/// Hooks made of two functions.
struct Scripted {
    before: fn(&Item) -> Predelivery,
    after: fn(&Ended, Option<u32>) -> Verdict,
}

impl QueueHooks for Scripted {
    fn has(&self, _: QueueHook) -> bool {
        true
    }

    fn predelivery<'a>(&'a self, _: &'a Rc<Worker>, item: &'a Item) -> LocalFuture<'a, Before> {
        let verdict = (self.before)(item);
        let metadata = Pairs::new([(Text::from("seen"), Text::from("yes"))]).ok();
        Box::pin(async move {
            Before {
                verdict: Ok(verdict),
                metadata,
                context: Some(Box::new(42_u32)),
            }
        })
    }

    fn postdelivery<'a>(
        &'a self,
        _: &'a Rc<Worker>,
        ended: &'a Ended,
        context: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After> {
        let context = context.and_then(|context| context.downcast_ref::<u32>().copied());
        let verdict = (self.after)(ended, context);
        Box::pin(async move {
            After {
                verdict,
                metadata: None,
            }
        })
    }
}

#[test]
fn scripts_decide_before_and_after() {
    run(|dir| async move {
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(|_, at| (at == "RCPT").then_some(Act::Say("550 5.1.1 no"))),
        );
        let before = |item: &Item| match &*item.recipient.localpart.to_str() {
            "later" => Predelivery::Queue(Box::new(Again {
                delay: Some(Duration::from_secs(77)),
                reason: Some("not now".into()),
                ..Again::default()
            })),
            "bounce" => Predelivery::Bounce {
                reason: Some("by policy".into()),
                dsn: Box::new(DsnOptions {
                    subject: Some("Sorry".into()),
                    ..DsnOptions::default()
                }),
            },
            "delete" => Predelivery::Delete { reason: None },
            _ => Predelivery::Try(Box::default()),
        };
        let after = |ended: &Ended, _: Option<u32>| match &*ended.item.recipient.localpart.to_str()
        {
            "again" => Verdict::Queue(Box::new(Again {
                delay: Some(Duration::from_secs(5)),
                ..Again::default()
            })),
            "forget" => Verdict::Delete,
            _ => Verdict::Default,
        };
        let mut rig = Setup::to(sink.port())
            .hooks(Scripted { before, after })
            .start(dir.path());
        for name in ["later", "bounce", "delete", "again", "forget"] {
            let to = format!("{name}@to.test");
            rig.submit(&to, MESSAGE, Change::None).await;
        }
        // The notification of `bounce` is tried too, and refused; from nobody, it ends there.
        let lines = rig.deliveries(5).await;
        let of = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.contains(&format!("recipient={name}@")));
            found.expect(name).as_str()
        };
        has(of("bounce"), &["by policy", "result=BOUNCE"]);
        has(of("delete"), &["result=DELETE"]);
        has(of("again"), &["code=550", "result=QUEUE", "delay=5"]);
        has(of("forget"), &["code=550", "result=DELETE"]);
        has(of("a"), &["recipient=a@from.test", "code=550"]);
        rig.idle().await;
        let waiting = rig.handle.items(|_, _| true).await.expect("a queue");
        let waiting: Vec<(String, State)> = waiting
            .iter()
            .map(|(item, state)| {
                assert_eq!(item.metadata.get("seen"), Some(&"yes".into()));
                (item.recipient.to_string(), *state)
            })
            .collect();
        assert_eq!(
            waiting,
            [
                ("later@to.test".to_owned(), State::Defer),
                ("again@to.test".to_owned(), State::Defer)
            ]
        );
        rig.stop().await;
    });
}

#[test]
fn an_operator_holds_releases_and_removes() {
    run(|dir| async move {
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(|_, at| (at == "RCPT").then_some(Act::Say("450 later"))),
        );
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let first = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let second = rig.submit("c@to.test", MESSAGE, Change::None).await;
        rig.deliveries(2).await;
        rig.handle
            .control(first, Control::Hold)
            .await
            .expect("held");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.state(first).await, Some(State::Hold));
        sink.behave(script(|_, _| None));
        rig.handle
            .control(first, Control::Release)
            .await
            .expect("released");
        has(
            &rig.deliveries(3).await[2],
            &["recipient=b@to.test", "result=DELIVERED"],
        );
        rig.handle
            .control(second, Control::Delete)
            .await
            .expect("deleted");
        has(
            &rig.deliveries(4).await[3],
            &["recipient=c@to.test", "result=DELETE"],
        );
        assert!(rig.handle.control(second, Control::Retry).await.is_err());
        rig.idle().await;
        assert_eq!(rig.handle.counts().await.expect("a queue").items, 0);
        rig.stop().await;
    });
}

#[test]
fn a_stop_lets_running_attempts_end() {
    run(|dir| async move {
        let gate = Rc::new(RefCell::new(Some(Act::Hang)));
        let seen = Rc::clone(&gate);
        let sink = Sink::start(
            local(1, 0),
            Offer::Nothing,
            script(move |_, at| if at == "EOD" { *seen.borrow() } else { None }),
        );
        let mut rig = Setup::to(sink.port()).start(dir.path());
        let id = rig.submit("b@to.test", MESSAGE, Change::None).await;
        let commands = sink.clone();
        rig.until(move || commands.commands().iter().any(|line| line == "DATA"))
            .await;
        let handle = rig.handle.clone();
        let stop = tokio::task::spawn_local(async move {
            handle.stop(Duration::from_secs(30)).await;
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!stop.is_finished());
        // The peer never answers: the grace ends the wait, and the message stays on disk.
        rig.clock.advance(Duration::from_secs(31));
        stop.await.expect("stopped");
        assert!(rig.handle.counts().await.is_err());
        assert_eq!(rig.spool.stats().items, 1);
        let item = rig
            .log
            .lines()
            .iter()
            .any(|line| line.contains(&format!("id={id}")));
        assert!(item);
    });
}
