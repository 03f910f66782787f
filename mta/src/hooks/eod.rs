//! The eod hook: the message is there, its recipients wait for a decision.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_mail::edits::{Edits, Modified};
use angarium_mail::encoded_word::WordEncoding;
use angarium_mail::field::ValueForm;
use angarium_mail::message::Message;
use angarium_mail::parts::PartId;
use angarium_mail::source::Source;
use angarium_queue::dsn::DsnRequest;
use angarium_queue::item::{Pairs, Priority};
use angarium_queue::text::Text;
use angarium_runtime::array::Array;
use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::library::Library;
use angarium_runtime::native::{
    Args, ClassDecl, ContextDecl, Cx, FnDecl, OptDecl, Options, Outcome, Throw, VarDecl, opt,
};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::session::Transaction;
use angarium_smtp::verdict::{Accept, Verdict};
use angarium_stdlib::file::{self, SourceData};

use super::envelope;
use super::history::HISTORY;
use super::options::{Reader, dsn_request};
use super::reply::{REPLY_CODES, accept_reply, reason};
use super::smtp::{defer, reject};
use super::variables::{self as vars, Map, always, join, when};

/// One `queue()` call: a recipient's copy with the changes made so far.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Queue id within the transaction.
    pub number: u64,
    /// Envelope sender.
    pub sender: ReversePath,
    /// Envelope recipient.
    pub recipient: Mailbox,
    /// Transport.
    pub transport_id: String,
    /// The changes made to the message before the call; shared by calls with the same changes.
    pub edits: Rc<Edits>,
    /// `metadata`
    pub metadata: Pairs,
    /// `hold`
    pub hold: bool,
    /// `jobid`
    pub jobid: Option<Text>,
    /// `tenantid`
    pub tenantid: Option<Text>,
    /// `priority`
    pub priority: Priority,
    /// `quotas`
    pub quotas: Vec<Text>,
    /// `delay`
    pub delay: Duration,
    /// `dsn`
    pub dsn: DsnRequest,
}

/// The content of a message, for this thread and the thread pool.
pub type SharedSource = Arc<dyn Source + Send + Sync>;

/// The message of a transaction while its eod script runs.
pub struct Mail {
    message: RefCell<Message<SharedSource>>,
    source: SharedSource,
    transaction: String,
    sender: ReversePath,
    transports: Rc<BTreeSet<String>>,
    next: Cell<u64>,
    queued: RefCell<Vec<Queued>>,
    /// The edits of the last `queue()` call and the number of changes that they stand for.
    last_edits: RefCell<Option<(usize, Rc<Edits>)>>,
}

impl Mail {
    /// The message `source` of transaction `transaction`; `transports` are the ids that may be queued to.
    ///
    /// # Errors
    /// When the message cannot be read.
    pub fn new(
        source: SharedSource,
        transaction: &Transaction,
        transports: Rc<BTreeSet<String>>,
    ) -> std::io::Result<Mail> {
        let envelope = transaction.envelope.as_ref();
        Ok(Mail {
            message: RefCell::new(Message::new(Arc::clone(&source))?),
            source,
            transaction: transaction.id.clone(),
            sender: envelope.map_or(ReversePath::Null, |envelope| envelope.sender.clone()),
            transports,
            next: Cell::new(1),
            queued: RefCell::default(),
            last_edits: RefCell::default(),
        })
    }

    /// What the script queued, in order.
    #[must_use]
    pub fn take_queued(&self) -> Vec<Queued> {
        self.queued.take()
    }

    /// The subject, decoded, for lists of the queue.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        self.message.borrow().header().value(b"subject", 0, true)
    }

    /// The sender of the transaction.
    #[must_use]
    pub fn sender(&self) -> &ReversePath {
        &self.sender
    }

    fn edits(&self) -> Rc<Edits> {
        let message = self.message.borrow();
        let changes = message.snapshot();
        let mut last = self.last_edits.borrow_mut();
        match &*last {
            // The count alone does not tell: a restore and other changes may come back to it.
            Some((count, edits)) if *count == changes && **edits == message.edits() => {
                Rc::clone(edits)
            }
            _ => {
                let edits = Rc::new(message.edits());
                *last = Some((changes, Rc::clone(&edits)));
                edits
            }
        }
    }
}

