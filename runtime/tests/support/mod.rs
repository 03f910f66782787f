//! What the tests run scripts with: a small library and a host without any outside world.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and what fails here is a broken test"
)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use angarium_effects::dns::TableDns;
use angarium_effects::{SeededRandom, VirtualClock};
use angarium_lang::builtins::Builtins;
use angarium_lang::{Rejected, Source};
use angarium_runtime::array::Array;
use angarium_runtime::convert;
use angarium_runtime::frozen::{Pin, Tree, freeze};
use angarium_runtime::host::{CompiledRegex, Host, Inline, Matched, NoFiles, Output, RegexEngine};
use angarium_runtime::library::Library;
use angarium_runtime::native::{
    Args, ClassDecl, ContextDecl, Cx, FnDecl, Heavy, Input, LocalFuture, Outcome, Step, Task,
    Throw, VarDecl, opt,
};
use angarium_runtime::object::Function;
use angarium_runtime::shared::SharedMemory;
use angarium_runtime::value::{Kind, Value};
use angarium_runtime::{Ended, Execution, Limits, Unit, exception, map_set};

/// Collects what scripts print.
#[derive(Default)]
pub struct Lines(pub RefCell<Vec<Vec<u8>>>);

impl Output for Lines {
    fn echo(&self, text: &[u8]) {
        self.0.borrow_mut().push(text.to_vec());
    }
    fn syslog(&self, _priority: u32, _message: &[u8]) {}
}

/// A regex engine for the few patterns of the tests.
pub struct Regexes;

struct Compiled(regex::bytes::Regex, Vec<u8>);

impl CompiledRegex for Compiled {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn text(&self) -> &[u8] {
        &self.1
    }
    fn is_match(&self, subject: &[u8]) -> Matched {
        // A marker for the way through the pool.
        if subject.starts_with(b"HEAVY") {
            return Matched::Limit;
        }
        if self.0.is_match(subject) {
            Matched::Yes
        } else {
            Matched::No
        }
    }
    fn is_match_heavy(&self, subject: &[u8], _: &mut dyn FnMut() -> bool) -> Matched {
        if self.0.is_match(subject) {
            Matched::Yes
        } else {
            Matched::Limit
        }
    }
}

impl RegexEngine for Regexes {
    fn compile(
        &self,
        pattern: &[u8],
        modifiers: &[u8],
    ) -> Result<Arc<dyn CompiledRegex>, (String, usize)> {
        let pattern = String::from_utf8_lossy(pattern).into_owned();
        let modifiers = String::from_utf8_lossy(modifiers).into_owned();
        let compiled = regex::bytes::RegexBuilder::new(&pattern)
            .unicode(false)
            .case_insensitive(modifiers.contains('i'))
            .build()
            .map_err(|_| ("it does not parse".to_owned(), 0))?;
        Ok(Arc::new(Compiled(
            compiled,
            format!("/{pattern}/{modifiers}").into_bytes(),
        )))
    }

    fn compile_text(&self, text: &[u8]) -> Result<Arc<dyn CompiledRegex>, (String, usize)> {
        match text.strip_prefix(b"/").and_then(|rest| {
            rest.iter()
                .rposition(|byte| *byte == b'/')
                .map(|at| rest.split_at(at))
        }) {
            Some((pattern, modifiers)) => self.compile(pattern, &modifiers[1..]),
            None => self.compile(text, b""),
        }
    }
}

fn length(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(match args.get(0) {
        Value::String(text) => Value::from(text.len()),
        other => Value::from(other.as_array().map_or(0, |view| view.len())),
    })
}

fn string(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::String(convert::to_str(args.get(0))))
}

fn number(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::Number(convert::to_number(args.get(0))))
}

fn boolean(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::Boolean(convert::truthy(args.get(0))))
}

fn type_of(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::from(args.get(0).kind().name()))
}

fn is_function(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::Boolean(args.get(0).kind() == Kind::Function))
}

fn upper(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::from(args.bytes(0).to_ascii_uppercase()))
}

fn padded(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let fill = args.options(1).string("fill").unwrap_or_default();
    Ok(Value::from(format!(
        "{}{}",
        String::from_utf8_lossy(args.bytes(0)),
        fill.to_text()
    )))
}

fn wait(_: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let value = args.get(0).clone();
    Ok(Box::pin(async move {
        tokio::task::yield_now().await;
        Ok(value)
    }))
}

fn sleep(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let sleep = cx
        .host
        .clock
        .sleep(Duration::from_secs_f64(args.number(0, 0.0)));
    Ok(Box::pin(async move {
        sleep.await;
        Ok(Value::None)
    }))
}

