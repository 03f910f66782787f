//! What scripts reach outside themselves when a tool runs them: the system's clock, random numbers and resolver,
//! threads for heavy work, standard output, files below a root.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _, Write};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use angarium_effects::dns::{Dns, DnsError, Query};
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom, hostname};
use angarium_effects::{Clock, DnsAnswer, LocalFuture, Net, RecordType};
use angarium_runtime::host::{Files, Host, Output, Pool};
use angarium_runtime::library::Library;
use angarium_runtime::native::{Finish, Job, Throw};
use angarium_runtime::shared::SharedMemory;
use angarium_stdlib::http::background::Background;
use angarium_stdlib::mailer::{Deliver, MailService, Mailer, Order};
use angarium_stdlib::network::NoNames;
use angarium_stdlib::regexp;
use angarium_stdlib::smtp::SmtpService;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::failure::Failure;
use crate::delivery;
use crate::delivery::Switchboard;
use crate::delivery::inline::Surroundings;
use crate::delivery::probe::Prober;
use crate::hooks::inline;
use crate::hooks::queue::AddressBook;
use crate::pool::HeavyPool;
use crate::resolver::{Resolver, Settings};
use crate::scripts::Common;
use crate::worker::Effects;

/// Services that live as long as the tool.
pub struct Services {
    /// The table of everything that scripts can call.
    pub library: Arc<Library>,
    clock: Rc<dyn Clock>,
    dns: Rc<LazyDns>,
    pool: Arc<LazyPool>,
    memory: SharedMemory,
    net: Rc<dyn Net>,
    background: Arc<Background>,
    common: Common,
}

impl Services {
    /// Makes them. Threads and the resolver start when a script needs them first.
    #[must_use]
    pub fn new() -> Services {
        let background = Background::new(|failed| super::terminal::error(&format!("{failed}\n")));
        Services {
            net: Rc::new(SystemNet),
            common: Common {
                background: Some(Arc::clone(&background)),
                ..Common::default()
            },
            background,
            library: crate::scripts::library(),
            clock: Rc::new(SystemClock),
            dns: Rc::default(),
            pool: Arc::default(),
            memory: SharedMemory::default(),
        }
    }

    /// The host of one execution.
    #[must_use]
    pub fn host(&self, output: Rc<dyn Output>, files: Rc<dyn Files>) -> Rc<Host> {
        let host = Host::new(
            Rc::clone(&self.clock),
            Rc::new(SystemRandom),
            Rc::<LazyDns>::clone(&self.dns),
            Arc::<LazyPool>::clone(&self.pool),
            output,
            files,
            &regexp::ENGINE,
            hostname().into(),
        );
        host.extend(Rc::new(self.memory.clone()));
        self.common.extend(&host, &self.net, Arc::new(NoNames));
        let effects = Effects {
            clock: Rc::clone(&self.clock),
            random: Rc::new(SystemRandom),
            dns: Rc::<LazyDns>::clone(&self.dns),
            net: Rc::clone(&self.net),
        };
        host.extend(Rc::new(MailService(Rc::new(NoQueue {
            effects: effects.clone(),
            pool: Arc::<LazyPool>::clone(&self.pool),
        }))));
        host.extend(Rc::new(SmtpService(Rc::new(Prober {
            effects,
            hostname: hostname().into(),
            scripts: None,
            board: Switchboard::default(),
        }))));
        Rc::new(host)
    }

    /// Does `work`, with the requests beside it that it leaves to be made; those that are left then are made at last.
    pub async fn with_background<T>(&self, work: impl Future<Output = T>) -> T {
        let (over, ended) = tokio::sync::oneshot::channel::<()>();
        let serving = Arc::clone(&self.background).serve(
            Rc::clone(&self.net),
            Rc::<LazyDns>::clone(&self.dns),
            Rc::clone(&self.clock),
            Arc::<LazyPool>::clone(&self.pool),
            async {
                let _ = ended.await;
            },
        );
        let work = async {
            let result = work.await;
            drop(over);
            result
        };
        // Polled when something has woken it, not with every slice of the script.
        let serving = FuturesUnordered::from_iter([serving]).collect::<()>();
        futures_util::future::join(work, serving).await.0
    }

    /// The tool's clock.
    #[must_use]
    pub fn clock(&self) -> &Rc<dyn Clock> {
        &self.clock
    }
}

/// Threads for heavy work, started by the first of it: most scripts have none.
#[derive(Default)]
struct LazyPool(OnceLock<Arc<HeavyPool>>);

impl LazyPool {
    fn started(&self) -> &Arc<HeavyPool> {
        // Without threads, which the system may refuse, work is done at once.
        let start = || HeavyPool::start(2, 16).unwrap_or_else(|_| HeavyPool::inline());
        self.0.get_or_init(start)
    }
}

impl Pool for LazyPool {
    fn run(&self, job: Job) -> angarium_runtime::native::LocalFuture<Finish> {
        self.started().run(job)
    }
}

