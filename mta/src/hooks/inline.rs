//! `send()`: its envelope, its server, its result (stdlib.md, groups SERVER and SENDRESULT).

use std::sync::Arc;
use std::time::Duration;

use angarium_config::types::TlsProtocols;
use angarium_mail::edits::Modified;
use angarium_queue::attempt::{
    Attempt, AttemptError, Connection, ErrorKind, Outcome as Ended, TlsInfo,
};
use angarium_queue::destination::{Families, OwnHosts, Target};
use angarium_queue::text::Text;
use angarium_queue::transport::{SourceIp, Sources};
use angarium_runtime::array::Array;
use angarium_runtime::convert::{to_number, to_str, truthy};
use angarium_runtime::native::{LocalFuture, Outcome, Throw};
use angarium_runtime::value::{Kind, Value};
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::client::{Credentials, Demands, DsnMail, DsnRcpt, Rcpt, State, Transaction};
use angarium_smtp::param::Params;
use angarium_stdlib::mailer::{Deliver, Order, unknown_transport};

use super::envelope;
use super::options::Reader;
use super::outbox::Post;
use super::queue::{Sni, TlsMode};
use super::queue_variables::peercert;
use super::variables::Map;
use crate::delivery::inline::{self, Server};
use crate::delivery::settings::{ClientSettings, Settings, TlsSettings};
use crate::settings;
use crate::tls::Versions;

/// Members of `server` that ask for what the client cannot do yet: set, they are refused.
const NOT_YET: &[&str] = &["tls_ciphers", "tls_client_cert", "xclient", "proxyprotocol"];

