//! `http()`: requests to web servers (RFC 9110, 9112).

pub mod background;
mod connect;
mod exchange;
mod idle;
mod outgoing;
mod proxy;
mod request;
mod url;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{
    Args, Cx, FnDecl, Input, LocalFuture, Options, Outcome, Step, Task, Throw, opt,
};
use angarium_runtime::object::Function;
use angarium_runtime::value::Value;
use smallvec::smallvec;

use crate::file::budget;
use crate::network::{Network, network};
use crate::socket::too_long;
use crate::tls::{self, TlsOptions};
use crate::wait::ready;
use background::{Background, Waiting};
use exchange::{Answer, HttpError, Outside, exchange};
use outgoing::Upload;
use proxy::Proxy;
use request::{Body, Fields, OCTETS, Part, Request};
use url::Url;

/// Bytes that a function is asked for at once.
const PIECE: f64 = 65536.0;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::task(
    "http(url: string, options?: array, get?: array, post?: array|string|function|File): string|array|none",
    "Makes an HTTP request and gives the body of an answer with a status from 200 to 299; none for another status, and \
     when there is no answer. `$1`, `$2` and so on in the URL stand for the values of `get`, which are URL-encoded. `post` \
     is a form as it is (a string), the fields of one (an array, with File for files), a File, or a function that is \
     called with the number of bytes wanted and gives the next piece, an empty one at the end. Connections are used again for \
     half a minute. Only certificates of \
     authorities that are trusted are accepted, and those of the system only with `tls_default_ca`. A header with a line \
     end or NUL raises an Exception; a URL that cannot be one gives none.",
    http,
)
.options(&[
    opt("extended_result", "boolean", "false", "give `status` and `content` for any status"),
    opt("connect_timeout", "number", "10", "seconds for the connection; 0 for no limit"),
    opt("timeout", "number", "", "seconds for the transfer after connecting; 0 for no limit"),
    opt("max_file_size", "number", "", "bytes that the answer may have"),
    opt("sourceip", "string", "", "local address"),
    opt("sourceipid", "string", "", "local address by its id in the configuration"),
    opt("method", "string", "", "default GET, with `post` POST"),
    opt("headers", "array", "[]", "\"Name: value\" strings; \"Name:\" leaves out a header that is sent by itself"),
    opt("response_headers", "boolean", "false", "put the headers of the answer before the body, for any status"),
    opt("redirects", "number", "0", "redirects to follow; -1 for any number"),
    opt("tls_verify_peer", "boolean", "true", "verify the chain of the certificate; older name `ssl_verify_peer`"),
    opt("tls_verify_host", "boolean", "false", "verify the name in the certificate; older name `ssl_verify_host`"),
    opt("tls_default_ca", "boolean", "false", "trust the system's certificate authorities; older name `ssl_default_ca`"),
    opt("tls_client_cert", "string|array", "", "id of the key pair to show, or an array of x509, privatekey and chain"),
    opt("background", "boolean", "false", "queue the request and give true, or none when it cannot be queued"),
    opt("background_hash", "number", "0", "number of the queue; requests of one queue are made one after the other"),
    opt("background_retry_count", "number", "0", "how often a request that failed is made again"),
    opt("background_retry_delay", "number", "0", "seconds before it is made again"),
    opt("proxy", "string", "", "URL of a proxy: http, socks4, socks4a, socks5 or socks5h (which resolves names itself); empty for none"),
    opt("unix_socket_path", "string", "", "connect to this socket of the machine"),
])
.example("http(\"no url\") // none")];

/// What is made of the answer.
#[derive(Clone, Copy)]
struct Shape {
    extended: bool,
    head: bool,
}

/// How a request is queued.
struct Later {
    queue: Arc<Background>,
    hash: f64,
    retries: u32,
    delay: Duration,
}

