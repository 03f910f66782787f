//! Files: the bundle's, those below the script root, messages of the queue, and data in memory. Read-only.
//!
//! A file on the disk is never loaded as a whole: [`Open`] reads what is asked for. Up to
//! [`INLINE_BYTES`] are read in the script's loop, more on the thread pool.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use angarium_mail::source::Source;
use angarium_runtime::host::FileData;
use angarium_runtime::memory::{self, Account};
use angarium_runtime::native::{Args, ClassDecl, Cx, Finish, FnDecl, Heavy, Outcome, Throw};
use angarium_runtime::object::{NativeObject, Object, Resource};
use angarium_runtime::string::MAX_STRING;
use angarium_runtime::value::Value;

use crate::heavy::INLINE_BYTES;

/// Files of the system that one execution may hold open at once.
const MAX_OPEN: u32 = 128;

/// Bytes that `readline` reads at once.
const LINE_BUFFER: usize = 16 * 1024;

/// The class `File`.
pub const FILE: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "File(file: string|FileResource): File|none",
        "Opens a file of the bundle, one below the script root, or one that a hook names by a resource; gives none when \
         that fails. An execution can have 128 files of the disk open at once.",
        open,
    )
    .example("File(\"missing.txt\") // none"),
    extends: None,
    methods: &[
        FnDecl::plain(
            "close(): none",
            "Closes the file; reading fails from then on.",
            |_, args| {
                args.this::<File>()?.close();
                Ok(Value::None)
            },
        ),
        FnDecl::plain(
            "getPath(): string|none",
            "Gives the path of a file on the disk; none for files in memory.",
            |_, args| Ok(args.this::<File>()?.path.as_deref().into()),
        ),
        FnDecl::heavy(
            "read(length?: number): string|none",
            "Reads up to `length` bytes, or the rest. Gives an empty string at the end, none when closed.",
            read,
        )
        .example("File::String(\"abc\")->read(2) // \"ab\""),
        FnDecl::heavy(
            "readline(): string|boolean|none",
            "Reads a line without its line end. Gives false at the end, none when closed.",
            readline,
        )
        .example("File::String(\"a\\r\\nb\")->readline() // \"a\""),
        FnDecl::plain(
            "seek(offset: number, whence?: string = \"SEEK_SET\"): number|none",
            "Moves to a position counted from SEEK_SET, SEEK_CUR or SEEK_END and gives it; none when it is negative.",
            seek,
        )
        .example("File::String(\"abc\")->seek(-1, \"SEEK_END\") // 2"),
        FnDecl::plain(
            "tell(): number|none",
            "Gives the position; none when closed.",
            |_, args| {
                let file = args.this::<File>()?;
                let position = file.lock().as_ref().map(|open| open.position as f64);
                Ok(position.map_or(Value::None, Value::Number))
            },
        ),
        FnDecl::plain(
            "toFFIValue(): FFIValue|none",
            "Gives the file to foreign functions. There are none here: raises an Exception.",
            |_, _| Err(Throw::error("FFI is disabled")),
        )
        .since("5.4"),
    ],
    statics: &[
        FnDecl::plain(
            "String(data: string): File",
            "Makes a file of a string.",
            |cx, args| {
                cx.reserve(args.bytes(0).len())?;
                from_bytes(cx, args.bytes(0).to_vec())
            },
        )
        .since("5.0"),
        FnDecl::heavy(
            "read(filename: string): string|none",
            "Gives the content of a file; none when it cannot be read.",
            |cx, args| match named(cx, &args, 0) {
                Some(data) => whole(cx, data),
                None => Ok(Heavy::Done(Value::None)),
            },
        )
        .since("5.4")
        .example("File::read(\"missing.txt\") // none"),
    ],
};

/// A file with the position that reading has reached.
struct Open {
    data: Arc<dyn FileData>,
    position: u64,
    /// What was read ahead for lines, and where it starts.
    ahead: Vec<u8>,
    ahead_at: u64,
}

/// What a read gave.
enum Piece {
    Bytes(Vec<u8>),
    /// There is nothing left.
    End,
    /// There is more than allowed; the position has not moved.
    TooLong,
}

/// What to read.
#[derive(Clone, Copy)]
enum Wanted {
    /// So many bytes, or what is left.
    Bytes(usize),
    /// A line.
    Line,
}

impl Open {
    fn new(data: Arc<dyn FileData>) -> Open {
        Open {
            data,
            position: 0,
            ahead: Vec::new(),
            ahead_at: 0,
        }
    }

