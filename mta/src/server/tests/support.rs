//! A store in memory, hooks made of closures, a server in memory, and a client that speaks SMTP.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium_config::server::Implicit;
use angarium_effects::dns::TableDns;
use angarium_effects::{
    Connect, Connection, LocalFuture, MemoryNet, Net, SeededRandom, VirtualClock,
};
use angarium_queue::item::Item;
use angarium_smtp::param::Extensions;
use angarium_smtp::server::{Closing, Config, Hook, StoreFailure};
use angarium_smtp::session::Session;
use angarium_smtp::verdict::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use super::super::hooks::{Decision, HookContext, Hooks};
use super::super::listener::{Client as Accepted, Endpoint, accept, bind};
use super::super::settings::{Settings, VirtualServer};
use super::super::store::{MailWriter, Queued, Store, StoredMail};
use super::super::{Event, NoHooks};
use crate::pool::HeavyPool;
use crate::worker::{Effects, Stopper, Worker};

/// Keeps committed messages in memory.
#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) queued: Mutex<Vec<(Item, Vec<u8>)>>,
    pub(super) refusal: Mutex<Option<String>>,
    /// What the next calls of `begin`, `append` and `commit` answer.
    pub(super) fail_begin: Mutex<Option<StoreFailure>>,
    pub(super) fail_append: Mutex<Option<StoreFailure>>,
    pub(super) fail_commit: Mutex<Option<StoreFailure>>,
    /// How long a commit takes.
    pub(super) delay: Duration,
}

struct MemoryWriter(Vec<u8>, Option<StoreFailure>);

impl Store for MemoryStore {
    fn refusal(&self, _worker: &Worker) -> Option<String> {
        self.refusal.lock().expect("the lock").clone()
    }

    fn begin(&self, _worker: &Rc<Worker>) -> Result<Box<dyn MailWriter>, StoreFailure> {
        match self.fail_begin.lock().expect("the lock").take() {
            Some(failure) => Err(failure),
            None => {
                let failure = self.fail_append.lock().expect("the lock").take();
                Ok(Box::new(MemoryWriter(Vec::new(), failure)))
            }
        }
    }

    fn commit<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        queued: Vec<Queued>,
    ) -> LocalFuture<'a, Result<(), StoreFailure>> {
        Box::pin(async move {
            if !self.delay.is_zero() {
                worker.effects.clock.sleep(self.delay).await;
            }
            if let Some(failure) = self.fail_commit.lock().expect("the lock").take() {
                return Err(failure);
            }
            let mut all = self.queued.lock().expect("the lock");
            for copy in queued {
                let bytes: &Vec<u8> = copy.mail.content().expect("a message of this store");
                all.push((copy.item, bytes.clone()));
            }
            Ok(())
        })
    }
}

impl MailWriter for MemoryWriter {
    fn append(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), StoreFailure>> {
        // The Received field is taken, then the failure comes.
        let failure = if self.0.is_empty() { None } else { self.1 };
        self.0.extend(bytes);
        Box::pin(std::future::ready(failure.map_or(Ok(()), Err)))
    }

    fn finish(self: Box<Self>) -> LocalFuture<'static, Result<StoredMail, StoreFailure>> {
        Box::pin(std::future::ready(Ok(StoredMail::new(Arc::new(self.0)))))
    }
}

impl MemoryStore {
    /// The committed messages, without their first field, which is Received.
    pub(super) fn messages(&self) -> Vec<String> {
        let queued = self.queued.lock().expect("the lock");
        queued
            .iter()
            .map(|(_, bytes)| {
                let text = String::from_utf8_lossy(bytes);
                assert!(text.starts_with("Received: from "), "{text}");
                let mut lines = text.split_inclusive("\r\n").skip(1).peekable();
                while lines.next_if(|line| line.starts_with('\t')).is_some() {}
                lines.collect()
            })
            .collect()
    }
}

type Answer = dyn Fn(&Session, &Hook) -> (Duration, Verdict) + Send + Sync;

/// Hooks that wait for a while and then answer what a closure says.
pub(super) struct Scripted {
    answer: Box<Answer>,
    /// Phases that were asked, and ends of connections.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(super) fn new(
        answer: impl Fn(&Session, &Hook) -> (Duration, Verdict) + Send + Sync + 'static,
    ) -> Scripted {
        Scripted {
            answer: Box::new(answer),
            seen: Arc::default(),
        }
    }

    fn note(&self, text: String) {
        self.seen.lock().expect("the lock").push(text);
    }
}

