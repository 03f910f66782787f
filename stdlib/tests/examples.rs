//! Every example of the table runs and gives what it says.
//!
//! An example is a line `EXPR // DUMP`: the expression's value in dump form is DUMP.

use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::dns::TableDns;
use angarium_effects::system::SystemNet;
use angarium_effects::{Clock, SeededRandom};
use angarium_lang::Source;
use angarium_lang::modules::NoFiles;
use angarium_runtime::host::{self, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::native::FnDecl;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::metrics::{Declaration, Kinds, Metrics, MetricsService};
use angarium_stdlib::network::{Network, NoNames};
use angarium_stdlib::rate::{RateService, Rates};
use angarium_stdlib::{CORE, queue, regexp, smtp};

struct Silent;

impl Output for Silent {
    fn echo(&self, _text: &[u8]) {}
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

fn host() -> Rc<Host> {
    let host = Host::new(
        Rc::new(Fixed),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::new(Silent),
        Rc::new(host::NoFiles),
        &regexp::ENGINE,
        "host.example".into(),
    );
    host.extend(Rc::new(SharedMemory::default()));
    host.extend(Rc::new(queue::QueueService(Rc::new(Queue))));
    host.extend(Rc::new(smtp::SmtpService(Rc::new(Server))));
    let metrics = Metrics::default();
    metrics.declare(
        [("doc_mails", Kinds::Counter), ("doc_size", Kinds::Gauge)].map(|(name, kind)| {
            Declaration {
                name: name.to_owned(),
                kind,
                help: String::new(),
            }
        }),
    );
    host.extend(Rc::new(MetricsService(Arc::new(metrics))));
    host.extend(Rc::new(RateService(Arc::new(Rates::default()))));
    host.extend(Rc::new(Network {
        net: Rc::new(SystemNet),
        names: Arc::new(NoNames),
        background: None,
    }));
    Rc::new(host)
}

/// The value of an expression in dump form, or why there is none.
fn evaluate(library: &Arc<Library>, expression: &str) -> Result<String, String> {
    let names = library.context("core").expect("the core");
    let text = format!("return {expression};");
    let source = Source {
        name: "example",
        path: "",
        text: text.as_bytes(),
    };
    let compiled =
        angarium_lang::compile(source, &names, &NoFiles).map_err(|rejected| rejected.render())?;
    let unit = Unit::link(compiled.program, Arc::clone(library), &regexp::ENGINE)
        .map_err(|error| error.render())?;
    let mut execution = Execution::new(&unit, host(), Vec::new(), Limits::default());
    let value = futures_util::FutureExt::now_or_never(execution.drive());
    match value {
        None => Err("it waits for something".to_owned()),
        Some(Err(ended)) => Err(ended.to_string()),
        Some(Ok(value)) => Ok(String::from_utf8_lossy(&convert::dump(&value)).into_owned()),
    }
}

fn declarations() -> impl Iterator<Item = &'static FnDecl> {
    let functions = CORE.functions.iter().copied().flatten();
    let of_classes = CORE.classes.iter().flat_map(|class| {
        std::iter::once(&class.constructor)
            .chain(class.methods)
            .chain(class.statics)
    });
    functions.chain(of_classes)
}

#[test]
fn every_example_gives_what_it_says() {
    let library = Arc::new(Library::new(&[&CORE]).expect("a well-formed table"));
    let (mut run, mut wrong) = (0, Vec::new());
    for declaration in declarations() {
        for example in declaration.example.lines() {
            run += 1;
            let Some((expression, expected)) = example.rsplit_once(" // ") else {
                wrong.push(format!("no expectation: {example}"));
                continue;
            };
            match evaluate(&library, expression) {
                Ok(found) if found == expected => {}
                Ok(found) => {
                    wrong.push(format!("{expression}\n   says {expected}\n  gives {found}"))
                }
                Err(why) => wrong.push(format!("{expression}\n   says {expected}\n  fails {why}")),
            }
        }
    }
    assert!(run > 80, "only {run} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_function_has_an_example() {
    let without: Vec<&str> = CORE
        .functions
        .iter()
        .copied()
        .flatten()
        .filter(|function| function.example.is_empty() && !function.legacy)
        .map(|function| function.signature)
        .collect();
    assert_eq!(without, Vec::<&str>::new());
}
