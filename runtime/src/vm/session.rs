//! Sessions: programs that are entered piece by piece (the REPL).

use std::rc::Rc;
use std::sync::Arc;

use angarium_lang::modules::Loader;
use angarium_lang::session::Scope;
use angarium_lang::{Diagnostic, Rejected, Source};

use crate::cell::VarCell;
use crate::exception::Place;
use crate::host::Host;
use crate::instance::Instance;
use crate::library::Library;
use crate::value::Value;
use crate::vm::execution::{Ended, Execution, Limits};
use crate::vm::fiber::hold;
use crate::vm::trace::Trace;
use crate::vm::unit::{LinkError, Unit};

/// A session: variables and functions stay from piece to piece, and functions may be defined anew.
pub struct Session {
    scope: Scope,
    execution: Execution,
    library: Arc<Library>,
    context: &'static str,
    globals: Vec<Rc<VarCell>>,
    host: Rc<Host>,
    limits: Limits,
    pieces: usize,
}

/// Why a piece did not run to its end. The session goes on.
#[derive(Debug)]
pub enum SessionError {
    /// It does not compile; nothing ran.
    Rejected(Rejected),
    /// A regular expression literal is bad; nothing ran.
    Link(LinkError),
    /// It ended otherwise.
    Ended(Ended),
}

/// What a piece gave.
#[derive(Debug)]
pub struct Evaluated {
    /// The value of its last statement, when that is an expression and no assignment.
    pub value: Value,
    /// Compile warnings.
    pub warnings: Vec<Diagnostic>,
}

impl Session {
    /// An empty session over one context of the library; `limits` are those of each piece.
    #[must_use]
    pub fn new(
        library: &Arc<Library>,
        context: &'static str,
        host: Rc<Host>,
        limits: Limits,
    ) -> Session {
        let execution = Execution::idle(library, Rc::clone(&host), limits);
        Session {
            scope: Scope::new(),
            execution,
            library: Arc::clone(library),
            context,
            globals: Vec::new(),
            host,
            limits,
            pieces: 0,
        }
    }

    /// Compiles and runs the next piece, as it was entered.
    ///
    /// # Errors
    /// As [`Session::eval_source`].
    pub async fn eval(
        &mut self,
        text: &[u8],
        loader: &dyn Loader,
    ) -> Result<Evaluated, SessionError> {
        let source = Source {
            name: "",
            path: "",
            text,
        };
        self.eval_source(source, loader).await
    }

    /// Compiles and runs the next piece, from a file.
    ///
    /// # Errors
    /// What is wrong with it; variables that were assigned before an exception keep their values.
    pub async fn eval_source(
        &mut self,
        source: Source<'_>,
        loader: &dyn Loader,
    ) -> Result<Evaluated, SessionError> {
        let Some(names) = self.library.context(self.context) else {
            return Ok(Evaluated {
                value: Value::None,
                warnings: Vec::new(),
            });
        };
        self.pieces += 1;
        let scope_before = self.scope.clone();
        let compiled = self
            .scope
            .compile(source, &names, loader)
            .map_err(SessionError::Rejected)?;
        let unit = match Unit::link(compiled.program, Arc::clone(&self.library), self.host.regex) {
            Ok(unit) => unit,
            Err(error) => {
                self.scope = scope_before;
                return Err(SessionError::Link(error));
            }
        };
        self.execution.renew(self.limits);
        let globals = self.globals.clone();
        self.globals = self.execution.enter(|fiber| {
            let instance = fiber.add_instance(hold(&unit), globals);
            fiber.start(instance, unit.program.main);
            fiber.instances[instance as usize].globals.clone()
        });
        let value = self.execution.drive().await.map_err(SessionError::Ended)?;
        Ok(Evaluated {
            value,
            warnings: compiled.warnings,
        })
    }

    /// Where the last piece ended that did not run to its end.
    #[must_use]
    pub fn ended_at(&self) -> Option<Place> {
        self.execution.ended_at()
    }

    /// The calls that were going on there.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        self.execution.trace()
    }

    /// Whether `text` is a whole piece, or brackets, strings or blocks are still open: then more has to be entered.
    #[must_use]
    pub fn is_complete(text: &[u8]) -> bool {
        angarium_lang::session::is_complete(text)
    }

    /// The variables that have a value, by name without `$`.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Value)> {
        let mut variables: Vec<(String, Value)> = self
            .scope
            .variables()
            .filter_map(|(name, global)| {
                let value = self.globals.get(global as usize)?.get();
                (!matches!(value, Value::Undefined)).then(|| (name.to_owned(), value))
            })
            .collect();
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        variables
    }

    /// The names of the functions that the session defined or imported.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scope.functions().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The names of what a class of the session offers without an instance; none for other names.
    #[must_use]
    pub fn statics(&self, class: &str) -> Vec<String> {
        let mut names = self.scope.statics(class);
        names.sort();
        names
    }

    /// What can be reached with `->` on `value` from outside: names, and whether each one is a function.
    #[must_use]
    pub fn members(&self, value: &Value) -> Vec<(String, bool)> {
        let Some(object) = value.as_object() else {
            return Vec::new();
        };
        let mut members = match (Instance::of(object), self.library.class_of(object)) {
            (Some(instance), _) => instance.public_members(),
            (None, Some(class)) => class
                .method_names()
                .map(|name| (name.to_owned(), true))
                .collect(),
            (None, None) => Vec::new(),
        };
        members.sort();
        members
    }

    /// Fuel used by all pieces.
    #[must_use]
    pub fn fuel_used(&mut self) -> u64 {
        self.execution.fiber().used()
    }
}