impl Hooks for Scripted {
    fn run<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        hook: &'a Hook,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Verdict> {
        Box::pin(async move {
            let (wait, verdict) = (self.answer)(session, hook);
            if !wait.is_zero() {
                worker.effects.clock.sleep(wait).await;
            }
            let calls = context.get::<u32>().copied().unwrap_or(0) + 1;
            context.set(calls);
            let name = format!("{hook:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default();
            self.note(format!("{calls} {name}"));
            verdict
        })
    }

    fn eod<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        session: &'a Session,
        mail: &'a StoredMail,
        context: &'a mut HookContext,
    ) -> LocalFuture<'a, Decision> {
        Box::pin(async move {
            let hook = Hook::Eod { size: mail.len() };
            let verdict = self.run(worker, session, &hook, context).await;
            Decision {
                verdict,
                ..Decision::queue_all(worker, session, mail)
            }
        })
    }

    fn disconnect<'a>(
        &'a self,
        _worker: &'a Rc<Worker>,
        _session: &'a Session,
        closing: &'a Closing,
        _context: &'a mut HookContext,
    ) -> LocalFuture<'a, ()> {
        let reply = closing
            .reply
            .as_ref()
            .map(|reply| format!(" {} after {}", reply.code, reply.state));
        let error = closing
            .error
            .as_ref()
            .map(|error| format!(" ({})", error.reason));
        self.note(format!(
            "closed by {}{}{}",
            closing.by.as_str(),
            reply.unwrap_or_default(),
            error.unwrap_or_default()
        ));
        Box::pin(std::future::ready(()))
    }
}

/// Everybody may relay; no hooks; no look-ups.
pub(super) fn settings(store: &Arc<MemoryStore>) -> Settings {
    Settings {
        smtp: Arc::new(Config {
            hostname: "mx.example".to_owned(),
            relay: vec![
                "0.0.0.0/0".parse().expect("a network"),
                "::/0".parse().expect("a network"),
            ],
            extensions: Extensions::standard(),
            ..Config::default()
        }),
        hooks: Arc::new(NoHooks),
        store: Arc::clone(store) as Arc<dyn Store>,
        tls: None,
        implicit: Implicit::All(false),
        remote_ptr: false,
        total: 10_000,
        per_ip: 0,
        verbose: false,
        product: "Angarium".to_owned(),
        web: None,
    }
}

/// Settings with these hooks bound in every phase.
pub(super) fn scripted(store: &Arc<MemoryStore>, hooks: Scripted) -> Settings {
    let mut settings = settings(store);
    let smtp = Arc::make_mut(&mut settings.smtp);
    smtp.hooks.connect = true;
    smtp.hooks.helo = true;
    smtp.hooks.mailfrom = true;
    smtp.hooks.rcptto = true;
    settings.hooks = Arc::new(hooks);
    settings
}

pub(super) type Events = Arc<Mutex<Vec<Event>>>;

/// A server in memory at 192.0.2.25:25, whose clock stands still until the test moves it.
pub(super) struct Bench {
    pub(super) clock: VirtualClock,
    pub(super) net: MemoryNet,
    pub(super) dns: TableDns,
    pub(super) server: Arc<VirtualServer>,
    pub(super) stopper: Stopper,
    pub(super) events: Events,
    /// Bytes of each session's task.
    pub(super) sizes: Rc<RefCell<Vec<usize>>>,
}

pub(super) const SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 25)),
    25,
);

/// Runs `test` against a server with these settings.
pub(super) fn simulate(settings: Settings, test: impl AsyncFnOnce(Bench)) {
    simulate_behind(&[], settings, test);
}

