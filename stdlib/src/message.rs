//! Mail messages that scripts read and change: `MailMessage`, of texts, files, imports and the eod hook.
//!
//! A message and the objects of its parts ([`crate::mime_part`]) share a [`Mail`]: the bytes and the changes so far. Getters show the
//! original; changes appear in `toString`, `toFile`, `queue`, `send` and in what is delivered.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::editor::EditError;
use angarium_mail::edits::{Edits, Modified};
use angarium_mail::field::ValueForm;
use angarium_mail::message::Message;
use angarium_mail::parts::{Limits, Part, PartId, Parts};
use angarium_mail::source::Source as _;
use angarium_runtime::frozen::{FreezeError, FrozenObject};
use angarium_runtime::library::Library;
use angarium_runtime::memory;
use angarium_runtime::native::{
    Args, ClassDecl, ClassId, Cx, FnDecl, LocalFuture, Outcome, PlainFn, Throw,
};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::pieces::{PIECE_BYTES, Pieces};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;

use crate::dkim::{self, Signable};
use crate::file::SourceData;
use crate::mailer::{self, Content, Order, QUEUEOPTS, SERVER, SharedSource};
use crate::string::{self, is_large};
use crate::{file, pooled};

/// Bytes in memory that are copied in the script's loop; more go to the pool.
const COPY_INLINE: u64 = 1024 * 1024;
/// Bytes in memory in which parts are looked for in the loop: some hundred microseconds.
const PARSE_INLINE: u64 = 4 * 1024 * 1024;

/// A message.
pub const MAIL_MESSAGE: ClassDecl = ClassDecl {
    constructor: FnDecl::construct(
        "MailMessage()",
        "A message: `MailMessage::String`, `MailMessage::File`, the eod hook and imports of .eml files give them.",
    ),
    extends: Some("MIMEPart"),
    methods: &[
        FnDecl::plain("toString(): string", "Gives the whole message with the changes.", to_string)
            .example("MailMessage::String(\"A: 1\")->toString() // \"A: 1\""),
        FnDecl::plain("toFile(): File", "Gives the whole message with the changes as a file.", to_file)
            .example("MailMessage::String(\"A: 1\\n\\nx\")->toFile()->readline() // \"A: 1\""),
        FnDecl::plain("snapshot(): number", "Remembers the changes so far, for restore.", |_, args| {
            edit(&args, |message, _| Ok(message.snapshot().into()))
        })
        .example("MailMessage::String(\"\")->snapshot() // 0"),
        FnDecl::plain(
            "restore(id: number): boolean",
            "Undoes the changes made since a snapshot; false when there is no such snapshot.",
            |_, args| {
                let id = usize::try_from(args.integer(0, -1)).unwrap_or(usize::MAX);
                edit(&args, |message, _| Ok(message.restore(id).into()))
            },
        )
        .example("MailMessage::String(\"\")->restore(1) // false"),
        FnDecl::plain("reset(): number", "Undoes all changes; gives how many there were.", |_, args| {
            edit(&args, |message, _| Ok(message.reset().into()))
        })
        .example("MailMessage::String(\"\")->reset() // 0"),
        FnDecl::plain(
            "modifyContent(start: number, count: number, data: string): MailMessage",
            "Replaces `count` bytes from the byte `start` of the original message. What other changes are about cannot be \
             replaced.",
            |cx, args| {
                let start = u64::try_from(args.integer(0, 0)).unwrap_or(u64::MAX);
                let count = u64::try_from(args.integer(1, 0)).unwrap_or(u64::MAX);
                charge_change(cx, &args)?;
                edit(&args, |message, _| { message.modify_content(start, count, args.bytes(2)).map(|()| Value::None) })?;
                Ok(this(&args))
            },
        )
        .since("5.4")
        .example("MailMessage::String(\"A: 1\")->modifyContent(3, 1, \"2\")->toString() // \"A: 2\""),
        dkim::sign_method::<PartObject>(),
        dkim::verify_method::<PartObject>(),
        FnDecl::waiting(
            "queue(sender: string|array, recipient: string|array, transportid: string, options?: array): array",
            "Queues the message for one recipient with the changes made so far and gives `transaction` and `queue`, or none \
             when it cannot be written. It is durable then; in the eod hook it becomes so with the rest of the hook.",
            |cx, args| {
                let service = mailer::service(cx.host, "queue")?;
                let deliver = service.0.queue(Order {
                    function: "queue",
                    sender: args.get(0),
                    recipients: args.get(1),
                    to: args.get(2),
                    options: args.get(3),
                })?;
                let content = args.this::<PartObject>()?.mail.content();
                let size = usize::try_from(content.edits.modified_size()).unwrap_or(usize::MAX);
                mailer::charge(cx, &service, size)?;
                Ok(deliver(content))
            },
        )
        .since("5.4")
        .options(QUEUEOPTS)
        .groups(&["QUEUEOPTS"]),
        FnDecl::waiting(
            "send(sender: string|array, recipients: array<string|array>, server: string|array): array",
            "Sends the message with the changes made so far to a server, now, and gives what became of it: `result` or \
             `error`, `connection` and `tls`. A string is the id of a transport. Addresses may carry `params` for MAIL \
             and RCPT.",
            send,
        )
        .options(SERVER)
        .groups(&["SERVER"]),
    ],
    statics: &[
        FnDecl::plain(
            "String(data: string): MailMessage|none",
            "Reads a message from a text, whatever its line ends.",
            |cx, args| {
                let text = args.bytes(0);
                cx.fits(text.len())?;
                if is_large(text) {
                    return Err(Throw::pieces(read_long(string::text(&args, 0))));
                }
                cx.charge(text.len() / 32);
                Ok(message(&Arc::from(text), cx.library))
            },
        )
        .example("MailMessage::String(\"Subject: =?utf-8?q?a_b?=\\n\\nx\")->getHeader(\"subject\") // \"a b\""),
        FnDecl::plain(
            "File(file: File): MailMessage|none",
            "Reads a message from a file, wherever its position is; none when it is closed or cannot be read.",
            from_file,
        )
        .since(">5.5")
        .example("MailMessage::File(File::String(\"A: 1\"))->getHeader(\"a\") // \"1\""),
    ],
};