fn http(cx: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let network = network(cx, "http")?;
    let options = args.options(1);
    let shape = Shape {
        extended: options.boolean("extended_result", false),
        head: options.boolean("response_headers", false),
    };
    let later = later(&options, &network)?;
    let upload = match args.get(3) {
        Value::Function(function) => Some(Rc::clone(function)),
        _ => None,
    };
    let body = body(cx, args.get(3))?;
    let settings = Settings {
        body,
        shape,
        posts: !args.get(3).is_none(),
    };
    let url = with_values(args.bytes(0), args.get(2));
    let most = limit(&options)?;
    let request = read(&options, &network, &url, settings, most)?;
    args.take(3);
    let Some(request) = request else {
        return Ok(ready(Value::None));
    };
    cx.charge(2000 + url.len() + request.body.held() / 64);
    match (later, upload) {
        (Some(None), _) => Ok(ready(Value::None)),
        (Some(Some(later)), None) => Ok(ready(later.add(request))),
        (Some(Some(later)), Some(function)) => Ok(Box::new(Gather {
            request: Some(request),
            later,
            function,
            body: Vec::new(),
            asked: false,
        })),
        (None, upload) => {
            let outside = Outside {
                net: Rc::clone(&network.net),
                dns: Rc::clone(&cx.host.dns),
                clock: Rc::clone(&cx.host.clock),
                pool: Arc::clone(&cx.host.pool),
            };
            Ok(Box::new(Http::new(outside, request, upload, shape, most)))
        }
    }
}

/// How long an answer may be, and whether the script's budget is what limits it.
#[derive(Clone, Copy)]
struct Most {
    bytes: usize,
    by_budget: bool,
}

fn limit(options: &Options<'_>) -> Result<Most, Throw> {
    let budget = budget();
    let wanted = match options.get("max_file_size") {
        None => None,
        Some(_) => {
            let size = options.number("max_file_size", 0.0);
            if size.is_nan() || size < 0.0 {
                return Err(Throw::error(
                    "http: max_file_size must be a number of bytes",
                ));
            }
            Some(size as usize)
        }
    };
    Ok(match wanted {
        Some(bytes) if bytes <= budget => Most {
            bytes,
            by_budget: false,
        },
        _ => Most {
            bytes: budget,
            by_budget: true,
        },
    })
}

/// What `background` says; `Some(None)` when requests cannot be queued here.
fn later(options: &Options<'_>, network: &Network) -> Result<Option<Option<Later>>, Throw> {
    if !options.boolean("background", false) {
        return Ok(None);
    }
    let retries = options.number("background_retry_count", 0.0);
    let later = Later {
        queue: match &network.background {
            Some(queue) => Arc::clone(queue),
            None => return Ok(Some(None)),
        },
        hash: options.number("background_hash", 0.0),
        retries: retries as u32,
        delay: seconds(options, "background_retry_delay", 0.0)?.unwrap_or_default(),
    };
    Ok(Some(Some(later)))
}

impl Later {
    fn add(&self, request: Request) -> Value {
        let waiting = Waiting {
            request,
            retries: self.retries,
            delay: self.delay,
        };
        match self.queue.add(self.hash, waiting) {
            true => true.into(),
            false => Value::None,
        }
    }
}

/// A time limit; none for 0 and when it is absent without a default.
fn seconds(options: &Options<'_>, name: &str, default: f64) -> Result<Option<Duration>, Throw> {
    let seconds = options.number(name, default);
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Throw::error(format!(
            "http: {name} must be a number of seconds"
        )));
    }
    // A century is more than any wait needs and keeps all sums in range.
    let limit = Duration::from_secs_f64(seconds.min(3_153_600_000.0));
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}