/// Mail of scripts that no server runs: sent at once, and never queued (mta.md 1.10).
struct NoQueue {
    effects: Effects,
    pool: Arc<LazyPool>,
}

impl Mailer for NoQueue {
    fn queue(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        let function = order.function;
        Err(Throw::error(format!(
            "{function}: there is no queue here: no server runs this script"
        )))
    }

    fn keeps(&self) -> bool {
        false
    }

    fn send(&self, order: Order<'_>) -> Result<Deliver, Throw> {
        let settings = delivery::Settings {
            hostname: hostname(),
            ..delivery::Settings::default()
        };
        let sender = inline::Sender {
            around: Surroundings {
                effects: self.effects.clone(),
                pool: Arc::clone(self.pool.started()),
                spawn: Rc::new(|task| drop(tokio::task::spawn_local(task))),
                board: Switchboard::default(),
            },
            settings: Box::new(settings),
            names: Arc::new(NoNames),
            addresses: AddressBook::default(),
        };
        inline::send(sender, &order)
    }
}

/// The resolver, started by the first question: most scripts never ask one.
#[derive(Default)]
pub(super) struct LazyDns(RefCell<Option<Rc<Resolver>>>);

impl Dns for LazyDns {
    fn query(
        &self,
        name: &str,
        kind: RecordType,
        query: &Query,
    ) -> LocalFuture<'static, Result<DnsAnswer, DnsError>> {
        let mut slot = self.0.borrow_mut();
        let resolver = match &*slot {
            Some(resolver) => Rc::clone(resolver),
            None => {
                let now = Arc::new(|| SystemClock.monotonic());
                match Resolver::start(Settings::default(), now) {
                    Ok(resolver) => Rc::clone(slot.insert(Rc::new(resolver))),
                    Err(_) => return Box::pin(async { Err(DnsError::ServFail) }),
                }
            }
        };
        resolver.query(name, kind, query)
    }
}

/// Standard output as scripts see it.
pub struct Echo {
    binary: bool,
    /// Whether each line is shown at once: somebody is watching.
    eager: bool,
    out: RefCell<Box<dyn Write>>,
    /// The first error; later ones have the same cause.
    error: Cell<Option<io::Error>>,
    /// Told of the first error.
    broken: tokio::sync::Notify,
}

impl Echo {
    /// Standard output; `binary` leaves bytes and line ends to the script.
    #[must_use]
    pub fn stdout(binary: bool) -> Rc<Echo> {
        let stdout = io::stdout();
        let eager = stdout.is_terminal();
        Echo::new(
            binary,
            eager,
            Box::new(io::BufWriter::with_capacity(64 * 1024, stdout)),
        )
    }

    /// Any other place, for tests.
    #[must_use]
    pub fn new(binary: bool, eager: bool, out: Box<dyn Write>) -> Rc<Echo> {
        Rc::new(Echo {
            binary,
            eager,
            out: RefCell::new(out),
            error: Cell::new(None),
            broken: tokio::sync::Notify::new(),
        })
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    /// The first error since the start; silently with status 0 when nobody reads any more.
    pub fn flush(&self) -> Result<(), Failure> {
        self.keep(|out| out.flush());
        match self.error.take() {
            None => Ok(()),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Status(0)),
            Some(error) => Err(Failure::Failed(format!(
                "cannot write to standard output: {error}"
            ))),
        }
    }

    /// Waits until something cannot be written: a script whose output goes nowhere need not go on.
    pub async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Writes text of the tool itself, not of a script.
    pub fn line(&self, text: &str) {
        self.keep(|out| out.write_all(text.as_bytes()));
    }

    fn keep(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if let Err(error) = write(&mut **self.out.borrow_mut()) {
            let first = self.error.take().unwrap_or(error);
            self.error.set(Some(first));
            self.broken.notify_one();
        }
    }
}

impl Output for Echo {
    fn echo(&self, text: &[u8]) {
        self.keep(|out| {
            if self.binary {
                out.write_all(text)?;
            } else {
                write_text(out, text)?;
                out.write_all(b"\n")?;
            }
            if self.eager { out.flush() } else { Ok(()) }
        });
    }

    fn syslog(&self, priority: u32, message: &[u8]) {
        self.keep(|out| out.flush());
        let text = String::from_utf8_lossy(message);
        super::terminal::error(&format!("syslog({priority}): {text}\n"));
    }
}

/// Writes text, each byte that is no UTF-8 as U+FFFD.
fn write_text(out: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        out.write_all(chunk.valid().as_bytes())?;
        for _ in chunk.invalid() {
            out.write_all("\u{fffd}".as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_is_no_utf8_is_shown() {
        let mut out = Vec::new();
        write_text(&mut out, b"a\xc3\xa9\xff\xc3z").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "aé\u{fffd}\u{fffd}z");
    }
}
