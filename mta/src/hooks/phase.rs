//! What a session's hooks see: the predefined variables of each phase before eod.

use angarium_config::HookType;
use angarium_runtime::array::Array;
use angarium_runtime::value::Value;
use angarium_smtp::server::{AuthArguments, Hook};
use angarium_smtp::session::Session;

use super::smtp::params;
use super::variables::{
    Map, address, connect_arguments, connection, early_connection, transaction, transaction_id,
};

/// A phase with the predefined variables of its hook, but `$context`.
pub struct PhaseCall<'a> {
    /// The type of the hook.
    pub hook: HookType,
    /// The recipient's domain in rcptto, empty in other phases.
    pub domain: &'a str,
    /// Names without `$`, and values.
    pub variables: Vec<(&'static str, Value)>,
}

impl<'a> PhaseCall<'a> {
    /// What `hook` asks for; none for eod, which needs its message.
    #[must_use]
    pub fn of(session: &Session, hook: &'a Hook) -> Option<PhaseCall<'a>> {
        let (kind, domain, arguments) = match hook {
            Hook::Connect => (HookType::Connect, "", connect_arguments(session)),
            Hook::Helo {
                verb,
                host,
                extensions,
            } => {
                let extensions = extensions.as_ref().map(|lines| {
                    let lines = lines.iter().map(|line| Value::from(line.as_str()));
                    Value::from(lines.collect::<Array>())
                });
                let arguments = Map::default()
                    .with("verb", verb.as_str())
                    .with("host", host.as_str())
                    .maybe("extensions", extensions);
                (HookType::Helo, "", arguments.into())
            }
            Hook::MailFrom {
                sender,
                params: given,
            } => {
                let arguments = Map::default()
                    .with("sender", sender.lower())
                    .with("address", address(sender.localpart(), sender.domain()))
                    .with("params", params(given));
                (HookType::MailFrom, "", arguments.into())
            }
            Hook::RcptTo {
                recipient,
                params: given,
                transport_id,
            } => {
                let arguments = Map::default()
                    .with("recipient", recipient.lower())
                    .with(
                        "address",
                        address(recipient.localpart(), recipient.domain()),
                    )
                    .with("params", params(given))
                    .with("transportid", transport_id.as_str());
                (HookType::RcptTo, recipient.domain(), Value::from(arguments))
            }
            Hook::Auth {
                mechanism,
                arguments,
            } => {
                let map = Map::default().with("mechanism", mechanism.as_str());
                let map = match arguments {
                    AuthArguments::Credentials { username, password } => map
                        .with("username", username.as_str())
                        .with("password", password.as_str()),
                    AuthArguments::Exchange { state, response } => map
                        .with("state", *state)
                        .maybe("response", response.as_deref()),
                };
                (HookType::Auth, "", map.into())
            }
            Hook::Proxy { command } => {
                let arguments = Map::default().with("command", command.as_slice());
                (HookType::Proxy, "", arguments.into())
            }
            Hook::Eod { .. } => return None,
        };
        let connection = match kind {
            HookType::Connect => early_connection(session),
            _ => connection(session, kind != HookType::Helo),
        };
        let transaction = match kind {
            HookType::RcptTo | HookType::Proxy => transaction(session, None),
            _ => transaction_id(session),
        };
        Some(PhaseCall {
            hook: kind,
            domain,
            variables: vec![
                ("arguments", arguments),
                ("connection", connection),
                ("transaction", transaction),
            ],
        })
    }
}
