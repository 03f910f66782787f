//! Questions to other mail servers: whether they take a recipient, whether they know a user.
//!
//! The functions read their arguments, among them the options of a server (group SERVER), and hand a [`Question`] to the
//! host's [`Lookup`], which speaks SMTP.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::{to_number, to_str, truthy};
use angarium_runtime::native::{Args, Cx, FnDecl, LocalFuture, Options, Outcome, Task, Throw, opt};
use angarium_runtime::value::{Kind, Value};
use rustls::sign::CertifiedKey;

use crate::network::{Names, network};
use crate::tls;
use crate::wait::then;
use crate::x509;

/// The SMTP client, as an extension of the [`Host`](angarium_runtime::host::Host).
pub struct SmtpService(pub Rc<dyn Lookup>);

/// Asks other mail servers.
pub trait Lookup {
    /// Asks.
    ///
    /// # Errors
    /// A sentence about what of the question can never work: an unknown transport, an unknown state.
    fn ask(&self, question: Question) -> Result<LocalFuture<Answer>, String>;
}

/// What is asked.
#[derive(Clone)]
pub struct Question {
    /// Whom to ask.
    pub server: Server,
    /// What for.
    pub about: About,
}

/// What is asked for.
#[derive(Clone)]
pub enum About {
    /// Whether a recipient is taken.
    Recipient {
        /// The address of MAIL.
        sender: Path,
        /// The address of RCPT.
        recipient: Path,
    },
    /// Whether a name and password are good.
    User {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

/// An address as scripts give it.
#[derive(Clone, Debug)]
pub struct Path {
    /// The address.
    pub address: PathAddress,
    /// Parameters of its command.
    pub params: Vec<(String, String)>,
}

/// The two forms of an address.
#[derive(Clone, Debug)]
pub enum PathAddress {
    /// One string.
    Text(String),
    /// Local part and domain.
    Parts(String, String),
}

/// A server.
#[derive(Clone)]
pub enum Server {
    /// That of a transport of the configuration.
    Transport(String),
    /// One that options describe.
    Options(Box<ServerOptions>),
}

/// The options of group SERVER.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where it is.
    pub host: Destination,
    /// The port.
    pub port: u16,
    /// The name to greet with; none: the system's.
    pub helo: Option<String>,
    /// The local address.
    pub source: Option<IpAddr>,
    /// Its id in the configuration, if it was named by one.
    pub source_id: Option<String>,
    /// Whether that need not be this machine's.
    pub nonlocal: bool,
    /// User name and password.
    pub auth: Option<(String, String)>,
    /// Whether TLS is used.
    pub tls: TlsMode,
    /// The name that the peer is told.
    pub sni: Sni,
    /// TLS versions, as OpenSSL's list has them.
    pub protocols: Option<String>,
    /// Ciphers, as OpenSSL's list has them.
    pub ciphers: Option<String>,
    /// In the verifying modes: the certificate must be the host's.
    pub verify_host: bool,
    /// In the verifying modes: the certificate must have one of these names.
    pub verify_names: Vec<String>,
    /// Trust the system's authorities.
    pub default_ca: bool,
    /// Our own certificate.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Attributes for XCLIENT, names in upper case.
    pub xclient: Vec<(String, String)>,
    /// A proxy that connects to the host and is told the source in the PROXY protocol.
    pub proxy: Option<SocketAddr>,
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    /// BDAT where the server announces CHUNKING.
    pub chunking: bool,
    /// Only mail exchangers with one of these names.
    pub mx_include: Vec<String>,
    /// No mail exchanger with one of these names.
    pub mx_exclude: Vec<String>,
    /// Time limits by SMTP state.
    pub timeouts: Vec<(String, Duration)>,
    /// Time limit of connecting.
    pub connect_timeout: Duration,
    /// Whether the result has the peer's certificate.
    pub capture: bool,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The options do not say.
    Unsaid,
    /// The mail exchangers of the recipient's domain.
    LookupMx,
    /// At this address or host.
    Host(String),
}

/// When TLS is used, and whether the certificate matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If offered, with any certificate.
    Optional,
    /// If offered, with a good certificate; else in clear.
    OptionalVerify,
    /// Always, with any certificate.
    Require,
    /// Always, with a good certificate.
    RequireVerify,
}

