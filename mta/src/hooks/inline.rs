//! `send()`: its envelope, its server, its result (stdlib.md, groups SERVER and SENDRESULT).

use std::ops::Deref;
use std::sync::Arc;

use angarium_mail::edits::Modified;
use angarium_queue::attempt::{
    Attempt, AttemptError, Connection, ErrorKind, Outcome as Ended, TlsInfo,
};
use angarium_queue::text::Text;
use angarium_runtime::array::Array;
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{LocalFuture, Outcome, Throw};
use angarium_runtime::value::{Kind, Value};
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::client::{Demands, DsnMail, DsnRcpt, Rcpt, Transaction};
use angarium_smtp::param::Params;
use angarium_stdlib::mailer::{Deliver, Order, unknown_transport};
use angarium_stdlib::network::Names;
use angarium_stdlib::smtp::{Destination, Server as Asked};

use super::envelope;
use super::queue::AddressBook;
use super::queue_variables::peercert;
use super::variables::Map;
use crate::delivery::inline::{self, Surroundings};
use crate::delivery::server::Server;
use crate::delivery::settings::Settings;

/// What sending needs besides the order.
pub struct Sender<S> {
    /// The thread.
    pub around: Surroundings,
    /// The settings.
    pub settings: S,
    /// What the configuration knows by name.
    pub names: Arc<dyn Names>,
    /// Its source addresses.
    pub addresses: AddressBook,
}