/// The message of `text` as an object.
#[must_use]
pub fn message(text: &Arc<[u8]>, library: &Library) -> Value {
    let held = <[u8]>::len(text);
    let stored = MailText {
        source: Arc::new(Arc::clone(text)),
        held,
        class: class(library, "MailMessage"),
    };
    stored.object()
}

fn class(library: &Library, name: &str) -> ClassId {
    library.class_named(name).unwrap_or(ClassId(u32::MAX))
}

/// A message and its changes, shared by the objects of its parts.
pub struct Mail {
    message: RefCell<Message<SharedSource>>,
    /// Bytes of the source that are in memory for the script's sake.
    held: usize,
    charged: Cell<usize>,
}

impl Mail {
    /// The message `source`; `held` bytes of it lie in memory for the script's sake.
    ///
    /// # Errors
    /// Its header cannot be read.
    pub fn new(source: SharedSource, held: usize) -> io::Result<Mail> {
        Ok(Mail::of(Message::new(source)?, held))
    }

    fn of(message: Message<SharedSource>, held: usize) -> Mail {
        let mail = Mail {
            message: RefCell::new(message),
            held,
            charged: Cell::new(0),
        };
        mail.account();
        mail
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> Ref<'_, Message<SharedSource>> {
        self.message.borrow()
    }

    /// The message with its changes, to be queued or sent.
    #[must_use]
    pub fn content(&self) -> Content {
        let message = self.message.borrow();
        Content {
            source: Arc::clone(message.source()),
            edits: Arc::new(message.edits()),
        }
    }

    /// Changes the message.
    ///
    /// # Errors
    /// An Exception when the change cannot be made.
    pub fn change<T>(
        &self,
        work: impl FnOnce(&mut Message<SharedSource>) -> Result<T, EditError>,
    ) -> Result<T, Throw> {
        let result = work(&mut self.message.borrow_mut());
        self.account();
        result.map_err(|error| Throw::error(error.to_string()))
    }

