//! Files: the bundle's, those below the script root, and data in memory. Read-only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, Outcome, Throw};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::value::Value;

/// The class `File`.
pub const FILE: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "File(file: string|FileResource): File|none",
        "Opens a file of the bundle, or one below the script root; gives none when that fails.",
        open,
    )
    .example("File(\"missing.txt\") // none"),
    extends: None,
    methods: &[
        FnDecl::plain(
            "close(): none",
            "Closes the file; reading fails from then on.",
            |_, args| {
                args.this::<File>()?.data.replace(None);
                Ok(Value::None)
            },
        ),
        FnDecl::plain(
            "getPath(): string|none",
            "Gives the path; none for data in memory.",
            |_, args| Ok(args.this::<File>()?.path.as_deref().into()),
        ),
        FnDecl::plain(
            "read(length?: number): string|none",
            "Reads up to `length` bytes, or the rest. Gives an empty string at the end, none when closed.",
            read,
        ),
        FnDecl::plain(
            "readline(): string|boolean|none",
            "Reads a line without its line end. Gives false at the end, none when closed.",
            readline,
        ),
        FnDecl::plain(
            "seek(offset: number, whence?: string = \"SEEK_SET\"): number|none",
            "Moves to a position counted from SEEK_SET, SEEK_CUR or SEEK_END and gives it; none when it is negative.",
            seek,
        ),
        FnDecl::plain(
            "tell(): number|none",
            "Gives the position; none when closed.",
            |_, args| {
                let file = args.this::<File>()?;
                Ok(file
                    .data
                    .borrow()
                    .as_ref()
                    .map(|_| file.position.get())
                    .into())
            },
        ),
    ],
    statics: &[
        FnDecl::plain(
            "String(data: string): File",
            "Makes a file of a string.",
            |cx, mut args| {
                let Value::String(data) = args.take(0) else {
                    return Ok(Value::None);
                };
                from_bytes(cx, data.into_vec())
            },
        )
        .since("5.0"),
        FnDecl::plain(
            "read(filename: string): string|none",
            "Gives the content of a file; none when it cannot be read.",
            |cx, args| match cx.host.files.read(
                &args
                    .get(0)
                    .as_str()
                    .map(|name| name.to_text())
                    .unwrap_or_default(),
            ) {
                Some(data) => {
                    cx.reserve(data.len())?;
                    Ok(Value::bytes(&data))
                }
                None => Ok(Value::None),
            },
        )
        .since("5.4"),
    ],
};

/// An open file.
struct File {
    data: RefCell<Option<Rc<[u8]>>>,
    position: Cell<usize>,
    path: Option<String>,
}

impl NativeObject for File {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn object(cx: &Cx<'_>, data: Rc<[u8]>, path: Option<String>) -> Outcome {
    let class = cx
        .library
        .class_named("File")
        .ok_or_else(|| Throw::error("there are no files here"))?;
    let file = File {
        data: RefCell::new(Some(data)),
        position: Cell::new(0),
        path,
    };
    Ok(Value::Object(Object::new(class, file)))
}

/// A file over `bytes`.
///
/// # Errors
/// Beyond the memory budget, or where the class is missing.
pub fn from_bytes(cx: &mut Cx<'_>, bytes: Vec<u8>) -> Outcome {
    cx.reserve(bytes.len())?;
    object(cx, bytes.into(), None)
}

fn open(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(name) = args.get(0).as_str().map(|name| name.to_text().into_owned()) else {
        if let Value::Resource(resource) = args.get(0)
            && let Some(data) = resource.downcast::<Vec<u8>>()
        {
            return from_bytes(cx, data.to_vec());
        }
        return Ok(Value::None);
    };
    match cx.host.files.read(&name) {
        Some(data) => object(cx, data, Some(name)),
        None => Ok(Value::None),
    }
}

fn read(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let file = args.this::<File>()?;
    let data = file.data.borrow();
    let Some(data) = &*data else {
        return Ok(Value::None);
    };
    let rest = data.get(file.position.get()..).unwrap_or_default();
    let length = if args.has(0) {
        usize::try_from(args.integer(0, 0)).unwrap_or(0)
    } else {
        rest.len()
    };
    let part = &rest[..length.min(rest.len())];
    cx.reserve(part.len())?;
    file.position.set(file.position.get() + part.len());
    Ok(Value::bytes(part))
}

fn readline(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let file = args.this::<File>()?;
    let data = file.data.borrow();
    let Some(data) = &*data else {
        return Ok(Value::None);
    };
    let rest = data.get(file.position.get()..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(Value::Boolean(false));
    }
    let (line, taken) = match memchr::memchr(b'\n', rest) {
        Some(end) => (&rest[..end], end + 1),
        None => (rest, rest.len()),
    };
    cx.reserve(line.len())?;
    file.position.set(file.position.get() + taken);
    let line = if taken > line.len() {
        line.strip_suffix(b"\r").unwrap_or(line)
    } else {
        line
    };
    Ok(Value::bytes(line))
}

fn seek(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let file = args.this::<File>()?;
    let data = file.data.borrow();
    let Some(data) = &*data else {
        return Ok(Value::None);
    };
    let base = match args.bytes(1) {
        b"" | b"SEEK_SET" => 0,
        b"SEEK_CUR" => file.position.get() as i64,
        b"SEEK_END" => data.len() as i64,
        other => {
            return Err(Throw::error(format!(
                "seek: {} is none of SEEK_SET, SEEK_CUR, SEEK_END",
                String::from_utf8_lossy(other)
            )));
        }
    };
    match usize::try_from(base.saturating_add(args.integer(0, 0))) {
        Ok(position) => {
            file.position.set(position);
            Ok(position.into())
        }
        Err(_) => Ok(Value::None),
    }
}
