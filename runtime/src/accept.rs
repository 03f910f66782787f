//! Checks and conversions of the arguments of built-ins by their signatures (language.md 10.4, stdlib.md G3 to G5).

use angarium_lang::arity_message;
use angarium_lang::builtins::{Signature, Type};

use crate::convert::{to_number, to_str, truthy};
use crate::library::Library;
use crate::native::{FnDecl, Native, Throw};
use crate::value::{Kind, Value};

/// What a parameter or an option takes, taken apart for speed.
#[derive(Clone, Debug)]
pub struct Accept {
    /// A bit for each [`Kind`] that is taken as it is.
    kinds: u8,
    /// What a scalar of another kind is converted to.
    convert: Option<Kind>,
    /// Classes and resource types, when an object or resource of certain ones is wanted.
    names: Vec<&'static str>,
    /// The types as the message prints them.
    written: String,
}

#[inline]
fn bit(kind: Kind) -> u8 {
    1 << kind as u8
}

impl Accept {
    fn new(types: &[Type], written: String) -> Accept {
        let mut accept = Accept {
            kinds: 0,
            convert: None,
            names: Vec::new(),
            written,
        };
        for kind in types {
            match kind {
                Type::Any | Type::Variable => accept.kinds = u8::MAX,
                Type::None => accept.kinds |= bit(Kind::None),
                Type::Boolean => accept.kinds |= bit(Kind::Boolean),
                Type::Number => accept.kinds |= bit(Kind::Number),
                Type::String => accept.kinds |= bit(Kind::String),
                Type::Array => accept.kinds |= bit(Kind::Array),
                Type::Function => accept.kinds |= bit(Kind::Function),
                Type::Object => accept.kinds |= bit(Kind::Object),
                Type::Resource => accept.kinds |= bit(Kind::Resource),
                Type::Named(name) => accept.names.push(name),
            }
        }
        // With several scalar types among them the first of string, number, boolean decides on the others.
        accept.convert = [Kind::String, Kind::Number, Kind::Boolean]
            .into_iter()
            .find(|kind| accept.kinds & bit(*kind) != 0);
        accept
    }

    /// Takes `value` as it is or converts it.
    ///
    /// # Errors
    /// The name of the kind that does not fit.
    #[inline]
    fn take(&self, value: &mut Value, library: &Library) -> Result<(), &'static str> {
        if self.kinds & bit(value.kind()) != 0 {
            Ok(())
        } else {
            self.convert(value, library)
        }
    }

    #[cold]
    fn convert(&self, value: &mut Value, library: &Library) -> Result<(), &'static str> {
        let kind = value.kind();
        match (self.convert, kind) {
            (Some(Kind::String), Kind::Number | Kind::Boolean) => {
                *value = Value::String(to_str(value))
            }
            (Some(Kind::Number), Kind::String | Kind::Boolean) => {
                *value = Value::Number(to_number(value))
            }
            (Some(Kind::Boolean), _) => *value = Value::Boolean(truthy(value)),
            _ if self.is_named(value, library) => {}
            _ => return Err(kind.name()),
        }
        Ok(())
    }

    fn is_named(&self, value: &Value, library: &Library) -> bool {
        match value {
            Value::Object(object) => {
                let mut class = library.class_of(object);
                while let Some(found) = class {
                    if self.names.contains(&found.name) {
                        return true;
                    }
                    class = found
                        .decl
                        .extends
                        .and_then(|base| library.class_named(base))
                        .map(|id| library.class(id));
                }
                false
            }
            Value::Resource(resource) => self.names.contains(&resource.name()),
            _ => false,
        }
    }
}

/// Of so many arguments the kinds are looked at without looking at the parameters.
const QUICK: usize = 6;

