//! The body of a submission, as it streams by: its parts to where they belong.

use std::io::Write as _;
use std::pin::{Pin, pin};
use std::rc::Rc;

use angarium_smtp::content::{Decoder, HeaderLimits, HeaderScan};
use angarium_smtp::received;
use angarium_smtp::reply::{EnhancedStatus, Reply};
use angarium_smtp::server::{Limits, StoreFailure};
use angarium_smtp::session::Session;
use flate2::write::MultiGzDecoder;
use hyper::StatusCode;
use hyper::body::{Body as _, Bytes, Incoming};

use super::multipart::{Event, Form, FormError};
use crate::server::settings::Settings;
use crate::server::store::{MailWriter, StoredMail};
use crate::worker::Worker;

/// Bytes of the part `options`.
const MOST_OPTIONS: usize = 1 << 20;
/// Bytes of a form besides its parts: delimiters, heads, what stands before and behind.
const OVERHEAD: u64 = 64 << 10;
/// A chunk for the store.
const CHUNK: usize = 64 << 10;
/// Compressed bytes that are taken at once: what comes of them is at most about a thousand times as much.
const PIECE: usize = 1024;

/// Why a submission is refused before its message has been looked at by anybody.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is no request that can be carried out.
    Request(StatusCode, String),
    /// The message cannot be taken; what SMTP says then.
    Message(Reply),
    /// It could not be kept.
    NotStored(StoreFailure),
}

impl From<FormError> for Refusal {
    fn from(error: FormError) -> Refusal {
        malformed(error.to_string())
    }
}

pub(super) fn malformed(reason: impl Into<String>) -> Refusal {
    Refusal::Request(StatusCode::BAD_REQUEST, reason.into())
}

fn too_large(what: &str, most: u64) -> Refusal {
    let reason = format!("{what} is longer than {most} bytes");
    Refusal::Request(StatusCode::PAYLOAD_TOO_LARGE, reason)
}

/// What a form has held.
pub(super) struct Parts {
    pub options: Vec<u8>,
    pub mail: StoredMail,
    /// Bytes of the message as it came.
    pub size: u64,
}

/// The longest body that is read, for these limits.
pub(super) fn most(limits: &Limits) -> u64 {
    match limits.size {
        0 => u64::MAX,
        size => size
            .saturating_add(MOST_OPTIONS as u64)
            .saturating_add(OVERHEAD),
    }
}

/// Reads the form of a request. `session` is that of the message, for its Received field.
pub(super) async fn read(
    worker: &Rc<Worker>,
    settings: &Settings,
    session: &Session,
    form: Form,
    body: Incoming,
) -> Result<Parts, Refusal> {
    let mut intake = Intake {
        worker,
        settings,
        session,
        options: None,
        message: None,
        open: None,
    };
    intake.run(form, body).await?;
    let missing = |part: &str| malformed(format!("there is no part {part}"));
    let options = intake.options.ok_or_else(|| missing("options"))?;
    let message = intake.message.ok_or_else(|| missing("rfc822"))?;
    let size = message.size;
    let mail = message.writer.finish().await;
    Ok(Parts {
        options,
        mail: mail.map_err(Refusal::NotStored)?,
        size,
    })
}

struct Intake<'a> {
    worker: &'a Rc<Worker>,
    settings: &'a Settings,
    session: &'a Session,
    options: Option<Vec<u8>>,
    message: Option<Message>,
    /// The part under way.
    open: Option<(Part, Coding)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Options,
    Message,
}

/// How a part is compressed.
enum Coding {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

/// The message on its way into the store.
struct Message {
    writer: Box<dyn MailWriter>,
    decoder: Decoder,
    scan: HeaderScan,
    chunk: Vec<u8>,
    size: u64,
}

impl Intake<'_> {
    async fn run(&mut self, mut form: Form, body: Incoming) -> Result<(), Refusal> {
        let most = most(&self.settings.smtp.limits);
        let mut body = pin!(body);
        let mut length = 0_u64;
        while let Some(bytes) = next(body.as_mut()).await? {
            length = length.saturating_add(bytes.len() as u64);
            if length > most {
                return Err(too_large("the body", most));
            }
            form.push(&bytes);
            while let Some(event) = form.next()? {
                match event {
                    Event::Part(name) => self.begin(&name).await?,
                    Event::Data(data) => self.data(&data).await?,
                    Event::End => self.end().await?,
                }
            }
        }
        Ok(form.finish()?)
    }

