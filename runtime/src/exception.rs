//! The class `Exception` (language.md 13.2).

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use angarium_lang::{SourceMap, Span};

use crate::convert;
use crate::frozen::{FreezeError, FrozenObject};
use crate::library::Library;
use crate::native::{Args, ClassDecl, ClassId, Cx, FnDecl, Outcome};
use crate::object::{NativeObject, Object};
use crate::string::Str;
use crate::value::Value;

/// Longest message in a log.
const MOST: usize = 1 << 20;

/// What an Exception object holds.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The message.
    pub message: Str,
    /// Where the error happened; none for Exceptions that scripts make.
    pub place: Option<Place>,
}

/// A place in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; none for a main program without a name.
    pub file: Option<Rc<str>>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl Place {
    /// The start of `span`.
    #[must_use]
    pub fn of(sources: &SourceMap, span: Span) -> Place {
        let position = sources.position(span);
        let name = sources.name(span.file);
        Place {
            file: (!name.is_empty()).then(|| Rc::from(name)),
            line: position.line,
            column: position.column,
        }
    }
}

impl Exception {
    /// An Exception as a value.
    #[must_use]
    pub fn into_value(self, library: &Library) -> Value {
        let class = library
            .class_named("Exception")
            .unwrap_or(ClassId(u32::MAX));
        Value::Object(Object::new(class, self))
    }

    /// `MESSAGE`, or `MESSAGE in FILE on line L column C` for errors of the language and of built-ins.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.text_with(self.message.as_bytes().to_vec())
    }

    /// The same for a log: a message of more than a mebibyte is cut off, and ends with `…`.
    #[must_use]
    pub fn short_text(&self) -> Vec<u8> {
        match self.message.as_bytes().get(..MOST) {
            Some(start) => self.text_with([start, "…".as_bytes()].concat()),
            None => self.text(),
        }
    }

    fn text_with(&self, mut text: Vec<u8>) -> Vec<u8> {
        if let Some(place) = &self.place {
            if let Some(file) = &place.file {
                text.extend_from_slice(format!(" in {file}").as_bytes());
            }
            text.extend_from_slice(
                format!(" on line {} column {}", place.line, place.column).as_bytes(),
            );
        }
        text
    }
}

impl NativeObject for Exception {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        Err(FreezeError::NotStorable("Exception"))
    }

    fn to_text(&self) -> Vec<u8> {
        self.text()
    }
}

/// The declaration for the table of built-ins.
pub static EXCEPTION: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "Exception(message: string): Exception",
        "Creates an exception to be thrown. Errors of the language and of built-in functions are of this class too.",
        construct,
    )
    .since(">5.5"),
    extends: None,
    methods: &[
        FnDecl::plain("message(): string", "Gives the message.", message),
        FnDecl::plain(
            "toString(): string",
            "Gives the message, for errors of the language and of built-in functions with file, line and column.",
            to_string,
        ),
        FnDecl::plain(
            "file(): string|none",
            "Gives the file of the error, none if unknown.",
            file,
        ),
        FnDecl::plain(
            "line(): number|none",
            "Gives the line of the error, none if unknown.",
            line,
        ),
        FnDecl::plain(
            "column(): number|none",
            "Gives the column of the error, none if unknown.",
            column,
        ),
    ],
    statics: &[],
};

fn construct(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let message = convert::to_str(args.get(0));
    Ok(Exception {
        message,
        place: None,
    }
    .into_value(cx.library))
}

fn message(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::String(args.this::<Exception>()?.message.clone()))
}

fn to_string(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::from(args.this::<Exception>()?.text()))
}

fn place(args: &Args<'_>, part: impl FnOnce(&Place) -> Value) -> Outcome {
    Ok(args
        .this::<Exception>()?
        .place
        .as_ref()
        .map_or(Value::None, part))
}

fn file(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    place(&args, |place| {
        place.file.as_deref().map_or(Value::None, Value::from)
    })
}

fn line(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    place(&args, |place| Value::from(place.line))
}

fn column(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    place(&args, |place| Value::from(place.column))
}