    fn read(&mut self, wanted: Wanted, limit: usize) -> io::Result<Piece> {
        match wanted {
            Wanted::Bytes(wanted) => self.read_bytes(wanted, limit),
            Wanted::Line => self.read_line(limit),
        }
    }

    fn read_bytes(&mut self, wanted: usize, limit: usize) -> io::Result<Piece> {
        let most = wanted.min(limit.saturating_add(1));
        let mut bytes = Vec::new();
        while bytes.len() < most {
            let (start, room) = (bytes.len(), (most - bytes.len()).min(INLINE_BYTES));
            bytes.resize(start + room, 0);
            let at = self.position.saturating_add(start as u64);
            let read = read_at(&*self.data, bytes.get_mut(start..).unwrap_or_default(), at)?;
            bytes.truncate(start + read);
            if read == 0 {
                break;
            }
        }
        if bytes.len() > limit {
            return Ok(Piece::TooLong);
        }
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(Piece::Bytes(bytes))
    }

    fn read_line(&mut self, limit: usize) -> io::Result<Piece> {
        let mut line = Vec::new();
        let mut at = self.position;
        let taken = loop {
            let ahead = self.ahead_from(at)?;
            if ahead.is_empty() {
                if line.is_empty() {
                    return Ok(Piece::End);
                }
                break line.len();
            }
            let end = memchr::memchr(b'\n', ahead);
            let part = ahead.get(..end.unwrap_or(ahead.len())).unwrap_or_default();
            if line.len().saturating_add(part.len()) > limit {
                return Ok(Piece::TooLong);
            }
            line.extend_from_slice(part);
            at = at.saturating_add(part.len() as u64);
            if end.is_some() {
                let taken = line.len() + 1;
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                break taken;
            }
        };
        self.position = self.position.saturating_add(taken as u64);
        Ok(Piece::Bytes(line))
    }

    /// Bytes from `at` on, as many as are at hand; empty at the end.
    fn ahead_from(&mut self, at: u64) -> io::Result<&[u8]> {
        let inside = |start: u64, length: usize| {
            usize::try_from(at.checked_sub(start)?)
                .ok()
                .filter(|skip| *skip < length)
        };
        if self.data.bytes().is_some() {
            let bytes = self.data.bytes().unwrap_or_default();
            let skip = usize::try_from(at).unwrap_or(usize::MAX);
            return Ok(bytes.get(skip..).unwrap_or_default());
        }
        if inside(self.ahead_at, self.ahead.len()).is_none() {
            self.ahead.resize(LINE_BUFFER, 0);
            let read = read_at(&*self.data, &mut self.ahead, at);
            self.ahead.truncate(*read.as_ref().unwrap_or(&0));
            self.ahead_at = at;
            read?;
        }
        let skip = inside(self.ahead_at, self.ahead.len()).unwrap_or(self.ahead.len());
        Ok(self.ahead.get(skip..).unwrap_or_default())
    }
}

/// Reads, again after an interruption.
fn read_at(data: &dyn FileData, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match data.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Shared with the thread pool while it reads; none when closed.
type State = Arc<Mutex<Option<Open>>>;

fn lock(state: &State) -> MutexGuard<'_, Option<Open>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An instance of the class.
struct File {
    state: State,
    path: Option<String>,
    /// Bytes that are in memory for this file's sake.
    held: Cell<usize>,
    /// Its share of the open files.
    seat: Cell<Option<Seat>>,
}

impl File {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        lock(&self.state)
    }

    fn close(&self) {
        *self.lock() = None;
        memory::credit(self.held.take());
        self.seat.take();
    }
}

impl NativeObject for File {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Drop for File {
    fn drop(&mut self) {
        memory::credit(self.held.take());
    }
}

/// How many files of the disk an execution has open.
#[derive(Default)]
struct OpenFiles(Cell<u32>);

/// One of them.
struct Seat(Rc<OpenFiles>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
    }
}

fn seat(cx: &Cx<'_>) -> Option<Seat> {
    let files = cx.host.extension::<OpenFiles>().unwrap_or_else(|| {
        let files = Rc::<OpenFiles>::default();
        cx.host.extend(Rc::clone(&files));
        files
    });
    if files.0.get() >= MAX_OPEN {
        return None;
    }
    files.0.set(files.0.get() + 1);
    Some(Seat(files))
}