/// Reads the order of a script; what it gives sends a message.
///
/// # Errors
/// An Exception for an envelope or a server that cannot be.
pub(super) fn send(post: &Post, order: &Order<'_>) -> Result<Deliver, Throw> {
    let function = order.function;
    let Some(live) = post.live.upgrade() else {
        return Err(Throw::error(format!(
            "{function}: there is no mail client here"
        )));
    };
    let envelope = Envelope::read(function, order.sender, order.recipients)?;
    let domain = envelope.recipients.first();
    let domain = Text::from(domain.map_or("", |rcpt| rcpt.address.domain()));
    let server = match order.to.as_array() {
        Some(_) => server(
            post,
            &live.settings,
            Reader::new(function, order.to),
            &domain,
        )?,
        None => {
            let id = to_str(order.to).to_text().into_owned();
            let server = Server::of_transport(&live.settings, &id, &domain);
            server.ok_or_else(|| unknown_transport(function, &id))?
        }
    };
    let worker = std::rc::Rc::clone(&post.worker);
    Ok(Box::new(move |content| {
        let sent: LocalFuture<Outcome> = Box::pin(async move {
            if envelope.recipients.is_empty() {
                let error = AttemptError::new(ErrorKind::Config, false, "there is no recipient");
                return Ok(result(&Attempt::without_connection(error)));
            }
            let now = i64::try_from(worker.effects.clock.unix().as_secs()).unwrap_or(i64::MAX);
            let changed = Modified::new(content.source, content.edits, now);
            let changed = changed.map_err(|error| Throw::error(error.to_string()))?;
            let transaction = envelope.transaction();
            let source = Arc::new(changed);
            let attempt = inline::send(&worker, &live.settings, &server, transaction, source);
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
        Ok(Envelope {
            sender: envelope::reverse_path(sender, &format!("{function}: sender"))?,
            params: params(function, sender)?,
            recipients: recipients.collect::<Result<_, Throw>>()?,
        })
    }

    fn transaction(self) -> Transaction {
        Transaction {
            sender: self.sender,
            params: self.params,
            recipients: self.recipients,
            // Found out when it is sent.
            size: None,
            eight_bit: false,
            utf8: false,
            dsn: DsnMail::default(),
            demands: Demands::default(),
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

/// The server that an array describes.
fn server(
    post: &Post,
    settings: &Settings,
    reader: Reader<'_>,
    domain: &Text,
) -> Result<Server, Throw> {
    for name in NOT_YET {
        if reader.get(name).is_some_and(|value| truthy(&value)) {
            return Err(reader.refuse(name, "not available yet"));
        }
    }
    let string =
        |name: &str| Ok::<_, Throw>(reader.text(name)?.map(|text| text.to_str().into_owned()));
    let host = reader.text("host")?.filter(|host| !host.is_empty());
    let Some(host) = host else {
        return Err(reader.refuse("host", "a host, an address or lookup-mx is needed"));
    };
    let (target, own) = match host.as_bytes() {
        b"lookup-mx" => (Target::MxOf(domain.clone()), Arc::clone(&settings.own)),
        // A host that the script names is meant.
        _ => (Target::Host(host), Arc::new(OwnHosts::default())),
    };
    let port = match reader.get("port") {
        None => 25,
        Some(port) => {
            let port = to_number(&port);
            if port.fract() != 0.0 || !(1.0..=65_535.0).contains(&port) {
                return Err(reader.refuse("port", "expected a number from 1 to 65535"));
            }
            port as u16
        }
    };
    let source = source(post, reader)?;
    let mut client = ClientSettings {
        lmtp: match string("protocol")?.as_deref() {
            None | Some("smtp") => false,
            Some("lmtp") => true,
            Some(other) => {
                let why = format!("\"{other}\" is neither smtp nor lmtp");
                return Err(reader.refuse("protocol", &why));
            }
        },
        helo: string("helo")?,
        tls: tls(reader)?,
        auth: string("saslusername")?.map(|username| Credentials {
            username,
            password: String::new(),
        }),
        ..ClientSettings::default()
    };
    if let Some(helo) = &client.helo
        && !angarium_smtp::address::is_greeting_name(helo)
    {
        return Err(reader.refuse("helo", "this is no name of a host"));
    }
    if let Some(auth) = &mut client.auth {
        auth.password = string("saslpassword")?.unwrap_or_default();
    }
    if let Some(timeouts) = reader.array("timeout")? {
        for (state, seconds) in timeouts.as_array().into_iter().flat_map(|list| list.iter()) {
            let name = to_str(&state.to_value()).to_text().into_owned();
            let Ok(state) = name.parse::<State>() else {
                return Err(reader.refuse("timeout", &format!("\"{name}\" is no SMTP state")));
            };
            let seconds = to_number(&seconds);
            if !seconds.is_finite() || seconds <= 0.0 {
                return Err(reader.refuse("timeout", "expected numbers of seconds"));
            }
            let limit = Duration::from_secs_f64(seconds.min(86_400.0));
            client.timeouts.set(state, limit);
        }
    }
    if let Some(limit) = reader.seconds("connect_timeout")? {
        client.connect_timeout = limit;
    }
    let addresses: Vec<SourceIp> = source.into_iter().collect();
    Ok(Server {
        target,
        port,
        families: Families::of(addresses.iter().map(|source| source.address)),
        mx_include: reader.texts("mx_include")?,
        mx_exclude: reader.texts("mx_exclude")?,
        own,
        sources: Sources {
            addresses: addresses.into(),
            ordered: true,
        },
        nonlocal: reader.boolean("nonlocal_source").unwrap_or(false),
        client,
    })
}

/// `sourceip` or `sourceipid`.
fn source(post: &Post, reader: Reader<'_>) -> Result<Option<SourceIp>, Throw> {
    if let Some(id) = reader.text("sourceipid")?.filter(|id| !id.is_empty()) {
        let book = settings::addresses(post.scripts.running());
        return match book.0.get(&*id.to_str()) {
            Some(source) => Ok(Some(source.clone())),
            None => Err(reader.refuse("sourceipid", &format!("\"{id}\" is no configured id"))),
        };
    }
    let Some(text) = reader.text("sourceip")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address = text.to_str().parse();
    let address =
        address.map_err(|_| reader.refuse("sourceip", &format!("\"{text}\" is no address")))?;
    Ok(Some(SourceIp {
        id: None,
        address,
        helo: None,
    }))
}

fn tls(reader: Reader<'_>) -> Result<TlsSettings, Throw> {
    let mut tls = TlsSettings {
        default_ca: reader.boolean("tls_default_ca").unwrap_or(false),
        verify_host: reader.boolean("tls_verify_host").unwrap_or(false),
        ..TlsSettings::default()
    };
    if let Some(mode) = reader.text("tls")? {
        let mode = TlsMode::from_name(&mode.to_str());
        tls.mode = mode.map_err(|why| reader.refuse("tls", &why))?;
    }
    tls.sni = match reader.get("tls_sni") {
        None | Some(Value::Boolean(false)) => Sni::Off,
        Some(Value::Boolean(true)) => Sni::Host,
        Some(name) => match to_str(&name).to_text().into_owned() {
            name if name.is_empty() => Sni::Off,
            name => Sni::Name(name),
        },
    };
    if let Some(protocols) = reader.text("tls_protocols")? {
        let parsed: TlsProtocols = protocols
            .to_str()
            .parse()
            .map_err(|_| reader.refuse("tls_protocols", "these are no TLS versions"))?;
        tls.versions = Versions::from(&parsed);
    }
    let names = reader.texts("tls_verify_name")?;
    tls.verify_names = names.iter().map(ToString::to_string).collect();
    Ok(tls)
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
