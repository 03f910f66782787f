//! Mail messages that scripts make of text or import: `MailMessage` and its parts (`MIMEPart`).
//!
//! Reading is whole; of the changes those of header fields and bytes are here. Getters show the original, changes appear
//! in `toString` and `toFile`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::edits::Modified;
use angarium_mail::encoded_word::WordEncoding;
use angarium_mail::field::ValueForm;
use angarium_mail::message::Message;
use angarium_mail::parts::{Part, PartId, Parts};
use angarium_mail::source::Source as _;
use angarium_runtime::array::Array;
use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::frozen::{FreezeError, FrozenObject};
use angarium_runtime::host::{CompiledRegex, Matched, RegexEngine as _};
use angarium_runtime::library::Library;
use angarium_runtime::memory;
use angarium_runtime::native::{
    Args, ClassDecl, ClassId, Cx, FnDecl, OptDecl, Options, Outcome, Throw, opt,
};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::regex::Regex;
use angarium_runtime::value::Value;

use crate::dkim::{self, SharedSource, Signable};
use crate::regexp::ENGINE;

const FIELD: OptDecl = opt(
    "field",
    "boolean",
    "false",
    "the whole field with its name, unmodified, ending in CRLF",
);
const DECODE: OptDecl = opt("decode", "boolean", "true", "decode encoded words");
const ENCODE: OptDecl = opt(
    "encode",
    "boolean",
    "true",
    "encode and fold the value; false takes it as it is",
);
const ENCODING: OptDecl = opt(
    "encoding",
    "string",
    "quoted-printable",
    "encoding of words: quoted-printable or base64",
);