impl TlsMode {
    /// Whether the certificate is looked at.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, TlsMode::OptionalVerify | TlsMode::RequireVerify)
    }
}

/// The name for SNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sni {
    /// None.
    Off,
    /// That of the host connected to.
    Host,
    /// This one.
    Name(String),
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer.
    pub verdict: Verdict,
    /// The code of the reply that decided it; 0 where there was none.
    pub code: u16,
    /// Its text, or what went wrong.
    pub message: String,
    /// Whether it was the reply to RCPT.
    pub on_rcptto: bool,
    /// How TLS went.
    pub tls: TlsAnswer,
}

/// The answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, or known.
    Yes,
    /// Refused for good.
    No,
    /// Nobody knows.
    Error,
}

/// How TLS went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsAnswer {
    /// Whether it was started.
    pub started: bool,
    /// OpenSSL's name of the version.
    pub protocol: Option<String>,
    /// OpenSSL's name of the cipher.
    pub cipher: Option<String>,
    /// Bits of its key.
    pub keysize: Option<u32>,
    /// The peer's certificate and its chain in DER form.
    pub chain: Vec<Vec<u8>>,
}

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::task(
        "smtp_lookup_rcpt(server: string|array, sender: string|array, recipient: string|array, options?: array): number|array",
        "Asks a mail server whether it takes a recipient, without sending anything: 1 if so, 0 if it refuses with a 5xx \
         reply, -1 for a 4xx reply and when there is none. `server` is the id of a transport, or the options of a server, by \
         default the mail exchangers of the recipient's domain. Addresses are strings, or arrays of localpart, domain and \
         params. With `extended_result` the result is an array of error_code, error_message, on_rcptto and tls.",
        lookup_rcpt,
    )
    .options(&[opt("extended_result", "boolean", "false", "give an array that says more")])
    .groups(&["SERVER"])
    .example(r#"smtp_lookup_rcpt(["host" => "mx.example"], "", "user@example.com") // 1"#),
    FnDecl::task(
        "smtp_lookup_auth(server: string|array, username: string, password: string): number",
        "Asks a mail server whether a name and password are good, by AUTH: 1 if so, 0 if it refuses them, -1 when that \
         cannot be found out.",
        lookup_auth,
    )
    .groups(&["SERVER"])
    .example(r#"smtp_lookup_auth(["host" => "mx.example"], "user", "secret") // 1"#),
];

fn lookup_rcpt(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let extended = args.options(3).boolean("extended_result", false);
    let names = network(cx, "smtp_lookup_rcpt")?;
    let server = Server::read("smtp_lookup_rcpt", args.get(0), &*names.names)?;
    let capture = matches!(&server, Server::Options(options) if options.capture);
    let question = Question {
        about: About::Recipient {
            sender: path("smtp_lookup_rcpt: sender", args.get(1))?,
            recipient: path("smtp_lookup_rcpt: recipient", args.get(2))?,
        },
        server,
    };
    let answer = ask(cx, "smtp_lookup_rcpt", question)?;
    Ok(then(answer, move |cx, answer| {
        if extended {
            show(cx, answer, capture)
        } else {
            Ok(number(answer.verdict))
        }
    }))
}

fn lookup_auth(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let text = |index: usize| String::from_utf8_lossy(args.bytes(index)).into_owned();
    let names = network(cx, "smtp_lookup_auth")?;
    let server = Server::read("smtp_lookup_auth", args.get(0), &*names.names)?;
    let question = Question {
        about: About::User {
            username: text(1),
            password: text(2),
        },
        server,
    };
    let answer = ask(cx, "smtp_lookup_auth", question)?;
    Ok(then(answer, |_, answer| Ok(number(answer.verdict))))
}

fn ask(cx: &mut Cx<'_>, function: &str, question: Question) -> Result<LocalFuture<Answer>, Throw> {
    cx.charge(2000);
    let service = cx
        .host
        .extension::<SmtpService>()
        .ok_or_else(|| Throw::error(format!("{function}: there is no SMTP client here")))?;
    service
        .0
        .ask(question)
        .map_err(|why| Throw::error(format!("{function}: {why}")))
}

fn number(verdict: Verdict) -> Value {
    Value::Number(match verdict {
        Verdict::Yes => 1.0,
        Verdict::No => 0.0,
        Verdict::Error => -1.0,
    })
}

fn show(cx: &mut Cx<'_>, answer: Answer, capture: bool) -> Outcome {
    let mut tls = Array::new();
    tls.insert(Key::from("started"), answer.tls.started.into());
    if let Some(protocol) = answer.tls.protocol {
        tls.insert(Key::from("protocol"), protocol.into());
    }
    if let Some(cipher) = answer.tls.cipher {
        tls.insert(Key::from("cipher"), cipher.into());
    }
    if let Some(keysize) = answer.tls.keysize {
        tls.insert(Key::from("keysize"), keysize.into());
    }
    let mut chain = answer.tls.chain.into_iter();
    if let (true, Some(certificate)) = (capture, chain.next()) {
        let mut peer = Array::new();
        cx.reserve(certificate.len())?;
        if let Some(resource) = x509::resource(certificate) {
            peer.insert(Key::from("x509"), resource);
        }
        let chain: Vec<Value> = chain.filter_map(x509::resource).collect();
        peer.insert(Key::from("chain"), Array::from_list(chain).into());
        tls.insert(Key::from("peercert"), peer.into());
    }
    let mut array = Array::new();
    array.insert(Key::from("error_code"), u32::from(answer.code).into());
    array.insert(Key::from("error_message"), answer.message.into());
    array.insert(Key::from("on_rcptto"), answer.on_rcptto.into());
    array.insert(Key::from("tls"), tls.into());
    Ok(array.into())
}

/// An address in one of its forms.
fn path(what: &str, value: &Value) -> Result<Path, Throw> {
    let text = |value: &Value| to_str(value).to_text().into_owned();
    let Some(array) = value.as_array() else {
        return Ok(Path {
            address: PathAddress::Text(text(value)),
            params: Vec::new(),
        });
    };
    let (Some(localpart), Some(domain)) = (array.get_str("localpart"), array.get_str("domain"))
    else {
        return Err(Throw::error(format!(
            "{what}: localpart or domain is missing"
        )));
    };
    let mut params = Vec::new();
    if let Some(given) = array.get_str("params") {
        for (name, value) in given.as_array().into_iter().flat_map(|list| list.iter()) {
            params.push((text(&name.to_value()), text(&value)));
        }
    }
    Ok(Path {
        address: PathAddress::Parts(text(&localpart), text(&domain)),
        params,
    })
}

impl Server {
    /// Reads the argument `server` of `function`.
    ///
    /// # Errors
    /// An Exception for an option of a wrong type or value, and for DANE, which is not there yet.
    pub fn read(function: &str, value: &Value, names: &dyn Names) -> Result<Server, Throw> {
        match value.as_array() {
            None => Ok(Server::Transport(to_str(value).to_text().into_owned())),
            Some(_) => {
                let options = read(&Reader { function, value }, names)?;
                Ok(Server::Options(Box::new(options)))
            }
        }
    }
}

/// Reads the options; the table does not check what stands in the first argument.
struct Reader<'a> {
    function: &'a str,
    value: &'a Value,
}