/// The URL with `$1`, `$2` … replaced by the values; a number without a value stays.
fn with_values(url: &[u8], values: &Value) -> Vec<u8> {
    let values: Vec<Value> = values
        .as_array()
        .map(|values| values.values().collect())
        .unwrap_or_default();
    let mut out = Vec::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = memchr::memchr(b'$', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        let digits = after
            .get(1..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        // The longest number that has a value.
        let found = (1..=digits.min(9)).rev().find_map(|length| {
            let digits = after.get(1..=length)?;
            let number: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
            Some((length, values.get(number.checked_sub(1)?)?))
        });
        match found {
            Some((length, value)) => {
                url::encode(&mut out, to_str(value).as_bytes());
                rest = after.get(length + 1..).unwrap_or_default();
            }
            None => {
                out.push(b'$');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

fn body(cx: &mut Cx<'_>, post: &Value) -> Result<Body, Throw> {
    match post {
        Value::None => Ok(Body::default()),
        Value::Function(_) => Ok(Body {
            parts: Vec::new(),
            kind: Some(OCTETS.to_owned()),
        }),
        post => {
            if let Some(text) = post.as_bytes() {
                cx.reserve(text.len())?;
            }
            let body = Body::of(post, &cx.host.random)
                .ok_or_else(|| Throw::error("http: a value of post can be no field of a form"))?;
            cx.reserve(body.held())?;
            Ok(body)
        }
    }
}

/// What the request has besides its options.
struct Settings {
    body: Body,
    shape: Shape,
    posts: bool,
}

/// The request that the options describe; none for a URL that cannot be one.
fn read(
    options: &Options<'_>,
    network: &Network,
    url: &[u8],
    settings: Settings,
    most: Most,
) -> Result<Option<Request>, Throw> {
    let text = |name: &str| Some(options.string(name)?.to_text().into_owned());
    let mut fields = Fields::default();
    if let Some(headers) = options.get("headers") {
        for line in headers
            .as_array()
            .into_iter()
            .flat_map(|list| list.values())
        {
            fields
                .add(to_str(&line).as_bytes())
                .map_err(|bad| Throw::error(format!("http: {}", bad.0)))?;
        }
    }
    let method = match text("method").filter(|method| !method.is_empty()) {
        Some(method) => {
            hyper::Method::from_bytes(method.as_bytes())
                .map_err(|_| Throw::error(format!("http: {method:?} is no method")))?;
            method
        }
        None if settings.posts => "POST".to_owned(),
        None => "GET".to_owned(),
    };
    let switch = |name: &str, older: &str, default: bool| {
        options.boolean(name, options.boolean(older, default))
    };
    let redirects = options.number("redirects", 0.0);
    let request = Request {
        url: match Url::parse(url) {
            Some(url) => url,
            None => return Ok(None),
        },
        method,
        fields,
        body: settings.body,
        connect_timeout: seconds(options, "connect_timeout", 10.0)?,
        timeout: seconds(options, "timeout", 0.0)?,
        most: most.bytes,
        redirects: (redirects >= 0.0).then_some(redirects as u32),
        source: source(options, network)?,
        tls: TlsOptions {
            verify_chain: switch("tls_verify_peer", "ssl_verify_peer", true),
            system_roots: switch("tls_default_ca", "ssl_default_ca", false),
            certificate: tls::certificate("http", options, &*network.names)?,
            ..TlsOptions::default()
        },
        verify_host: switch("tls_verify_host", "ssl_verify_host", false),
        proxy: match text("proxy").filter(|proxy| !proxy.is_empty()) {
            Some(written) => Some(Proxy::parse(&written).ok_or_else(|| {
                Throw::error(format!(
                    "http: proxy: {written:?} is no URL of a proxy (http, socks4, socks4a, socks5 or socks5h)"
                ))
            })?),
            None => None,
        },
        path: path(options)?,
        keep_head: settings.shape.head,
    };
    Ok(Some(request))
}

fn source(options: &Options<'_>, network: &Network) -> Result<Option<IpAddr>, Throw> {
    if let Some(written) = options.string("sourceip") {
        let written = written.to_text();
        return match written.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(Throw::error(format!(
                "http: sourceip: {written:?} is no IP address"
            ))),
        };
    }
    let Some(id) = options.string("sourceipid") else {
        return Ok(None);
    };
    let id = id.to_text();
    match network.names.address(&id) {
        Some(address) => Ok(Some(address)),
        None => Err(Throw::error(format!(
            "http: sourceipid: there is no address {id:?}"
        ))),
    }
}

fn path(options: &Options<'_>) -> Result<Option<PathBuf>, Throw> {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(path) = options
        .string("unix_socket_path")
        .filter(|path| !path.is_empty())
    else {
        return Ok(None);
    };
    if path
        .as_bytes()
        .iter()
        .any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    {
        return Err(Throw::error(
            "http: unix_socket_path has a NUL or a line end in it",
        ));
    }
    Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(
        path.as_bytes(),
    ))))
}

/// A request under way, which may call a function for its body.
struct Http {
    exchange: Exchange,
    answer: Rc<RefCell<Option<Result<Answer, HttpError>>>>,
    upload: Option<(Rc<Upload>, Rc<Function>)>,
    /// The function was called.
    asked: bool,
    shape: Shape,
    most: Most,
}

type Exchange = Rc<RefCell<LocalFuture<Result<Answer, HttpError>>>>;

impl Http {
    fn new(
        outside: Outside,
        request: Request,
        function: Option<Rc<Function>>,
        shape: Shape,
        most: Most,
    ) -> Http {
        let upload = function.map(|function| (Rc::<Upload>::default(), function));
        let of_exchange = upload.as_ref().map(|(upload, _)| Rc::clone(upload));
        let future = async move { exchange(&outside, request, of_exchange).await };
        Http {
            exchange: Rc::new(RefCell::new(Box::pin(future))),
            answer: Rc::default(),
            upload,
            asked: false,
            shape,
            most,
        }
    }

    /// Waits for the answer, or until a piece of the body is wanted.
    fn wait(&self) -> Step {
        let (exchange, answer) = (Rc::clone(&self.exchange), Rc::clone(&self.answer));
        let upload = self.upload.as_ref().map(|(upload, _)| Rc::clone(upload));
        Step::Await(Box::pin(poll_fn(move |context| {
            if let Poll::Ready(result) = exchange.borrow_mut().as_mut().poll(context) {
                answer.replace(Some(result));
                return Poll::Ready(Ok(Value::None));
            }
            match &upload {
                Some(upload) if upload.is_wanted() => Poll::Ready(Ok(Value::None)),
                _ => Poll::Pending,
            }
        })))
    }
}

impl Task for Http {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Some(answer) = self.answer.take() {
            return Ok(Step::Done(show(cx, answer, self.shape, self.most)?));
        }
        let Some((upload, function)) = &self.upload else {
            return Ok(self.wait());
        };
        if std::mem::take(&mut self.asked) {
            let Input::Value(value) = input else {
                return Err(Throw::error("resumed out of order"));
            };
            upload.give(piece(cx, &value)?);
        } else if upload.take_wanted() {
            self.asked = true;
            let wanted: Value = PIECE.into();
            return Ok(Step::Call(Rc::clone(function), smallvec![wanted]));
        }
        Ok(self.wait())
    }
}