fn fail(_: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let message = convert::to_str(args.get(0)).to_text().into_owned();
    Ok(Box::pin(async move {
        tokio::task::yield_now().await;
        Err(Throw::error(message))
    }))
}

fn heavy(_: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let text = args.bytes(0).to_vec();
    if text.len() < 4 {
        return Ok(Heavy::Done(Value::from(text)));
    }
    Ok(Heavy::Offload(Box::new(move || {
        let reversed: Vec<u8> = text.iter().rev().copied().collect();
        Box::new(move |_| Ok(Value::from(reversed)))
    })))
}

fn end(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Err(Throw::end(
        convert::to_str(args.get(0)).to_text().into_owned(),
    ))
}

struct Map {
    function: Rc<Function>,
    values: std::vec::IntoIter<Value>,
    done: Vec<Value>,
}

impl Task for Map {
    fn resume(&mut self, _: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Input::Value(value) = input {
            self.done.push(value);
        }
        Ok(match self.values.next() {
            Some(value) => Step::Call(Rc::clone(&self.function), [value].into_iter().collect()),
            None => Step::Done(Value::from(Array::from_list(std::mem::take(
                &mut self.done,
            )))),
        })
    }
}

fn array_map(_: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let function = args
        .get(0)
        .as_function()
        .cloned()
        .ok_or_else(|| Throw::error("no function"))?;
    let values: Vec<Value> = args
        .get(1)
        .as_array()
        .map(|view| view.values().collect())
        .unwrap_or_default();
    Ok(Box::new(Map {
        function,
        values: values.into_iter(),
        done: Vec::new(),
    }))
}

/// The shared memory of all executions of a test binary.
pub fn memory() -> &'static SharedMemory {
    static MEMORY: OnceLock<SharedMemory> = OnceLock::new();
    MEMORY.get_or_init(SharedMemory::default)
}

fn shared() -> &'static Mutex<HashMap<Vec<u8>, Arc<Tree>>> {
    static SHARED: OnceLock<Mutex<HashMap<Vec<u8>, Arc<Tree>>>> = OnceLock::new();
    SHARED.get_or_init(Mutex::default)
}

fn store(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let tree = freeze(args.get(1)).map_err(|error| Throw::error(error.to_string()))?;
    shared()
        .lock()
        .unwrap()
        .insert(args.bytes(0).to_vec(), tree);
    Ok(Value::None)
}

fn fetch(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(shared()
        .lock()
        .unwrap()
        .get(args.bytes(0))
        .map_or(Value::None, |tree| Pin::new(tree).root()))
}

static FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain("length(value: string|array): number", "Length.", length),
    FnDecl::plain("string(value: any): string", "To string.", string),
    FnDecl::plain("number(value: any): number", "To number.", number),
    FnDecl::plain("boolean(value: any): boolean", "To boolean.", boolean),
    FnDecl::plain("type(value: any): string", "Type.", type_of),
    FnDecl::plain(
        "is_function(value: any): boolean",
        "Is it a function?",
        is_function,
    ),
    FnDecl::plain("str_upper(text: string): string", "Upper case.", upper),
    FnDecl::plain(
        "padded(text: string, options?: array): string",
        "Padding.",
        padded,
    )
    .options(&[opt("fill", "string", "", "What is appended.")]),
    FnDecl::waiting("wait(value: any): any", "Gives the value later.", wait),
    FnDecl::waiting("sleep(seconds: number): none", "Sleeps.", sleep),
    FnDecl::waiting("fail(message: string): none", "Throws later.", fail),
    FnDecl::heavy(
        "heavy(text: string): string",
        "Reverses long texts on the pool.",
        heavy,
    ),
    FnDecl::plain("end(verdict: string)", "Ends the script.", end),
    FnDecl::task(
        "array_map(callback: function, array: array): array",
        "Maps.",
        array_map,
    ),
    FnDecl::plain("store(name: string, value: any): none", "Stores.", store),
    FnDecl::plain("fetch(name: string): any", "Fetches.", fetch),
];

static CLASSES: &[ClassDecl] = &[
    exception::EXCEPTION,
    map_set::MAP,
    map_set::SET,
    map_set::ITERATOR,
    REGEX,
];

static REGEX: ClassDecl = ClassDecl {
    constructor: FnDecl::construct("Regex(): Regex", "A regular expression."),
    extends: None,
    methods: &[],
    statics: &[],
};

static VARIABLES: &[VarDecl] = &[
    VarDecl {
        path: "$connection.ip",
        types: "string",
        available: "always",
        doc: "The peer.",
        writable: false,
    },
    VarDecl {
        path: "$context",
        types: "any",
        available: "always",
        doc: "Kept.",
        writable: true,
    },
];

