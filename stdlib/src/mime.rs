//! New messages and parts: `MIME`, and the older `mail()`.
//!
//! Objects are handles: a part can still be changed after it was appended. It is written by `toString`, `toFile`, `queue` and
//! `send`, large ones on the thread pool.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::builder::{BuildError, MAX_PARTS, Mime, Plan, Role};
use angarium_mail::field::ValueForm;
use angarium_mail::header::LineEnd;
use angarium_mail::{address, date, ident};
use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::memory::Charge;
use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, LocalFuture, Outcome, Throw, opt};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::value::Value;

use crate::dkim::{CurrentMail, DKIM, Signing};
use crate::heavy::INLINE_BYTES;
use crate::mailer::{self, Content, Order, QUEUEOPTS, SERVER};
use crate::message::this;
use crate::mime_part::{ENCODE, ENCODING, EOL, form};
use crate::{file, pooled};

/// A message or part that is being put together.
pub const MIME: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "MIME(id?: string)",
        "Begins a message or a part of one: a text, until it is told otherwise. `MIME(\"0\")` is the older name of the message \
         that a hook has received.",
        |cx, args| {
        if args.has(0) {
            if args.bytes(0) != b"0" {
                return Err(Throw::error("MIME: only the received message has an id, \"0\""));
            }
            let mail = CurrentMail::of(cx, "MIME")?;
            return Ok(Value::Object(Rc::clone(&mail.object)));
        }
        let class = cx
            .library
            .class_named("MIME")
            .ok_or_else(|| Throw::error("there is no mail here"))?;
        let object = MimeObject {
            mime: Mime::new(),
            signings: RefCell::default(),
        };
        object.account();
        Ok(Value::Object(Object::new(class, object)))
    })
    .example("MailMessage::String(MIME()->setBody(\"Hi\")->toString())->getType() // \"text/plain\""),
    extends: None,
    methods: &[
        FnDecl::plain(
            "addHeader(name: string, value: string, options?: array): MIME",
            "Adds a header field below those that were added before. A Content-Type takes the place of setType, and with a \
             Content-Transfer-Encoding the body is written in it.",
            |cx, args| {
                let form = form(cx, &args)?;
                change(cx, &args, |mime| mime.add_header(args.bytes(0), args.bytes(1), form))
            },
        )
        .options(&[ENCODE, ENCODING]),
        FnDecl::plain(
            "appendPart(part: MIME): MIME",
            "Adds a part after the others; the type is multipart/mixed unless setType says another multipart.",
            |cx, args| {
                let Value::Object(given) = args.get(0) else {
                    return Err(Throw::error("appendPart: a part is a MIME"));
                };
                let Some(part) = given.downcast::<MimeObject>() else {
                    return Err(Throw::error("appendPart: a part is a MIME"));
                };
                let mut looked = 0;
                let done = change(cx, &args, |mime| {
                    looked = mime.append(&part.mime)?;
                    Ok(())
                });
                // A cycle may have been looked for in all parts.
                cx.charge(if done.is_err() { MAX_PARTS } else { looked });
                done
            },
        ),
        FnDecl::plain(
            "setBody(body: string): MIME",
            "Sets the body; with parts it is the text before the first one. It is encoded as the type and the data need it.",
            |cx, args| {
                cx.reserve(args.bytes(0).len())?;
                change(cx, &args, |mime| {
                    mime.set_body(args.bytes(0));
                    Ok(())
                })
            },
        ),
        FnDecl::plain(
            "setType(type: string): MIME",
            "Sets the type, with parameters if need be. A text without a charset gets utf-8.",
            |cx, args| change(cx, &args, |mime| mime.set_type(args.bytes(0))),
        ),
        FnDecl::plain(
            "setBoundary(boundary: string): MIME",
            "Sets the boundary of a multipart; else a random one is taken.",
            |cx, args| change(cx, &args, |mime| mime.set_boundary(args.bytes(0))),
        ),
        FnDecl::plain(
            "setDate(timestamp?: number): MIME",
            "Sets the Date field to a Unix time, or to now.",
            |cx, args| {
                let unix = match args.has(0) {
                    true => to_integer(args.get(0)),
                    false => now(cx),
                };
                cx.charge(args.this::<MimeObject>()?.mime.fields() / 8);
                change(cx, &args, |mime| {
                    mime.set_date(unix);
                    Ok(())
                })
            },
        )
        .since(">5.5"),
        FnDecl::plain(
            "setFileName(filename: string): MIME",
            "Sets the file name; the part is an attachment unless setDisposition says otherwise.",
            |cx, args| {
                change(cx, &args, |mime| {
                    mime.set_file_name(args.bytes(0));
                    Ok(())
                })
            },
        )
        .since(">5.5"),
        FnDecl::plain(
            "setDisposition(type: string): MIME",
            "Sets the disposition: inline or attachment.",
            |cx, args| change(cx, &args, |mime| mime.set_disposition(args.bytes(0))),
        )
        .since(">5.5"),
        FnDecl::plain(
            "signDKIM(selector: string, domain: string, key: resource|string, options?: array): MIME",
            "Has the message signed when it is written, over its final bytes. The key is PEM text (PKCS#1 or PKCS#8), a private \
             key resource, the id of a key of the configuration, or for Ed25519 its 32 bytes.",
            |cx, args| {
                let signing = Signing::from_args(cx, "signDKIM", &args)?;
                let signing = signing.map_err(|why| Throw::error(format!("signDKIM: {why}")))?;
                let mut signings = args.this::<MimeObject>()?.signings.borrow_mut();
                if signings.len() >= MAX_SIGNATURES {
                    return Err(Throw::error(format!("signDKIM: more than {MAX_SIGNATURES} signatures")));
                }
                signings.push(signing);
                drop(signings);
                Ok(this(&args))
            },
        )
        .options(DKIM)
        .groups(&["DKIM"]),
        FnDecl::plain("toString(): string", "Gives the whole message.", |cx, args| {
            let mime = args.this::<MimeObject>()?;
            rendered(cx, mime, Role::Message, EOL, |cx, text| {
                let text = text?;
                cx.reserve(text.len())?;
                Ok(text.into())
            })
        }),
        FnDecl::plain("toFile(): File", "Gives the whole message as a file.", |cx, args| {
            let mime = args.this::<MimeObject>()?;
            rendered(cx, mime, Role::Message, EOL, |cx, text| file::from_bytes(cx, text?))
        })
        .since(">5.5")
        .example("MIME()->toFile()->readline() // \"MIME-Version: 1.0\""),
        FnDecl::waiting(
            "queue(sender: string|array, recipient: string|array, transportid: string, options?: array): array",
            "Queues the message for one recipient, with Date and Message-ID if it has none, and gives `transaction` and \
             `queue`, or none when it cannot be written. It is durable then; in the eod hook it becomes so with the \
             rest of the hook.",
            |cx, args| {
                let service = mailer::service(cx.host, "queue")?;
                let deliver = service.0.queue(Order {
                    function: "queue",
                    sender: args.get(0),
                    recipients: args.get(1),
                    to: args.get(2),
                    options: args.get(3),
                })?;
                let mime = args.this::<MimeObject>()?;
                let mut plan = plan(mime)?;
                complete(cx, &mut plan);
                mailer::charge(cx, &service, plan.size())?;
                Ok(written(cx, plan, mime.signings(), deliver))
            },
        )
        .options(QUEUEOPTS)
        .groups(&["QUEUEOPTS"]),
        FnDecl::waiting(
            "send(sender: string|array, recipients: array<string|array>, server: string|array): array",
            "Sends the message to a server, now, and gives what became of it: `result` or `error`, `connection` and `tls`. \
             A string is the id of a transport. Addresses may carry `params` for MAIL and RCPT.",
            |cx, args| {
                let service = mailer::service(cx.host, "send")?;
                let deliver = service.0.send(Order {
                    function: "send",
                    sender: args.get(0),
                    recipients: args.get(1),
                    to: args.get(2),
                    options: &Value::None,
                })?;
                let mime = args.this::<MimeObject>()?;
                Ok(written(cx, plan(mime)?, mime.signings(), deliver))
            },
        )
        .since("3.5")
        .options(SERVER)
        .groups(&["SERVER"]),
    ],
    statics: &[],
};

