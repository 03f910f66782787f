//! What a hook may answer, and the reply that an answer gives (hooks.md, group REPLY and the
//! table of default replies).
//!
//! The script layer checks what a script passed with [`Function::check_code`] and
//! [`EnhancedChoice::from_numbers`], raises an Exception on an error, and hands the machine a
//! [`Verdict`]. The machine alone knows the phase and turns the verdict into a reply.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::address::{Mailbox, ReversePath};
use crate::reply::{EnhancedStatus, Reply};

/// The phases that run a hook and answer the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the banner.
    Connect,
    /// Before a command line reaches the machine.
    Proxy,
    /// HELO, EHLO, LHLO.
    Helo,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    MailFrom,
    /// RCPT TO.
    RcptTo,
    /// End of data.
    Eod,
}

/// The terminating functions that carry a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// Go on.
    Accept,
    /// Permanent refusal.
    Reject,
    /// Temporary refusal.
    Defer,
    /// A free reply (proxy, auth).
    Reply,
}

/// Options of a terminating function that cannot be used; becomes an Exception in the script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerdictError {
    /// A code outside the class of the function.
    #[error("reply code {code} is not allowed in {function} (it takes {allowed})")]
    Code {
        /// What was given.
        code: i64,
        /// The function's name.
        function: &'static str,
        /// The allowed range in words.
        allowed: &'static str,
    },
    /// Not three numbers in range.
    #[error("an enhanced status code is a class of 2, 4 or 5 and two numbers from 0 to 999")]
    Enhanced,
}

impl Function {
    /// The name that scripts use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "Accept",
            Self::Reject => "Reject",
            Self::Defer => "Defer",
            Self::Reply => "Reply",
        }
    }

    /// Checks `reply_codes["code"]`.
    ///
    /// # Errors
    ///
    /// [`VerdictError::Code`] when the code's class does not fit the function.
    pub fn check_code(self, code: i64) -> Result<u16, VerdictError> {
        let (range, allowed) = match self {
            Self::Accept => (200..=299, "200 to 299"),
            Self::Defer => (400..=499, "400 to 499"),
            Self::Reject => (500..=599, "500 to 599"),
            Self::Reply => (200..=599, "200 to 599"),
        };
        u16::try_from(code)
            .ok()
            .filter(|_| range.contains(&code))
            .ok_or(VerdictError::Code {
                code,
                function: self.name(),
                allowed,
            })
    }
}

/// The `enhanced` member of `reply_codes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EnhancedChoice {
    /// Not given: the default of the phase, if its class fits the code.
    #[default]
    Default,
    /// `[]`: none.
    Off,
    /// Given.
    Code(EnhancedStatus),
}

impl EnhancedChoice {
    /// Checks `reply_codes["enhanced"]`: empty, or three numbers.
    ///
    /// # Errors
    ///
    /// [`VerdictError::Enhanced`] for anything else.
    pub fn from_numbers(numbers: &[i64]) -> Result<Self, VerdictError> {
        match *numbers {
            [] => Ok(Self::Off),
            [class, subject, detail] => EnhancedStatus::checked(class, subject, detail)
                .map(Self::Code)
                .ok_or(VerdictError::Enhanced),
            _ => Err(VerdictError::Enhanced),
        }
    }
}

/// What group REPLY lets a script say about the reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplyOptions {
    /// Lines of text; empty, or one empty line, means the default text.
    pub reason: Vec<Vec<u8>>,
    /// Checked by [`Function::check_code`].
    pub code: Option<u16>,
    /// Enhanced status.
    pub enhanced: EnhancedChoice,
    /// Close after the reply. Of the functions that accept only Deliver of the older eodrcpt hook knows it.
    pub disconnect: bool,
}

impl ReplyOptions {
    /// Options with nothing but a reason.
    #[must_use]
    pub fn reason(text: &[u8]) -> Self {
        Self {
            reason: split_reason(text),
            ..Self::default()
        }
    }
}

/// Splits a reason given as one string into its lines.
#[must_use]
pub fn split_reason(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Options of Accept; a member that the phase does not know is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// The reply.
    pub reply: ReplyOptions,
    /// connect: replaces the client address.
    pub remote_ip: Option<IpAddr>,
    /// connect: replaces the name of the client.
    pub remote_ptr: Option<String>,
    /// helo: the complete list to announce.
    pub extensions: Option<Vec<Vec<u8>>>,
    /// helo: replaces the name given.
    pub host: Option<String>,
    /// auth: sets the user.
    pub username: Option<String>,
    /// mailfrom, and rcptto of older scripts: replaces the sender.
    pub sender: Option<ReversePath>,
    /// rcptto: replaces the recipient.
    pub recipient: Option<Mailbox>,
    /// rcptto: replaces the transport.
    pub transport_id: Option<String>,
}

