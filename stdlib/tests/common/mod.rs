//! Runs scripts of the core library under a table of DNS answers.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests read their data from disk; a suite that cannot be read fails its test"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use angarium_effects::clock::VirtualClock;
use angarium_effects::dns::{DnsError, RecordData, RecordType, TableDns};
use angarium_effects::random::SeededRandom;
use angarium_lang::Source;
use angarium_lang::modules::Loader;
use angarium_runtime::host::{self, Host, Inline, Output};
use angarium_runtime::library::Library;
use angarium_runtime::native::ContextDecl;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::Value;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::{CORE, data, dkim, dmarc, extras, json, message, regexp};

/// The folder of a suite; none, with a line that says so, when it is absent.
pub fn suite(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no suite at {}", folder.display());
    None
}

/// The file of a suite as text; bytes beyond UTF-8 are replaced.
pub fn text(folder: &std::path::Path, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join(file)).unwrap()).into_owned()
}

/// The objects of a file of JSON lines.
pub fn json_lines(folder: &std::path::Path, file: &str) -> Vec<serde_json::Value> {
    let text = text(folder, file);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The documents of a YAML file.
pub fn yaml_documents(folder: &std::path::Path, file: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read(folder.join(file)).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let documents = text
        .split("\n---\n")
        .filter(|document| !document.trim().is_empty());
    documents
        .map(|document| {
            let value = angarium_stdlib::yaml::decode(document.as_bytes(), None).unwrap();
            to_json(&value)
        })
        .collect()
}

/// A value as JSON; bytes beyond ASCII that are no UTF-8 become the characters of these numbers.
fn to_json(value: &Value) -> serde_json::Value {
    let form = json::Form {
        ascii: true,
        pretty: false,
    };
    let text = json::encode(value, form).unwrap();
    serde_json::from_slice(text.as_ref()).unwrap()
}

/// What a script said in the log.
#[derive(Default)]
pub struct Log(pub RefCell<Vec<String>>);

impl Output for Log {
    fn echo(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.borrow_mut().push(text);
    }
    fn syslog(&self, _priority: u32, message: &[u8]) {
        let text = String::from_utf8_lossy(message).into_owned();
        self.0.borrow_mut().push(text);
    }
}

/// What scripts run on.
pub struct World {
    pub dns: TableDns,
    pub files: HashMap<String, Vec<u8>>,
    pub unix: u64,
    pub log: Rc<Log>,
    /// The message of the context eod, when there is one.
    pub mail: Option<Vec<u8>>,
    library: Arc<Library>,
}

/// What the hook eod has of this library.
static EOD: ContextDecl = ContextDecl {
    name: "eod",
    functions: &[dkim::LEGACY_EOD, dmarc::LEGACY_EOD],
    classes: &[],
    variables: &[],
};

impl Default for World {
    fn default() -> World {
        let library = Library::new(&[&CORE, &EOD])
            .unwrap()
            .with_data(&data::FORMATS);
        World {
            dns: TableDns::default(),
            files: HashMap::new(),
            unix: 1_700_000_000,
            log: Rc::default(),
            mail: None,
            library: Arc::new(library),
        }
    }
}

struct Files<'a>(&'a HashMap<String, Vec<u8>>);

impl Loader for Files<'_> {
    fn load(&self, path: &str) -> Option<Arc<[u8]>> {
        self.0.get(path).map(|text| text.as_slice().into())
    }

    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        extras::source(name).map(Into::into)
    }
}

impl World {
    /// Adds a TXT record.
    pub fn txt(&self, name: &str, text: &str) {
        let data = RecordData::Txt(text.as_bytes().to_vec());
        self.dns.add(name, RecordType::Txt, data);
    }

    /// Makes all questions of a name fail.
    pub fn fail(&self, name: &str, error: &DnsError) {
        for kind in [
            RecordType::A,
            RecordType::Aaaa,
            RecordType::Mx,
            RecordType::Txt,
            RecordType::Ptr,
        ] {
            self.dns.fail(name, kind, error.clone());
        }
    }

    /// Adds a file that scripts can import.
    pub fn file(&mut self, name: &str, text: impl AsRef<[u8]>) {
        self.files.insert(name.to_owned(), text.as_ref().to_vec());
    }

    fn execute<T>(&self, text: &str, show: impl FnOnce(&Value) -> T) -> Result<T, String> {
        let context = if self.mail.is_some() { "eod" } else { "core" };
        let source = Source {
            name: "main.hsl",
            path: "main.hsl",
            text: text.as_bytes(),
        };
        let names = self.library.context(context).unwrap();
        let files = Files(&self.files);
        let compiled =
            angarium_lang::compile(source, &names, &files).map_err(|rejected| rejected.render())?;
        let unit = Unit::link(compiled.program, Arc::clone(&self.library), &regexp::ENGINE)
            .map_err(|error| error.render())?;
        let host = Host::new(
            Rc::new(VirtualClock::new(std::time::Duration::from_secs(self.unix))),
            Rc::new(SeededRandom::new(1)),
            Rc::new(self.dns.clone()),
            Arc::new(Inline),
            Rc::clone(&self.log) as Rc<dyn Output>,
            Rc::new(host::NoFiles),
            &regexp::ENGINE,
            "host.example".into(),
        );
        host.extend(Rc::new(SharedMemory::default()));
        if let Some(mail) = &self.mail {
            let text: Arc<[u8]> = mail.as_slice().into();
            let Value::Object(object) = message::message(&text, &self.library) else {
                panic!("no message");
            };
            host.extend(Rc::new(dkim::CurrentMail {
                object,
                ip: Some("192.0.2.1".parse().unwrap()),
                helo: "mail.example.com".to_owned(),
                sender_domain: "example.com".to_owned(),
            }));
        }
        let mut execution = Execution::new(&unit, Rc::new(host), Vec::new(), Limits::default());
        let ended = drive(execution.drive());
        ended
            .map(|value| show(&value))
            .map_err(|ended| ended.to_string())
    }

    /// The dump form of what a program returns, or what is said about it.
    pub fn run(&self, text: &str) -> Result<String, String> {
        self.execute(text, |value| {
            String::from_utf8_lossy(&convert::dump(value)).into_owned()
        })
    }

    /// The string that a program returns, or that of any other value.
    pub fn string(&self, text: &str) -> String {
        let ended = self.execute(text, |value| {
            let text = convert::to_str(value);
            String::from_utf8_lossy(text.as_bytes()).into_owned()
        });
        ended.unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// What a program returns, as JSON.
    pub fn json(&self, text: &str) -> serde_json::Value {
        let ended = self.execute(text, to_json);
        ended.unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Checks the dump form of what a program returns.
    pub fn gives(&self, text: &str, expected: &str) {
        assert_eq!(self.run(text).as_deref(), Ok(expected), "{text}");
    }
}

/// Polls until the future is done; scripts give way to others when they have had their turn.
fn drive<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the script waits for something that does not come");
}

/// A text as a literal of the language.
pub fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | b'$' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out + "\""
}