/// A file over `data`, of which `held` bytes lie in memory for its sake; none when too many files are open.
///
/// # Errors
/// Where the class is missing.
pub fn object(cx: &mut Cx<'_>, data: Arc<dyn FileData>, held: usize) -> Outcome {
    let class = cx
        .library
        .class_named("File")
        .ok_or_else(|| Throw::error("there are no files here"))?;
    let seat = match data.bytes() {
        Some(_) => None,
        None => match seat(cx) {
            None => return Ok(Value::None),
            seat => seat,
        },
    };
    memory::charge(held);
    let file = File {
        path: data.path().map(|path| path.display().to_string()),
        state: Arc::new(Mutex::new(Some(Open::new(data)))),
        held: Cell::new(held),
        seat: Cell::new(seat),
    };
    Ok(Value::Object(Object::new(class, file)))
}

/// A file over `bytes`.
///
/// # Errors
/// Beyond the memory budget, or where the class is missing.
pub fn from_bytes(cx: &mut Cx<'_>, bytes: Vec<u8>) -> Outcome {
    cx.reserve(bytes.len())?;
    let held = bytes.len();
    object(cx, Arc::new(bytes.into_boxed_slice()), held)
}

/// The bytes behind a `File` that is open; none for other values.
#[must_use]
pub fn data_of(value: &Value) -> Option<Arc<dyn FileData>> {
    let Value::Object(object) = value else {
        return None;
    };
    let open = object.downcast::<File>()?.lock();
    Some(Arc::clone(&open.as_ref()?.data))
}

/// Opens what a `FileResource` stands for.
type Opener = Box<dyn Fn() -> io::Result<Arc<dyn FileData>> + Send + Sync>;

struct FileResource(Opener);

/// A `FileResource`, for `File()`; nothing is opened before that.
#[must_use]
pub fn resource(
    opener: impl Fn() -> io::Result<Arc<dyn FileData>> + Send + Sync + 'static,
) -> Value {
    let resource = Resource::new("FileResource", Arc::new(FileResource(Box::new(opener))));
    Value::Resource(Rc::new(resource))
}

/// A mail source as the data of a file.
pub struct SourceData<S>(pub S);

impl<S: Source + Send + Sync> FileData for SourceData<S> {
    fn length(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.0.as_bytes()
    }
}

/// The data of a file as a mail source.
pub struct FileSource(pub Arc<dyn FileData>);

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.0.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.0.bytes()
    }
}

fn open(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    opened(cx, args.get(0))
}

/// Opens the file that a name or a `FileResource` stands for; none when that fails.
///
/// # Errors
/// Where the class is missing.
pub fn opened(cx: &mut Cx<'_>, file: &Value) -> Outcome {
    let data = match file {
        Value::Resource(resource) => resource
            .downcast::<FileResource>()
            .and_then(|resource| (resource.0)().ok()),
        name => by_name(cx, name),
    };
    match data {
        Some(data) => object(cx, data, 0),
        None => Ok(Value::None),
    }
}

fn read(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let wanted = match args.has(0) {
        true => usize::try_from(args.integer(0, 0)).unwrap_or(0),
        false => usize::MAX,
    };
    run(cx, &args.this::<File>()?.state, Wanted::Bytes(wanted))
}

fn readline(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    run(cx, &args.this::<File>()?.state, Wanted::Line)
}

/// The file whose name is argument `index`; none when it cannot be opened.
pub(crate) fn named(cx: &Cx<'_>, args: &Args<'_>, index: usize) -> Option<Arc<dyn FileData>> {
    by_name(cx, args.get(index))
}

/// The file of a name. Names end up in messages and logs: one with a line end or NUL in it is that of no file.
fn by_name(cx: &Cx<'_>, name: &Value) -> Option<Arc<dyn FileData>> {
    let name = name.as_str()?.to_text();
    let breaks = name.contains(['\r', '\n', '\0']);
    (!breaks).then(|| cx.host.files.open(&name)).flatten()
}

/// The whole content of a file; none when it cannot be read.
pub(crate) fn whole(cx: &mut Cx<'_>, data: Arc<dyn FileData>) -> Result<Heavy, Throw> {
    let state = Arc::new(Mutex::new(Some(Open::new(data))));
    run(cx, &state, Wanted::Bytes(usize::MAX))
}

