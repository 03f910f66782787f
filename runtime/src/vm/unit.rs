//! A unit: a compiled program linked with a library. Immutable, shared by all threads.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use angarium_lang::bytecode::{Class, Const, Op, Program, Step};
use angarium_lang::{Diagnostic, SourceMap};

use crate::array::{Array, Key, KeyHash};
use crate::frozen::{FrozenObject, Pin, Tree, freeze};
use crate::host::{CompiledRegex, RegexEngine};
use crate::library::Library;
use crate::regex::Regex;
use crate::value::Value;

/// A program linked with a library. Exists once per process, whatever the number of executions.
pub struct Unit {
    pub(crate) program: Program,
    pub(crate) library: Arc<Library>,
    /// The constants as one frozen list; regular expressions are none there.
    consts: Arc<Tree>,
    regexes: Vec<(usize, Arc<dyn CompiledRegex>)>,
    pub(crate) classes: Vec<ClassTable>,
    /// How many of the constants may name a member.
    pub(crate) hints: usize,
}

/// A class of the script, its members by name.
pub(crate) struct ClassTable {
    pub constructor: u32,
    pub members: HashMap<Box<[u8]>, Member, KeyHash>,
}

/// What a class says of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The function of that name.
    pub method: Option<u32>,
    pub private: bool,
    pub readonly: bool,
}

impl ClassTable {
    fn new(class: &Class) -> ClassTable {
        let mut members: HashMap<Box<[u8]>, Member, KeyHash> = HashMap::default();
        for (name, proto) in &class.methods {
            members.entry(name.as_bytes().into()).or_default().method = Some(*proto);
        }
        for name in &class.private {
            members.entry(name.as_bytes().into()).or_default().private = true;
        }
        for name in &class.readonly {
            members.entry(name.as_bytes().into()).or_default().readonly = true;
        }
        ClassTable {
            constructor: class.constructor,
            members,
        }
    }
}

/// How many constants, counted from the first one, members are looked up by.
fn member_names(program: &Program) -> usize {
    let mut names = 0;
    for proto in &program.protos {
        for instr in &proto.code {
            if matches!(
                instr.op,
                Op::Property | Op::PeekProperty | Op::IssetProperty | Op::CallMethod
            ) {
                names = names.max(instr.d as usize + 1);
            }
        }
        for step in proto.paths.iter().flatten() {
            if let Step::Property(name) = step {
                names = names.max(*name as usize + 1);
            }
        }
    }
    names
}

/// Why a program could not be linked: bad regular expression literals or data files.
#[derive(Clone, Debug)]
pub struct LinkError {
    /// The errors, with their places.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that they are about.
    pub sources: SourceMap,
}

impl LinkError {
    /// The errors as text for people.
    #[must_use]
    pub fn render(&self) -> String {
        self.diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(&self.sources))
            .collect()
    }
}

impl Unit {
    /// Links `program`, which was compiled against one of the contexts of `library`: freezes its literals and compiles
    /// its regular expressions and decodes the data files that it imports.
    ///
    /// # Errors
    /// Bad patterns in regular expression literals, and data files that cannot be decoded.
    pub fn link(
        program: Program,
        library: Arc<Library>,
        regex: &dyn RegexEngine,
    ) -> Result<Arc<Unit>, LinkError> {
        let mut regexes = Vec::new();
        let mut diagnostics = Vec::new();
        let mut program = program;
        let mut values = Vec::with_capacity(program.consts.len());
        for (index, value) in program.consts.iter().enumerate() {
            if let Const::Regex {
                pattern,
                modifiers,
                span,
            } = value
            {
                match regex.compile(pattern, modifiers.as_bytes()) {
                    Ok(compiled) => regexes.push((index, compiled)),
                    Err((message, offset)) => {
                        let message = format!(
                            "bad regular expression: {message} (at byte {offset} of the pattern)"
                        );
                        diagnostics.push(Diagnostic::error(*span, message));
                    }
                }
            }
            values.push(constant(value));
        }
        let mut data = std::mem::take(&mut program.data);
        for import in &mut data {
            match crate::data::load(import, &library, &mut program.sources) {
                Ok(value) => {
                    if let Some(slot) = values.get_mut(import.constant as usize) {
                        *slot = value;
                    }
                }
                Err(diagnostic) => diagnostics.push(*diagnostic),
            }
        }
        program.data = data;
        // Literals can always be frozen; what data files hold may be too much.
        let consts = freeze(&Value::from(Array::from_list(values))).unwrap_or_else(|error| {
            let span = program.data.iter().find_map(|import| import.chain.first());
            let span = span.copied().unwrap_or_default();
            diagnostics.push(Diagnostic::error(span, error.to_string()));
            Arc::default()
        });
        if !diagnostics.is_empty() {
            return Err(LinkError {
                diagnostics,
                sources: program.sources,
            });
        }
        let classes = program.classes.iter().map(ClassTable::new).collect();
        let hints = member_names(&program);
        Ok(Arc::new(Unit {
            program,
            library,
            consts,
            regexes,
            classes,
            hints,
        }))
    }

    /// The compiled program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The library that it is linked with.
    #[must_use]
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// The constants for one execution.
    pub(crate) fn constants(&self) -> Rc<[Value]> {
        let pin = Pin::new(&self.consts);
        let root = pin.root();
        let mut values: Vec<Value> = root
            .as_array()
            .map(|view| view.values().collect())
            .unwrap_or_default();
        for (index, regex) in &self.regexes {
            if let Some(value) = values.get_mut(*index) {
                *value = Regex::value(Arc::clone(regex), &self.library);
            }
        }
        values.into()
    }
}

/// A constant as a value. Literals nest as deep as the source does, and that is bounded.
pub(crate) fn constant(value: &Const) -> Value {
    match value {
        Const::None | Const::Regex { .. } => Value::None,
        Const::Bool(boolean) => Value::Boolean(*boolean),
        Const::Number(number) => Value::Number(*number),
        Const::Str(bytes) => Value::bytes(bytes),
        Const::Array(entries) => {
            let mut array = Array::with_capacity(entries.len());
            for (key, value) in entries {
                match key.as_ref().map(|key| Key::cast(&constant(key))) {
                    None => array.push(constant(value)),
                    Some(Some(key)) => array.insert(key, constant(value)),
                    // The compiler folds no array whose key cannot be cast.
                    Some(None) => {}
                }
            }
            Value::from(array)
        }
    }
}

/// A hold on a unit that is counted within one thread.
#[derive(Clone)]
pub struct UnitRef(Rc<UnitHold>);

struct UnitHold(Arc<Unit>);

impl UnitRef {
    pub(crate) fn new(unit: &Arc<Unit>) -> UnitRef {
        UnitRef(Rc::new(UnitHold(Arc::clone(unit))))
    }

    pub(crate) fn unit(&self) -> &Arc<Unit> {
        &self.0.0
    }

    #[inline]
    pub(crate) fn same(&self, other: &UnitRef) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || Arc::ptr_eq(self.unit(), other.unit())
    }
}

impl std::ops::Deref for UnitRef {
    type Target = Unit;
    fn deref(&self) -> &Unit {
        &self.0.0
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Unit>();
    shared::<Arc<dyn FrozenObject>>();
};