/// The answer to a hook request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Accept(…)
    Accept(Box<Accept>),
    /// Reject(…)
    Reject(ReplyOptions),
    /// Defer(…)
    Defer(ReplyOptions),
    /// Reply(…) of the proxy and auth hooks; `next` asks for the proxy hook on the next line.
    Reply {
        /// The reply; for auth the joined reason is the challenge.
        reply: ReplyOptions,
        /// Run the proxy hook for the next line too.
        next: bool,
    },
    /// Pass(…) of the proxy hook.
    Pass {
        /// Replaces the command line.
        command: Option<Vec<u8>>,
        /// Run the proxy hook for the next line too.
        next: bool,
    },
    /// The script ended without a terminating function.
    End,
    /// The script failed (or could not be run at all).
    Error,
    /// No hook is bound here: for a recipient domain without one.
    NoHook,
}

impl Verdict {
    /// Accept without options.
    #[must_use]
    pub fn accept() -> Self {
        Self::Accept(Box::default())
    }
}

/// The default reply of a function in a phase.
pub(crate) struct Defaults {
    code: u16,
    enhanced: Option<EnhancedStatus>,
    text: &'static str,
}

const REJECTED: &str = "Rejected";
const TRY_LATER: &str = "Try again later";
/// The text of a reply to a script error.
pub(crate) const SCRIPT_ERROR: &str = "Internal error, try again later";

/// The table of default replies.
pub(crate) fn defaults(phase: Phase, function: Function) -> Defaults {
    let (code, enhanced, text) = match (phase, function) {
        (Phase::Connect, Function::Accept) => (220, None, ""),
        (Phase::Connect, Function::Reject) => (521, Some((5, 7, 1)), REJECTED),
        (Phase::Connect, _) => (421, Some((4, 3, 2)), TRY_LATER),
        (Phase::Helo, Function::Accept) => (250, None, ""),
        (Phase::Helo, Function::Reject) => (554, None, REJECTED),
        (Phase::Helo, _) => (450, None, TRY_LATER),
        (Phase::Auth, Function::Accept) => (235, Some((2, 7, 0)), "Authentication successful"),
        (Phase::Auth, Function::Reject) => (535, Some((5, 7, 8)), REJECTED),
        (Phase::Auth, Function::Reply) => (334, None, ""),
        (Phase::Auth, Function::Defer) => (454, Some((4, 7, 0)), TRY_LATER),
        (Phase::MailFrom, Function::Accept) => (250, Some((2, 1, 0)), "Ok"),
        (Phase::RcptTo, Function::Accept) => (250, Some((2, 1, 5)), "Ok"),
        (Phase::MailFrom | Phase::RcptTo, Function::Reject) => (554, Some((5, 7, 1)), REJECTED),
        (Phase::MailFrom | Phase::RcptTo, _) => (450, Some((4, 7, 1)), TRY_LATER),
        (Phase::Eod, Function::Accept) => (250, Some((2, 0, 0)), "Ok"),
        (Phase::Eod, Function::Reject) => (550, Some((5, 7, 1)), REJECTED),
        (Phase::Eod, _) => (421, Some((4, 3, 0)), TRY_LATER),
        (Phase::Proxy, Function::Defer) => (421, None, TRY_LATER),
        (Phase::Proxy, _) => (250, None, "Ok"),
    };
    Defaults {
        code,
        enhanced: enhanced
            .map(|(class, subject, detail)| EnhancedStatus::new(class, subject, detail)),
        text,
    }
}

/// Builds the reply of a function. `text` replaces the default text where the table has none.
pub(crate) fn compose(
    phase: Phase,
    function: Function,
    options: ReplyOptions,
    text: Option<String>,
) -> Reply {
    let default = defaults(phase, function);
    let code = options
        .code
        .filter(|code| function.check_code(i64::from(*code)).is_ok())
        .unwrap_or(default.code);
    // RFC 2034 §4: neither the banner nor a reply to a greeting carries a status; 334 has no room.
    let bare = phase == Phase::Helo || matches!(code, 220 | 334 | 354);
    let enhanced = match options.enhanced {
        _ if bare => None,
        EnhancedChoice::Off => None,
        EnhancedChoice::Code(status) => Some(status),
        EnhancedChoice::Default => default
            .enhanced
            .filter(|status| u16::from(status.class) == code / 100),
    };
    let given = options.reason.iter().any(|line| !line.is_empty());
    let lines = if given {
        options.reason.into_iter().map(Cow::Owned).collect()
    } else {
        match text {
            Some(text) => vec![Cow::Owned(text.into_bytes())],
            None => vec![Cow::Borrowed(default.text.as_bytes())],
        }
    };
    Reply {
        code,
        enhanced,
        lines,
    }
}