/// What a built-in takes.
#[derive(Clone, Debug, Default)]
pub struct Accepts {
    /// The kinds that the first parameters take as they are, if no options are among them.
    quick: [u8; QUICK],
    params: Vec<Accept>,
    variadic: bool,
    required: usize,
    most: Option<usize>,
    /// The position of the options array and what its options take.
    options: Option<(usize, Vec<(&'static str, Accept)>)>,
}

impl Accepts {
    /// Takes the declaration of a built-in apart.
    #[must_use]
    pub fn new(decl: &FnDecl, signature: &Signature) -> Accepts {
        let params: Vec<Accept> = signature
            .params
            .iter()
            .map(|param| Accept::new(&param.types, param.written.join("|")))
            .collect();
        let position = signature
            .params
            .iter()
            .position(|param| param.name == "options");
        let options = position
            .filter(|_| !decl.options.is_empty())
            .map(|position| {
                let options = decl.options.iter().map(|option| {
                    let text = format!("f(x: {})", option.types);
                    // Signatures want text that lives on; there are a few hundred options, once per process.
                    let types = Signature::parse(Box::leak(text.into_boxed_str()))
                        .map(|signature| {
                            signature
                                .params
                                .into_iter()
                                .flat_map(|param| param.types)
                                .collect::<Vec<_>>()
                        })
                        .unwrap_or_default();
                    (option.name, Accept::new(&types, option.types.to_owned()))
                });
                (position, options.collect())
            });
        let variadic = signature.params.last().is_some_and(|param| param.variadic);
        let kinds = |at: usize| match params.get(at) {
            Some(accept) => accept.kinds,
            None if variadic => params.last().map_or(0, |accept| accept.kinds),
            None => u8::MAX,
        };
        let quick = if options.is_some() {
            [0; QUICK]
        } else {
            std::array::from_fn(kinds)
        };
        Accepts {
            quick,
            params,
            variadic,
            required: signature.required(),
            most: signature.most(),
            options,
        }
    }
}

impl Native {
    /// Checks the number of arguments of a call that the compiler did not see.
    ///
    /// # Errors
    /// An Exception when it does not fit.
    #[inline]
    pub fn check_count(&self, given: usize) -> Result<(), Throw> {
        let accepts = &self.accepts;
        if given >= accepts.required && accepts.most.is_none_or(|most| given <= most) {
            return Ok(());
        }
        self.wrong_count(given)
    }

    #[cold]
    fn wrong_count(&self, given: usize) -> Result<(), Throw> {
        let accepts = &self.accepts;
        let name = format!("{}()", self.signature.name);
        Err(Throw::error(arity_message(
            &name,
            accepts.required,
            accepts.most,
            given,
        )))
    }

    /// Checks and converts the arguments of a call.
    ///
    /// # Errors
    /// An Exception for the first one that does not fit.
    #[inline]
    pub fn accept(&self, args: &mut [Value], library: &Library) -> Result<(), Throw> {
        let fits = |(value, kinds): (&Value, &u8)| kinds & bit(value.kind()) != 0;
        if args.len() <= QUICK && args.iter().zip(&self.accepts.quick).all(fits) {
            return Ok(());
        }
        self.accept_slowly(args, library)
    }

    fn accept_slowly(&self, args: &mut [Value], library: &Library) -> Result<(), Throw> {
        let accepts = &self.accepts;
        for (at, value) in args.iter_mut().enumerate() {
            let accept = match accepts.params.get(at) {
                Some(accept) => accept,
                None if accepts.variadic => match accepts.params.last() {
                    Some(accept) => accept,
                    None => break,
                },
                None => break,
            };
            if let Err(got) = accept.take(value, library) {
                return Err(self.mismatch(at, &accept.written, got));
            }
        }
        if accepts.options.is_some() {
            self.accept_options(args, library)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn mismatch(&self, at: usize, expected: &str, got: &str) -> Throw {
        Throw::error(format!(
            "{}: argument {}: expected {expected}, got {got}",
            self.signature.name,
            at + 1
        ))
    }

    /// Checks the options that are given; they are converted when the built-in reads them.
    fn accept_options(&self, args: &[Value], library: &Library) -> Result<(), Throw> {
        let Some((position, options)) = &self.accepts.options else {
            return Ok(());
        };
        let Some(view) = args.get(*position).and_then(Value::as_array) else {
            return Ok(());
        };
        for (name, accept) in options {
            let Some(mut value) = view.get_str(name).filter(|value| !value.is_none()) else {
                continue;
            };
            if let Err(got) = accept.take(&mut value, library) {
                let expected = &accept.written;
                let function = self.signature.name;
                return Err(Throw::error(format!(
                    "{function}: option {name}: expected {expected}, got {got}"
                )));
            }
        }
        Ok(())
    }
}