impl Reader<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        let found = self.value.as_array()?.get_str(name);
        found.filter(|value| !value.is_none())
    }

    fn refuse(&self, name: &str, why: &str) -> Throw {
        Throw::error(format!("{}: option {name}: {why}", self.function))
    }

    fn expected(&self, name: &str, expected: &str, got: &Value) -> Throw {
        self.refuse(
            name,
            &format!("expected {expected}, got {}", got.kind().name()),
        )
    }

    fn text(&self, name: &str) -> Result<Option<String>, Throw> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) => {
                Ok(Some(to_str(&value).to_text().into_owned()))
            }
            Some(value) => Err(self.expected(name, "string", &value)),
        }
    }

    /// The same, where an empty text says nothing.
    fn filled(&self, name: &str) -> Result<Option<String>, Throw> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Throw> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) => {
                Ok(Some(to_number(&value)))
            }
            Some(value) => Err(self.expected(name, "number", &value)),
        }
    }

    fn boolean(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| truthy(&value))
    }

    fn list(&self, name: &str) -> Result<Vec<String>, Throw> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) => match value.as_array() {
                Some(list) => Ok(list
                    .values()
                    .map(|value| to_str(&value).to_text().into_owned())
                    .collect()),
                None => Err(self.expected(name, "array", &value)),
            },
        }
    }

    fn seconds(&self, name: &str, seconds: f64) -> Result<Duration, Throw> {
        if !seconds.is_finite() || seconds <= 0.0 {
            return Err(self.refuse(name, "expected a number of seconds"));
        }
        Ok(Duration::from_secs_f64(seconds.min(86_400.0)))
    }
}

