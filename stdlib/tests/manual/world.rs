//! What the examples of the manual run on: a clock, names, files, a queue and a mail server that always are the same.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use angarium_effects::dns::{RecordData, RecordType, TableDns};
use angarium_effects::system::SystemNet;
use angarium_effects::{Clock, SeededRandom};
use angarium_lang::Source;
use angarium_lang::modules::Loader;
use angarium_runtime::host::{self, FileData, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::native::ContextDecl;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::metrics::{Declaration, Kinds, Metrics, MetricsService};
use angarium_stdlib::network::{Network, NoNames};
use angarium_stdlib::rate::{RateService, Rates};
use angarium_stdlib::{CORE, data, dkim, dmarc, extras, message, queue, regexp, smtp};

/// What the hook eod has of this library.
static EOD: ContextDecl = ContextDecl {
    name: "eod",
    functions: &[dkim::LEGACY_EOD, dmarc::LEGACY_EOD],
    classes: &[],
    variables: &[],
};

/// The folder with the files that examples read.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/files");

/// What a script echoes.
#[derive(Default)]
struct Echoes(RefCell<String>);

impl Output for Echoes {
    fn echo(&self, text: &[u8]) {
        let mut echoes = self.0.borrow_mut();
        echoes.push_str(&String::from_utf8_lossy(text));
        echoes.push('\n');
    }
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// The system's clock is of no use to a test: this one stands at a second of the year 2020 and wakes at once.
struct Fixed;

impl Clock for Fixed {
    fn monotonic(&self) -> angarium_effects::Monotonic {
        angarium_effects::Monotonic(std::time::Duration::from_secs(100))
    }
    fn unix(&self) -> std::time::Duration {
        std::time::Duration::from_secs(1_577_934_245)
    }
    fn local_offset(&self, _unix: i64) -> (i32, String) {
        (0, "UTC".to_owned())
    }
    fn sleep_until(
        &self,
        _at: angarium_effects::Monotonic,
    ) -> angarium_effects::LocalFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A mail server as the examples know it.
struct Server;

impl smtp::Lookup for Server {
    fn ask(
        &self,
        _question: smtp::Question,
    ) -> Result<angarium_effects::LocalFuture<'static, smtp::Answer>, String> {
        let answer = smtp::Answer {
            verdict: smtp::Verdict::Yes,
            code: 250,
            message: "OK".to_owned(),
            on_rcptto: true,
            tls: smtp::TlsAnswer::default(),
        };
        Ok(Box::pin(std::future::ready(answer)))
    }
}

/// A queue as the examples know it.
struct Queue;

type Answer<T> = angarium_effects::LocalFuture<'static, Result<T, String>>;

fn answer<T: 'static>(value: T) -> Answer<T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl queue::Queue for Queue {
    fn set_policy(&self, _policy: queue::Policy) -> Answer<Vec<u8>> {
        answer(b"p1".to_vec())
    }
    fn delete_policy(&self, id: Vec<u8>) -> Answer<bool> {
        answer(id == b"p1")
    }
    fn set_suspend(&self, _suspend: queue::Suspend) -> Answer<Vec<u8>> {
        answer(b"s1".to_vec())
    }
    fn quota(&self, name: Vec<u8>) -> Answer<(u64, u64)> {
        answer(if name == b"customer#1" {
            (2, 8192)
        } else {
            (0, 0)
        })
    }
    fn server_concurrency(&self, server: &str, _address: Option<&str>) -> Option<usize> {
        (server == "default").then_some(12)
    }
    fn refused(&self, function: &'static str, why: &str, _origin: &str) {
        panic!("{function}: {why}");
    }
}

/// The files of the folder, for `File` and for imports.
struct Files(HashMap<String, Arc<[u8]>>);

impl Files {
    fn read() -> Files {
        let folder = std::fs::read_dir(Path::new(FOLDER)).expect("a folder");
        let files = folder.map(|file| {
            let file = file.expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(file.path()).expect("a file").into())
        });
        Files(files.collect())
    }
}

impl host::Files for Files {
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>> {
        let data = self.0.get(name)?;
        Some(Arc::new(Arc::clone(data)))
    }
}

impl Loader for Files {
    fn load(&self, path: &str) -> Option<Arc<[u8]>> {
        self.0.get(path).map(Arc::clone)
    }
    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        extras::source(name).map(Into::into)
    }
}

