//! The options of Accept, Reject and Defer (group REPLY).

use angarium_runtime::convert::{to_integer, to_str};
use angarium_runtime::native::{Args, OptDecl, Options, Throw, opt};
use angarium_runtime::value::Value;
use angarium_smtp::verdict::{EnhancedChoice, Function, ReplyOptions, Verdict, split_reason};

/// `reason` of Accept, where it is the text of the reply.
pub const REASON: OptDecl = opt("reason", "string", "", "text of the reply");

/// `reply_codes`, which Accept has too.
pub const REPLY_CODES: OptDecl = opt(
    "reply_codes",
    "array",
    "",
    "`code`, a number, and `enhanced`, three numbers or an empty array for none",
);

/// `disconnect`, of Reject and Defer.
pub const DISCONNECT: OptDecl = opt(
    "disconnect",
    "boolean",
    "false",
    "close the connection after the reply",
);

/// The options of Reject and Defer.
pub const REFUSAL: &[OptDecl] = &[REPLY_CODES, DISCONNECT];

/// The lines of a reason: a list, or a string with line feeds.
#[must_use]
pub fn reason(value: &Value) -> Vec<Vec<u8>> {
    match value.as_array() {
        Some(list) => list
            .values()
            .flat_map(|line| split_reason(to_str(&line).as_bytes()))
            .collect(),
        None if value.is_none() => Vec::new(),
        None => split_reason(to_str(value).as_bytes()),
    }
}

/// Reads `reply_codes` and `disconnect`.
///
/// # Errors
/// An Exception when a code does not fit the function.
pub fn reply_options(function: Function, options: Options<'_>) -> Result<ReplyOptions, Throw> {
    let mut reply = ReplyOptions {
        disconnect: options.boolean("disconnect", false),
        ..ReplyOptions::default()
    };
    let refuse = |error: angarium_smtp::verdict::VerdictError| {
        Throw::error(format!("{}: {error}", function.name()))
    };
    if let Some(codes) = options.get("reply_codes") {
        let Some(codes) = codes.as_array() else {
            return Err(Throw::error(format!(
                "{}: option reply_codes: expected array",
                function.name()
            )));
        };
        if let Some(code) = codes.get_str("code").filter(|code| !code.is_none()) {
            reply.code = Some(function.check_code(to_integer(&code)).map_err(refuse)?);
        }
        if let Some(enhanced) = codes
            .get_str("enhanced")
            .filter(|enhanced| !enhanced.is_none())
        {
            let Some(numbers) = enhanced.as_array() else {
                return Err(refuse(angarium_smtp::verdict::VerdictError::Enhanced));
            };
            let numbers: Vec<i64> = numbers.values().map(|number| to_integer(&number)).collect();
            reply.enhanced = EnhancedChoice::from_numbers(&numbers).map_err(refuse)?;
        }
    }
    Ok(reply)
}

/// Accept's reply: its reason is an option.
///
/// # Errors
/// As [`reply_options`].
pub fn accept_reply(options: Options<'_>) -> Result<ReplyOptions, Throw> {
    let mut reply = reply_options(Function::Accept, options)?;
    reply.disconnect = false;
    if let Some(text) = options.get("reason") {
        reply.reason = reason(&text);
    }
    Ok(reply)
}

/// Ends the script with Reject or Defer.
#[must_use]
pub fn refusal(function: Function, args: &Args<'_>) -> Throw {
    match reply_options(function, args.options(1)) {
        Ok(mut reply) => {
            reply.reason = reason(args.get(0));
            Throw::end(match function {
                Function::Reject => Verdict::Reject(reply),
                _ => Verdict::Defer(reply),
            })
        }
        Err(error) => error,
    }
}
