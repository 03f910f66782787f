//! `Try`: its options, and what they set for one attempt.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::attempt::SmtpState;
use angarium_queue::item::{Address, Pairs};
use angarium_queue::text::Text;
use angarium_queue::transport::{HostOverride, Plan, SourceIp};
use angarium_runtime::array::Key;
use angarium_runtime::convert::{to_number, to_str};
use angarium_runtime::native::{OptDecl, Throw, opt};
use angarium_runtime::value::Value;
use angarium_smtp::client::Credentials;
use angarium_stdlib::network::Names;
use rustls::sign::CertifiedKey;

use crate::delivery::dial::Proxy;
use crate::hooks::envelope;
use crate::hooks::options::{Reader, dsn_request};

/// What `Try` sets for one attempt.
#[derive(Debug, Default)]
pub struct Try {
    /// What the queue must know.
    pub plan: Plan,
    /// What only the client needs.
    pub client: Client,
}

/// Settings of the SMTP client for one attempt; what is none comes from the transport.
#[derive(Debug, Default, Clone)]
pub struct Client {
    /// `protocol`: LMTP instead of SMTP.
    pub lmtp: Option<bool>,
    /// `helo`
    pub helo: Option<String>,
    /// `sourceip` was given: the names of its entries win over `helo`.
    pub own_sources: bool,
    /// `nonlocal_source`: bind addresses that are not this machine's.
    pub nonlocal: Option<bool>,
    /// The address of MAIL; an empty one is the null sender.
    pub sender: Option<Address>,
    /// Parameters of MAIL.
    pub senderparams: Option<Pairs>,
    /// The address of RCPT.
    pub recipient: Option<Address>,
    /// Parameters of RCPT.
    pub recipientparams: Option<Pairs>,
    /// `tls`
    pub tls: Option<TlsMode>,
    /// `tls_sni`
    pub tls_sni: Option<Sni>,
    /// `tls_verify_host`
    pub tls_verify_host: Option<bool>,
    /// `tls_verify_name`
    pub tls_verify_name: Vec<String>,
    /// `tls_default_ca`
    pub tls_default_ca: Option<bool>,
    /// `tls_protocols`
    pub tls_protocols: Option<String>,
    /// `tls_ciphers`: a cipher list in OpenSSL's words.
    pub tls_ciphers: Option<String>,
    /// `saslusername` and `saslpassword`; an empty name logs in as nobody.
    pub auth: Option<Credentials>,
    /// `xclient`: attributes, names in upper case.
    pub xclient: Option<Vec<(String, String)>>,
    /// `timeout`
    pub timeouts: Vec<(SmtpState, Duration)>,
    /// `connect_timeout`
    pub connect_timeout: Option<Duration>,
    /// `tls_client_cert`
    pub tls_client_cert: Option<Arc<CertifiedKey>>,
    /// `proxyprotocol`
    pub proxy: Option<Proxy>,
    /// `chunking`: by BDAT where the server takes that.
    pub chunking: Option<bool>,
    /// `pooling.enabled`
    pub pooling: Option<bool>,
    /// `pooling.timeout`
    pub pooling_timeout: Option<Duration>,
    /// `pooling.transactions`
    pub pooling_transactions: Option<u64>,
    /// `pooling.evictable`
    pub pooling_evictable: Option<bool>,
}

/// The name that the peer is told in the handshake (RFC 6066).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sni {
    /// None.
    #[default]
    Off,
    /// That of the host connected to.
    Host,
    /// This one.
    Name(String),
}

/// How the client uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When offered; no property of a certificate matters; without TLS if the handshake fails.
    Optional,
    /// When offered; whether the certificate is good is recorded.
    OptionalVerify,
    /// Always, with any certificate.
    Require,
    /// Always, with a good certificate.
    RequireVerify,
}

impl TlsMode {
    /// The mode called `name`; an error text for one that is unknown or not there yet.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn from_name(name: &str) -> Result<TlsMode, String> {
        match name {
            "disabled" => Ok(TlsMode::Disabled),
            "optional" => Ok(TlsMode::Optional),
            "optional_verify" => Ok(TlsMode::OptionalVerify),
            "require" => Ok(TlsMode::Require),
            "require_verify" => Ok(TlsMode::RequireVerify),
            _ if name.starts_with("dane") => Err(format!("the mode {name} is not available yet")),
            _ => Err(format!(
                "\"{name}\" is none of disabled, optional, optional_verify, require, require_verify"
            )),
        }
    }
}