/// The names that the examples ask for.
fn names() -> TableDns {
    let dns = TableDns::default();
    let text =
        |name: &str, text: &str| dns.add(name, RecordType::Txt, RecordData::Txt(text.into()));
    let exchange = "mail.example.com".to_owned();
    dns.add(
        "example.com",
        RecordType::Mx,
        RecordData::Mx {
            preference: 10,
            exchange: exchange.clone(),
        },
    );
    dns.add(
        "example.com",
        RecordType::Ns,
        RecordData::Ns("ns.example.com".to_owned()),
    );
    text("example.com", "v=spf1 mx -all");
    text("_dmarc.example.com", "v=DMARC1; p=reject");
    for (name, address) in [
        ("mail.example.com", "192.0.2.25"),
        ("mail.example.com", "2001:db8::25"),
        ("web.example.com", "192.0.2.80"),
        ("7.100.51.198.bl.example.com", "127.0.0.2"),
    ] {
        dns.add_address(name, address.parse().expect("an address"));
    }
    dns.add(
        "www.example.com",
        RecordType::Cname,
        RecordData::Cname("web.example.com".to_owned()),
    );
    dns.add(
        "25.2.0.192.in-addr.arpa",
        RecordType::Ptr,
        RecordData::Ptr(exchange),
    );
    dns
}

/// What programs are compiled and run with.
pub struct World {
    library: Arc<Library>,
    files: Rc<Files>,
}

impl World {
    pub fn new() -> World {
        let library = Library::new(&[&CORE, &EOD]).expect("a well-formed table");
        World {
            library: Arc::new(library.with_data(&data::FORMATS)),
            files: Rc::new(Files::read()),
        }
    }

    /// Compiles a program of a context.
    pub fn compile(&self, context: &str, text: &str) -> Result<Arc<Unit>, String> {
        let names = self.library.context(context).expect("a context");
        let source = Source {
            name: "example",
            path: "example",
            text: text.as_bytes(),
        };
        let compiled = angarium_lang::compile(source, &names, &*self.files)
            .map_err(|rejected| rejected.render())?;
        Unit::link(compiled.program, Arc::clone(&self.library), &regexp::ENGINE)
            .map_err(|error| error.render())
    }

    fn host(&self, output: Rc<Echoes>, context: &str) -> Rc<Host> {
        let host = Host::new(
            Rc::new(Fixed),
            Rc::new(SeededRandom::new(1)),
            Rc::new(names()),
            Arc::new(Inline),
            output,
            Rc::clone(&self.files) as Rc<dyn host::Files>,
            &regexp::ENGINE,
            "host.example".into(),
        );
        host.extend(Rc::new(SharedMemory::default()));
        host.extend(Rc::new(queue::QueueService(Rc::new(Queue))));
        host.extend(Rc::new(smtp::SmtpService(Rc::new(Server))));
        let metrics = Metrics::default();
        let declared = [("doc_mails", Kinds::Counter), ("doc_size", Kinds::Gauge)];
        metrics.declare(declared.map(|(name, kind)| Declaration {
            name: name.to_owned(),
            kind,
            help: String::new(),
        }));
        host.extend(Rc::new(MetricsService(Arc::new(metrics))));
        host.extend(Rc::new(RateService(Arc::new(Rates::default()))));
        host.extend(Rc::new(Network {
            net: Rc::new(SystemNet),
            names: Arc::new(NoNames),
            background: None,
        }));
        if context == "eod" {
            let text = &self.files.0["message.eml"];
            let Value::Object(object) = message::message(text, &self.library) else {
                panic!("no message");
            };
            host.extend(Rc::new(dkim::CurrentMail {
                object,
                ip: Some("192.0.2.1".parse().expect("an address")),
                helo: "mail.example.com".to_owned(),
                sender_domain: "example.com".to_owned(),
            }));
        }
        Rc::new(host)
    }

    /// The dump form of what a program returns and what it echoes, or why it fails.
    pub fn run(&self, context: &str, text: &str) -> Result<(String, String), String> {
        let unit = self.compile(context, text)?;
        let output = Rc::<Echoes>::default();
        let host = self.host(Rc::clone(&output), context);
        let mut execution = Execution::new(&unit, host, Vec::new(), Limits::default());
        match at_once(execution.drive()) {
            None => Err("it waits for something".to_owned()),
            Some(Err(ended)) => Err(ended.to_string()),
            Some(Ok(value)) => {
                let dump = String::from_utf8_lossy(&convert::dump(&value)).into_owned();
                Ok((dump, output.0.take()))
            }
        }
    }
}

/// What a future comes to that only gives way to others; none for one that waits for something.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
    }
    None
}
