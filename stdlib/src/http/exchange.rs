//! A request and its answer: resolving, connecting, proxy, TLS, HTTP/1.1 through hyper, redirects.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::dns::{Query, RecordData, RecordType};
use angarium_effects::net::Connect;
use angarium_effects::{Clock, Connection, Dns, Net};
use angarium_runtime::host::Pool;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::LOCATION;
use hyper::{Request as Message, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsConnector;

use super::outgoing::{Outgoing, Upload};
use super::request::{Body, Request, basic};
use super::url::Url;
use crate::tls::{TlsError, server_name};

/// Bytes of an answer's fields.
const MOST_HEAD: usize = 400 * 1024;
/// Fields of an answer.
const MOST_FIELDS: usize = 256;
/// Bytes of a proxy's answer to CONNECT.
const MOST_PROXY: usize = 16 * 1024;

/// What a request needs of the outside.
#[derive(Clone)]
pub(crate) struct Outside {
    pub net: Rc<dyn Net>,
    pub dns: Rc<dyn Dns>,
    pub clock: Rc<dyn Clock>,
    pub pool: Arc<dyn Pool>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// Status line and fields as they came, if they were to be kept.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Nobody has the name.
    #[error("no address of {0} was found")]
    Resolve(String),
    /// No connection.
    #[error("connecting to {0}: {1}")]
    Connect(String, io::Error),
    /// The time for the connection was up.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The time for the rest was up.
    #[error("the transfer took too long")]
    Timeout,
    /// TLS cannot be set up as asked.
    #[error("{0}")]
    Setup(#[from] TlsError),
    /// The handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The proxy did not connect.
    #[error("the proxy: {0}")]
    Proxy(String),
    /// What came was no HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(String),
    /// The answer is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// A redirect that cannot be followed.
    #[error("a redirect cannot be followed: {0}")]
    Redirect(&'static str),
}

/// Makes the request and follows redirects.
pub(crate) async fn exchange(
    outside: &Outside,
    mut request: Request,
    upload: Option<Rc<Upload>>,
) -> Result<Answer, HttpError> {
    let mut left = request.redirects;
    let mut upload = upload;
    loop {
        let stream = connect(outside, &request).await?;
        let began = outside.clock.monotonic();
        let transfer = transfer(outside, &request, upload.as_ref(), stream);
        let (answer, location) = match request.timeout {
            None => transfer.await?,
            Some(limit) => timeout(&*outside.clock, limit, transfer)
                .await
                .ok_or(HttpError::Timeout)??,
        };
        let redirects = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
        let location = match location {
            Some(location) if redirects && left != Some(0) => location,
            _ => return Ok(answer),
        };
        left = left.map(|left| left.saturating_sub(1));
        if let Some(limit) = &mut request.timeout {
            *limit = limit.saturating_sub(outside.clock.monotonic().since(began));
        }
        follow(&mut request, &mut upload, answer.status, &location)?;
    }
}

/// Turns the request into what a redirect asks for.
fn follow(
    request: &mut Request,
    upload: &mut Option<Rc<Upload>>,
    status: u16,
    location: &[u8],
) -> Result<(), HttpError> {
    let url = request
        .url
        .join(location)
        .ok_or(HttpError::Redirect("its Location is no http or https URL"))?;
    if !url.same_origin(&request.url) {
        request.fields.forget_secrets();
        request.url.user = None;
    }
    let user = url.user.clone().or_else(|| request.url.user.take());
    request.url = Url { user, ..url };
    let to_get = match status {
        303 => request.method != "HEAD",
        301 | 302 => request.method == "POST",
        _ => false,
    };
    if to_get {
        "GET".clone_into(&mut request.method);
        request.body = Body::default();
        *upload = None;
    } else if upload.is_some() {
        return Err(HttpError::Redirect("the body was made once and is gone"));
    }
    Ok(())
}

/// A stream of bytes, in clear or not.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream on which the request can be sent.
async fn connect(outside: &Outside, request: &Request) -> Result<Box<dyn Stream>, HttpError> {
    let connecting = open(outside, request);
    match request.connect_timeout {
        None => connecting.await,
        Some(limit) => timeout(&*outside.clock, limit, connecting)
            .await
            .ok_or(HttpError::ConnectTimeout)?,
    }
}

async fn open(outside: &Outside, request: &Request) -> Result<Box<dyn Stream>, HttpError> {
    let url = &request.url;
    let mut plain: Box<dyn Connection> = match (&request.path, &request.proxy) {
        (Some(path), _) => outside
            .net
            .connect_local(path)
            .await
            .map_err(|error| HttpError::Connect(path.display().to_string(), error))?,
        (None, Some(proxy)) => reach(outside, request, proxy).await?,
        (None, None) => reach(outside, request, url).await?,
    };
    if !url.secure {
        return Ok(Box::new(plain));
    }
    if let (None, Some(proxy)) = (&request.path, &request.proxy) {
        tunnel(&mut *plain, url, proxy).await?;
    }
    let mut tls = request.tls.clone();
    if request.verify_host {
        tls.names = Some(vec![url.host.clone()]);
    }
    let mut config = tls.client(true)?;
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TlsConnector::from(config)
        .connect(server_name(&url.host), plain)
        .await
        .map_err(HttpError::Tls)?;
    Ok(Box::new(stream))
}

/// Connects to the first address of a host that answers.
async fn reach(
    outside: &Outside,
    request: &Request,
    url: &Url,
) -> Result<Box<dyn Connection>, HttpError> {
    let began = outside.clock.monotonic();
    let mut addresses = resolve(outside, &url.host, request.connect_timeout).await;
    if let Some(source) = request.source {
        addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
    }
    let mut last = HttpError::Resolve(url.host.clone());
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        let to = SocketAddr::new(address, url.port);
        // An address that does not answer leaves time for those after it.
        let share = request.connect_timeout.map(|limit| {
            let left = limit.saturating_sub(outside.clock.monotonic().since(began));
            let behind = u32::try_from(count.saturating_sub(index)).unwrap_or(u32::MAX);
            left / behind.max(1)
        });
        let how = Connect {
            source: request.source,
            nonlocal: false,
            timeout: share,
        };
        match outside.net.connect(to, &how).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = HttpError::Connect(to.to_string(), error),
        }
    }
    Err(last)
}

async fn resolve(outside: &Outside, host: &str, limit: Option<Duration>) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let name = host.trim_end_matches('.');
    // RFC 6761 §6.3
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let query = Query {
        timeout: limit,
        ..Query::default()
    };
    let four = outside.dns.query(name, RecordType::A, &query);
    let six = outside.dns.query(name, RecordType::Aaaa, &query);
    let (four, six) = futures_util::future::join(four, six).await;
    let records = [four, six]
        .into_iter()
        .flatten()
        .flat_map(|answer| answer.records);
    records
        .filter_map(|record| match record.data {
            RecordData::A(address) => Some(address.into()),
            RecordData::Aaaa(address) => Some(address.into()),
            _ => None,
        })
        .collect()
}