/// `mail()`.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::waiting(
    "mail(sender: string|array, recipient: string|array, subject: string, body: string, transportid: string, options?: array): string",
    "Queues a text for one recipient and gives the id of its transaction; none without a recipient.",
    mail,
)
.legacy()
.options(&[
    opt("sender_name", "string", "", "display name of the sender"),
    opt("recipient_name", "string", "", "display name of the recipient"),
    opt("headers", "array", "", "more fields: name => value"),
    opt("metadata", "array", "", "string pairs stored with the message"),
    opt("jobid", "string", "", "job"),
    opt("quotas", "array", "", "names of quotas that count it"),
])];

/// Signatures of one message at most.
const MAX_SIGNATURES: usize = 20;

/// An instance.
pub struct MimeObject {
    mime: Mime,
    /// What it is signed with when it is written as a message.
    signings: RefCell<Vec<Signing>>,
}

impl MimeObject {
    fn signings(&self) -> Vec<Signing> {
        self.signings.borrow().clone()
    }

    /// Counts the memory that the part holds, for as long as it lives.
    fn account(&self) {
        self.mime.keep(Rc::new(Charge::new(self.mime.held())));
    }
}

impl NativeObject for MimeObject {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn refused(error: BuildError) -> Throw {
    Throw::error(error.to_string())
}

fn change(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    change: impl FnOnce(&Mime) -> Result<(), BuildError>,
) -> Outcome {
    let object = args.this::<MimeObject>()?;
    cx.charge(4);
    let done = change(&object.mime);
    object.account();
    done.map_err(refused)?;
    Ok(this(args))
}

fn now(cx: &Cx<'_>) -> i64 {
    i64::try_from(cx.host.clock.unix().as_secs()).unwrap_or(i64::MAX)
}

fn random(cx: &Cx<'_>) -> [u8; 16] {
    let mut random = [0; 16];
    cx.host.random.fill(&mut random);
    random
}

fn plan(mime: &MimeObject) -> Result<Plan, Throw> {
    mime.mime.plan().map_err(refused)
}

/// Adds what a message needs on its way (RFC 5322 §3.6).
fn complete(cx: &Cx<'_>, plan: &mut Plan) {
    let now = now(cx);
    plan.if_missing("Date", date::format_utc(now));
    let id = ident::message_id(now, &random(cx), &cx.host.hostname);
    plan.if_missing("Message-ID", id);
}

/// What writing a message takes.
struct Writing {
    plan: Plan,
    role: Role,
    eol: LineEnd,
    random: [u8; 16],
    signings: Vec<Signing>,
}

impl Writing {
    /// Whether it is done in the script's loop: a signature alone takes a millisecond.
    fn is_small(&self) -> bool {
        self.plan.size() <= INLINE_BYTES && self.signings.is_empty()
    }

