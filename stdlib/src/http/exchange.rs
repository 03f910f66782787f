//! A request and its answer: HTTP/1.1 through hyper, redirects.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::{Clock, Dns, Net};
use angarium_runtime::host::Pool;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::LOCATION;
use hyper::{Request as Message, Response};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::connect::{Stream, connect, end_of_head, status_of};
use super::idle::{self, Key, Session};
use super::outgoing::{Outgoing, Upload};
use super::request::{Body, Request};
use super::url::Url;
use crate::tls::TlsError;

/// Bytes of an answer's fields.
const MOST_HEAD: usize = 400 * 1024;
/// Fields of an answer.
const MOST_FIELDS: usize = 256;
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
        let (answer, location, took) = once(outside, &request, upload.as_ref()).await?;
        let redirects = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
        let location = match location {
            Some(location) if redirects && left != Some(0) => location,
            _ => return Ok(answer),
        };
        left = left.map(|left| left.saturating_sub(1));
        if let Some(limit) = &mut request.timeout {
            *limit = limit.saturating_sub(took);
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

/// An answer, where it sends us to, and how long the transfer took.
type Came = (Answer, Option<Vec<u8>>, Duration);

/// Makes the request once, on a connection that waits for one or on a new one.
async fn once(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
) -> Result<Came, HttpError> {
    let key = Key::of(request);
    // A body that a script makes cannot be made again, should the server be hanging up.
    if upload.is_none() {
        let again = matches!(
            request.method.as_str(),
            "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE"
        );
        let longest = if again { Duration::MAX } else { idle::SAFE };
        if let Some(session) = idle::take(outside, &key, longest).await {
            let tap = Rc::clone(&session.tap);
            match within(outside, request, upload, session, &key).await {
                // It was hung up before the request was seen (RFC 9110 §9.2.2).
                Err(HttpError::Protocol(error))
                    if error.is_canceled() || (again && !tap.came.get()) => {}
                other => return other,
            }
        }
    }
    let stream = connect(outside, request).await?;
    let tap = Rc::<Tap>::default();
    let wire = Wire {
        stream,
        tap: Rc::clone(&tap),
    };
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(MOST_FIELDS)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .handshake(wire)
        .await?;
    let session = Session {
        sender,
        connection: Box::pin(connection),
        tap,
    };
    within(outside, request, upload, session, &key).await
}

/// The transfer, within its time.
async fn within(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
    session: Session,
    key: &Key,
) -> Result<Came, HttpError> {
    let began = outside.clock.monotonic();
    let transfer = transfer(outside, request, upload, session, key);
    let (answer, location) = match request.timeout {
        None => transfer.await?,
        Some(limit) => timeout(&*outside.clock, limit, transfer)
            .await
            .ok_or(HttpError::Timeout)??,
    };
    let took = outside.clock.monotonic().since(began);
    Ok((answer, location, took))
}

/// Sends the request and receives the answer, with the place that it sends us to.
async fn transfer(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
    mut session: Session,
    key: &Key,
) -> Result<(Answer, Option<Vec<u8>>), HttpError> {
    session.tap.begin(request.keep_head);
    let (came, over) = drive(outside, request, upload, &mut session).await;
    let (status, location, body) = came?;
    let head = session.tap.head.take();
    if !over {
        idle::keep(outside, key.clone(), session).await;
    }
    let answer = Answer {
        status,
        head: last_head(&head).to_vec(),
        body,
    };
    Ok((answer, location))
}

/// Status, place and body.
type Parts = (u16, Option<Vec<u8>>, Vec<u8>);

/// Sends and receives; tells besides whether the connection is over.
async fn drive(
    outside: &Outside,
    request: &Request,
    upload: Option<&Rc<Upload>>,
    session: &mut Session,
) -> (Result<Parts, HttpError>, bool) {
    let Session {
        sender, connection, ..
    } = session;
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
    let mut work = pin!(work);
    let mut over = false;
    let result = poll_fn(|context| {
        over = over || connection.as_mut().poll(context).is_ready();
        let result = work.as_mut().poll(context);
        if result.is_pending() && !over {
            // The work may have made something for the connection to do.
            over = connection.as_mut().poll(context).is_ready();
        }
        result
    })
    .await;
    (result, over)
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
    let proxied = request.reads_proxy();
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

/// Sees what is received of an answer.
#[derive(Default)]
pub(super) struct Tap {
    /// Whether anything came since the request was made.
    came: Cell<bool>,
    /// Whether the head is kept.
    keep: Cell<bool>,
    /// The first bytes, if they are kept.
    head: RefCell<Vec<u8>>,
}

impl Tap {
    /// A request is made.
    fn begin(&self, keep: bool) {
        self.came.set(false);
        self.keep.set(keep);
        self.head.take();
    }

    fn see(&self, piece: &[u8]) {
        self.came.set(self.came.get() || !piece.is_empty());
        if self.keep.get() {
            let mut head = self.head.borrow_mut();
            if head.len() < MOST_HEAD {
                head.extend_from_slice(piece);
            }
        }
    }
}

/// A stream as hyper takes it, with an eye on what comes.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    tap: Rc<Tap>,
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
        self.tap.see(piece.filled());
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