fn read(reader: &Reader<'_>, names: &dyn Names) -> Result<ServerOptions, Throw> {
    let port = port(reader, "port", reader.number("port")?.unwrap_or(25.0))?;
    let mut timeouts = Vec::new();
    if let Some(given) = reader.get("timeout") {
        let given = given
            .as_array()
            .ok_or_else(|| reader.expected("timeout", "array", &given))?;
        for (state, seconds) in given.iter() {
            let state = to_str(&state.to_value()).to_text().into_owned();
            timeouts.push((state, reader.seconds("timeout", to_number(&seconds))?));
        }
    }
    let auth = match (reader.text("saslusername")?, reader.text("saslpassword")?) {
        (Some(name), password) => Some((name, password.unwrap_or_default())),
        (None, _) => None,
    };
    Ok(ServerOptions {
        host: match reader.text("host")? {
            Some(host) if host == "lookup-mx" => Destination::LookupMx,
            Some(host) if !host.is_empty() => Destination::Host(host),
            _ => Destination::Unsaid,
        },
        port,
        helo: reader.text("helo")?,
        source: source(reader, names)?,
        source_id: match reader.filled("sourceip")? {
            None => reader.filled("sourceipid")?,
            Some(_) => None,
        },
        nonlocal: reader.boolean("nonlocal_source"),
        auth,
        tls: mode(reader)?,
        sni: match reader.get("tls_sni") {
            None | Some(Value::Boolean(false)) => Sni::Off,
            Some(Value::Boolean(true)) => Sni::Host,
            Some(name) => match to_str(&name).to_text().into_owned() {
                name if name.is_empty() => Sni::Off,
                name => Sni::Name(name),
            },
        },
        protocols: reader.text("tls_protocols")?,
        ciphers: reader.text("tls_ciphers")?,
        verify_host: reader.boolean("tls_verify_host"),
        verify_names: reader.list("tls_verify_name")?,
        default_ca: reader.boolean("tls_default_ca"),
        certificate: tls::certificate(reader.function, &Options::of(reader.value), names)?,
        xclient: attributes(reader)?,
        proxy: proxy(reader)?,
        lmtp: match reader.text("protocol")?.as_deref() {
            None | Some("smtp") => false,
            Some("lmtp") => true,
            Some(other) => {
                let why = format!("\"{other}\" is neither smtp nor lmtp");
                return Err(reader.refuse("protocol", &why));
            }
        },
        chunking: reader.get("chunking").is_none_or(|value| truthy(&value)),
        mx_include: reader.list("mx_include")?,
        mx_exclude: reader.list("mx_exclude")?,
        timeouts,
        connect_timeout: match reader.number("connect_timeout")? {
            Some(seconds) => reader.seconds("connect_timeout", seconds)?,
            None => Duration::from_secs(30),
        },
        capture: reader.boolean("tls_capture_peer_cert"),
    })
}

fn port(reader: &Reader<'_>, option: &str, port: f64) -> Result<u16, Throw> {
    if port.fract() != 0.0 || !(1.0..=65_535.0).contains(&port) {
        return Err(reader.refuse(option, "expected a port from 1 to 65535"));
    }
    Ok(port as u16)
}

fn source(reader: &Reader<'_>, names: &dyn Names) -> Result<Option<IpAddr>, Throw> {
    if let Some(written) = reader.filled("sourceip")? {
        return match written.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(reader.refuse("sourceip", &format!("{written:?} is no IP address"))),
        };
    }
    match reader.filled("sourceipid")? {
        None => Ok(None),
        Some(id) => match names.address(&id) {
            Some(address) => Ok(Some(address)),
            None => Err(reader.refuse("sourceipid", &format!("there is no address {id:?}"))),
        },
    }
}