/// The script's handle on the message.
struct MailObject(Rc<Mail>);

impl NativeObject for MailObject {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// The value of `$arguments["mail"]`.
#[must_use]
pub fn mail_value(library: &Library, mail: &Rc<Mail>) -> Value {
    match library.class_named("EODMailMessage") {
        Some(class) => Value::Object(Object::new(class, MailObject(Rc::clone(mail)))),
        None => Value::None,
    }
}

/// End of data.
pub static EOD: ContextDecl = ContextDecl {
    name: "eod",
    functions: &[&[
        FnDecl::plain(
            "Accept(reason?: string|array, options?: array)",
            "Accepts the message: what was queued is made durable before the reply. Takes nothing, options, or a reason \
             and options.",
            accept,
        )
        .options(&[opt("reason", "string|array", "", "text of the reply"), REPLY_CODES]),
        reject("Answers 550; what was queued is kept all the same (a copy on hold, say)."),
        defer("Answers 421; what was queued is dropped."),
        HISTORY,
    ]],
    classes: &[EOD_MAIL_MESSAGE],
    variables: &join!(
        &[
            always("$arguments.mail", "EODMailMessage", "the message"),
            when("$arguments.metadata", "any", "HTTP submission only", "metadata of the request"),
            when("$arguments.http", "array", "HTTP submission only", "the request"),
        ],
        vars::CONNECTION,
        vars::HELO,
        vars::AUTH,
        vars::TRANSACTION,
        &[
            VarDecl {
                path: "$transaction.ts",
                types: "number",
                available: "eod only",
                doc: "Unix time when the transaction began",
                writable: false
            },
            vars::CONTEXT
        ]
    ),
};

fn accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    // Accept(), Accept(options), Accept(reason) and Accept(reason, options): a list is a reason, a map are options.
    let first = args.get(0);
    let options_first = first
        .as_array()
        .is_some_and(|array| !array.is_empty() && !array.is_list());
    let options: Options<'_> = args.options(if options_first { 0 } else { 1 });
    let mut reply = accept_reply(options)?;
    if !options_first && !first.is_none() && first.as_array().is_none_or(|array| !array.is_empty())
    {
        reply.reason = reason(first);
    }
    Err(Throw::end(Verdict::Accept(Box::new(Accept {
        reply,
        ..Accept::default()
    }))))
}

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

/// Options of `queue()` (group QUEUEOPTS).
pub const QUEUEOPTS: &[OptDecl] = &[
    opt(
        "metadata",
        "array",
        "[]",
        "string pairs stored with the message",
    ),
    opt("hold", "boolean", "false", "put it into the hold queue"),
    opt("jobid", "string", "\"\"", "job"),
    opt("tenantid", "string", "\"\"", "tenant"),
    opt("priority", "number", "0", "0 normal, 1 high"),
    opt("quotas", "array", "[]", "names of quotas that count it"),
    opt("delay", "number", "0", "seconds before the first attempt"),
    opt(
        "dsn",
        "array",
        "[]",
        "RFC 3461 data: envid, ret, notify, orcpt",
    ),
];