/// Has the proxy connect to the host (RFC 9110 §9.3.6).
async fn tunnel(stream: &mut dyn Connection, url: &Url, proxy: &Url) -> Result<(), HttpError> {
    let broken = |error: io::Error| HttpError::Proxy(error.to_string());
    let place = format!("{}:{}", url.written_host(), url.port);
    let mut line = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some(user) = &proxy.user {
        line.push_str(&format!("Proxy-Authorization: {}\r\n", basic(user)));
    }
    line.push_str("\r\n");
    stream.write_all(line.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut head = Vec::new();
    let end = loop {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.map_err(broken)?;
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(end) = end_of_head(&head) {
            break end;
        }
        if count == 0 || head.len() > MOST_PROXY {
            return Err(HttpError::Proxy("it gave no answer".to_owned()));
        }
    };
    match status_of(&head) {
        // Whoever speaks before us speaks no TLS.
        Some(200..=299) if end == head.len() => Ok(()),
        Some(200..=299) => Err(HttpError::Proxy("it sent more than an answer".to_owned())),
        Some(status) => Err(HttpError::Proxy(format!("it answered {status}"))),
        None => Err(HttpError::Proxy("it does not speak HTTP".to_owned())),
    }
}

/// The length of a head with its blank line, once that is there.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\n', bytes.get(at..)?) {
        at += next + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// The status of an answer that begins here.
fn status_of(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?.get(1..)?.trim_ascii_start();
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// Sends the request and receives the answer, with the place that it sends us to.
async fn transfer(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
    stream: Box<dyn Stream>,
) -> Result<(Answer, Option<Vec<u8>>), HttpError> {
    let head = request.keep_head.then(Rc::<RefCell<Vec<u8>>>::default);
    let wire = Wire {
        stream,
        head: head.clone(),
    };
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(MOST_FIELDS)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(wire)
        .await?;
    let work = async {
        let response = sender
            .send_request(message(outside, request, upload)?)
            .await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION);
        let location = location.map(|location| location.as_bytes().to_vec());
        let body = receive(response, request.most).await?;
        Ok((status, location, body))
    };
    // The connection does its part whenever the request is looked at; an error of its own is also the request's.
    let (mut work, mut connection) = (pin!(work), pin!(connection));
    let mut over = false;
    let result: Result<_, HttpError> = poll_fn(|context| {
        over = over || connection.as_mut().poll(context).is_ready();
        let result = work.as_mut().poll(context);
        if result.is_pending() && !over {
            // The work may have made something for the connection to do.
            over = connection.as_mut().poll(context).is_ready();
        }
        result
    })
    .await;
    let (status, location, body) = result?;
    let head = head.map(|head| last_head(&head.borrow()).to_vec());
    let answer = Answer {
        status,
        head: head.unwrap_or_default(),
        body,
    };
    Ok((answer, location))
}

/// The head of the final answer among what came: those before it (RFC 9110 §15.2) are left out.
fn last_head(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(end) = end_of_head(rest) {
        let (head, after) = rest.split_at(end);
        if !matches!(status_of(head), Some(100 | 102..=199)) {
            return head;
        }
        rest = after;
    }
    rest
}

fn message(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
) -> Result<Message<Outgoing>, HttpError> {
    let url = &request.url;
    let proxied = request.proxy.is_some() && request.path.is_none() && !url.secure;
    let target = if proxied {
        format!("http://{}{}", url.authority(), url.target)
    } else {
        url.target.clone()
    };
    let body = match upload {
        Some(upload) => Outgoing::Upload(Rc::clone(upload)),
        None => Outgoing::new(&request.body.parts, Arc::clone(&outside.pool)),
    };
    let has_body = upload.is_some() || request.body.kind.is_some();
    let mut message = Message::builder()
        .method(request.method.as_str())
        .uri(target)
        .body(body)
        .map_err(|error| HttpError::Request(error.to_string()))?;
    *message.headers_mut() = request.header(has_body, proxied);
    Ok(message)
}

async fn receive(response: Response<Incoming>, most: usize) -> Result<Vec<u8>, HttpError> {
    let mut incoming = pin!(response.into_body());
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|context| incoming.as_mut().poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > most.saturating_sub(body.len()) {
                return Err(HttpError::TooLong(most));
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(body)
}

/// A stream as hyper takes it, which keeps the first bytes that come if it is told to.
struct Wire {
    stream: Box<dyn Stream>,
    head: Option<Rc<RefCell<Vec<u8>>>>,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; 8192];
        let room = buffer.remaining().min(piece.len());
        let mut piece = ReadBuf::new(piece.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
        if let Some(head) = &self.head {
            let mut head = head.borrow_mut();
            if head.len() < MOST_HEAD {
                head.extend_from_slice(piece.filled());
            }
        }
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_the_final_answer_is_found() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\nA: b\n\nbody\n\n";
        assert_eq!(last_head(bytes), b"HTTP/1.0 200 OK\nA: b\n\n");
        assert_eq!(end_of_head(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
        assert_eq!(status_of(b"HTTP/1.1 204 No"), Some(204));
        assert_eq!(status_of(b"SMTP"), None);
    }
}