/// A part of a message.
pub const MIME_PART: ClassDecl = ClassDecl {
    constructor: FnDecl::construct("MIMEPart()", "A part of a message; a MailMessage and its methods give them."),
    extends: None,
    methods: &[
        FnDecl::plain("getID(): string", "Gives the place in the message: \"0\", \"0.1\", \"0.2.1\" …", |_, args| {
            let part = args.this::<PartObject>()?;
            part.parts(|parts| Value::from(parts.path(part.part)))
        }),
        FnDecl::plain("getSize(): number", "Gives the size in bytes of header and body.", |_, args| {
            part(&args, |part| Value::from(part.size() as f64))
        }),
        FnDecl::plain(
            "getFileName(): string|none",
            "Gives the file name of Content-Disposition or Content-Type, decoded.",
            |_, args| part(&args, |part| part.file_name().into()),
        ),
        FnDecl::plain(
            "getType(): string|none",
            "Gives type and subtype in lower case; none without a Content-Type.",
            |_, args| part(&args, |part| part.content_type().into()),
        ),
        FnDecl::plain("getTypeParameter(name: string): string|none", "Gives a parameter of the Content-Type.", |_, args| {
            let name = to_str(args.get(0)).to_text().into_owned();
            part(&args, |part| part.type_parameter(&name).into())
        }),
        FnDecl::plain(
            "getHeader(name: string, options?: array): string|none",
            "Gives a header field's value, unfolded and decoded; none when there is no such field.",
            get_header,
        )
        .options(&[
            opt("index", "number", "0", "which of the fields of that name, from the top; negative from the bottom"),
            FIELD,
            DECODE,
        ]),
        FnDecl::plain(
            "getHeaders(name: string, options?: array): array",
            "Gives the values of all header fields of a name, from the top.",
            get_headers,
        )
        .options(&[FIELD, DECODE]),
        FnDecl::plain(
            "getHeaderNames(): array",
            "Gives the names of all header fields in lower case, from the top.",
            |_, args| part(&args, |part| list(part.header.names().into_iter().map(Value::from))),
        ),
        FnDecl::plain(
            "addHeader(name: string, value: string, options?: array): none",
            "Adds a header field above all others.",
            |cx, args| {
                let form = form(cx, &args)?;
                edit(&args, |message, part| {
                    message.add_header(part, args.bytes(0), args.bytes(1), form).map(|()| Value::None)
                })
            },
        )
        .options(&[ENCODE, ENCODING]),
        FnDecl::plain(
            "setHeader(name: string, value: string, options?: array): number",
            "Sets the value of all header fields of a name, or of one; gives how many. 0 means that one was added.",
            |cx, args| {
                let form = form(cx, &args)?;
                let index = index(args.options(2));
                edit(&args, |message, part| {
                    message.set_header(part, args.bytes(0), args.bytes(1), index, form).map(Value::from)
                })
            },
        )
        .options(&[opt("index", "number", "", "change only that one"), ENCODE, ENCODING]),
        FnDecl::plain(
            "delHeader(name: string, options?: array): number",
            "Deletes all header fields of a name, or one of them; gives how many.",
            |_, args| {
                let index = index(args.options(1));
                edit(&args, |message, part| message.del_header(part, args.bytes(0), index).map(Value::from))
            },
        )
        .options(&[opt("index", "number", "", "delete only that one")]),
        FnDecl::plain(
            "renameHeader(name: string, newname: string): number",
            "Renames all header fields of a name; gives how many.",
            |_, args| {
                edit(&args, |message, part| {
                    message.rename_header(part, args.bytes(0), args.bytes(1)).map(Value::from)
                })
            },
        ),
        FnDecl::plain(
            "getBody(options?: array): string|none",
            "Gives the body with its transfer encoding undone. A multipart has one only with decode false.",
            |cx, args| {
                let decode = args.options(0).boolean("decode", true);
                let object = args.this::<PartObject>()?;
                let size = object.with(|part, _| part.size())?;
                cx.charge(usize::try_from(size / 16).unwrap_or(usize::MAX));
                cx.reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
                let body = object.with(|part, text| part.read_body(text, decode))?;
                Ok(body.map_err(unreadable)?.into())
            },
        )
        .options(&[opt("decode", "boolean", "true", "undo the Content-Transfer-Encoding")]),
        FnDecl::plain("getPreamble(): string|none", "Gives the text before the first part of a multipart.", |cx, args| {
            around(cx, &args, Part::preamble)
        }),
        FnDecl::plain("getEpilogue(): string|none", "Gives the text after the last part of a multipart.", |cx, args| {
            around(cx, &args, Part::epilogue)
        }),
        FnDecl::plain("getParts(): array", "Gives the parts directly below.", |cx, args| {
            let object = args.this::<PartObject>()?;
            let children = object.with(|part, _| part.children.clone())?;
            cx.reserve_entries(children.len())?;
            Ok(list(children.into_iter().map(|part| object.other(part, cx.library))))
        }),
        FnDecl::plain(
            "getByID(id: string): MIMEPart|none",
            "Gives the part at a place in the message; none when there is none.",
            |cx, args| {
                let object = args.this::<PartObject>()?;
                let id = to_str(args.get(0)).to_text().into_owned();
                let found = object.parts(|parts| parts.by_path(&id))?;
                Ok(found.map_or(Value::None, |part| object.other(part, cx.library)))
            },
        ),
        FnDecl::plain(
            "findByType(type: Regex|string): array",
            "Gives the parts below whose type matches a pattern; of a string upper and lower case do not count.",
            |cx, args| find(cx, &args, |part| part.content_type()),
        ),
        FnDecl::plain(
            "findByFileName(filename: Regex|string): array",
            "Gives the parts below whose file name matches a pattern; of a string upper and lower case do not count.",
            |cx, args| find(cx, &args, |part| part.file_name()),
        ),
        FnDecl::plain(
            "getErrors(): array",
            "Gives what is wrong with the part: bad_header, unclosed_boundary.",
            |_, args| part(&args, |part| list(part.errors().into_iter().map(|error| Value::from(error.as_str())))),
        ),
    ],
    statics: &[],
};