/// A piece of a body that a function gave.
fn piece(cx: &mut Cx<'_>, value: &Value) -> Result<Vec<u8>, Throw> {
    match value {
        Value::None => Ok(Vec::new()),
        Value::Array(_) | Value::Function(_) | Value::Object(_) | Value::Resource(_) => Err(
            Throw::error("http: the function for the body gave no string"),
        ),
        scalar => {
            let text = to_str(scalar);
            cx.reserve(text.len())?;
            Ok(text.as_bytes().to_vec())
        }
    }
}

fn show(cx: &mut Cx<'_>, answer: Result<Answer, HttpError>, shape: Shape, most: Most) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(HttpError::TooLong(_)) if most.by_budget => return Err(too_long(most.bytes)),
        Err(_) => return Ok(Value::None),
    };
    let Answer {
        status,
        mut head,
        body,
    } = answer;
    cx.reserve(head.len().saturating_add(body.len()))?;
    let content: Value = if shape.head {
        head.extend_from_slice(&body);
        head.into()
    } else if shape.extended || (200..300).contains(&status) {
        body.into()
    } else {
        return Ok(Value::None);
    };
    if !shape.extended {
        return Ok(content);
    }
    let mut array = Array::new();
    array.insert(Key::from("status"), u32::from(status).into());
    array.insert(Key::from("content"), content);
    Ok(array.into())
}

/// Gathers a body before its request is queued: the function does not outlive the script.
struct Gather {
    request: Option<Request>,
    later: Later,
    function: Rc<Function>,
    body: Vec<u8>,
    asked: bool,
}

impl Task for Gather {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if std::mem::replace(&mut self.asked, true) {
            let Input::Value(value) = input else {
                return Err(Throw::error("resumed out of order"));
            };
            let piece = piece(cx, &value)?;
            if piece.is_empty() {
                let Some(mut request) = self.request.take() else {
                    return Err(Throw::error("resumed out of order"));
                };
                let body = std::mem::take(&mut self.body);
                request.body.parts = vec![Part::Bytes(body.into())];
                return Ok(Step::Done(self.later.add(request)));
            }
            cx.fits(self.body.len().saturating_add(piece.len()))?;
            self.body.extend_from_slice(&piece);
        }
        let wanted: Value = PIECE.into();
        Ok(Step::Call(Rc::clone(&self.function), smallvec![wanted]))
    }
}
