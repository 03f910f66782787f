//! Setters of the session's hooks: they do what an option of Accept does.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use angarium_runtime::array::Array;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, Throw};
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath, is_greeting_name};
use angarium_smtp::server::Hook;
use angarium_smtp::verdict::{Accept, Verdict};

use crate::hooks::envelope;
use crate::hooks::eodrcpt;

const SET_SENDER: FnDecl = FnDecl::plain(
    "SetSender(sender: string|array): string|none",
    "Takes another sender, as Accept does; gives it, or none when it is no address.",
    set_sender,
)
.legacy();

pub(super) const GET_TLS: &[FnDecl] = &[eodrcpt::GET_TLS.legacy()];

pub(super) const CONNECT: &[FnDecl] = &[FnDecl::plain(
    "SetSenderIP(ip: string): string|none",
    "Takes another address of the client, as Accept does; gives it, or none when it is none.",
    set_sender_ip,
)
.legacy()];

pub(super) const HELO: &[FnDecl] = &[
    FnDecl::plain(
        "SetHELO(host: string): string|none",
        "Takes another name of the client, as Accept does; gives it, or none when it is none.",
        set_helo,
    )
    .legacy(),
    FnDecl::plain(
        "GetExtensions(): array",
        "Gives the lines about to be announced.",
        |cx, _| {
            let setters = Setters::of(cx)?;
            let lines = setters.extensions.iter();
            let lines = lines.map(|line| Value::from(line.as_str()));
            Ok(lines.collect::<Array>().into())
        },
    )
    .legacy(),
    GET_TLS[0],
];

pub(super) const MAILFROM: &[FnDecl] = &[SET_SENDER, GET_TLS[0]];

pub(super) const RCPTTO: &[FnDecl] = &[
    SET_SENDER,
    FnDecl::plain(
        "SetRecipient(recipient: string|array): string|none",
        "Takes another recipient, as Accept does; gives it, or none when it is no address.",
        set_recipient,
    )
    .legacy(),
    GET_TLS[0],
];

/// What setters have said in one run.
#[derive(Debug, Default)]
pub struct Setters {
    extensions: Vec<String>,
    said: RefCell<Said>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    remote_ip: Option<IpAddr>,
    host: Option<String>,
    sender: Option<ReversePath>,
    recipient: Option<Mailbox>,
}

impl Setters {
    /// For a run of this hook.
    #[must_use]
    pub fn for_hook(hook: &Hook) -> Setters {
        let extensions = match hook {
            Hook::Helo { extensions, .. } => extensions.clone().unwrap_or_default(),
            _ => Vec::new(),
        };
        Setters {
            extensions,
            said: RefCell::default(),
        }
    }

    fn of(cx: &Cx<'_>) -> Result<Rc<Setters>, Throw> {
        cx.host
            .extension::<Setters>()
            .ok_or_else(|| Throw::error("there is no session here"))
    }

    /// The verdict with what was set; what Accept itself says wins.
    #[must_use]
    pub fn applied(&self, verdict: Verdict) -> Verdict {
        let Said {
            remote_ip,
            host,
            sender,
            recipient,
        } = self.said.take();
        let nothing =
            remote_ip.is_none() && host.is_none() && sender.is_none() && recipient.is_none();
        let accept = match verdict {
            Verdict::Accept(accept) => *accept,
            // The end of these hooks' scripts accepts; so does a setter on the way there.
            Verdict::End if !nothing => Accept::default(),
            other => return other,
        };
        Verdict::Accept(Box::new(Accept {
            remote_ip: accept.remote_ip.or(remote_ip),
            host: accept.host.or(host),
            sender: accept.sender.or(sender),
            recipient: accept.recipient.or(recipient),
            ..accept
        }))
    }
}

/// The text of what was taken.
fn given(text: String) -> Outcome {
    Ok(text.as_str().into())
}

fn set_sender_ip(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let text = String::from_utf8_lossy(args.bytes(0)).into_owned();
    let Ok(address) = text.parse() else {
        return Ok(Value::None);
    };
    Setters::of(cx)?.said.borrow_mut().remote_ip = Some(address);
    given(address.to_string())
}

fn set_helo(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let text = String::from_utf8_lossy(args.bytes(0)).into_owned();
    if !is_greeting_name(&text) {
        return Ok(Value::None);
    }
    Setters::of(cx)?.said.borrow_mut().host = Some(text.clone());
    given(text)
}

fn set_sender(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Ok(sender) = envelope::reverse_path(args.get(0), "SetSender") else {
        return Ok(Value::None);
    };
    let text = sender.to_string();
    Setters::of(cx)?.said.borrow_mut().sender = Some(sender);
    given(text)
}

fn set_recipient(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Ok(recipient) = envelope::mailbox(args.get(0), "SetRecipient") else {
        return Ok(Value::None);
    };
    let text = recipient.to_string();
    Setters::of(cx)?.said.borrow_mut().recipient = Some(recipient);
    given(text)
}