    /// Settles the memory that the message and its changes hold.
    fn account(&self) {
        let bytes = self.held.saturating_add(self.message.borrow().new_bytes());
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
pub struct PartObject {
    pub(crate) mail: Rc<Mail>,
    pub(crate) part: PartId,
    /// The class of the message itself.
    whole: ClassId,
    /// Whether it can be stored in shared memory.
    storable: bool,
}

/// The object of a message that a host has: its class is `class`, which extends MailMessage.
#[must_use]
pub fn object(library: &Library, mail: &Rc<Mail>, class: &str) -> Value {
    let Some(whole) = library.class_named(class) else {
        return Value::None;
    };
    Value::Object(Object::new(
        whole,
        PartObject {
            mail: Rc::clone(mail),
            part: PartId::ROOT,
            whole,
            storable: false,
        },
    ))
}

impl PartObject {
    /// The message that the part belongs to.
    #[must_use]
    pub fn mail(&self) -> &Rc<Mail> {
        &self.mail
    }

    /// Does something with all parts, which are known.
    pub(crate) fn parts<T>(&self, work: impl FnOnce(&Parts) -> T) -> Result<T, Throw> {
        let mut message = self.mail.message.borrow_mut();
        message.open_parts().map(work).map_err(unreadable)
    }

    /// Does something with the part. What it is made of is known only after [`opened`].
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Part) -> T) -> Result<T, Throw> {
        let message = self.mail.message.borrow();
        match message.part(self.part) {
            Some(part) => Ok(work(part)),
            None => Err(Throw::error("the part is not there any more")),
        }
    }

    pub(crate) fn other(&self, part: PartId, library: &Library) -> Value {
        let class = match part {
            PartId::ROOT => self.whole,
            _ => class(library, "MIMEPart"),
        };
        Value::Object(Object::new(
            class,
            PartObject {
                mail: Rc::clone(&self.mail),
                part,
                whole: self.whole,
                storable: self.storable,
            },
        ))
    }
}

impl Signable for PartObject {
    fn original(&self) -> SharedSource {
        Arc::clone(self.mail.message.borrow().source())
    }

    fn changed(&self, now: i64) -> Result<SharedSource, Throw> {
        let content = self.mail.content();
        if content.edits.is_empty() {
            return Ok(content.source);
        }
        let changed = modified(&content.source, content.edits, now).map_err(unreadable)?;
        Ok(Arc::new(changed))
    }

    fn add_field(&self, name: &str, value: &[u8]) -> Result<(), Throw> {
        let form = ValueForm::Verbatim;
        let mut message = self.mail.message.borrow_mut();
        let added = message.add_header(PartId::ROOT, name.as_bytes(), value, form);
        drop(message);
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
        if self.part != PartId::ROOT || message.snapshot() > 0 || !self.storable {
            return Err(FreezeError::NotStorable("MailMessage"));
        }
        Ok(Arc::new(MailText {
            source: Arc::clone(message.source()),
            held: self.mail.held,
            class: self.whole,
        }))
    }
}

/// A message in its frozen form.
struct MailText {
    source: SharedSource,
    held: usize,
    class: ClassId,
}

impl MailText {
    fn object(&self) -> Value {
        // Memory can always be read.
        let Ok(message) = Message::new(Arc::clone(&self.source)) else {
            return Value::None;
        };
        stored(message, self.held, self.class)
    }
}

/// The object of a message in memory.
fn stored(message: Message<SharedSource>, held: usize, class: ClassId) -> Value {
    Value::Object(Object::new(
        class,
        PartObject {
            mail: Rc::new(Mail::of(message, held)),
            part: PartId::ROOT,
            whole: class,
            storable: true,
        },
    ))
}

/// The message of a long text: it is copied in pieces, and its header is read on the pool.
fn read_long(text: Str) -> impl Pieces {
    let mut copy = Vec::with_capacity(text.len());
    let made: Rc<Cell<Option<Value>>> = Rc::default();
    move |cx: &mut Cx<'_>| {
        if let Some(value) = made.take() {
            return Ok(Some(value));
        }
        let end = text.len().min(copy.len() + PIECE_BYTES);
        let piece = text.as_bytes().get(copy.len()..end).unwrap_or_default();
        cx.charge(piece.len() / 32);
        copy.extend_from_slice(piece);
        if end < text.len() {
            return Ok(None);
        }
        let source: SharedSource = Arc::new(std::mem::take(&mut copy));
        let (made, held) = (Rc::clone(&made), text.len());
        let read = move || Message::new(source);
        Err(pooled::later(read, move |cx, message| {
            let class = class(cx.library, "MailMessage");
            made.set(Some(
                message.map_or(Value::None, |message| stored(message, held, class)),
            ));
            Ok(Value::None)
        }))
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
        self.held
    }
}

pub(crate) fn unreadable(error: io::Error) -> Throw {
    Throw::error(format!("the message cannot be read: {error}"))
}

/// The object of a method call.
pub(crate) fn this(args: &Args<'_>) -> Value {
    args.this
        .map_or(Value::None, |this| Value::Object(Rc::clone(this)))
}