/// A message.
pub const MAIL_MESSAGE: ClassDecl = ClassDecl {
    constructor: FnDecl::construct(
        "MailMessage()",
        "A message: `MailMessage::String`, `MailMessage::File` and imports of .eml files give them.",
    ),
    extends: Some("MIMEPart"),
    methods: &[
        FnDecl::plain("toString(): string", "Gives the whole message with the changes.", |cx, args| {
            Ok(whole(cx, &args)?.into())
        }),
        FnDecl::plain("toFile(): File", "Gives the whole message with the changes as a file.", |cx, args| {
            let bytes = whole(cx, &args)?;
            crate::file::from_bytes(cx, bytes)
        }),
        FnDecl::plain("snapshot(): number", "Remembers the changes so far, for restore.", |_, args| {
            edit(&args, |message, _| Ok(message.snapshot().into()))
        }),
        FnDecl::plain(
            "restore(id: number): boolean",
            "Undoes the changes made since a snapshot; false when there is no such snapshot.",
            |_, args| {
                let id = usize::try_from(args.integer(0, -1)).unwrap_or(usize::MAX);
                edit(&args, |message, _| Ok(message.restore(id).into()))
            },
        ),
        FnDecl::plain("reset(): number", "Undoes all changes; gives how many there were.", |_, args| {
            edit(&args, |message, _| Ok(message.reset().into()))
        }),
        FnDecl::plain(
            "modifyContent(start: number, count: number, data: string): MailMessage",
            "Replaces bytes of the original message.",
            |_, args| {
                let start = u64::try_from(args.integer(0, 0)).unwrap_or(u64::MAX);
                let count = u64::try_from(args.integer(1, 0)).unwrap_or(u64::MAX);
                edit(&args, |message, _| { message.modify_content(start, count, args.bytes(2)).map(|()| Value::None) })?;
                Ok(args.this.map_or(Value::None, |this| Value::Object(Rc::clone(this))))
            },
        ),
        dkim::sign_method::<PartObject>(),
        dkim::verify_method::<PartObject>(),
    ],
    statics: &[
        FnDecl::plain(
            "String(data: string): MailMessage|none",
            "Reads a message from a text, whatever its line ends.",
            |cx, args| {
                let text = args.bytes(0);
                cx.charge(text.len() / 64);
                cx.reserve(text.len())?;
                Ok(message(&Arc::from(text), cx.library))
            },
        )
        .example("MailMessage::String(\"Subject: =?utf-8?q?a_b?=\\n\\nx\")->getHeader(\"subject\") // \"a b\""),
        FnDecl::plain("File(file: File): MailMessage|none", "Reads a message from a file.", |cx, args| {
            let Some(data) = crate::file::data_of(args.get(0)) else {
                return Ok(Value::None);
            };
            let Some(text) = data.bytes() else {
                return Err(Throw::error("MailMessage::File: only files in memory can be read so far"));
            };
            cx.charge(text.len() / 64);
            cx.reserve(text.len())?;
            Ok(message(&Arc::from(text), cx.library))
        }),
    ],
};

/// The message of `text` as an object.
#[must_use]
pub fn message(text: &Arc<[u8]>, library: &Library) -> Value {
    let class = |name: &str| library.class_named(name).unwrap_or(ClassId(u32::MAX));
    MailText {
        text: Arc::clone(text),
        class: class("MailMessage"),
    }
    .object()
}

/// A message and its changes, shared by the objects of its parts.
struct Mail {
    message: RefCell<Message<Arc<[u8]>>>,
    charged: Cell<usize>,
}

impl Mail {
    /// Settles the memory that the changes hold.
    fn account(&self) {
        let message = self.message.borrow();
        let text: &[u8] = message.source();
        let bytes = text.len().saturating_add(message.new_bytes());
        memory::charge(bytes);
        memory::credit(self.charged.replace(bytes));
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        memory::credit(self.charged.get());
    }
}

/// A part as scripts hold it; the message itself is part 0.
struct PartObject {
    mail: Rc<Mail>,
    part: PartId,
    class: ClassId,
}

impl PartObject {
    fn parts<T>(&self, work: impl FnOnce(&Parts) -> T) -> Result<T, Throw> {
        let mut message = self.mail.message.borrow_mut();
        message.open_parts().map(work).map_err(unreadable)
    }