/// Options about TLS, those of `SetTLS` too.
pub(in crate::hooks) const TLS: [OptDecl; 8] = [
    opt(
        "tls",
        "string",
        "",
        "disabled, optional, optional_verify, require or require_verify",
    ),
    opt(
        "tls_sni",
        "string|boolean",
        "false",
        "name for SNI; true for the host connected to",
    ),
    opt("tls_protocols", "string", "!SSLv2,!SSLv3", "TLS versions"),
    opt("tls_ciphers", "string", "", "cipher list"),
    opt(
        "tls_verify_host",
        "boolean",
        "false",
        "check the certificate's name against the host",
    ),
    opt(
        "tls_verify_name",
        "array",
        "",
        "names that the certificate may have",
    ),
    opt(
        "tls_default_ca",
        "boolean",
        "true",
        "trust the system's certificate authorities",
    ),
    opt(
        "tls_client_cert",
        "string|array",
        "",
        "id of a key pair, or an array of x509, privatekey and chain",
    ),
];

/// The options of `Try`.
pub(super) const TRY: &[OptDecl] = &[
    opt(
        "host",
        "string",
        "",
        "address, host name or lookup-mx, instead of the transport's",
    ),
    opt("port", "number", "", "port, instead of the transport's"),
    opt("protocol", "string", "", "smtp or lmtp"),
    opt(
        "sender",
        "string|array",
        "",
        "address of MAIL: a string, or localpart, domain and params",
    ),
    opt("recipient", "string|array", "", "address of RCPT likewise"),
    opt("helo", "string", "", "name for EHLO"),
    opt(
        "sourceip",
        "array",
        "",
        "source addresses: ids, or arrays of id or address and name for EHLO",
    ),
    opt(
        "sourceip_random",
        "boolean",
        "true",
        "false tries the addresses in their order",
    ),
    opt(
        "nonlocal_source",
        "boolean",
        "false",
        "bind addresses that are not this machine's",
    ),
    opt(
        "proxyprotocol",
        "array",
        "",
        "server and port of a proxy that connects, and is told from where and where to (PROXY protocol)",
    ),
    opt("saslusername", "string", "", "log in with this name"),
    opt("saslpassword", "string", "", "and this password"),
    TLS[0],
    TLS[1],
    TLS[2],
    TLS[3],
    TLS[4],
    TLS[5],
    TLS[6],
    TLS[7],
    opt(
        "xclient",
        "array",
        "",
        "XCLIENT attributes, of which those are sent that the server announces",
    ),
    opt("mx_include", "array", "", "use only these MX names"),
    opt("mx_exclude", "array", "", "do not use these MX names"),
    opt(
        "ip_exclude",
        "array",
        "",
        "do not use these addresses or networks",
    ),
    opt("jobid", "string", "", "job for the policies"),
    opt("tenantid", "string", "", "tenant for the policies"),
    opt("timeout", "array", "", "seconds by SMTP state"),
    opt("connect_timeout", "number", "30", "seconds"),
    opt(
        "dsn",
        "array",
        "",
        "RFC 3461 data for this attempt, and `success`: relayed or delivered",
    ),
    opt(
        "plugin",
        "array",
        "",
        "deliver through a plugin; not available yet",
    ),
    opt(
        "pooling",
        "array",
        "",
        "enabled, timeout, transactions, evictable",
    ),
    opt(
        "chunking",
        "boolean",
        "false",
        "send by BDAT where the server announces CHUNKING",
    ),
];