const EOD_MAIL_MESSAGE: ClassDecl = ClassDecl {
    constructor: FnDecl::construct("EODMailMessage()", "The message of the transaction; `$arguments[\"mail\"]`."),
    extends: None,
    methods: &[
        FnDecl::plain(
            "queue(sender: string|array, recipient: string|array, transportid: string, options?: array): array",
            "Queues a copy for one recipient with the changes made so far and gives its transaction and queue ids. It \
             becomes durable when the script accepts or rejects.",
            queue,
        )
        .options(QUEUEOPTS)
        .groups(&["QUEUEOPTS"]),
        FnDecl::plain(
            "getHeader(name: string, options?: array): string|none",
            "Gives a header field's value, unfolded and decoded; none when there is no such field.",
            get_header,
        )
        .options(&[opt("index", "number", "0", "which of the fields of that name, from the top; negative from the bottom"), FIELD, DECODE]),
        FnDecl::plain(
            "getHeaders(name: string, options?: array): array<string>",
            "Gives the values of all header fields of a name, from the top.",
            get_headers,
        )
        .options(&[FIELD, DECODE]),
        FnDecl::plain(
            "getHeaderNames(): array<string>",
            "Gives the names of all header fields in lower case, from the top.",
            |_, args| {
                let names = args.this::<MailObject>()?.0.message.borrow().header().names();
                Ok(names.into_iter().map(Value::from).collect::<Array>().into())
            },
        ),
        FnDecl::plain(
            "addHeader(name: string, value: string, options?: array): none",
            "Adds a header field above all others.",
            |cx, args| {
                let form = form(cx, &args)?;
                let mut message = args.this::<MailObject>()?.0.message.borrow_mut();
                message.add_header(PartId::ROOT, args.bytes(0), args.bytes(1), form).map_err(edit_error)?;
                Ok(Value::None)
            },
        )
        .options(&[ENCODE, ENCODING]),
        FnDecl::plain(
            "setHeader(name: string, value: string, options?: array): number",
            "Sets the value of all header fields of a name, or of one; gives how many. 0 means that there was none and \
             one was added at the top.",
            |cx, args| {
                let form = form(cx, &args)?;
                let index = index(args.options(2));
                let mut message = args.this::<MailObject>()?.0.message.borrow_mut();
                let changed = message.set_header(PartId::ROOT, args.bytes(0), args.bytes(1), index, form);
                Ok(changed.map_err(edit_error)?.into())
            },
        )
        .options(&[opt("index", "number", "", "change only that one"), ENCODE, ENCODING]),
        FnDecl::plain(
            "delHeader(name: string, options?: array): number",
            "Deletes all header fields of a name, or one of them; gives how many.",
            |_, args| {
                let index = index(args.options(1));
                let mut message = args.this::<MailObject>()?.0.message.borrow_mut();
                Ok(message.del_header(PartId::ROOT, args.bytes(0), index).map_err(edit_error)?.into())
            },
        )
        .options(&[opt("index", "number", "", "delete only that one")]),
        FnDecl::plain("getSize(): number", "Gives the size in bytes as received.", |_, args| {
            Ok((args.this::<MailObject>()?.0.message.borrow().size() as f64).into())
        }),
        FnDecl::plain("toString(): string", "Gives the whole message with the changes.", |cx, args| {
            Ok(whole(cx, &args)?.into())
        }),
        FnDecl::plain("toFile(): File", "Gives the whole message with the changes as a file.", |cx, args| {
            to_file(cx, &args.this::<MailObject>()?.0)
        }),
        FnDecl::plain("snapshot(): number", "Remembers the changes so far, for restore.", |_, args| {
            Ok(args.this::<MailObject>()?.0.message.borrow().snapshot().into())
        }),
        FnDecl::plain(
            "restore(id: number): boolean",
            "Undoes the changes made since a snapshot; false when there is no such snapshot.",
            |_, args| {
                let id = usize::try_from(args.integer(0, -1)).unwrap_or(usize::MAX);
                Ok(args.this::<MailObject>()?.0.message.borrow_mut().restore(id).into())
            },
        ),
        FnDecl::plain("reset(): number", "Undoes all changes; gives how many there were.", |_, args| {
            Ok(args.this::<MailObject>()?.0.message.borrow_mut().reset().into())
        }),
    ],
    statics: &[],
};

fn edit_error(error: angarium_mail::editor::EditError) -> Throw {
    Throw::error(error.to_string())
}