    /// Does something with the part and the text of the message.
    fn with<T>(&self, work: impl FnOnce(&Part, &[u8]) -> T) -> Result<T, Throw> {
        // Its parts must be known for what lies around them.
        self.parts(|_| ())?;
        let message = self.mail.message.borrow();
        match message.part(self.part) {
            Some(part) => Ok(work(part, message.source())),
            None => Err(Throw::error("the part is not there any more")),
        }
    }

    fn other(&self, part: PartId, library: &Library) -> Value {
        let name = if part == PartId::ROOT {
            "MailMessage"
        } else {
            "MIMEPart"
        };
        let class = library.class_named(name).unwrap_or(self.class);
        Value::Object(Object::new(
            class,
            PartObject {
                mail: Rc::clone(&self.mail),
                part,
                class: self.class,
            },
        ))
    }
}

impl Signable for PartObject {
    fn original(&self) -> SharedSource {
        Arc::new(Arc::clone(self.mail.message.borrow().source()))
    }

    fn changed(&self, now: i64) -> Result<SharedSource, Throw> {
        let message = self.mail.message.borrow();
        if message.snapshot() == 0 {
            return Ok(Arc::new(Arc::clone(message.source())));
        }
        let changed = Modified::new(Arc::clone(message.source()), Arc::new(message.edits()), now);
        Ok(Arc::new(
            changed.map_err(|error| Throw::error(error.to_string()))?,
        ))
    }

    fn add_field(&self, name: &str, value: &[u8]) -> Result<(), Throw> {
        let added = self.mail.message.borrow_mut().add_header(
            PartId::ROOT,
            name.as_bytes(),
            value,
            ValueForm::Verbatim,
        );
        self.mail.account();
        added.map_err(|error| Throw::error(error.to_string()))
    }

    fn reset(&self) {
        self.mail.message.borrow_mut().reset();
        self.mail.account();
    }
}

impl NativeObject for PartObject {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// A message without changes is its text.
    fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        let message = self.mail.message.borrow();
        if self.part != PartId::ROOT || message.snapshot() > 0 {
            return Err(FreezeError::NotStorable("MailMessage"));
        }
        Ok(Arc::new(MailText {
            text: Arc::clone(message.source()),
            class: self.class,
        }))
    }
}

/// A message in its frozen form.
struct MailText {
    text: Arc<[u8]>,
    class: ClassId,
}

impl MailText {
    fn object(&self) -> Value {
        let Ok(message) = Message::new(Arc::clone(&self.text)) else {
            // Memory can always be read.
            return Value::None;
        };
        let mail = Mail {
            message: RefCell::new(message),
            charged: Cell::new(0),
        };
        mail.account();
        Value::Object(Object::new(
            self.class,
            PartObject {
                mail: Rc::new(mail),
                part: PartId::ROOT,
                class: self.class,
            },
        ))
    }
}

