//! The library that scripts of one kind of host see: every declared context, indexed.

use std::collections::HashMap;

use angarium_lang::DEBUG_HOOK;
use angarium_lang::builtins::{Builtin, Builtins, Signature};

use crate::data::DataFormats;
use crate::debugger;
use crate::map_set::Quick;
use crate::native::{ClassDecl, ClassId, ContextDecl, FnDecl, Imp, Native, NativeFn};
use crate::object::Object;

/// A class with its methods indexed.
pub struct Class {
    /// The declaration.
    pub decl: &'static ClassDecl,
    /// The class's name.
    pub name: &'static str,
    /// The constructor.
    pub constructor: NativeFn,
    methods: HashMap<&'static str, NativeFn>,
    statics: HashMap<&'static str, NativeFn>,
}

impl Class {
    /// The method called `name`, inherited ones included.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<NativeFn> {
        self.methods.get(name).copied()
    }

    /// The static method called `name`.
    #[must_use]
    pub fn static_method(&self, name: &str) -> Option<NativeFn> {
        self.statics.get(name).copied()
    }

    /// Names of methods, inherited ones included.
    pub fn method_names(&self) -> impl Iterator<Item = &'static str> {
        self.methods.keys().copied()
    }

    /// Names of methods and static methods, for "did you mean" and completion.
    pub fn member_names(&self) -> impl Iterator<Item = &'static str> {
        self.methods.keys().chain(self.statics.keys()).copied()
    }
}

struct Context {
    decl: &'static ContextDecl,
    names: HashMap<&'static str, Builtin>,
    variables: Vec<(&'static str, bool)>,
}

/// All declared contexts. Built once per process; indexes are those of compiled units.
pub struct Library {
    natives: Vec<Native>,
    classes: Vec<Class>,
    class_names: HashMap<&'static str, ClassId>,
    contexts: Vec<Context>,
    data: Option<&'static dyn DataFormats>,
    /// What debugged scripts call at debug points.
    debug_point: NativeFn,
}

/// Why a table cannot be used: a mistake of the declaration, found when the library is built.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A signature does not parse.
    #[error("{0}")]
    Signature(String),
    /// A name is declared twice in one context.
    #[error("{context}: `{name}` is declared twice")]
    Duplicate {
        /// The context.
        context: &'static str,
        /// The name.
        name: &'static str,
    },
    /// `extends` names a class that is not declared before.
    #[error("class `{0}` extends an unknown class")]
    UnknownBase(&'static str),
}

impl Library {
    /// Indexes `contexts`; the first one is the core that every other context has too.
    ///
    /// # Errors
    /// A mistake in the declarations.
    pub fn new(contexts: &[&'static ContextDecl]) -> Result<Library, LibraryError> {
        let mut library = Library {
            natives: Vec::new(),
            classes: Vec::new(),
            class_names: HashMap::new(),
            contexts: Vec::new(),
            data: None,
            debug_point: NativeFn(0),
        };
        library.debug_point = library.add_native(debugger::POINT)?;
        for decl in contexts {
            library.add_context(decl)?;
        }
        Ok(library)
    }

    /// The same library, with `formats` for data imports; without them programs that import data are refused.
    #[must_use]
    pub fn with_data(mut self, formats: &'static dyn DataFormats) -> Library {
        self.data = Some(formats);
        self
    }

    /// The formats of data imports.
    #[must_use]
    pub fn data(&self) -> Option<&'static dyn DataFormats> {
        self.data
    }

    fn add_context(&mut self, decl: &'static ContextDecl) -> Result<(), LibraryError> {
        // Every context starts from the core's names; its own may hide them.
        let mut names = self
            .contexts
            .first()
            .map(|core| core.names.clone())
            .unwrap_or_default();
        let mut own = std::collections::HashSet::new();
        let mut add = |names: &mut HashMap<_, _>, name, builtin| {
            if !own.insert(name) {
                return Err(LibraryError::Duplicate {
                    context: decl.name,
                    name,
                });
            }
            names.insert(name, builtin);
            Ok(())
        };
        for function in decl.functions.iter().copied().flatten() {
            let index = self.add_native(*function)?;
            add(
                &mut names,
                self.natives[index.0 as usize].signature.name,
                Builtin::Function(index.0),
            )?;
        }
        for class in decl.classes {
            let id = self.add_class(class)?;
            add(
                &mut names,
                self.classes[id.0 as usize].name,
                Builtin::Class(id.0),
            )?;
        }
        let mut variables: Vec<(&'static str, bool)> = Vec::new();
        for variable in decl.variables {
            let root = variable
                .path
                .split('.')
                .next()
                .unwrap_or_default()
                .trim_start_matches('$');
            if !variables.iter().any(|(name, _)| *name == root) {
                variables.push((root, variable.writable));
            }
        }
        self.contexts.push(Context {
            decl,
            names,
            variables,
        });
        Ok(())
    }

    fn add_native(&mut self, decl: FnDecl) -> Result<NativeFn, LibraryError> {
        let signature = Signature::parse(decl.signature).map_err(LibraryError::Signature)?;
        let accepts = crate::accept::Accepts::new(&decl, &signature);
        let quick = match decl.imp {
            Imp::Plain(function) => Quick::of(function),
            _ => None,
        };
        self.natives.push(Native {
            decl,
            signature,
            accepts,
            quick,
        });
        Ok(NativeFn((self.natives.len() - 1) as u32))
    }

    fn add_class(&mut self, decl: &'static ClassDecl) -> Result<ClassId, LibraryError> {
        let constructor = self.add_native(decl.constructor)?;
        let name = self.natives[constructor.0 as usize].signature.name;
        let mut methods = match decl.extends {
            Some(base) => {
                let base = self
                    .class_names
                    .get(base)
                    .ok_or(LibraryError::UnknownBase(name))?;
                self.classes[base.0 as usize].methods.clone()
            }
            None => HashMap::new(),
        };
        for method in decl.methods {
            let index = self.add_native(*method)?;
            methods.insert(self.natives[index.0 as usize].signature.name, index);
        }
        let mut statics = HashMap::new();
        for method in decl.statics {
            let index = self.add_native(*method)?;
            statics.insert(self.natives[index.0 as usize].signature.name, index);
        }
        let id = ClassId(self.classes.len() as u32);
        self.class_names.insert(name, id);
        self.classes.push(Class {
            decl,
            name,
            constructor,
            methods,
            statics,
        });
        Ok(id)
    }

    /// The function with index `index`.
    #[inline]
    #[must_use]
    pub fn native(&self, index: NativeFn) -> &Native {
        &self.natives[index.0 as usize]
    }

    /// The class with index `id`.
    #[inline]
    #[must_use]
    pub fn class(&self, id: ClassId) -> &Class {
        &self.classes[id.0 as usize]
    }

    /// The class of a library object.
    #[must_use]
    pub fn class_of(&self, object: &Object) -> Option<&Class> {
        self.classes.get(object.class().0 as usize)
    }

    /// The class called `name`, in whatever context it is declared.
    #[must_use]
    pub fn class_named(&self, name: &str) -> Option<ClassId> {
        self.class_names.get(name).copied()
    }

    /// The declarations of every context, core first.
    pub fn contexts(&self) -> impl Iterator<Item = &'static ContextDecl> {
        self.contexts.iter().map(|context| context.decl)
    }