/// Reads the options of `Try`.
///
/// # Errors
/// An Exception for values that cannot be, and for a delivery plugin, of which there are none yet.
pub fn read_try(
    value: &Value,
    book: Option<&AddressBook>,
    names: &dyn Names,
) -> Result<Try, Throw> {
    let reader = Reader::new("Try", value);
    if reader.boolean("plugin") == Some(true) {
        return Err(reader.refuse("plugin", "not available yet"));
    }
    let string =
        |name: &str| Ok::<_, Throw>(reader.text(name)?.map(|text| text.to_str().into_owned()));
    let strings = |name: &str| {
        Ok::<Vec<String>, Throw>(
            reader
                .texts(name)?
                .iter()
                .map(|text| text.to_str().into_owned())
                .collect(),
        )
    };
    let mut attempt = Try::default();
    let (plan, client) = (&mut attempt.plan, &mut attempt.client);
    plan.host = reader.text("host")?.map(|host| match host.as_bytes() {
        b"lookup-mx" => HostOverride::LookupMx,
        _ => HostOverride::Host(host),
    });
    if let Some(port) = reader.get("port") {
        let port = to_number(&port);
        if port.fract() != 0.0 || !(1.0..=65_535.0).contains(&port) {
            return Err(reader.refuse("port", "expected a number from 1 to 65535"));
        }
        plan.port = Some(port as u16);
    }
    client.lmtp = match string("protocol")?.as_deref() {
        None => None,
        Some("smtp") => Some(false),
        Some("lmtp") => Some(true),
        Some(other) => {
            return Err(reader.refuse("protocol", &format!("\"{other}\" is neither smtp nor lmtp")));
        }
    };
    if let Some(sender) = reader.get("sender") {
        let path = envelope::reverse_path(&sender, "Try: option sender")?;
        client.sender = Some(Address::new(path.localpart(), path.domain()));
        client.senderparams = Reader::new("Try", &sender).parameters("params")?;
    }
    if let Some(recipient) = reader.get("recipient") {
        let mailbox = envelope::mailbox(&recipient, "Try: option recipient")?;
        plan.domain = Some(Text::from(mailbox.domain()));
        client.recipient = Some(Address::new(mailbox.localpart(), mailbox.domain()));
        client.recipientparams = Reader::new("Try", &recipient).parameters("params")?;
    }
    client.helo = string("helo")?;
    if let Some(list) = reader.array("sourceip")? {
        let list = list.as_array().into_iter().flat_map(|list| list.values());
        let own: Result<Vec<SourceIp>, Throw> = list
            .map(|entry| source(&entry, book, client.helo.as_deref()))
            .collect();
        let own = own?;
        // An empty list says nothing about the address.
        if !own.is_empty() {
            plan.sources = Some(own.into());
            client.own_sources = true;
        }
    }
    plan.ordered = reader.boolean("sourceip_random").map(|random| !random);
    client.nonlocal = reader.boolean("nonlocal_source");
    client.tls = match string("tls")? {
        Some(name) => Some(TlsMode::from_name(&name).map_err(|why| reader.refuse("tls", &why))?),
        None => None,
    };
    client.tls_sni = match reader.get("tls_sni") {
        None => None,
        // Said by the script, it counts more than what the transport says.
        Some(Value::Boolean(false)) => Some(Sni::Off),
        Some(Value::Boolean(true)) => Some(Sni::Host),
        Some(name) => Some(match to_str(&name).to_text().into_owned() {
            name if name.is_empty() => Sni::Off,
            name => Sni::Name(name),
        }),
    };
    client.tls_verify_host = reader.boolean("tls_verify_host");
    client.tls_verify_name = strings("tls_verify_name")?;
    client.tls_default_ca = reader.boolean("tls_default_ca");
    client.tls_protocols = string("tls_protocols")?;
    client.tls_ciphers = string("tls_ciphers")?;
    client.tls_client_cert = angarium_stdlib::smtp::certificate("Try", value, names)?;
    let proxy = angarium_stdlib::smtp::proxy_server("Try", value)?;
    client.proxy = proxy.map(Proxy::from);
    client.auth = string("saslusername")?.map(|username| Credentials {
        username,
        password: String::new(),
        mechanism: None,
    });
    if let (Some(auth), Some(password)) = (&mut client.auth, string("saslpassword")?) {
        auth.password = password;
    }
    client.xclient = match reader.array("xclient")? {
        Some(_) => Some(angarium_stdlib::smtp::xclient("Try", value)?),
        None => None,
    };
    plan.mx_include = reader.texts("mx_include")?;
    plan.mx_exclude = reader.texts("mx_exclude")?;
    for network in strings("ip_exclude")? {
        let parsed = network
            .parse()
            .or_else(|_| network.parse::<IpAddr>().map(Into::into));
        plan.ip_exclude.push(
            parsed.map_err(|_| {
                reader.refuse("ip_exclude", &format!("\"{network}\" is no network"))
            })?,
        );
    }
    plan.jobid = reader.text("jobid")?;
    plan.tenantid = reader.text("tenantid")?;
    if let Some(timeouts) = reader.array("timeout")? {
        for (state, seconds) in timeouts.as_array().into_iter().flat_map(|list| list.iter()) {
            let name = to_str(&state.to_value()).to_text().into_owned();
            let Some(state) = SmtpState::from_name(&name) else {
                return Err(reader.refuse("timeout", &format!("\"{name}\" is no SMTP state")));
            };
            let seconds = to_number(&seconds);
            if !seconds.is_finite() || seconds <= 0.0 {
                return Err(reader.refuse("timeout", "expected numbers of seconds"));
            }
            client
                .timeouts
                .push((state, Duration::from_secs_f64(seconds.min(86_400.0))));
        }
    }
    client.connect_timeout = reader.seconds("connect_timeout")?;
    client.chunking = reader.boolean("chunking");
    if let Some(dsn) = reader.array("dsn")? {
        plan.dsn = dsn_request("Try", &dsn)?;
        plan.success_is_delivered = match Reader::new("Try", &dsn)
            .text("success")?
            .as_ref()
            .map(Text::as_bytes)
        {
            None | Some(b"relayed") => false,
            Some(b"delivered") => true,
            Some(_) => return Err(reader.refuse("dsn.success", "expected relayed or delivered")),
        };
    }
    if let Some(pooling) = reader.array("pooling")? {
        let pooling = Reader::new("Try", &pooling);
        client.pooling = pooling.boolean("enabled");
        client.pooling_timeout = pooling.seconds("timeout")?;
        client.pooling_transactions = match pooling.get("transactions") {
            None => None,
            Some(number) => {
                let number = to_number(&number);
                if !(number.fract() == 0.0 && (0.0..=1e15).contains(&number)) {
                    return Err(
                        reader.refuse("pooling.transactions", "expected a whole number, 0 or more")
                    );
                }
                Some(number as u64)
            }
        };
        client.pooling_evictable = pooling.boolean("evictable");
    }
    Ok(attempt)
}