    fn run(self) -> Result<Vec<u8>, String> {
        let text = self.plan.render(self.role, &self.random, self.eol);
        let mut text = text.map_err(|error| error.to_string())?;
        for signing in &self.signings {
            let field = signing.field(&text);
            let mut signed = field.map_err(|error| format!("signDKIM: {error}"))?;
            signed.append(&mut text);
            text = signed;
        }
        Ok(text)
    }
}

/// Writes the part, in the loop or on the pool, and goes on with `then`.
pub(crate) fn rendered(
    cx: &mut Cx<'_>,
    mime: &MimeObject,
    role: Role,
    eol: LineEnd,
    then: impl FnOnce(&mut Cx<'_>, Result<Vec<u8>, Throw>) -> Outcome + 'static,
) -> Outcome {
    let plan = plan(mime)?;
    // Base64 takes a third more.
    cx.reserve(plan.size().saturating_mul(3) / 2)?;
    cx.charge(plan.size() / 16);
    let writing = Writing {
        plan,
        role,
        eol,
        random: random(cx),
        signings: match role {
            Role::Message => mime.signings(),
            Role::Part => Vec::new(),
        },
    };
    if writing.is_small() {
        let text = writing.run();
        return then(cx, text.map_err(Throw::error));
    }
    Err(pooled::later(
        move || writing.run(),
        move |cx, text| then(cx, text.map_err(Throw::error)),
    ))
}

/// Writes a message and hands it to the mailer.
fn written(
    cx: &mut Cx<'_>,
    plan: Plan,
    signings: Vec<Signing>,
    deliver: mailer::Deliver,
) -> LocalFuture<Outcome> {
    cx.charge(plan.size() / 16);
    let writing = Writing {
        plan,
        role: Role::Message,
        eol: EOL,
        random: random(cx),
        signings,
    };
    let host = Rc::clone(cx.host);
    Box::pin(async move {
        let text = match writing.is_small() {
            true => Some(writing.run()),
            false => pooled::on_pool(&host, move || writing.run()).await,
        };
        let text = text.unwrap_or_else(|| Err("the work was interrupted".to_owned()));
        let text = text.map_err(Throw::error)?;
        deliver(Content::whole(Arc::new(text))).await
    })
}

fn mail(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = mailer::service(cx.host, "mail")?;
    let (sender, recipient) = (text_of(args.get(0)), text_of(args.get(1)));
    if recipient.is_empty() {
        return Ok(Box::pin(std::future::ready(Ok(Value::None))));
    }
    let deliver = service.0.queue(Order {
        function: "mail",
        sender: args.get(0),
        recipients: args.get(1),
        to: args.get(4),
        options: args.get(5),
    })?;
    let options = args.options(5);
    let name = |option: &str| {
        options
            .string(option)
            .map(|name| name.to_text().into_owned())
    };
    let sender = match sender.is_empty() {
        // A message has an author, also one that takes no answers.
        true => format!("MAILER-DAEMON@{}", cx.host.hostname),
        false => sender,
    };
    let mime = Mime::new();
    let given = options.get("headers");
    let given = given.as_ref().and_then(Value::as_array);
    let given: Vec<(Vec<u8>, Vec<u8>)> = given
        .iter()
        .flat_map(|headers| headers.iter())
        .map(|(name, value)| {
            let name = to_str(&name.to_value()).into_vec();
            (name, to_str(&value).into_vec())
        })
        .collect();
    let fields = [
        (
            "From",
            address::compile(name("sender_name").as_deref(), &sender),
        ),
        (
            "To",
            address::compile(name("recipient_name").as_deref(), &recipient),
        ),
    ];
    let has = |name: &str| {
        given
            .iter()
            .any(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
    };
    for (name, value) in &fields {
        if !has(name) {
            // Names in it are encoded words already.
            mime.add_header(name.as_bytes(), value.as_bytes(), ValueForm::Verbatim)
                .map_err(refused)?;
        }
    }
    if !has("Subject") {
        mime.add_header(b"Subject", args.bytes(2), ValueForm::default())
            .map_err(refused)?;
    }
    for (name, value) in &given {
        mime.add_header(name, value, ValueForm::default())
            .map_err(refused)?;
    }
    cx.reserve(args.bytes(3).len())?;
    mime.set_body(args.bytes(3));
    let mut plan = mime.plan().map_err(refused)?;
    complete(cx, &mut plan);
    mailer::charge(cx, &service, plan.size())?;
    let queued = written(cx, plan, Vec::new(), deliver);
    Ok(Box::pin(async move {
        let queued = queued.await?;
        let id = queued
            .as_array()
            .and_then(|array| array.get_str("transaction"));
        Ok(id.unwrap_or_default())
    }))
}

/// An address as one text: a string, or an array with its two parts.
fn text_of(value: &Value) -> String {
    let Some(array) = value.as_array() else {
        return to_str(value).to_text().into_owned();
    };
    let part = |name: &str| {
        array
            .get_str(name)
            .map(|part| to_str(&part).to_text().into_owned())
            .unwrap_or_default()
    };
    let (localpart, domain) = (part("localpart"), part("domain"));
    match localpart.is_empty() && domain.is_empty() {
        true => String::new(),
        false => format!("{localpart}@{domain}"),
    }
}