    /// The names of context `name` (its own and the core's) for the compiler; none for an unknown context.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<Names<'_>> {
        let context = self
            .contexts
            .iter()
            .find(|context| context.decl.name == name)?;
        Some(Names {
            library: self,
            context,
            debugged: false,
        })
    }
}

/// The built-ins of one context.
pub struct Names<'a> {
    library: &'a Library,
    context: &'a Context,
    debugged: bool,
}

impl Names<'_> {
    /// The same for scripts that a debugger watches: `__debug` before a statement is a debug point.
    #[must_use]
    pub fn debugged(self) -> Self {
        Names {
            debugged: true,
            ..self
        }
    }

    fn classes(&self) -> impl Iterator<Item = &Class> {
        let names = self.context.names.values();
        names.filter_map(|builtin| match builtin {
            Builtin::Class(id) => Some(self.library.class(ClassId(*id))),
            Builtin::Function(_) => None,
        })
    }

    fn native_of(&self, builtin: Builtin) -> &Native {
        match builtin {
            Builtin::Function(index) => self.library.native(NativeFn(index)),
            Builtin::Class(index) => self
                .library
                .native(self.library.class(ClassId(index)).constructor),
        }
    }
}

impl Builtins for Names<'_> {
    fn lookup(&self, name: &str) -> Option<Builtin> {
        if self.debugged && name == DEBUG_HOOK {
            return Some(Builtin::Function(self.library.debug_point.0));
        }
        self.context.names.get(name).copied()
    }

    fn signature(&self, builtin: Builtin) -> &Signature {
        &self.native_of(builtin).signature
    }

    fn is_construct(&self, builtin: Builtin) -> bool {
        matches!(self.native_of(builtin).decl.imp, Imp::Construct)
    }

    fn static_method(&self, class: u32, name: &str) -> Option<u32> {
        self.library
            .class(ClassId(class))
            .static_method(name)
            .map(|method| method.0)
    }

    fn function_signature(&self, function: u32) -> &Signature {
        &self.library.native(NativeFn(function)).signature
    }

    fn static_names(&self, class: u32) -> Vec<&'static str> {
        let class = self.library.class(ClassId(class));
        class.statics.keys().copied().collect()
    }

    fn methods(&self) -> Vec<&'static str> {
        let classes = self.classes();
        classes
            .flat_map(|class| class.methods.keys().copied())
            .collect()
    }

    fn method_options(&self, method: &str, place: usize) -> Option<Vec<&'static str>> {
        let mut known = Vec::new();
        for native in self.classes().filter_map(|class| class.method(method)) {
            let native = self.library.native(native);
            let options = native.decl.options;
            let param = native.signature.params.get(place);
            if options.is_empty() || param.is_none_or(|param| param.name != "options") {
                return None;
            }
            known.extend(options.iter().map(|option| option.name));
        }
        Some(known)
    }

    fn variables(&self) -> &[(&'static str, bool)] {
        &self.context.variables
    }

    fn names(&self) -> Vec<&'static str> {
        self.context.names.keys().copied().collect()
    }

    fn elsewhere(&self, name: &str) -> Option<String> {
        let contexts = self.library.contexts.iter();
        let others: Vec<&str> = contexts
            .filter(|context| context.names.contains_key(name))
            .map(|context| context.decl.name)
            .collect();
        let (last, rest) = others.split_last()?;
        let hooks = match rest {
            [] => format!("the hook {last}"),
            rest => format!("the hooks {} and {last}", rest.join(", ")),
        };
        Some(match self.context.decl.name {
            "core" => format!(
                "`{name}` belongs to {hooks}; `lint --phase HOOK` checks a script for one of them"
            ),
            own => format!("`{name}` belongs to {hooks}, not to {own}"),
        })
    }

    fn option_names(&self, builtin: Builtin) -> Option<Vec<&'static str>> {
        let decl = self.native_of(builtin).decl;
        if decl.options.is_empty() {
            return None;
        }
        Some(decl.options.iter().map(|option| option.name).collect())
    }
}