/// The configured source addresses by id; copies share them.
#[derive(Clone, Debug, Default)]
pub struct AddressBook(Arc<HashMap<String, SourceIp>>);

impl AddressBook {
    /// The address with an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&SourceIp> {
        self.0.get(id)
    }
}

impl FromIterator<(String, SourceIp)> for AddressBook {
    fn from_iter<I: IntoIterator<Item = (String, SourceIp)>>(entries: I) -> AddressBook {
        AddressBook(Arc::new(entries.into_iter().collect()))
    }
}

/// One entry of `sourceip`: an id or address, or an array with `id` or `address`, and `helo`.
///
/// The name of the entry wins over `helo` of the same call, and that over the configured one.
fn source(
    entry: &Value,
    book: Option<&AddressBook>,
    helo_for_all: Option<&str>,
) -> Result<SourceIp, Throw> {
    let text = |value: Value| to_str(&value).to_text().into_owned();
    let (name, helo) = match entry.as_array() {
        Some(array) => {
            // Scripts of the vendor write ["id or address", "name for EHLO"] too.
            let first = |name: &str, position: usize| {
                let value = array
                    .get_str(name)
                    .or_else(|| array.get(&Key::from(position)));
                value.filter(|value| !value.is_none()).map(text)
            };
            (
                array
                    .get_str("address")
                    .map(text)
                    .or_else(|| first("id", 0)),
                first("helo", 1),
            )
        }
        None => (Some(text(entry.clone())), None),
    };
    let name =
        name.ok_or_else(|| Throw::error("Try: option sourceip: an entry needs id or address"))?;
    let mut source = match (
        book.and_then(|book| book.get(&name)),
        name.parse::<IpAddr>(),
    ) {
        (Some(source), _) => source.clone(),
        (None, Ok(address)) => SourceIp {
            id: None,
            address,
            helo: None,
        },
        (None, Err(_)) => {
            return Err(Throw::error(format!(
                "Try: option sourceip: \"{name}\" is no address and no configured id"
            )));
        }
    };
    if let Some(helo) = helo.as_deref().or(helo_for_all) {
        source.helo = Some(Text::from(helo));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use angarium_stdlib::network::NoNames;

    use super::*;
    use crate::hooks::variables::Map;

    fn read(options: Map) -> Result<Client, Throw> {
        read_try(&options.into(), None, &NoNames).map(|read| read.client)
    }

    #[test]
    fn an_sni_of_false_is_said_and_not_left_out() {
        let of = |value: Value| read(Map::default().with("tls_sni", value)).unwrap().tls_sni;
        assert_eq!(read(Map::default()).unwrap().tls_sni, None);
        assert_eq!(of(Value::Boolean(false)), Some(Sni::Off));
        assert_eq!(of(Value::Boolean(true)), Some(Sni::Host));
        assert_eq!(of(Value::from("")), Some(Sni::Off));
        assert_eq!(
            of(Value::from("mx.test")),
            Some(Sni::Name("mx.test".to_owned()))
        );
    }

    #[test]
    fn a_number_of_transactions_is_whole_and_not_negative() {
        let of = |number: f64| {
            let pooling = Map::default().with("transactions", number);
            let read = read(Map::default().with("pooling", pooling));
            read.map(|client| client.pooling_transactions)
        };
        assert_eq!(of(0.0).unwrap(), Some(0));
        assert_eq!(of(100.0).unwrap(), Some(100));
        for wrong in [-1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