/// The same with these proxies in front.
pub(super) fn simulate_behind(proxies: &[&str], settings: Settings, test: impl AsyncFnOnce(Bench)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let clock = VirtualClock::new(Duration::from_secs(1_700_000_000));
        let net = MemoryNet::new([192, 0, 2, 1].into());
        let dns = TableDns::default();
        let effects = Effects {
            clock: Rc::new(clock.clone()),
            random: Rc::new(SeededRandom::new(1)),
            dns: Rc::new(dns.clone()),
            net: Rc::new(net.clone()),
        };
        let (worker, stopper) = Worker::alone(effects.clone(), HeavyPool::inline());
        let events = Events::default();
        let seen = Arc::clone(&events);
        let observer = move |event: &Event| seen.lock().expect("the lock").push(event.clone());
        let server = VirtualServer::new("default", settings, Arc::new(observer));
        let endpoint = Endpoint {
            server: Arc::clone(&server),
            id: None,
            address: Some([0, 0, 0, 0].into()),
            port: SERVER.port(),
            backlog: None,
            local: None,
            proxies: proxies
                .iter()
                .map(|text| text.parse().expect("a network"))
                .collect(),
        };
        let sizes = Rc::<RefCell<Vec<usize>>>::default();
        let listeners = bind(&net, &endpoint).expect("a free port");
        for listener in listeners {
            let (effects, endpoint, worker) =
                (effects.clone(), endpoint.clone(), Rc::clone(&worker));
            let sizes = Rc::clone(&sizes);
            tokio::task::spawn_local(async move {
                let hand_over = async |client: Accepted| {
                    let own = Rc::clone(&worker);
                    let session = client.serve(own);
                    sizes.borrow_mut().push(size_of_val(&session));
                    worker.spawn(session);
                };
                accept(&effects, &*listener, &endpoint, hand_over).await;
            });
        }
        let bench = Bench {
            clock,
            net,
            dns,
            server,
            stopper,
            events,
            sizes,
        };
        test(bench).await;
    });
}

impl Bench {
    /// A client that has not read the banner.
    pub(super) async fn connect(&self) -> Client {
        self.connect_from([192, 0, 2, 1]).await
    }

    /// The same from another address.
    pub(super) async fn connect_from(&self, source: [u8; 4]) -> Client {
        let how = Connect {
            source: Some(source.into()),
            ..Connect::default()
        };
        let connection = self.net.connect(SERVER, &how).await.expect("a connection");
        Client::new(connection)
    }

    /// Lets every task do what it can do without time passing, then moves the clock.
    pub(super) async fn advance(&self, duration: Duration) {
        settle().await;
        self.clock.advance(duration);
        settle().await;
    }
}

/// Lets every task do what it can do without time passing.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A client that speaks SMTP, byte by byte if need be.
pub(super) struct Client {
    pub(super) connection: Box<dyn Connection>,
    read: Vec<u8>,
}

impl Client {
    pub(super) fn new(connection: Box<dyn Connection>) -> Client {
        Client {
            connection,
            read: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.connection
            .write_all(text.as_bytes())
            .await
            .expect("sent");
        self.connection.flush().await.expect("sent");
    }

    /// The next line without CRLF, or none at the end of the stream.
    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut bytes = [0; 4096];
            match self.connection.read(&mut bytes).await {
                Ok(0) => return None,
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }

    /// So many bytes as text.
    pub(super) async fn bytes(&mut self, count: usize) -> String {
        while self.read.len() < count {
            let mut bytes = [0; 4096];
            let read = self.connection.read(&mut bytes).await.expect("read");
            assert!(read > 0, "the stream ends early");
            self.read.extend_from_slice(&bytes[..read]);
        }
        let bytes: Vec<u8> = self.read.drain(..count).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last line of the next reply.
    pub(super) async fn reply(&mut self) -> Option<String> {
        loop {
            let line = self.line().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    }

    /// Reads a reply, which has to begin so.
    pub(super) async fn expect(&mut self, start: &str) {
        let reply = self.reply().await;
        assert!(
            reply
                .as_deref()
                .is_some_and(|reply| reply.starts_with(start)),
            "{reply:?} instead of {start}"
        );
    }

    /// The server closes and says nothing more.
    pub(super) async fn expect_end(&mut self) {
        assert_eq!(self.line().await, None);
    }

    pub(super) async fn command(&mut self, line: &str, start: &str) {
        self.send(&format!("{line}\r\n")).await;
        self.expect(start).await;
    }

    /// Banner and EHLO.
    pub(super) async fn greet(&mut self) {
        self.expect("220 mx.example").await;
        self.command("EHLO client.example", "250 ").await;
    }

    /// Sends a message up to its end and reads no reply to that.
    pub(super) async fn begin_message(&mut self, body: &str) {
        self.command("MAIL FROM:<a@example.org>", "250").await;
        self.command("RCPT TO:<b@example.net>", "250").await;
        self.command("DATA", "354").await;
        self.send(body).await;
        self.send(".\r\n").await;
    }

    /// Sends a message.
    pub(super) async fn message(&mut self, body: &str, start: &str) {
        self.begin_message(body).await;
        self.expect(start).await;
    }
}