static CORE: ContextDecl = ContextDecl {
    name: "core",
    functions: &[FUNCTIONS],
    classes: CLASSES,
    variables: VARIABLES,
};

/// The library of the tests.
pub fn library() -> Arc<Library> {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    Arc::clone(LIBRARY.get_or_init(|| Arc::new(Library::new(&[&CORE]).unwrap())))
}

/// What a script did.
#[derive(Debug, PartialEq)]
pub struct Ran {
    /// What it printed, a line for each `echo`.
    pub lines: Vec<String>,
    /// The dump form of its value, or how it ended.
    pub result: Result<String, String>,
    /// Compile warnings.
    pub warnings: Vec<String>,
    /// Fuel used.
    pub fuel: u64,
}

/// Compiles and links a program.
pub fn unit(
    text: &str,
    files: &HashMap<String, Vec<u8>>,
) -> Result<(Arc<Unit>, Vec<String>), String> {
    unit_by(angarium_lang::compile, text, files)
}

/// A way to compile a program.
type Compile = fn(
    Source<'_>,
    &dyn Builtins,
    &dyn angarium_lang::modules::Loader,
) -> Result<angarium_lang::Compiled, Rejected>;

fn unit_by(
    compile: Compile,
    text: &str,
    files: &HashMap<String, Vec<u8>>,
) -> Result<(Arc<Unit>, Vec<String>), String> {
    let library = library();
    let names = library.context("core").unwrap();
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text: text.as_bytes(),
    };
    let compiled = compile(source, &names, files).map_err(|rejected| rejected.render())?;
    let warnings = compiled
        .warnings
        .iter()
        .map(|warning| warning.headline(&compiled.program.sources))
        .collect();
    let unit = Unit::link(compiled.program, Arc::clone(&library), &Regexes)
        .map_err(|error| error.render())?;
    Ok((unit, warnings))
}

/// A host whose clock is virtual.
pub fn host(lines: &Rc<Lines>, clock: &VirtualClock) -> Rc<Host> {
    let host = Host::new(
        Rc::new(clock.clone()),
        Rc::new(SeededRandom::new(1)),
        Rc::new(TableDns::default()),
        Arc::new(Inline),
        Rc::clone(lines) as Rc<dyn Output>,
        Rc::new(NoFiles),
        &Regexes,
        "test.example".into(),
    );
    host.extend(Rc::new(memory().clone()));
    Rc::new(host)
}

/// Runs a program; a compile error is given as `Err`.
pub fn run(text: &str, files: &HashMap<String, Vec<u8>>, limits: Limits) -> Result<Ran, String> {
    let (unit, warnings) = unit(text, files)?;
    Ok(run_unit(&unit, warnings, limits))
}

/// As [`run`] without any short cut of the compiler.
pub fn run_plain(
    text: &str,
    files: &HashMap<String, Vec<u8>>,
    limits: Limits,
) -> Result<Ran, String> {
    let (unit, warnings) = unit_by(angarium_lang::compile_plain, text, files)?;
    Ok(run_unit(&unit, warnings, limits))
}

fn run_unit(unit: &Arc<Unit>, warnings: Vec<String>, limits: Limits) -> Ran {
    let lines = Rc::new(Lines::default());
    let clock = VirtualClock::new(Duration::from_secs(1_700_000_000));
    let connection: Array = [(
        angarium_runtime::array::Key::from("ip"),
        Value::from("192.0.2.1"),
    )]
    .into_iter()
    .collect();
    let variables = vec![
        ("connection", Value::from(connection)),
        ("context", Value::from(Array::new())),
    ];
    let mut execution = Execution::new(unit, host(&lines, &clock), variables, limits);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        let ticking = clock.clone();
        let drive = std::pin::pin!(execution.drive());
        let mut drive = drive;
        std::future::poll_fn(|context| {
            let polled = drive.as_mut().poll(context);
            if polled.is_pending() {
                // Nothing else runs here: time goes on by itself.
                ticking.advance(Duration::from_millis(100));
                context.waker().wake_by_ref();
            }
            polled
        })
        .await
    });
    let result = match result {
        Ok(value) => Ok(String::from_utf8_lossy(&convert::dump(&value)).into_owned()),
        Err(Ended::Verdict(verdict)) => Err(format!(
            "verdict {}",
            verdict.downcast_ref::<String>().unwrap()
        )),
        Err(ended) => Err(ended.to_string()),
    };
    let fuel = execution.fuel_used();
    drop(execution);
    let lines = lines
        .0
        .borrow()
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    Ran {
        lines,
        result,
        warnings,
        fuel,
    }
}
