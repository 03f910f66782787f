//! Runs a program with the core library under limits, on a virtual clock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use angarium_effects::dns::TableDns;
use angarium_effects::{SeededRandom, VirtualClock};
use angarium_lang::Source;
use angarium_lang::bytecode::Program;
use angarium_runtime::cache::Caches;
use angarium_runtime::host::{Host, Inline, NoFiles, Output};
use angarium_runtime::library::Library;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::{Execution, Limits, Unit, convert};
use angarium_stdlib::{CORE, regexp};

/// What a script did.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// What it printed, a line for each `echo`.
    pub lines: Vec<String>,
    /// The dump form of its value, or how it ended.
    pub result: Result<String, String>,
    /// Fuel used.
    pub fuel: u64,
    /// Most bytes that the result and the output have.
    pub output: usize,
}

/// Collects what scripts print.
#[derive(Default)]
struct Lines {
    lines: RefCell<Vec<String>>,
    bytes: RefCell<usize>,
}

/// Output beyond this is counted and not kept: it is outside the budget of the script.
const KEPT_OUTPUT: usize = 1 << 20;

impl Output for Lines {
    fn echo(&self, text: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        *bytes += text.len();
        if *bytes <= KEPT_OUTPUT {
            self.lines
                .borrow_mut()
                .push(String::from_utf8_lossy(text).into_owned());
        }
    }

    fn syslog(&self, _priority: u32, message: &[u8]) {
        self.echo(message);
    }
}

/// The core library.
pub fn library() -> Arc<Library> {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    Arc::clone(
        LIBRARY.get_or_init(|| Arc::new(Library::new(&[&CORE]).expect("a well-formed table"))),
    )
}

/// Compiles and links a program.
///
/// # Errors
/// What the compiler says, as users read it.
pub fn unit(text: &[u8], files: &HashMap<String, Vec<u8>>) -> Result<Arc<Unit>, String> {
    unit_with(&library(), text, files)
}

/// As [`unit`] with another library.
///
/// # Errors
/// What the compiler says.
pub fn unit_with(
    library: &Arc<Library>,
    text: &[u8],
    files: &HashMap<String, Vec<u8>>,
) -> Result<Arc<Unit>, String> {
    let program = compile_with(library, text, files)?;
    Unit::link(program, Arc::clone(library), &regexp::ENGINE).map_err(|error| error.render())
}

/// Compiles a program against the core library.
///
/// # Errors
/// What the compiler says.
pub fn compile(text: &[u8], files: &HashMap<String, Vec<u8>>) -> Result<Program, String> {
    compile_with(&library(), text, files)
}

fn compile_with(
    library: &Library,
    text: &[u8],
    files: &HashMap<String, Vec<u8>>,
) -> Result<Program, String> {
    let names = library.context("core").expect("the core");
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text,
    };
    let compiled =
        angarium_lang::compile(source, &names, files).map_err(|rejected| rejected.render())?;
    Ok(compiled.program)
}

/// Compiles and runs a program; heavy work is done at once.
///
/// # Errors
/// What the compiler says.
pub fn run(text: &[u8], files: &HashMap<String, Vec<u8>>, limits: Limits) -> Result<Ran, String> {
    let unit = unit(text, files)?;
    Ok(run_unit(&unit, limits))
}

/// Runs a program that is compiled.
#[must_use]
pub fn run_unit(unit: &Arc<Unit>, limits: Limits) -> Ran {
    run_watched(unit, limits, |_| {})
}

/// As [`run_unit`]; `watch` looks at the execution after each slice.
#[must_use]
pub fn run_watched(unit: &Arc<Unit>, limits: Limits, watch: impl FnMut(&Execution)) -> Ran {
    let lines = Rc::new(Lines::default());
    let clock = VirtualClock::new(Duration::from_secs(1_700_000_000));
    let host = Host::new(
        Rc::new(clock.clone()),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::clone(&lines) as Rc<dyn Output>,
        Rc::new(NoFiles),
        &regexp::ENGINE,
        "sandbox.example".into(),
    );
    host.extend(Rc::new(SharedMemory::default()));
    host.extend(Rc::new(Caches::default()));
    let mut execution = Execution::new(unit, Rc::new(host), Vec::new(), limits);
    let driven = drive(execution.drive_watched(watch), &clock);
    let result = match driven {
        Some(Ok(value)) => Ok(String::from_utf8_lossy(&convert::dump_short(&value)).into_owned()),
        Some(Err(ended)) => Err(ended.to_string()),
        None => Err("it waits for what never comes".to_owned()),
    };
    let fuel = execution.fuel_used();
    drop(execution);
    let output = *lines.bytes.borrow();
    let lines = lines.lines.take();
    Ran {
        lines,
        result,
        fuel,
        output,
    }
}

/// Notes that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls a future to its end. The clock is put to the next timer when nothing else goes on; none when there is no timer either.
fn drive<T>(future: impl Future<Output = T>, clock: &VirtualClock) -> Option<T> {
    let mut future = pin!(future);
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if flag.0.swap(false, Ordering::Relaxed) {
            continue;
        }
        let next = clock.next_timer()?;
        let now = angarium_effects::Clock::monotonic(clock);
        clock.advance(next.since(now));
    }
}
