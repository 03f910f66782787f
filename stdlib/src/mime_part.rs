//! Parts of a message: `MIMEPart`.
//!
//! Getters show the part as it was received, whatever was changed. Changes of structure take whole parts: those of `MIME` as
//! they are written at that moment, those of messages with their changes so far.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::body::Encoding;
use angarium_mail::builder::Role;
use angarium_mail::editor::EditError;
use angarium_mail::encoded_word::WordEncoding;
use angarium_mail::field::ValueForm;
use angarium_mail::header::LineEnd;
use angarium_mail::message::Message;
use angarium_mail::parts::{Part, PartId};
use angarium_mail::source::Source as _;
use angarium_mail::structure::Side;
use angarium_runtime::array::Array;
use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::host::{CompiledRegex, Matched, RegexEngine as _};
use angarium_runtime::native::{
    Args, ClassDecl, Cx, FnDecl, OptDecl, Options, Outcome, Throw, opt,
};
use angarium_runtime::object::Object;
use angarium_runtime::regex::Regex;
use angarium_runtime::value::Value;

use crate::heavy::INLINE_BYTES;
use crate::mailer::SharedSource;
use crate::message::{PartObject, charge_change, edit, opened, read, this};
use crate::mime::{self, MimeObject};
use crate::pooled;
use crate::regexp::ENGINE;

const FIELD: OptDecl = opt(
    "field",
    "boolean",
    "false",
    "the whole field with its name, unmodified, ending in CRLF",
);
const DECODE: OptDecl = opt("decode", "boolean", "true", "decode encoded words");
/// The option `encode` of headers.
pub(crate) const ENCODE: OptDecl = opt(
    "encode",
    "boolean",
    "true",
    "encode and fold the value; false takes it as it is",
);
/// The option `encoding` of headers.
pub(crate) const ENCODING: OptDecl = opt(
    "encoding",
    "string",
    "quoted-printable",
    "encoding of words: quoted-printable or base64",
);
const TYPE: OptDecl = opt(
    "type",
    "string",
    "multipart/mixed",
    "type of the multipart around both, with parameters if need be",
);

