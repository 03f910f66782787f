//! What `cache` keeps apart besides namespaces and arguments: messages, and the versions of a file.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::dns::TableDns;
use angarium_effects::{SeededRandom, VirtualClock};
use angarium_runtime::host::{FileData, Files, Host, Inline, MessageScope};
use angarium_runtime::{Execution, Limits};

/// A file whose content the test changes.
#[derive(Default)]
struct OneFile(Cell<u8>);

impl Files for OneFile {
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>> {
        let content: Arc<[u8]> = Arc::from([self.0.get()]);
        (name == "file:list.txt" && self.0.get() > 0).then(|| Arc::new(content) as _)
    }
}

/// What a program prints on a host with this file and message.
fn run(text: &str, file: &Rc<OneFile>, message: Option<&str>) -> Vec<String> {
    let (unit, _) = support::unit(text, &HashMap::new()).unwrap();
    let lines = Rc::new(support::Lines::default());
    let host = Host::new(
        Rc::new(VirtualClock::new(Duration::from_secs(1))),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::<support::Lines>::clone(&lines),
        Rc::<OneFile>::clone(file),
        &support::Regexes,
        "test.example".into(),
    );
    if let Some(message) = message {
        host.extend(Rc::new(MessageScope(message.to_owned())));
    }
    let mut execution = Execution::new(&unit, Rc::new(host), Vec::new(), Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(execution.drive()).unwrap();
    let lines = lines.0.borrow();
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

#[test]
fn a_cache_per_message_is_not_shared_with_other_messages() {
    let file = Rc::new(OneFile::default());
    let text = "function f() { echo \"call\"; return 1; } cache [\"namespace\" => \"pm\", \"per_message\" => true] f();";
    assert_eq!(run(text, &file, Some("a")), ["call"]);
    assert_eq!(run(text, &file, Some("b")), ["call"]);
    assert!(run(text, &file, Some("a")).is_empty());
    assert_eq!(run(text, &file, None), ["call"]);
    assert!(run(text, &file, None).is_empty(), "elsewhere as if false");
}

#[test]
fn the_namespace_of_a_file_is_cleared_when_the_file_changes() {
    let file = Rc::new(OneFile::default());
    let text =
        "function g() { echo \"call\"; return 1; } cache [\"namespace\" => \"file:list.txt\"] g();";
    for (content, calls) in [(0, 1), (0, 0), (1, 1), (1, 0), (2, 1), (0, 1), (0, 0)] {
        file.0.set(content);
        assert_eq!(run(text, &file, None).len(), calls, "content {content}");
    }
}