/// Reads here what is small or in memory, on the pool what is not.
fn run(cx: &mut Cx<'_>, state: &State, wanted: Wanted) -> Result<Heavy, Throw> {
    let budget = budget();
    let mut open = lock(state);
    let Some(file) = &mut *open else {
        return Ok(Heavy::Done(Value::None));
    };
    if file.data.bytes().is_none() {
        // About what a system call costs.
        cx.charge(100);
    }
    let left = file.data.length().saturating_sub(file.position);
    let (here, limit) = match wanted {
        _ if file.data.bytes().is_some() => (true, budget),
        Wanted::Bytes(wanted) => {
            let small = wanted <= INLINE_BYTES || left <= INLINE_BYTES as u64;
            (small, INLINE_BYTES.min(budget))
        }
        Wanted::Line => (true, INLINE_BYTES.min(budget)),
    };
    if here {
        let piece = file.read(wanted, limit);
        if limit == budget || !matches!(piece, Ok(Piece::TooLong)) {
            drop(open);
            return give(cx, piece, wanted).map(Heavy::Done);
        }
    }
    drop(open);
    let state = Arc::clone(state);
    Ok(Heavy::Offload(Box::new(move || {
        let piece = match &mut *lock(&state) {
            Some(file) => file.read(wanted, budget),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let finish: Finish = Box::new(move |cx| give(cx, piece, wanted));
        finish
    })))
}

/// The longest string that the execution may still make.
pub(crate) fn budget() -> usize {
    let account = memory::swap(Account::default());
    memory::swap(account);
    match account.limit {
        0 => MAX_STRING,
        limit => MAX_STRING.min(limit.saturating_sub(account.used)),
    }
}

fn give(cx: &mut Cx<'_>, piece: io::Result<Piece>, wanted: Wanted) -> Outcome {
    match piece {
        Ok(Piece::Bytes(bytes)) => {
            cx.reserve(bytes.len())?;
            Ok(bytes.into())
        }
        Ok(Piece::End) => Ok(match wanted {
            Wanted::Line => Value::Boolean(false),
            Wanted::Bytes(_) => Value::from(""),
        }),
        Ok(Piece::TooLong) if budget() < MAX_STRING => Err(Throw::limit("memory")),
        Ok(Piece::TooLong) => Err(Throw::error("string too long")),
        Err(_) => Ok(Value::None),
    }
}

fn seek(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let file = args.this::<File>()?;
    let mut open = file.lock();
    let Some(open) = &mut *open else {
        return Ok(Value::None);
    };
    let base = match args.bytes(1) {
        b"" | b"SEEK_SET" => 0,
        b"SEEK_CUR" => open.position,
        b"SEEK_END" => open.data.length(),
        other => {
            return Err(Throw::error(format!(
                "seek: {} is none of SEEK_SET, SEEK_CUR, SEEK_END",
                String::from_utf8_lossy(other)
            )));
        }
    };
    let base = i64::try_from(base).unwrap_or(i64::MAX);
    match u64::try_from(base.saturating_add(args.integer(0, 0))) {
        Ok(position) => {
            open.position = position;
            Ok(Value::Number(position as f64))
        }
        Err(_) => Ok(Value::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content that is not in memory, given in small pieces.
    struct Slow(Vec<u8>);

    impl FileData for Slow {
        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let most = buffer.len().min(1000);
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = most.min(rest.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
    }

    fn lines(data: Arc<dyn FileData>) -> Vec<Vec<u8>> {
        let mut open = Open::new(data);
        let mut lines = Vec::new();
        while let Piece::Bytes(line) = open.read_line(usize::MAX).expect("a line") {
            lines.push(line);
        }
        lines
    }

    #[test]
    fn lines_are_the_same_from_the_disk_and_from_memory() {
        for text in [
            "",
            "\n",
            "\r\n",
            "a",
            "a\r",
            "a\n\nb\r\nc",
            "\r\r\nx\n",
            &format!("{}\r\nshort\n", "y".repeat(40_000)),
        ] {
            let slow = lines(Arc::new(Slow(text.into())));
            let fast = lines(Arc::new(Box::<[u8]>::from(text.as_bytes())));
            assert_eq!(slow, fast, "{text:.10?}");
            let want: Vec<&str> = text.lines().collect();
            // A CR before the end of the file is no line end, here as in `str::lines`.
            assert_eq!(
                slow,
                want.iter().map(|line| line.as_bytes()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_read_beyond_the_limit_moves_nothing() {
        let mut open = Open::new(Arc::new(Slow(vec![b'x'; 5000])));
        assert!(matches!(
            open.read_bytes(usize::MAX, 4999),
            Ok(Piece::TooLong)
        ));
        assert!(matches!(open.read_line(4999), Ok(Piece::TooLong)));
        assert_eq!(open.position, 0);
        assert!(
            matches!(open.read_bytes(3000, 4999), Ok(Piece::Bytes(bytes)) if bytes.len() == 3000)
        );
        assert!(matches!(open.read_line(5000), Ok(Piece::Bytes(bytes)) if bytes.len() == 2000));
        assert!(matches!(open.read_line(5000), Ok(Piece::End)));
        assert!(matches!(open.read_bytes(1, 1), Ok(Piece::Bytes(bytes)) if bytes.is_empty()));
    }
}