fn form(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<ValueForm, Throw> {
    cx.charge(args.bytes(1).len() / 16);
    let options = args.options(2);
    if !options.boolean("encode", true) {
        return Ok(ValueForm::Verbatim);
    }
    match options
        .string("encoding")
        .map(|name| name.to_text().into_owned())
        .as_deref()
    {
        None | Some("quoted-printable") => Ok(ValueForm::Encoded(WordEncoding::Quoted)),
        Some("base64") => Ok(ValueForm::Encoded(WordEncoding::Base64)),
        Some(other) => Err(Throw::error(format!(
            "option encoding: \"{other}\" is neither quoted-printable nor base64"
        ))),
    }
}

fn index(options: Options<'_>) -> Option<i64> {
    options.get("index").map(|index| to_integer(&index))
}

fn whole(cx: &mut Cx<'_>, args: &Args<'_>) -> Result<Vec<u8>, Throw> {
    let message = args.this::<MailObject>()?.0.message.borrow();
    let size = usize::try_from(message.size()).unwrap_or(usize::MAX);
    cx.reserve(size.saturating_add(message.new_bytes()))?;
    let now = cx.host.clock.unix().as_secs() as i64;
    message
        .to_vec(now)
        .map_err(|error| Throw::error(format!("the message cannot be read: {error}")))
}

/// The message with the changes so far as a file that reads the original where it lies.
fn to_file(cx: &mut Cx<'_>, mail: &Mail) -> Outcome {
    let (edits, new) = {
        let message = mail.message.borrow();
        cx.reserve(message.new_bytes())?;
        (message.edits(), message.new_bytes())
    };
    let now = cx.host.clock.unix().as_secs() as i64;
    let modified = Modified::new(Arc::clone(&mail.source), Arc::new(edits), now)
        .map_err(|error| Throw::error(error.to_string()))?;
    file::object(cx, Arc::new(SourceData(modified)), new)
}

fn get_header(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(1);
    let message = args.this::<MailObject>()?.0.message.borrow();
    cx.charge(message.header().bytes().len() / 64);
    let index = index(options).unwrap_or(0);
    if options.boolean("field", false) {
        return Ok(message
            .header()
            .nth(args.bytes(0), index)
            .map(|field| field.field())
            .into());
    }
    Ok(message
        .header()
        .value(args.bytes(0), index, options.boolean("decode", true))
        .into())
}

fn get_headers(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(1);
    let message = args.this::<MailObject>()?.0.message.borrow();
    let header = message.header();
    cx.charge(header.bytes().len() / 64);
    Ok(if options.boolean("field", false) {
        header
            .named(args.bytes(0))
            .map(|field| Value::from(field.field()))
            .collect::<Array>()
            .into()
    } else {
        let values = header.values(args.bytes(0), options.boolean("decode", true));
        values
            .into_iter()
            .map(Value::from)
            .collect::<Array>()
            .into()
    })
}

fn queue(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let mail = &args.this::<MailObject>()?.0;
    let transport_id = to_str(args.get(2)).to_text().into_owned();
    if !mail.transports.contains(&transport_id) {
        return Err(Throw::error(format!(
            "queue: unknown transport \"{transport_id}\""
        )));
    }
    let reader = Reader::new("queue", args.get(3));
    let priority = match reader.get("priority").map(|priority| to_integer(&priority)) {
        None => Priority::Normal,
        Some(number) => u64::try_from(number)
            .ok()
            .and_then(Priority::from_number)
            .ok_or_else(|| reader.refuse("priority", "expected 0 or 1"))?,
    };
    let dsn = match reader.array("dsn")? {
        Some(dsn) => dsn_request("queue", &dsn)?,
        None => DsnRequest::default(),
    };
    let optional = |name: &str| Ok::<_, Throw>(reader.text(name)?.filter(|text| !text.is_empty()));
    let number = mail.next.get();
    let queued = Queued {
        number,
        sender: envelope::reverse_path(args.get(0), "queue: sender")?,
        recipient: envelope::mailbox(args.get(1), "queue: recipient")?,
        transport_id,
        edits: mail.edits(),
        metadata: reader.pairs("metadata")?.unwrap_or_default(),
        hold: reader.boolean("hold").unwrap_or(false),
        jobid: optional("jobid")?,
        tenantid: optional("tenantid")?,
        priority,
        quotas: reader.texts("quotas")?,
        delay: reader.seconds("delay")?.unwrap_or_default(),
        dsn,
    };
    // An item's memory is the queue's, but a loop that queues for ever must end on the script's budget.
    cx.charge(100);
    cx.reserve(1024)?;
    angarium_runtime::memory::charge(1024);
    mail.queued.borrow_mut().push(queued);
    mail.next.set(number + 1);
    Ok(Map::default()
        .with("transaction", mail.transaction.as_str())
        .with("queue", number as f64)
        .into())
}

/// Whether a verdict keeps what was queued: Accept and Reject do (hooks.md, eod).
#[must_use]
pub fn commits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accept(_) | Verdict::Reject(_))
}