/// Bytes of all attributes of XCLIENT: the command is one line of at most 512 bytes (RFC 5321 §4.5.3.1.4), and each byte may
/// be written as three.
const MOST_XCLIENT: usize = 160;

/// The option `xclient` of `function`: attributes, names in upper case.
///
/// # Errors
/// An Exception for what cannot be sent.
pub fn xclient(function: &str, options: &Value) -> Result<Vec<(String, String)>, Throw> {
    let reader = Reader {
        function,
        value: options,
    };
    attributes(&reader)
}

/// The option `tls_client_cert` of `function`: our own certificate.
///
/// # Errors
/// An Exception for an id that is unknown and for a pair that cannot be used.
pub fn certificate(
    function: &str,
    options: &Value,
    names: &dyn Names,
) -> Result<Option<Arc<CertifiedKey>>, Throw> {
    tls::certificate(function, &Options::of(options), names)
}

/// The option `proxyprotocol` of `function`: a proxy that connects in our place.
///
/// # Errors
/// An Exception for what is no address.
pub fn proxy_server(function: &str, options: &Value) -> Result<Option<SocketAddr>, Throw> {
    let reader = Reader {
        function,
        value: options,
    };
    proxy(&reader)
}

fn attributes(reader: &Reader<'_>) -> Result<Vec<(String, String)>, Throw> {
    let Some(given) = reader.get("xclient") else {
        return Ok(Vec::new());
    };
    let array = given.as_array();
    let array = array.ok_or_else(|| reader.expected("xclient", "array", &given))?;
    let mut pairs = Vec::new();
    for (name, value) in array.iter() {
        if !matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) {
            return Err(reader.expected("xclient", "strings", &value));
        }
        let name = to_str(&name.to_value()).to_text().into_owned();
        pairs.push((name, to_str(&value).to_text().into_owned()));
    }
    xclient_attributes(pairs).map_err(|why| reader.refuse("xclient", &why))
}

/// Attributes for XCLIENT, names in upper case, within the length that a command may have.
///
/// # Errors
/// What cannot be sent.
pub fn xclient_attributes(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, String)>, String> {
    let mut attributes = Vec::new();
    let mut bytes = 0;
    for (name, value) in pairs {
        let name = name.to_ascii_uppercase();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(good) {
            return Err(format!("{name:?} is no name of an attribute"));
        }
        bytes += name.len() + value.len() + 2;
        attributes.push((name, value));
    }
    if bytes > MOST_XCLIENT {
        return Err(format!(
            "the attributes have more than {MOST_XCLIENT} bytes"
        ));
    }
    Ok(attributes)
}

fn proxy(reader: &Reader<'_>) -> Result<Option<SocketAddr>, Throw> {
    let Some(given) = reader.get("proxyprotocol") else {
        return Ok(None);
    };
    let array = given.as_array();
    let array = array.ok_or_else(|| reader.expected("proxyprotocol", "array", &given))?;
    if array.is_empty() {
        return Ok(None);
    }
    let server = array.get_str("server").unwrap_or_default();
    let address = to_str(&server).to_text().parse();
    let address =
        address.map_err(|_| reader.refuse("proxyprotocol", "server: an IP address is needed"))?;
    let number = array
        .get_str("port")
        .map_or(f64::NAN, |port| to_number(&port));
    Ok(Some(SocketAddr::new(
        address,
        port(reader, "proxyprotocol", number)?,
    )))
}

fn mode(reader: &Reader<'_>) -> Result<TlsMode, Throw> {
    Ok(match reader.text("tls")?.as_deref() {
        None | Some("disabled") => TlsMode::Disabled,
        Some("optional") => TlsMode::Optional,
        Some("optional_verify") => TlsMode::OptionalVerify,
        Some("require") => TlsMode::Require,
        Some("require_verify") => TlsMode::RequireVerify,
        Some(other) if other.starts_with("dane") => {
            let why =
                format!("the mode {other} is not available yet: no resolver here validates DNSSEC");
            return Err(reader.refuse("tls", &why));
        }
        Some(other) => {
            let why = format!(
                "\"{other}\" is none of disabled, optional, optional_verify, require, require_verify"
            );
            return Err(reader.refuse("tls", &why));
        }
    })
}
