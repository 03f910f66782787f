//! The eod hook: the message is there, its recipients wait for a decision.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use angarium_mail::edits::Edits;
use angarium_runtime::convert::to_str;
use angarium_runtime::library::Library;
use angarium_runtime::native::{
    Args, ClassDecl, ContextDecl, Cx, FnDecl, Options, Outcome, Throw, VarDecl, opt,
};
use angarium_runtime::value::Value;
use angarium_smtp::address::ReversePath;
use angarium_smtp::session::{Session, Transaction};
use angarium_smtp::verdict::{Accept, Verdict};
pub use angarium_stdlib::mailer::SharedSource;
use angarium_stdlib::mailer::{QUEUEOPTS, unknown_transport};
use angarium_stdlib::message::{self, PartObject};
use angarium_stdlib::{dkim, dmarc, json};

use super::history::HISTORY;
use super::outbox::Wish;
use super::reply::{REPLY_CODES, accept_reply, reason};
use super::smtp::{defer, reject};
use super::variables::{self as vars, Map, always, join, when};
use crate::server;

/// One `queue()` call: a recipient's copy with the changes made so far.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Queue id within the transaction.
    pub number: u64,
    /// Envelope and options.
    pub wish: Wish,
    /// The changes made to the message before the call; shared by calls with the same changes.
    pub edits: Rc<Edits>,
}

/// The message of a transaction while its eod script runs.
pub struct Mail {
    message: Rc<message::Mail>,
    transaction: String,
    sender: ReversePath,
    transports: Rc<BTreeSet<String>>,
    next: Cell<u64>,
    queued: RefCell<Vec<Queued>>,
    /// Other messages that the script queued.
    made: RefCell<Vec<server::Queued>>,
    /// What Accept adds to the answer of a submission, a JSON text.
    answer: RefCell<Option<String>>,
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
            // Its bytes are the server's, not the script's.
            message: Rc::new(message::Mail::new(source, 0)?),
            transaction: transaction.id.clone(),
            sender: envelope.map_or(ReversePath::Null, |envelope| envelope.sender.clone()),
            transports,
            next: Cell::new(1),
            queued: RefCell::default(),
            made: RefCell::default(),
            answer: RefCell::default(),
            last_edits: RefCell::default(),
        })
    }

    /// What the script queued, in order.
    #[must_use]
    pub fn take_queued(&self) -> Vec<Queued> {
        self.queued.take()
    }

    /// The other messages that the script queued, in order.
    #[must_use]
    pub fn take_made(&self) -> Vec<server::Queued> {
        self.made.take()
    }

    /// What Accept adds to the answer of a submission, a JSON text.
    #[must_use]
    pub fn take_answer(&self) -> Option<String> {
        self.answer.take()
    }

    /// Queues another message with the commit of this one.
    pub fn add_made(&self, queued: server::Queued) {
        self.made.borrow_mut().push(queued);
    }

    /// The subject, decoded, for lists of the queue.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        self.message.message().header().value(b"subject", 0, true)
    }

    /// The sender of the transaction.
    #[must_use]
    pub fn sender(&self) -> &ReversePath {
        &self.sender
    }

    /// The message with the changes that scripts make.
    #[must_use]
    pub fn message(&self) -> &Rc<message::Mail> {
        &self.message
    }

    /// The changes made so far; the same list as long as there are no others.
    pub(super) fn edits(&self) -> Rc<Edits> {
        let message = self.message.message();
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

/// The value of `$arguments["mail"]`.
#[must_use]
pub fn mail_value(library: &Library, mail: &Mail) -> Value {
    message::object(library, &mail.message, "EODMailMessage")
}

/// The message for the older functions, which name none.
#[must_use]
pub fn current_mail(
    library: &Library,
    mail: &Mail,
    session: &Session,
) -> Option<dkim::CurrentMail> {
    let Value::Object(object) = mail_value(library, mail) else {
        return None;
    };
    Some(dkim::CurrentMail {
        object,
        ip: Some(session.connection.remote_ip),
        helo: session
            .helo
            .as_ref()
            .map(|helo| helo.host.clone())
            .unwrap_or_default(),
        sender_domain: mail.sender.domain().to_owned(),
    })
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
        .options(&[
            opt("reason", "string|array", "", "text of the reply"),
            REPLY_CODES,
            opt("metadata", "any", "", "what the answer to a submission over HTTP says besides"),
        ]),
        reject("Answers 550; what was queued is kept all the same (a copy on hold, say)."),
        defer("Answers 421; what was queued is dropped."),
        HISTORY,
    ], dkim::LEGACY_EOD, dmarc::LEGACY_EOD],
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

fn accept(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    // Accept(), Accept(options), Accept(reason) and Accept(reason, options): a list is a reason, a map are options.
    let first = args.get(0);
    let options_first = first
        .as_array()
        .is_some_and(|array| !array.is_empty() && !array.is_list());
    let options: Options<'_> = args.options(if options_first { 0 } else { 1 });
    let mut reply = accept_reply(options)?;
    if let Some(metadata) = options.get("metadata") {
        let form = json::Form {
            ascii: false,
            pretty: false,
        };
        let text = json::encode(&metadata, form)
            .map_err(|_| Throw::error("Accept: option metadata: it has no form in JSON"))?;
        cx.charge(text.len() / 16);
        if let Some(mail) = cx.host.extension::<Mail>() {
            mail.answer
                .replace(Some(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    if !options_first && !first.is_none() && first.as_array().is_none_or(|array| !array.is_empty())
    {
        reply.reason = reason(first);
    }
    Err(Throw::end(Verdict::Accept(Box::new(Accept {
        reply,
        ..Accept::default()
    }))))
}

const EOD_MAIL_MESSAGE: ClassDecl = ClassDecl {
    constructor: FnDecl::construct("EODMailMessage()", "The message of the transaction; `$arguments[\"mail\"]`."),
    extends: Some("MailMessage"),
    methods: &[FnDecl::plain(
        "queue(sender: string|array, recipient: string|array, transportid: string, options?: array): array",
        "Queues a copy for one recipient with the changes made so far and gives its transaction and queue ids. It becomes \
         durable when the script accepts or rejects.",
        queue,
    )
    .options(QUEUEOPTS)
    .groups(&["QUEUEOPTS"])],
    statics: &[],
};

fn queue(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let object = args.this::<PartObject>()?;
    let mail = cx.host.extension::<Mail>();
    let mail = mail.filter(|mail| Rc::ptr_eq(&mail.message, object.mail()));
    let Some(mail) = mail else {
        return Err(Throw::error(
            "queue: this is not the message of the transaction",
        ));
    };
    let transport_id = to_str(args.get(2)).to_text().into_owned();
    if !mail.transports.contains(&transport_id) {
        return Err(unknown_transport("queue", &transport_id));
    }
    let wish = Wish::read("queue", args.get(0), args.get(1), transport_id, args.get(3))?;
    let number = mail.next.get();
    let queued = Queued {
        number,
        wish,
        edits: mail.edits(),
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