/// A part of a message.
pub const MIME_PART: ClassDecl = ClassDecl {
    constructor: FnDecl::construct("MIMEPart()", "A part of a message; a MailMessage and its methods give them."),
    extends: None,
    methods: &[
        FnDecl::plain("getID(): string", "Gives the place in the message: \"0\", \"0.1\", \"0.2.1\" …", |_, args| {
            let object = args.this::<PartObject>()?;
            match object.part {
                PartId::ROOT => Ok("0".into()),
                part => object.parts(|parts| Value::from(parts.path(part))),
            }
        })
        .example("MailMessage::String(\"\")->getID() // \"0\""),
        FnDecl::plain("getSize(): number", "Gives the size in bytes of header and body.", |_, args| {
            part(&args, |part| Value::from(part.size() as f64))
        })
        .example("MailMessage::String(\"A: 1\\n\\nx\")->getSize() // 7"),
        FnDecl::plain(
            "getFileName(): string|none",
            "Gives the file name of Content-Disposition or Content-Type, decoded.",
            |_, args| part(&args, |part| part.file_name().into()),
        )
        .example("MailMessage::String(\"Content-Type: a/b; name=x.txt\\n\\n\")->getFileName() // \"x.txt\""),
        FnDecl::plain(
            "getType(): string|none",
            "Gives type and subtype in lower case; none without a Content-Type.",
            |_, args| part(&args, |part| part.content_type().into()),
        )
        .example("MailMessage::String(\"Content-Type: Text/HTML\\n\\n\")->getType() // \"text/html\""),
        FnDecl::plain("getTypeParameter(name: string): string|none", "Gives a parameter of the Content-Type.", |_, args| {
            let name = to_str(args.get(0)).to_text().into_owned();
            part(&args, |part| part.type_parameter(&name).into())
        })
        .since(">5.5")
        .example("MailMessage::String(\"Content-Type: a/b; C=d\\n\\n\")->getTypeParameter(\"c\") // \"d\""),
        FnDecl::plain(
            "getHeader(name: string, options?: array): string|none",
            "Gives a header field's value, unfolded and decoded; none when there is no such field.",
            get_header,
        )
        .options(&[
            opt("index", "number", "0", "which of the fields of that name, from the top; negative from the bottom"),
            FIELD,
            DECODE,
        ])
        .example("MailMessage::String(\"A: 1\\nA: 2\\n\\n\")->getHeader(\"a\", [\"index\" => -1]) // \"2\""),
        FnDecl::plain(
            "getHeaders(name: string, options?: array): array<string>",
            "Gives the values of all header fields of a name, from the top.",
            get_headers,
        )
        .options(&[FIELD, DECODE])
        .example("MailMessage::String(\"A: 1\\nA: 2\\n\\n\")->getHeaders(\"A\") // [0=>\"1\",1=>\"2\"]"),
        FnDecl::plain(
            "getHeaderNames(): array<string>",
            "Gives the names of all header fields in lower case, from the top.",
            |_, args| part(&args, |part| list(part.header.names().into_iter().map(Value::from))),
        )
        .example("MailMessage::String(\"A: 1\\nB: 2\\n\\n\")->getHeaderNames() // [0=>\"a\",1=>\"b\"]"),
        FnDecl::plain(
            "addHeader(name: string, value: string, options?: array): none",
            "Adds a header field above all others.",
            |cx, args| {
                let form = form(cx, &args)?;
                change(cx, &args, |message, part| {
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
                change(cx, &args, |message, part| {
                    message.set_header(part, args.bytes(0), args.bytes(1), index, form).map(Value::from)
                })
            },
        )
        .options(&[opt("index", "number", "", "change only that one"), ENCODE, ENCODING])
        .example("MailMessage::String(\"A: 1\\nA: 2\\n\\n\")->setHeader(\"a\", \"x\") // 2"),
        FnDecl::plain(
            "delHeader(name: string, options?: array): number",
            "Deletes all header fields of a name, or one of them; gives how many.",
            |cx, args| {
                let index = index(args.options(1));
                change(cx, &args, |message, part| message.del_header(part, args.bytes(0), index).map(Value::from))
            },
        )
        .options(&[opt("index", "number", "", "delete only that one")])
        .example("MailMessage::String(\"A: 1\\nA: 2\\n\\n\")->delHeader(\"a\") // 2"),
        FnDecl::plain(
            "renameHeader(name: string, newname: string): number",
            "Renames all header fields of a name; gives how many.",
            |cx, args| {
                change(cx, &args, |message, part| {
                    message.rename_header(part, args.bytes(0), args.bytes(1)).map(Value::from)
                })
            },
        )
        .since(">5.5")
        .example("MailMessage::String(\"A: 1\\n\\n\")->renameHeader(\"a\", \"B\") // 1"),
        FnDecl::plain(
            "setDateLater(): number",
            "Has the Date field written when the message is delivered; gives how many there were. 0 means that one was \
             added.",
            |cx, args| change(cx, &args, |message, part| message.set_date_later(part).map(Value::from)),
        )
        .since(">5.5")
        .example("MailMessage::String(\"A: 1\\n\\n\")->setDateLater() // 0"),
        FnDecl::plain(
            "remove(): none",
            "Removes the part with its boundary line. The message itself cannot be removed.",
            |cx, args| change(cx, &args, |message, part| message.remove_part(part).map(|()| Value::None)),
        ),
        FnDecl::plain(
            "getBody(options?: array): string|none",
            "Gives the body with its transfer encoding undone. A multipart that has parts has one only with decode false.",
            |cx, args| opened(cx, args, get_body),
        )
        .options(&[opt("decode", "boolean", "true", "undo the Content-Transfer-Encoding")])
        .example("MailMessage::String(\"Content-Transfer-Encoding: base64\\n\\nYWJj\")->getBody() // \"abc\""),
        FnDecl::plain(
            "setBody(data: string, options?: array): MIMEPart|none",
            "Sets the body. The part's transfer encoding is kept where it can carry the data, else the one that is best \
             readable is taken. With `encoding` data that is in it already is taken as it is.",
            |cx, args| opened(cx, args, set_body),
        )
        .options(&[opt("encoding", "string", "", "7bit, 8bit, binary, quoted-printable or base64")]),
        FnDecl::plain("getPreamble(): string|none", "Gives the text before the first part of a multipart.", |cx, args| {
            opened(cx, args, |cx, args| around(cx, &args, Part::preamble))
        })
        .since("5.4")
        .example("MailMessage::String(\"A: 1\\n\\n\")->getPreamble() // none"),
        FnDecl::plain(
            "setPreamble(data: string): MIMEPart|none",
            "Sets the text before the first part of a multipart; none where there is no multipart.",
            |cx, args| opened(cx, args, |cx, args| set_around(cx, &args, Side::Before)),
        )
        .since("5.4"),
        FnDecl::plain("getEpilogue(): string|none", "Gives the text after the last part of a multipart.", |cx, args| {
            opened(cx, args, |cx, args| around(cx, &args, Part::epilogue))
        })
        .since("5.4")
        .example("MailMessage::String(\"A: 1\\n\\n\")->getEpilogue() // none"),
        FnDecl::plain(
            "setEpilogue(data: string): MIMEPart|none",
            "Sets the text after the last part of a multipart; none where there is no multipart.",
            |cx, args| opened(cx, args, |cx, args| set_around(cx, &args, Side::After)),
        )
        .since("5.4"),
        FnDecl::plain(
            "prependPart(part: MIME|MIMEPart, options?: array): MIMEPart|none",
            "Puts a part before this one: beside it in a multipart of that type, else into a new one around both.",
            |cx, args| opened(cx, args, |cx, args| insert(cx, &args, Side::Before)),
        )
        .options(&[TYPE]),
        FnDecl::plain(
            "appendPart(part: MIME|MIMEPart, options?: array): MIMEPart|none",
            "Puts a part after this one: beside it in a multipart of that type, else into a new one around both.",
            |cx, args| opened(cx, args, |cx, args| insert(cx, &args, Side::After)),
        )
        .options(&[TYPE]),
        FnDecl::plain(
            "replacePart(part: MIME|MIMEPart): none",
            "Puts a part in the place of this one. In that of the message itself comes its content.",
            |cx, args| opened(cx, args, replace),
        ),
        FnDecl::plain(
            "findByType(type: Regex|string): array<MIMEPart>",
            "Gives the parts below whose type matches a pattern; of a string upper and lower case do not count.",
            |cx, args| opened(cx, args, |cx, args| find(cx, &args, Part::content_type)),
        )
        .example("MailMessage::String(\"A: 1\\n\\n\")->findByType(\"text/\") // []"),
        FnDecl::plain(
            "findByFileName(filename: Regex|string): array<MIMEPart>",
            "Gives the parts below whose file name matches a pattern; of a string upper and lower case do not count.",
            |cx, args| opened(cx, args, |cx, args| find(cx, &args, Part::file_name)),
        )
        .example("MailMessage::String(\"A: 1\\n\\n\")->findByFileName(\"[.]exe$\") // []"),
        FnDecl::plain(
            "getByID(id: string): MIMEPart|none",
            "Gives the part at a place in the message; none when there is none.",
            |cx, args| {
                opened(cx, args, |cx, args| {
                    let object = args.this::<PartObject>()?;
                    let id = to_str(args.get(0)).to_text().into_owned();
                    let found = object.parts(|parts| parts.by_path(&id))?;
                    Ok(found.map_or(Value::None, |part| object.other(part, cx.library)))
                })
            },
        )
        .since(">5.5")
        .example("MailMessage::String(\"A: 1\\n\\n\")->getByID(\"0.1\") // none"),
        FnDecl::plain("getParts(): array<MIMEPart>", "Gives the parts directly below.", |cx, args| {
            opened(cx, args, |cx, args| {
                let object = args.this::<PartObject>()?;
                let children = object.with(|part| part.children.clone())?;
                cx.reserve_entries(children.len())?;
                Ok(list(children.into_iter().map(|part| object.other(part, cx.library))))
            })
        })
        .example("MailMessage::String(\"A: 1\\n\\n\")->getParts() // []"),
        FnDecl::plain(
            "getErrors(): array<string>",
            "Gives what is wrong with the part: bad_header, unclosed_boundary.",
            |cx, args| {
                opened(cx, args, |_, args| {
                    part(&args, |part| list(part.errors().into_iter().map(|error| Value::from(error.as_str()))))
                })
            },
        )
        .since(">5.5")
        .example("MailMessage::String(\"A: 1\\nhello\\n\\n\")->getErrors() // [0=>\"bad_header\"]"),
    ],
    statics: &[],
};

fn list(values: impl Iterator<Item = Value>) -> Value {
    values.collect::<Array>().into()
}

fn part(args: &Args<'_>, work: impl FnOnce(&Part) -> Value) -> Outcome {
    args.this::<PartObject>()?.with(work)
}

fn change(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    change: impl FnOnce(&mut Message<SharedSource>, PartId) -> Result<Value, EditError>,
) -> Outcome {
    charge_change(cx, args)?;
    edit(args, change)
}

/// How a value is written: the options `encode` and `encoding`, at position 2.
pub(crate) fn form(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<ValueForm, Throw> {
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
    part(&args, |part| {
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
    part(&args, |part| {
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

fn get_body(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let decode = args.options(0).boolean("decode", true);
    let object = args.this::<PartObject>()?;
    let (source, body) = {
        let message = object.mail.message();
        let Some(part) = message.part(object.part) else {
            return Ok(Value::None);
        };
        if decode && part.has_parts() {
            return Ok(Value::None);
        }
        (Arc::clone(message.source()), part.encoded_body())
    };
    let size = body.range.end.saturating_sub(body.range.start);
    cx.charge(usize::try_from(size / 16).unwrap_or(usize::MAX));
    read(cx, &source, size, move |source| {
        let bytes = source.read_range(body.range)?;
        Ok(Some(match decode {
            true => body.encoding.decode(&bytes),
            false => bytes,
        }))
    })
}

fn set_body(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let encoding = args.options(1).string("encoding");
    let encoding = match encoding.as_ref().map(|name| name.as_bytes()) {
        None => None,
        Some(name) => Some(Encoding::from_name(name).ok_or_else(|| {
            Throw::error(format!(
                "setBody: option encoding: \"{}\" is none of 7bit, 8bit, binary, quoted-printable, base64",
                String::from_utf8_lossy(name)
            ))
        })?),
    };
    let data = args.bytes(0);
    cx.reserve(data.len().saturating_mul(2))?;
    cx.charge(data.len() / 16);
    change(cx, &args, |message, part| {
        message.set_body(part, data, encoding).map(|()| Value::None)
    })?;
    Ok(this(&args))
}

fn around(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    range: impl FnOnce(&Part) -> Option<Range<u64>>,
) -> Outcome {
    let object = args.this::<PartObject>()?;
    let Some(range) = object.with(range)? else {
        return Ok(Value::None);
    };
    let source = Arc::clone(object.mail.message().source());
    let size = range.end.saturating_sub(range.start);
    read(cx, &source, size, move |source| {
        source.read_range(range).map(Some)
    })
}

fn set_around(cx: &mut Cx<'_>, args: &Args<'_>, side: Side) -> Outcome {
    let text = args.bytes(0);
    cx.reserve(text.len())?;
    let done = change(cx, args, |message, part| {
        message.set_around(part, side, text).map(Value::from)
    })?;
    Ok(match done {
        Value::Boolean(true) => this(args),
        _ => Value::None,
    })
}

fn insert(cx: &mut Cx<'_>, args: &Args<'_>, side: Side) -> Outcome {
    let kind = args.options(1).string("type");
    let kind = kind.map_or(b"multipart/mixed".to_vec(), |kind| kind.as_bytes().to_vec());
    let mut random = [0; 16];
    cx.host.random.fill(&mut random);
    with_part(cx, args, move |message, part, new| {
        message.insert_part(part, side, new, &kind, &random)
    })
}

fn replace(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    with_part(cx, &args, |message, part, new| {
        message.replace_part(part, new)
    })?;
    Ok(Value::None)
}

/// Makes a change that brings the part at argument 0, written as it is now.
fn with_part(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    insert: impl FnOnce(&mut Message<SharedSource>, PartId, &[u8]) -> Result<(), EditError> + 'static,
) -> Outcome {
    charge_change(cx, args)?;
    let Some(this) = args.this.cloned() else {
        return Ok(Value::None);
    };
    let finish = move |cx: &mut Cx<'_>, new: Result<Vec<u8>, Throw>| {
        let new = new?;
        cx.reserve(new.len())?;
        let receiver = Args {
            this: Some(&this),
            values: &mut [],
        };
        edit(&receiver, |message, part| {
            insert(message, part, &new).map(|()| Value::None)
        })?;
        Ok(Value::Object(Rc::clone(&this)))
    };
    let Value::Object(given) = args.get(0) else {
        return Ok(Value::None);
    };
    let eol = args
        .this::<PartObject>()?
        .mail
        .message()
        .header()
        .line_end();
    if let Some(mime) = given.downcast::<MimeObject>() {
        return mime::rendered(cx, mime, Role::Part, eol, finish);
    }
    part_of_message(cx, given, finish)
}

/// The bytes of a part of a message with its changes.
fn part_of_message(
    cx: &mut Cx<'_>,
    given: &Rc<Object>,
    finish: impl FnOnce(&mut Cx<'_>, Result<Vec<u8>, Throw>) -> Outcome + 'static,
) -> Outcome {
    let Some(object) = given.downcast::<PartObject>() else {
        return Err(Throw::error("a part is a MIME or a MIMEPart"));
    };
    let now = i64::try_from(cx.host.clock.unix().as_secs()).unwrap_or(i64::MAX);
    let (mail, part) = (Rc::clone(&object.mail), object.part);
    let size = object.with(Part::size)?;
    cx.reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
    let in_memory = mail.message().source().as_bytes().is_some();
    if in_memory && size <= (INLINE_BYTES as u64).saturating_mul(16) {
        let new = mail.message().part_to_vec(part, now);
        return finish(cx, new.map_err(crate::message::unreadable));
    }
    // The changes are those of this moment.
    let copy = mail.message().clone();
    Err(pooled::later(
        move || copy.part_to_vec(part, now),
        move |cx, new| finish(cx, new.map_err(crate::message::unreadable)),
    ))
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

/// The line end of new mail.
pub(crate) const EOL: LineEnd = LineEnd::CrLf;
