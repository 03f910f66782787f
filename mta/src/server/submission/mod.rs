//! Submission over HTTP: servers of type `http` and `https` (hooks.md, HTTP submission; mta.md 5.7).
//!
//! ```text
//!  POST /v1/submission ─▶ key ─▶ form ─▶ options: envelope ──────┐
//!                                   └──▶ rfc822: store's writer ─┴▶ eod hook ─▶ commit ─▶ 200
//! ```
//!
//! A request is a transaction of its own: it has an id, runs the eod hook and no other, and what that queues is durable
//! before the answer says so. `$context` begins anew with each request, since a proxy may send those of many clients over one
//! connection.

mod envelope;
mod intake;
mod multipart;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use angarium_effects::random::uuid_text;
use angarium_effects::{Accepted, LocalFuture};
use angarium_runtime::value::Value;
use angarium_smtp::param::{BodyType, Extensions, Params};
use angarium_smtp::reply::{EnhancedStatus, Reply};
use angarium_smtp::server::StoreFailure;
use angarium_smtp::session::{Connection, Envelope, Recipient, Session, TlsInfo, Transaction};
use angarium_smtp::verdict::{Verdict, eod_reply};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use self::envelope::Wanted;
use self::intake::{Parts, Refusal, malformed};
use self::multipart::Form;
use super::event::Event;
use super::hooks::{Decision, HookContext, Submission};
use super::opening::{Arrived, Prelude, arrive};
use super::session::refusal;
use super::settings::{Seat, Settings, VirtualServer, Web};
use super::wire::Stream;
use crate::connections::{Entry, Inbound};
use crate::http::connection::Ending;
use crate::http::{self, Answer, Terms, keys};
use crate::worker::Worker;

/// Where messages are submitted.
const PATH: &str = "/v1/submission";
/// What is answered to one client too many.
pub(super) const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 35\r\nretry-after: 10\r\nconnection: close\r\n\r\n\
    {\"message\":\"too many connections\"}\n";

/// Serves a client from accept to close.
pub(super) async fn serve(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    prelude: Prelude,
) {
    let arrived = arrive(worker, accepted, seat, settings, prelude).await;
    let Some(Arrived {
        worker,
        settings,
        seat,
        mut wire,
        entry,
        began,
        connection,
        tls,
    }) = arrived
    else {
        return;
    };
    let stream = std::mem::replace(&mut wire.stream, Stream::Gone);
    let timeouts = &settings.smtp.timeouts;
    let terms = Terms {
        idle: timeouts.idle,
        head: timeouts.command,
        data: timeouts.data,
        min_rate: settings.smtp.limits.min_rate,
    };
    let entry = Rc::new(entry);
    let ending = Leave {
        stopped: Box::pin(worker.stopped()),
        entry: Rc::clone(&entry),
    };
    let clock = Rc::clone(&worker.effects.clock);
    let server = Arc::clone(&seat.server);
    let desk = Rc::new(Desk {
        worker,
        settings,
        server: Arc::clone(&server),
        connection,
        tls,
        entry,
        messages: Cell::new(0),
    });
    let ended = {
        let desk = Rc::clone(&desk);
        let handle = move |request| -> http::connection::Answering {
            let desk = Rc::clone(&desk);
            Box::pin(async move { desk.answer(request).await })
        };
        http::serve(stream, Rc::clone(&clock), terms, ending, handle).await
    };
    server.tell(&Event::Disconnect {
        connection: desk.connection.id.clone(),
        reason: ended.reason().to_owned(),
        transactions: desk.messages.get(),
        duration: clock.monotonic().since(began),
    });
    drop(seat);
}

/// Who ends a connection: the worker's stop, and an operator.
struct Leave {
    stopped: LocalFuture<'static, ()>,
    entry: Rc<Entry<Inbound>>,
}

impl Ending for Leave {
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stopped.as_mut().poll(cx)
    }

    fn poll_dismissed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.entry.lever.poll(cx)
    }
}

/// What the requests of a connection share.
struct Desk {
    worker: Rc<Worker>,
    settings: Arc<Settings>,
    server: Arc<VirtualServer>,
    connection: Connection,
    tls: Option<TlsInfo>,
    entry: Rc<Entry<Inbound>>,
    messages: Cell<u32>,
}