/// Reads the order of a script; what it gives sends a message.
///
/// # Errors
/// An Exception for an envelope or a server that cannot be.
pub fn send<S>(sender: Sender<S>, order: &Order<'_>) -> Result<Deliver, Throw>
where
    S: Deref<Target = Settings> + 'static,
{
    let function = order.function;
    let settings = &sender.settings;
    let envelope = Envelope::read(function, order.sender, order.recipients)?;
    let domain = envelope.recipients.first();
    let domain = Text::from(domain.map_or("", |rcpt| rcpt.address.domain()));
    let server = match Asked::read(function, order.to, &*sender.names)? {
        Asked::Options(options) if options.host == Destination::Unsaid => {
            let why = "a host, an address or lookup-mx is needed";
            return Err(Throw::error(format!("{function}: option host: {why}")));
        }
        Asked::Options(options) => {
            let source = options.source_id.as_ref();
            let source = source.and_then(|id| sender.addresses.get(id).cloned());
            let server = Server::of_options(*options, &settings.own, source);
            server.map_err(|why| Throw::error(format!("{function}: {why}")))?
        }
        Asked::Transport(id) => {
            let key = Text::from(id.as_str());
            let Some(transport) = settings.transports.get(&key) else {
                return Err(unknown_transport(function, &id));
            };
            let mut server = Server::of_transport(transport, (*settings.client(&key)).clone());
            server.own = Arc::clone(&settings.own);
            server
        }
    };
    Ok(Box::new(move |content| {
        let sent: LocalFuture<Outcome> = Box::pin(async move {
            let Some(target) = server.target(Some(&domain)) else {
                let error = AttemptError::new(ErrorKind::Config, false, "there is no host");
                return Ok(result(&Attempt::without_connection(error)));
            };
            if envelope.recipients.is_empty() {
                let error = AttemptError::new(ErrorKind::Config, false, "there is no recipient");
                return Ok(result(&Attempt::without_connection(error)));
            }
            let Sender {
                around, settings, ..
            } = sender;
            let now = i64::try_from(around.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
            let changed = Modified::new(content.source, content.edits, now);
            let changed = changed.map_err(|error| Throw::error(error.to_string()))?;
            let transaction = envelope.transaction();
            let source = Arc::new(changed);
            let to = (&server, target);
            let attempt = inline::send(&around, &settings, to, transaction, source);
            Ok(result(&attempt.await))
        });
        sent
    }))
}

/// Who sends, and to whom.
struct Envelope {
    sender: ReversePath,
    params: Params,
    recipients: Vec<Rcpt>,
    /// BODY of `params`, of which the client says what the server takes.
    body: Option<String>,
}

impl Envelope {
    fn read(function: &str, sender: &Value, recipients: &Value) -> Result<Envelope, Throw> {
        let list = recipients.as_array();
        let list = list.into_iter().flat_map(|list| list.values());
        let recipients = list.map(|recipient| {
            let address: Mailbox =
                envelope::mailbox(&recipient, &format!("{function}: recipient"))?;
            Ok(Rcpt {
                address,
                params: params(function, &recipient)?,
                dsn: DsnRcpt::default(),
            })
        });
        let mut params = params(function, sender)?;
        let body = params.take("BODY").and_then(|param| param.value);
        Ok(Envelope {
            sender: envelope::reverse_path(sender, &format!("{function}: sender"))?,
            params,
            recipients: recipients.collect::<Result<_, Throw>>()?,
            body: body.map(|body| body.to_ascii_uppercase()),
        })
    }

    fn transaction(self) -> Transaction {
        Transaction {
            sender: self.sender,
            params: self.params,
            recipients: self.recipients,
            // Found out when it is sent, or as the server's options say.
            size: None,
            eight_bit: self.body.as_deref() == Some("8BITMIME"),
            utf8: false,
            dsn: DsnMail::default(),
            chunking: false,
            demands: Demands {
                binary: self.body.as_deref() == Some("BINARYMIME"),
                ..Demands::default()
            },
        }
    }
}

/// `params` of an address: name => value, or true for one without a value.
fn params(function: &str, address: &Value) -> Result<Params, Throw> {
    let mut params = Params::default();
    let given = address.as_array().and_then(|array| array.get_str("params"));
    let given = given.as_ref().and_then(Value::as_array);
    for (name, value) in given.into_iter().flat_map(|given| given.iter()) {
        let name = to_str(&name.to_value()).to_text().into_owned();
        let value = match value.kind() {
            Kind::None | Kind::Boolean => None,
            _ => Some(to_str(&value).to_text().into_owned()),
        };
        let value = value.as_deref().filter(|value| !value.is_empty());
        params
            .set(&name, value)
            .map_err(|error| Throw::error(format!("{function}: parameter {name:?}: {error}")))?;
    }
    Ok(params)
}

fn texts<'a>(list: impl IntoIterator<Item = &'a Text>) -> Value {
    let list = list.into_iter().map(|text| Value::from(text.as_bytes()));
    list.collect::<Array>().into()
}

/// What the script is told.
fn result(attempt: &Attempt) -> Value {
    let map = match &attempt.outcome {
        Ended::Result(reply) => {
            let enhanced = reply.enhanced.map(|status| {
                let numbers = [status.class, status.subject, status.detail];
                let numbers = numbers
                    .into_iter()
                    .map(|number| Value::from(u32::from(number)));
                Value::from(numbers.collect::<Array>())
            });
            let reply = Map::default()
                .with("state", reply.state.as_str())
                .with("code", u32::from(reply.code))
                .maybe("enhanced", enhanced)
                .with("reason", texts(&reply.reason));
            Map::default().with("result", reply)
        }
        Ended::Error(error) => {
            let error = Map::default()
                .with("temporary", error.temporary)
                .with("message", error.message.as_str())
                .with("reason", error.message.as_str());
            Map::default().with("error", error)
        }
    };
    let nothing = TlsInfo::default();
    let tls = attempt.connection.as_ref().and_then(|c| c.tls.as_ref());
    let connection = attempt.connection.as_ref().map(connection);
    map.maybe("connection", connection)
        .with("tls", tls_value(tls.unwrap_or(&nothing)))
        .into()
}

fn connection(of: &Connection) -> Map {
    Map::default()
        .maybe("localip", of.localip.map(|address| address.to_string()))
        .maybe("remoteip", of.remoteip.map(|address| address.to_string()))
        .maybe(
            "remotemx",
            of.remotemx
                .as_ref()
                .map(|name| Value::from(name.as_bytes())),
        )
}

fn tls_value(info: &TlsInfo) -> Map {
    let text = |text: &Option<Text>| {
        text.as_ref()
            .map_or(Value::None, |text| Value::from(text.as_bytes()))
    };
    Map::default()
        .with("started", info.started)
        .with("protocol", text(&info.protocol))
        .with("cipher", text(&info.cipher))
        .with(
            "keysize",
            info.keysize
                .map_or(Value::None, |size| Value::from(u32::from(size))),
        )
        .with(
            "peercert",
            info.peercert
                .as_deref()
                .and_then(peercert)
                .unwrap_or(Value::None),
        )
}