/// The reply to the message of transaction `id`, for a protocol that has no machine here.
#[must_use]
pub fn eod_reply(verdict: Verdict, id: &str) -> Reply {
    let (function, options, text) = match verdict {
        Verdict::Accept(accept) => (
            Function::Accept,
            accept.reply,
            Some(format!("Ok: queued as {id}")),
        ),
        Verdict::NoHook | Verdict::Pass { .. } => (
            Function::Accept,
            ReplyOptions::default(),
            Some(format!("Ok: queued as {id}")),
        ),
        Verdict::Reject(options) => (Function::Reject, options, None),
        Verdict::Defer(options) => (Function::Defer, options, None),
        Verdict::End => (Function::Defer, ReplyOptions::default(), None),
        Verdict::Error | Verdict::Reply { .. } => {
            let error = ReplyOptions::reason(SCRIPT_ERROR.as_bytes());
            (Function::Defer, error, None)
        }
    };
    compose(Phase::Eod, function, options, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(phase: Phase, function: Function, options: ReplyOptions) -> String {
        let mut out = Vec::new();
        compose(phase, function, options, None).write(&mut out, false);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn every_phase_has_its_default_replies() {
        let mut table = String::new();
        for phase in [
            Phase::Connect,
            Phase::Proxy,
            Phase::Helo,
            Phase::Auth,
            Phase::MailFrom,
            Phase::RcptTo,
            Phase::Eod,
        ] {
            for function in [
                Function::Accept,
                Function::Reject,
                Function::Defer,
                Function::Reply,
            ] {
                let known = match phase {
                    Phase::Proxy => matches!(function, Function::Reply),
                    Phase::Auth => true,
                    _ => function != Function::Reply,
                };
                if known {
                    let reply = wire(phase, function, ReplyOptions::default());
                    table += &format!("{phase:?} {}: {}\n", function.name(), reply.trim_end());
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        Connect Accept: 220
        Connect Reject: 521 5.7.1 Rejected
        Connect Defer: 421 4.3.2 Try again later
        Proxy Reply: 250 Ok
        Helo Accept: 250
        Helo Reject: 554 Rejected
        Helo Defer: 450 Try again later
        Auth Accept: 235 2.7.0 Authentication successful
        Auth Reject: 535 5.7.8 Rejected
        Auth Defer: 454 4.7.0 Try again later
        Auth Reply: 334
        MailFrom Accept: 250 2.1.0 Ok
        MailFrom Reject: 554 5.7.1 Rejected
        MailFrom Defer: 450 4.7.1 Try again later
        RcptTo Accept: 250 2.1.5 Ok
        RcptTo Reject: 554 5.7.1 Rejected
        RcptTo Defer: 450 4.7.1 Try again later
        Eod Accept: 250 2.0.0 Ok
        Eod Reject: 550 5.7.1 Rejected
        Eod Defer: 421 4.3.0 Try again later
        ");
    }

    #[test]
    fn a_reason_is_split_and_replaces_the_text() {
        let options = ReplyOptions {
            code: Some(550),
            ..ReplyOptions::reason(b"No\nthanks")
        };
        assert_eq!(
            wire(Phase::RcptTo, Function::Reject, options),
            "550-5.7.1 No\r\n550 5.7.1 thanks\r\n"
        );
        assert_eq!(
            wire(Phase::RcptTo, Function::Reject, ReplyOptions::reason(b"")),
            "554 5.7.1 Rejected\r\n"
        );
    }

    #[test]
    fn the_default_status_is_left_out_when_its_class_does_not_fit() {
        let reply = |code| ReplyOptions {
            code: Some(code),
            ..ReplyOptions::default()
        };
        assert_eq!(
            wire(Phase::Auth, Function::Reply, reply(450)),
            "450\u{20}\r\n"
        );
        assert_eq!(
            wire(Phase::MailFrom, Function::Reject, reply(550)),
            "550 5.7.1 Rejected\r\n"
        );
        let off = ReplyOptions {
            enhanced: EnhancedChoice::Off,
            ..ReplyOptions::default()
        };
        assert_eq!(wire(Phase::Eod, Function::Accept, off), "250 Ok\r\n");
    }

    #[test]
    fn a_code_has_to_fit_its_function() {
        for (function, good, bad) in [
            (Function::Accept, [200, 299], [199, 300]),
            (Function::Defer, [400, 499], [399, 500]),
            (Function::Reject, [500, 599], [499, 600]),
            (Function::Reply, [200, 599], [199, 600]),
        ] {
            for code in good {
                assert!(function.check_code(code).is_ok(), "{code}");
            }
            for code in bad {
                assert!(function.check_code(code).is_err(), "{code}");
            }
        }
        assert_eq!(
            Function::Reject
                .check_code(250)
                .map_err(|error| error.to_string()),
            Err("reply code 250 is not allowed in Reject (it takes 500 to 599)".to_owned())
        );
        assert_eq!(EnhancedChoice::from_numbers(&[]), Ok(EnhancedChoice::Off));
        assert!(EnhancedChoice::from_numbers(&[5, 7]).is_err());
        assert!(EnhancedChoice::from_numbers(&[9, 7, 1]).is_err());
        assert!(EnhancedChoice::from_numbers(&[5, 1000, 1]).is_err());
    }
}