/// Changes the message.
pub(crate) fn edit(
    args: &Args<'_>,
    change: impl FnOnce(&mut Message<SharedSource>, PartId) -> Result<Value, EditError>,
) -> Outcome {
    let object = args.this::<PartObject>()?;
    object.mail.change(|message| change(message, object.part))
}

/// Charges for the look at earlier changes that a change may need.
pub(crate) fn charge_change(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<(), Throw> {
    let message = args.this::<PartObject>()?.mail.message.borrow();
    cx.charge(16 + message.cost_of_change() + message.snapshot() / 16);
    Ok(())
}

/// Goes on with `work` when the parts of the message are known: at once, or after a large message was looked through
/// on the pool.
pub(crate) fn opened(cx: &mut Cx<'_>, args: Args<'_>, work: PlainFn) -> Outcome {
    let object = args.this::<PartObject>()?;
    let source = {
        let message = object.mail.message.borrow();
        if message.is_open() {
            drop(message);
            return work(cx, args);
        }
        Arc::clone(message.source())
    };
    let size = source.len();
    cx.charge(usize::try_from(size / 1024).unwrap_or(usize::MAX));
    if source.as_bytes().is_some() && size <= PARSE_INLINE {
        object.parts(|_| ())?;
        return work(cx, args);
    }
    let mail = Rc::clone(&object.mail);
    let this = args.this.cloned();
    let values: Vec<Value> = args.values.iter_mut().map(Value::take).collect();
    Err(pooled::later(
        move || Parts::parse(&source, Limits::default()),
        move |cx, parts| {
            mail.message
                .borrow_mut()
                .set_parts(parts.map_err(unreadable)?);
            let mut values = values;
            work(
                cx,
                Args {
                    this: this.as_ref(),
                    values: &mut values,
                },
            )
        },
    ))
}

/// The bytes that `read` gives of the source of a message: in the loop, or on the pool when they are many or on the
/// disk.
pub(crate) fn read(
    cx: &mut Cx<'_>,
    source: &SharedSource,
    size: u64,
    read: impl FnOnce(&SharedSource) -> io::Result<Option<Vec<u8>>> + Send + 'static,
) -> Outcome {
    cx.reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
    let give = |_: &mut Cx<'_>, bytes: io::Result<Option<Vec<u8>>>| {
        Ok(bytes.map_err(unreadable)?.map_or(Value::None, Value::from))
    };
    if source.as_bytes().is_some() && size <= COPY_INLINE {
        let bytes = read(source);
        return give(cx, bytes);
    }
    let source = Arc::clone(source);
    Err(pooled::later(move || read(&source), give))
}

fn now(cx: &Cx<'_>) -> i64 {
    i64::try_from(cx.host.clock.unix().as_secs()).unwrap_or(i64::MAX)
}

fn to_string(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let content = args.this::<PartObject>()?.mail.content();
    let (edits, now) = (content.edits, now(cx));
    let size = edits.modified_size();
    read(cx, &content.source, size, move |source| {
        modified(source, edits, now)?.to_vec().map(Some)
    })
}

fn modified(
    source: &SharedSource,
    edits: Arc<Edits>,
    now: i64,
) -> io::Result<Modified<SharedSource>> {
    Modified::new(Arc::clone(source), edits, now)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The message with the changes so far as a file that reads the original where it lies.
fn to_file(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let mail = &args.this::<PartObject>()?.mail;
    let (content, new) = (mail.content(), mail.message().new_bytes());
    let held = new.saturating_add(mail.held);
    cx.reserve(held)?;
    let file = modified(&content.source, content.edits, now(cx)).map_err(unreadable)?;
    file::object(cx, Arc::new(SourceData(file)), held)
}

fn from_file(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(data) = file::data_of(args.get(0)) else {
        return Ok(Value::None);
    };
    let size = data.length();
    cx.reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
    if let Some(text) = data.bytes() {
        return Ok(message(&Arc::from(text), cx.library));
    }
    // A message outlives the file, which may change or go: it is read as it is now.
    Err(pooled::later(
        move || {
            let source = file::FileSource(data);
            source.read_range(0..source.len())
        },
        |cx, text| Ok(text.map_or(Value::None, |text| message(&Arc::from(text), cx.library))),
    ))
}

fn send(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = mailer::service(cx.host, "send")?;
    let deliver = service.0.send(Order {
        function: "send",
        sender: args.get(0),
        recipients: args.get(1),
        to: args.get(2),
        options: &Value::None,
    })?;
    Ok(deliver(args.this::<PartObject>()?.mail.content()))
}