/// A message that was answered as SMTP answers.
struct Answered {
    id: String,
    reply: Reply,
    /// A JSON text of the eod hook.
    metadata: Option<String>,
}

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if head.uri.path() != PATH {
            return Answer::refused(StatusCode::NOT_FOUND, "there is nothing here");
        }
        if head.method != Method::POST {
            let answer = Answer::refused(StatusCode::METHOD_NOT_ALLOWED, "POST a message");
            return answer.with(ALLOW, "POST");
        }
        if !self.admits(&head.headers) {
            let reason = "X-API-Key is missing or wrong";
            self.tell_refused(StatusCode::UNAUTHORIZED, reason);
            let answer = Answer::refused(StatusCode::UNAUTHORIZED, reason);
            // Who guesses connects for each guess.
            return answer.with(WWW_AUTHENTICATE, "X-API-Key").last();
        }
        let pretty = head.uri.query().is_some_and(|query| {
            let mut pairs = query.split('&');
            pairs.any(|pair| pair == "pretty=true")
        });
        match self.take(&head, body).await {
            Ok(answered) => answered.answer(pretty),
            Err((status, reason)) => {
                self.tell_refused(status, &reason);
                Answer::refused(status, &reason)
            }
        }
    }

    /// Whether the client may submit. Where no keys are set, those may who may relay, and then no page in somebody's
    /// browser: it sends its origin along.
    fn admits(&self, fields: &HeaderMap) -> bool {
        let keys: &[String] = self
            .settings
            .web
            .as_ref()
            .map_or(&[], |web: &Web| &web.apikeys);
        if !keys.is_empty() {
            return keys::has_one(fields, keys);
        }
        !fields.contains_key(ORIGIN) && self.relays(self.connection.remote_ip)
    }

    fn relays(&self, client: IpAddr) -> bool {
        let mut networks = self.settings.smtp.relay.iter();
        networks.any(|network| network.contains(client))
    }

    /// Takes a message in; the error is a refused request.
    async fn take(
        &self,
        head: &request::Parts,
        body: Incoming,
    ) -> Result<Answered, (StatusCode, String)> {
        let began = self.worker.effects.clock.monotonic().0;
        let mut session = self.session();
        let id = session.transaction.id.clone();
        match self.receive(head, body, &mut session, began).await {
            Ok((parts, submission)) => Ok(self.decide(&session, &parts, submission).await),
            Err(Refusal::Request(status, reason)) => Err((status, reason)),
            Err(Refusal::Message(reply)) => {
                self.tell_message(&session, None, &reply);
                Ok(Answered {
                    id,
                    reply,
                    metadata: None,
                })
            }
            Err(Refusal::NotStored(failure)) => {
                let reply = self.not_stored(&session, failure);
                Ok(Answered {
                    id,
                    reply,
                    metadata: None,
                })
            }
        }
    }

    /// The session of one message: nothing is greeted or logged in.
    fn session(&self) -> Session {
        let id = uuid_text(&self.worker.effects.random.transaction_uuid());
        Session {
            connection: self.connection.clone(),
            helo: None,
            tls: self.tls.clone(),
            auth: None,
            extensions: Extensions::default(),
            transaction: Transaction { id, envelope: None },
        }
    }

    /// Reads the request, and gives the session its envelope.
    async fn receive(
        &self,
        head: &request::Parts,
        body: Incoming,
        session: &mut Session,
        began: angarium_smtp::Time,
    ) -> Result<(Parts, Submission), Refusal> {
        let settings = &self.settings;
        let limits = &settings.smtp.limits;
        let content_type = head.headers.get(CONTENT_TYPE);
        let form = Form::new(content_type.map_or(b"", |value| value.as_bytes()))?;
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let most = intake::most(limits);
        if length.is_some_and(|length| length > most) {
            let reason = format!("the body is longer than {most} bytes");
            return Err(Refusal::Request(StatusCode::PAYLOAD_TOO_LARGE, reason));
        }
        if settings.store.refusal(&self.worker).is_some() {
            return Err(Refusal::NotStored(StoreFailure::Full));
        }
        let parts = intake::read(&self.worker, settings, session, form, body).await?;
        let Wanted {
            sender,
            recipients,
            metadata,
        } = envelope::read(&parts.options, limits.recipients).map_err(malformed)?;
        let ascii = sender.mailbox().is_none_or(|sender| sender.is_ascii())
            && recipients.iter().all(|recipient| recipient.is_ascii());
        let mut params = Params::default();
        if !ascii {
            // A keyword without a value is always well-formed.
            let _ = params.set("SMTPUTF8", None);
        }
        session.transaction.envelope = Some(Envelope {
            began,
            sender,
            params,
            size: None,
            body: BodyType::default(),
            requiretls: false,
            priority: None,
            utf8: !ascii,
            recipients: recipients
                .into_iter()
                .map(|address| Recipient {
                    address,
                    params: Params::default(),
                    transport_id: settings.smtp.transport_id.clone(),
                })
                .collect(),
        });
        Ok((parts, submission(head, metadata)))
    }

    /// Lets the eod hook decide, and makes what it queued durable before the client hears of it.
    async fn decide(&self, session: &Session, parts: &Parts, submission: Submission) -> Answered {
        let messages = self.messages.get().saturating_add(1);
        self.messages.set(messages);
        self.entry.transactions.store(messages, Ordering::Relaxed);
        let counters = &self.server.counters;
        counters.bytes.add(parts.size);
        let mut context = HookContext::default();
        let hooks = &self.settings.hooks;
        let (worker, mail) = (&self.worker, &parts.mail);
        let decided = hooks.submission(worker, session, mail, &submission, &mut context);
        let Decision {
            mut verdict,
            queued,
            metadata,
        } = decided.await;
        let keeps = matches!(
            verdict,
            Verdict::Accept(_) | Verdict::NoHook | Verdict::Reject(_)
        );
        if keeps && !queued.is_empty() {
            let count = u64::try_from(queued.len()).unwrap_or(u64::MAX);
            match self.settings.store.commit(worker, queued).await {
                Ok(()) => counters.queued.add(count),
                Err(failure) => {
                    self.tell_not_stored(session, failure);
                    verdict = refusal(failure);
                }
            }
        }
        match verdict {
            Verdict::Accept(_) | Verdict::NoHook => counters.accepted.one(),
            _ => counters.rejected.one(),
        }
        let accepted = matches!(verdict, Verdict::Accept(_));
        let id = session.transaction.id.clone();
        let reply = eod_reply(verdict, &id);
        self.tell_message(session, Some(parts.size), &reply);
        Answered {
            id,
            reply,
            metadata: metadata.filter(|_| accepted),
        }
    }

    /// Says that a message could not be kept, to the operator and in the reply.
    fn not_stored(&self, session: &Session, failure: StoreFailure) -> Reply {
        self.tell_not_stored(session, failure);
        let reply = eod_reply(refusal(failure), &session.transaction.id);
        self.tell_message(session, None, &reply);
        reply
    }

    fn tell_not_stored(&self, session: &Session, failure: StoreFailure) {
        self.server
            .tell(&Event::not_stored(&session.transaction.id, failure));
    }

    fn tell_message(&self, session: &Session, size: Option<u64>, reply: &Reply) {
        let envelope = session.transaction.envelope.as_ref();
        let lines: Vec<String> = texts(reply);
        self.server.tell(&Event::Message {
            transaction: session.transaction.id.clone(),
            sender: envelope.map_or_else(String::new, |envelope| envelope.sender.to_string()),
            recipients: envelope.map_or(0, |envelope| envelope.recipients.len()),
            size,
            helo: None,
            sasl: None,
            code: reply.code,
            reason: match reply.enhanced {
                Some(enhanced) => format!("{enhanced} {}", lines.join("\n")),
                None => lines.join("\n"),
            },
        });
    }

    fn tell_refused(&self, status: StatusCode, reason: &str) {
        self.server.tell(&Event::Request {
            connection: self.connection.id.clone(),
            server: self.server.id.clone(),
            remoteip: self.connection.remote_ip,
            status: status.as_u16(),
            reason: reason.to_owned(),
        });
    }
}