impl FrozenObject for MailText {
    fn thaw(&self, _shared: &Arc<dyn FrozenObject>) -> Value {
        self.object()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn bytes(&self) -> usize {
        (*self.text).len()
    }
}

fn unreadable(error: std::io::Error) -> Throw {
    Throw::error(format!("the message cannot be read: {error}"))
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    values.collect::<Array>().into()
}

fn part(args: &Args<'_>, work: impl FnOnce(&Part) -> Value) -> Outcome {
    args.this::<PartObject>()?.with(|part, _| work(part))
}

fn edit(
    args: &Args<'_>,
    change: impl FnOnce(
        &mut Message<Arc<[u8]>>,
        PartId,
    ) -> Result<Value, angarium_mail::editor::EditError>,
) -> Outcome {
    let object = args.this::<PartObject>()?;
    let result = change(&mut object.mail.message.borrow_mut(), object.part);
    object.mail.account();
    result.map_err(|error| Throw::error(error.to_string()))
}

fn form(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<ValueForm, Throw> {
    cx.charge(args.bytes(1).len() / 16);
    let options = args.options(2);
    if !options.boolean("encode", true) {
        return Ok(ValueForm::Verbatim);
    }
    let encoding = options.string("encoding");
    match encoding.as_ref().map(|name| name.as_bytes()) {
        None | Some(b"quoted-printable") => Ok(ValueForm::Encoded(WordEncoding::Quoted)),
        Some(b"base64") => Ok(ValueForm::Encoded(WordEncoding::Base64)),
        Some(other) => Err(Throw::error(format!(
            "option encoding: \"{}\" is neither quoted-printable nor base64",
            String::from_utf8_lossy(other)
        ))),
    }
}

fn index(options: Options<'_>) -> Option<i64> {
    options.get("index").map(|index| to_integer(&index))
}

fn get_header(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(1);
    let index = index(options).unwrap_or(0);
    let (field, decode) = (
        options.boolean("field", false),
        options.boolean("decode", true),
    );
    let name = args.bytes(0);
    let object = args.this::<PartObject>()?;
    object.with(|part, _| {
        cx.charge(part.header.bytes().len() / 64);
        if field {
            part.header
                .nth(name, index)
                .map(|field| field.field())
                .into()
        } else {
            part.header.value(name, index, decode).into()
        }
    })
}

fn get_headers(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(1);
    let (field, decode) = (
        options.boolean("field", false),
        options.boolean("decode", true),
    );
    let name = args.bytes(0);
    let object = args.this::<PartObject>()?;
    object.with(|part, _| {
        cx.charge(part.header.bytes().len() / 64);
        if field {
            list(part.header.named(name).map(|field| field.field().into()))
        } else {
            list(
                part.header
                    .values(name, decode)
                    .into_iter()
                    .map(Value::from),
            )
        }
    })
}

fn around(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    range: impl FnOnce(&Part) -> Option<std::ops::Range<u64>>,
) -> Outcome {
    let object = args.this::<PartObject>()?;
    let Some(range) = object.with(|part, _| range(part))? else {
        return Ok(Value::None);
    };
    let size = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    cx.reserve(size)?;
    let text = object.with(|_, text| text.read_range(range))?;
    Ok(text.map_err(unreadable)?.into())
}

fn find(cx: &mut Cx<'_>, args: &Args<'_>, text: impl Fn(&Part) -> Option<String>) -> Outcome {
    let object = args.this::<PartObject>()?;
    let pattern = pattern(args.get(0))?;
    let found = object.parts(|parts| {
        let mut found = Vec::new();
        for (id, part) in parts.descendants(object.part) {
            cx.charge(1);
            let Some(text) = text(part) else { continue };
            let matched = match pattern.is_match(text.as_bytes()) {
                Matched::Limit => pattern.is_match_heavy(text.as_bytes(), &mut || true),
                matched => matched,
            };
            match matched {
                Matched::Yes => found.push(id),
                Matched::No => {}
                Matched::Limit => {
                    return Err(Throw::error("regular expression: match limit exceeded"));
                }
            }
        }
        Ok(found)
    })??;
    cx.reserve_entries(found.len())?;
    Ok(list(
        found.into_iter().map(|part| object.other(part, cx.library)),
    ))
}

fn pattern(value: &Value) -> Result<Arc<dyn CompiledRegex>, Throw> {
    if let Some(regex) = value
        .as_object()
        .and_then(|object| object.downcast::<Regex>())
    {
        return Ok(Arc::clone(&regex.compiled));
    }
    let text = to_str(value);
    ENGINE
        .compile(text.as_bytes(), b"i")
        .map_err(|(message, at)| {
            Throw::error(format!("bad regular expression: {message} at byte {at}"))
        })
}

fn whole(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<Vec<u8>, Throw> {
    let message = args.this::<PartObject>()?.mail.message.borrow();
    let size = usize::try_from(message.size()).unwrap_or(usize::MAX);
    cx.reserve(size.saturating_add(message.new_bytes()))?;
    let now = cx.host.clock.unix().as_secs() as i64;
    message.to_vec(now).map_err(unreadable)
}