    async fn begin(&mut self, name: &str) -> Result<(), Refusal> {
        let (plain, zipped) = match name.strip_suffix(".gzip") {
            Some(plain) => (plain, true),
            None => (name, false),
        };
        let part = match plain {
            "options" if self.options.is_none() => {
                self.options = Some(Vec::new());
                Part::Options
            }
            "rfc822" if self.message.is_none() => {
                self.message = Some(self.message().await?);
                Part::Message
            }
            "options" | "rfc822" => {
                return Err(malformed(format!("there are several parts {plain}")));
            }
            _ => {
                let shown: String = name.chars().take(40).collect();
                return Err(malformed(format!("the part {shown:?} means nothing here")));
            }
        };
        let coding = match zipped {
            true => Coding::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            false => Coding::Plain,
        };
        self.open = Some((part, coding));
        Ok(())
    }

    /// A message that begins with its Received field.
    async fn message(&self) -> Result<Message, Refusal> {
        let smtp = &self.settings.smtp;
        let store = &self.settings.store;
        let mut writer = store.begin(self.worker).map_err(Refusal::NotStored)?;
        let unix = self.worker.effects.clock.unix().as_secs();
        let with = match self.session.tls {
            Some(_) => "HTTPS",
            None => "HTTP",
        };
        let field = received::field_with(
            self.session,
            &smtp.hostname,
            &self.settings.product,
            i64::try_from(unix).unwrap_or(i64::MAX),
            with,
        );
        let written = writer.append(field.into_bytes()).await;
        written.map_err(Refusal::NotStored)?;
        Ok(Message {
            writer,
            // What is counted has line ends to be set right, and no dots.
            decoder: Decoder::counted(),
            scan: HeaderScan::new(HeaderLimits {
                field: smtp.limits.header,
                total: smtp.limits.headers,
            }),
            chunk: Vec::new(),
            size: 0,
        })
    }

    async fn data(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let Some((part, mut coding)) = self.open.take() else {
            return Err(FormError::Delimiter.into());
        };
        for piece in data.chunks(coding.piece()) {
            let content = coding.decode(piece)?;
            self.content(part, &content).await?;
        }
        self.open = Some((part, coding));
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Refusal> {
        let Some((part, coding)) = self.open.take() else {
            return Err(FormError::Delimiter.into());
        };
        let content = coding.finish()?;
        self.content(part, &content).await?;
        match (part, &mut self.message) {
            (Part::Message, Some(message)) => {
                message.decoder.finish(&mut message.chunk);
                message.flush().await
            }
            _ => Ok(()),
        }
    }

    async fn content(&mut self, part: Part, content: &[u8]) -> Result<(), Refusal> {
        match (part, &mut self.options, &mut self.message) {
            (Part::Options, Some(options), _) => {
                if content.len() > MOST_OPTIONS.saturating_sub(options.len()) {
                    return Err(too_large("options", MOST_OPTIONS as u64));
                }
                options.extend_from_slice(content);
                Ok(())
            }
            (Part::Message, _, Some(message)) => {
                message.take(content, &self.settings.smtp.limits).await
            }
            _ => Ok(()),
        }
    }
}

impl Coding {
    /// How much is decoded at once.
    fn piece(&self) -> usize {
        match self {
            Coding::Plain => usize::MAX,
            Coding::Gzip(_) => PIECE,
        }
    }

    fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, Refusal> {
        match self {
            Coding::Plain => Ok(bytes.into()),
            Coding::Gzip(decoder) => {
                decoder.write_all(bytes).map_err(|_| not_gzip())?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Coding::Plain => Ok(Vec::new()),
            Coding::Gzip(decoder) => decoder.finish().map_err(|_| not_gzip()),
        }
    }
}

fn not_gzip() -> Refusal {
    malformed("a part is not gzip, or is cut off")
}

impl Message {
    async fn take(&mut self, mut content: &[u8], limits: &Limits) -> Result<(), Refusal> {
        while !content.is_empty() {
            let (piece, rest) = content.split_at(content.len().min(CHUNK));
            content = rest;
            let before = self.chunk.len();
            self.decoder.decode(piece, &mut self.chunk);
            let decoded = self.chunk.get(before..).unwrap_or_default();
            self.scan.feed(decoded);
            self.size = self.size.saturating_add(decoded.len() as u64);
            if limits.size > 0 && self.size > limits.size {
                return Err(too_large("the message", limits.size));
            }
            if self.scan.too_big() {
                return Err(refused(552, (5, 3, 4), "Message header exceeds limit"));
            }
            if self.scan.hops() > limits.hops {
                return Err(refused(554, (5, 4, 6), "Too many hops"));
            }
            if self.chunk.len() >= CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        let written = self.writer.append(chunk).await;
        written.map_err(Refusal::NotStored)
    }
}

fn refused(code: u16, enhanced: (u8, u16, u16), text: &'static str) -> Refusal {
    let (class, subject, detail) = enhanced;
    let enhanced = EnhancedStatus::new(class, subject, detail);
    Refusal::Message(Reply::fixed(code, Some(enhanced), text))
}

/// The next bytes of a body.
async fn next(mut body: Pin<&mut Incoming>) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(malformed("the body is cut off, or its chunks are wrong")),
            // What is no data are trailers, which say nothing here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