/// The request as the eod hook sees it.
fn submission(head: &request::Parts, metadata: Option<Value>) -> Submission {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in &head.headers {
        match fields.last_mut() {
            // Several fields of a name are one list (RFC 9110 §5.3).
            Some((last, values)) if *last == name.as_str() => {
                values.extend_from_slice(b", ");
                values.extend_from_slice(value.as_bytes());
            }
            _ => fields.push((name.as_str().to_owned(), value.as_bytes().to_vec())),
        }
    }
    Submission {
        metadata,
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        fields,
    }
}

/// The lines of a reply as text without control characters.
fn texts(reply: &Reply) -> Vec<String> {
    let shown = |line: &[u8]| -> String {
        let text = String::from_utf8_lossy(line);
        let kept = text.chars().filter(|c| *c != '\r');
        kept.map(|c| if c.is_control() { '?' } else { c }).collect()
    };
    reply.lines.iter().map(|line| shown(line)).collect()
}

/// The body of an answer.
#[derive(Serialize)]
struct Body {
    result: ResultBody,
    transaction: TransactionBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct ResultBody {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<[u16; 3]>,
    reason: Vec<String>,
}

#[derive(Serialize)]
struct TransactionBody {
    id: String,
}

impl Answered {
    fn answer(self, pretty: bool) -> Answer {
        let status = match self.reply.code {
            200..=299 => StatusCode::OK,
            400..=499 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let numbers = |status: EnhancedStatus| {
            let EnhancedStatus {
                class,
                subject,
                detail,
            } = status;
            [class.into(), subject, detail]
        };
        let body = Body {
            result: ResultBody {
                code: self.reply.code,
                enhanced: self.reply.enhanced.map(numbers),
                reason: texts(&self.reply),
            },
            transaction: TransactionBody { id: self.id },
            metadata: self
                .metadata
                .and_then(|text| RawValue::from_string(text).ok()),
        };
        let answer = Answer::json(status, &body, pretty);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => answer.with(RETRY_AFTER, "60"),
            _ => answer,
        }
    }
}
