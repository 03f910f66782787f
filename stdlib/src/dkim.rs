//! DKIM for scripts: signing and verifying messages (RFC 6376, RFC 8463, RFC 8617 §4.1.2).
//!
//! The classes of messages take their methods from here: [`sign_method`] and [`verify_method`] work on whatever is
//! [`Signable`]. MIME objects and notifications sign a rendered text with [`Signing`].

mod legacy;

pub use legacy::{CurrentMail, LEGACY_EOD};

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_effects::Dns;
use angarium_effects::dns::{Query, RecordData, RecordType};
use angarium_mail::dkim::record::PublicKey;
use angarium_mail::dkim::{
    self, Algorithm, Canon, Failure, PrivateKey, SignError, SignOptions, Signature, TagList,
};
use angarium_mail::field::{ValueForm, compose};
use angarium_mail::header::{HeaderBlock, LineEnd};
use angarium_mail::source::Source;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::{to_number, to_str, truthy};
use angarium_runtime::host::Pool;
use angarium_runtime::native::{
    Args, Cx, Finish, FnDecl, Heavy, Input, LocalFuture, OptDecl, Options, Outcome, Step, Task,
    Throw, opt,
};
use angarium_runtime::object::Function;
use angarium_runtime::value::Value;

use crate::heavy::INLINE_BYTES;
use crate::keys;

/// The content of a message, for this thread and the thread pool.
pub type SharedSource = Arc<dyn Source + Send + Sync>;

/// An object of a message.
pub trait Signable: 'static {
    /// The message as it came.
    fn original(&self) -> SharedSource;

    /// The message with the changes so far; `now` is Unix seconds.
    ///
    /// # Errors
    /// When it cannot be read.
    fn changed(&self, now: i64) -> Result<SharedSource, Throw>;

    /// Adds a field above all others; the value is taken as it is.
    ///
    /// # Errors
    /// When the message cannot be changed so.
    fn add_field(&self, name: &str, value: &[u8]) -> Result<(), Throw>;

    /// Undoes all changes.
    fn reset(&self);
}

/// The options of every signDKIM (group DKIM).
pub const DKIM: &[OptDecl] = &[
    opt(
        "canonicalization_header",
        "string",
        "relaxed",
        "form of the header fields that is signed: simple or relaxed",
    ),
    opt(
        "canonicalization_body",
        "string",
        "relaxed",
        "form of the body that is signed: simple or relaxed",
    ),
    opt(
        "algorithm",
        "string",
        "rsa-sha256",
        "rsa-sha256, ed25519-sha256, or rsa-sha1, which nobody should trust any more",
    ),
    opt(
        "additional_headers",
        "array",
        "",
        "names of fields to sign besides the recommended ones",
    ),
    opt(
        "oversign_headers",
        "array",
        "[\"from\"]",
        "names listed once more than they occur, so that a field added later breaks the signature; with `headers` \
         only what is given here",
    ),
    opt(
        "headers",
        "array",
        "",
        "the names of the fields to sign, exactly, instead of the recommended ones",
    ),
    opt(
        "timestamp",
        "boolean|number",
        "false",
        "when it was signed: true for now, or Unix time",
    ),
    opt(
        "expiration",
        "number",
        "",
        "Unix time after which it does not count",
    ),
    opt(
        "expiration_relative",
        "number",
        "",
        "the same, in seconds after `timestamp` or now",
    ),
    opt(
        "identity",
        "string",
        "",
        "user or agent for whom it is signed: an address of the domain or below it",
    ),
    opt(
        "body_length",
        "number",
        "",
        "sign only so many bytes of the body's signed form; 0 none of it",
    ),
    opt(
        "id",
        "boolean",
        "",
        "whether `key` names a key of the configuration; found out when absent",
    ),
    opt(
        "return_header",
        "boolean",
        "false",
        "give the value of the field instead of adding the field (messages only)",
    ),
    opt(
        "arc",
        "boolean|number",
        "false",
        "make an ARC-Message-Signature of this instance, true for 1 (messages only)",
    ),
];

/// The private keys that the configuration names.
pub struct KeyStore(pub Box<FindKey>);

/// Finds a key by its id.
pub type FindKey = dyn Fn(&str) -> Option<Arc<PrivateKey>>;

/// Who signs, with what and how.
#[derive(Clone, Debug)]
pub struct Signing {
    /// `s=`
    pub selector: Vec<u8>,
    /// `d=`
    pub domain: Vec<u8>,
    /// The key.
    pub key: Arc<PrivateKey>,
    /// The rest.
    pub options: SignOptions,
}

impl Signing {
    /// Reads arguments `selector`, `domain`, `key` and `options` of a signDKIM from index 0 on.
    ///
    /// # Errors
    /// An Exception for an option that makes no sense. The inner error is a key that cannot be used.
    pub fn from_args(
        cx: &Cx<'_>,
        function: &str,
        args: &Args<'_>,
    ) -> Result<Result<Signing, String>, Throw> {
        let options = args.options(3);
        let read = sign_options(cx, function, options)?;
        let id = options.get("id").map(|id| truthy(&id));
        Ok(key_of(cx, args.get(2), id).map(|key| Signing {
            selector: args.bytes(0).to_vec(),
            domain: args.bytes(1).to_vec(),
            key,
            options: read,
        }))
    }

    /// The value of the field that signs the message in `source`.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn value<S: Source + ?Sized>(&self, source: &S) -> Result<Vec<u8>, SignError> {
        dkim::sign(
            source,
            &self.selector,
            &self.domain,
            &self.key,
            &self.options,
        )
    }

    /// The whole field, line end included, that signs a rendered message; it goes above all others.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub fn field(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let value = self.value(message)?;
        let name = self.options.field_name().as_bytes();
        let form = ValueForm::Verbatim;
        Ok(compose(name, &value, form, LineEnd::CrLf).unwrap_or_default())
    }
}

/// The options of a signDKIM. `rsa-sha1` is warned about.
///
/// # Errors
/// An Exception for a word or number that makes no sense.
pub fn sign_options(
    cx: &Cx<'_>,
    function: &str,
    options: Options<'_>,
) -> Result<SignOptions, Throw> {
    let wrong = |name: &str, why: &str| Throw::error(format!("{function}: option {name}: {why}"));
    let canon = |name: &str| match options.string(name) {
        None => Ok(Canon::Relaxed),
        Some(text) => Canon::from_name(text.as_bytes())
            .ok_or_else(|| wrong(name, "expected simple or relaxed")),
    };
    let algorithm = match options.string("algorithm") {
        None => Algorithm::RsaSha256,
        Some(text) => Algorithm::from_name(text.as_bytes()).ok_or_else(|| {
            wrong(
                "algorithm",
                "expected rsa-sha256, rsa-sha1 or ed25519-sha256",
            )
        })?,
    };
    if algorithm == Algorithm::RsaSha1 {
        let text = format!("{function}: rsa-sha1 is not trusted by verifiers (RFC 8301)");
        cx.host.output.syslog(4, text.as_bytes());
    }
    let names = |name: &str| {
        let list = options.get(name)?;
        let list = list.as_array()?;
        Some(
            list.values()
                .map(|name| to_str(&name).as_bytes().to_vec())
                .collect::<Vec<_>>(),
        )
    };
    let number = |name: &str| match options.get(name) {
        None => Ok(None),
        Some(value) => whole(&value)
            .map(Some)
            .ok_or_else(|| wrong(name, "expected a number of at least 0")),
    };
    let now = cx.host.clock.unix().as_secs();
    let timestamp = match options.get("timestamp") {
        None | Some(Value::Boolean(false)) => None,
        Some(Value::Boolean(true)) => Some(now),
        Some(_) => number("timestamp")?,
    };
    let relative = number("expiration_relative")?
        .map(|seconds| timestamp.unwrap_or(now).saturating_add(seconds));
    let arc = match options.get("arc") {
        None | Some(Value::Boolean(false)) => None,
        Some(Value::Boolean(true)) => Some(1),
        Some(value) => Some(
            whole(&value)
                .and_then(|instance| u32::try_from(instance).ok())
                .filter(|instance| (1..=50).contains(instance))
                .ok_or_else(|| wrong("arc", "expected an instance from 1 to 50"))?,
        ),
    };
    Ok(SignOptions {
        header: canon("canonicalization_header")?,
        body: canon("canonicalization_body")?,
        algorithm,
        additional: names("additional_headers").unwrap_or_default(),
        oversign: names("oversign_headers"),
        headers: names("headers"),
        timestamp,
        expiration: number("expiration")?.or(relative),
        identity: options
            .string("identity")
            .map(|text| text.as_bytes().to_vec()),
        body_length: number("body_length")?,
        arc,
    })
}

/// A whole number of at least 0 that has no more digits than a tag.
fn whole(value: &Value) -> Option<u64> {
    let number = to_number(value);
    (number.is_finite() && (0.0..1e15).contains(&number)).then_some(number as u64)
}

/// The key that a script means: a key resource, the id of one of the configuration, or the text of one.
fn key_of(cx: &Cx<'_>, value: &Value, id: Option<bool>) -> Result<Arc<PrivateKey>, String> {
    if let Value::Resource(resource) = value {
        return keys::private_key(resource)
            .ok_or_else(|| "the resource is no private key".to_owned());
    }
    let text = value.as_bytes().unwrap_or_default();
    let name = std::str::from_utf8(text).unwrap_or_default();
    let prefixed = name.strip_prefix("pki:");
    let store = cx.host.extension::<KeyStore>();
    let stored = |name: &str| store.as_ref().and_then(|store| (store.0)(name));
    let named = match id {
        Some(false) => None,
        _ => stored(prefixed.unwrap_or(name)),
    };
    match named {
        Some(key) => Ok(key),
        None if id == Some(true) || (id.is_none() && prefixed.is_some()) => {
            Err(format!("the configuration has no private key \"{name}\""))
        }
        None => keys::cached(text).map_err(|error| error.to_string()),
    }
}

const SIGN_DOC: &str = "Signs the message with all changes made so far, adds the field DKIM-Signature above all others and gives \
     the message; with `return_header` it gives the value of the field instead, to be added with `encode` false. The key \
     is PEM text (PKCS#1 or PKCS#8), a private key resource, the id of a key of the configuration, or for Ed25519 its \
     32 bytes. None when the message cannot be signed so; the log says why.";

/// `signDKIM` of a class of messages.
#[must_use]
pub const fn sign_method<T: Signable>() -> FnDecl {
    FnDecl::heavy(
        "signDKIM(selector: string, domain: string, key: resource|string, options?: array): MailMessage|string|none",
        SIGN_DOC,
        sign::<T>,
    )
    .options(DKIM)
    .groups(&["DKIM"])
}

const TIMEOUT: OptDecl = opt("timeout", "number", "5", "seconds for each DNS query");
const DNS_FUNCTION: OptDecl = opt(
    "dns_function",
    "function",
    "",
    "called with the name of a key instead of asking the DNS; gives `result`, the text of the record, or `error`: \
     permerror or temperror",
);

/// `verifyDKIM` of a class of messages.
#[must_use]
pub const fn verify_method<T: Signable>() -> FnDecl {
    FnDecl::task(
        "verifyDKIM(headerfield: string, options?: array): array",
        "Verifies a signature of the message as it came: `headerfield` is the whole field DKIM-Signature or \
         ARC-Message-Signature, unmodified. Gives `result`: pass, permerror or temperror; unless it is pass `error`, \
         which says why; and `tags`, the parts of the signature, if it could be read.",
        |cx, args| verify(cx, &args, args.this::<T>()?.original()),
    )
    .options(&[TIMEOUT, DNS_FUNCTION])
}

fn now(cx: &Cx<'_>) -> u64 {
    cx.host.clock.unix().as_secs()
}

/// What `sign` says in the log when it gives none.
fn refuse(cx: &Cx<'_>, why: &str) {
    let text = format!("signDKIM: {why}");
    cx.host.output.syslog(4, text.as_bytes());
}

fn sign<T: Signable>(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let Some(object) = args.this.map(Rc::clone) else {
        return Err(Throw::error("signDKIM: called on a wrong object"));
    };
    let signing = match Signing::from_args(cx, "signDKIM", &args)? {
        Ok(signing) => signing,
        Err(why) => {
            refuse(cx, &why);
            return Ok(Heavy::Done(Value::None));
        }
    };
    let return_header = args.options(3).boolean("return_header", false);
    let source = args.this::<T>()?.changed(now(cx) as i64)?;
    let name = signing.options.field_name();
    let size = size_of_work(&source, &signing.key);
    on_pool(
        cx,
        size,
        move || signing.value(&source),
        move |cx, value| match value {
            Err(why) => {
                refuse(cx, &why.to_string());
                Ok(Value::None)
            }
            Ok(value) if return_header => {
                cx.reserve(value.len())?;
                Ok(Value::bytes(&value))
            }
            Ok(value) => {
                if let Some(message) = object.downcast::<T>() {
                    message.add_field(name, &value)?;
                }
                Ok(Value::Object(object))
            }
        },
    )
}

/// By what is decided where a message is signed: its size, and more than is done here for keys that take milliseconds.
fn size_of_work(source: &SharedSource, key: &PrivateKey) -> usize {
    if key.is_slow() {
        return INLINE_BYTES + 1;
    }
    usize::try_from(source.len()).unwrap_or(usize::MAX)
}

/// Does `work` here when `size` is small and on the pool otherwise; `then` goes on here with what came out.
fn on_pool<R: Send + 'static>(
    cx: &mut Cx<'_>,
    size: usize,
    work: impl FnOnce() -> R + Send + 'static,
    then: impl FnOnce(&mut Cx<'_>, R) -> Outcome + 'static,
) -> Result<Heavy, Throw> {
    if size <= INLINE_BYTES {
        cx.charge(size / 16);
        return Ok(Heavy::Done(then(cx, work())?));
    }
    let pool = Arc::clone(&cx.host.pool);
    Ok(Heavy::Task(Box::new(Pooled {
        wait: Some(Box::pin(async move { run_on(&pool, work).await })),
        found: Rc::default(),
        then: Some(then),
    })))
}

/// Does `work` on the pool.
async fn run_on<R: Send + 'static>(
    pool: &Arc<dyn Pool>,
    work: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let slot: Arc<Mutex<Option<R>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let job = move || {
        let result = work();
        *inner.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        let finish: Finish = Box::new(|_| Ok(Value::None));
        finish
    };
    drop(pool.run(Box::new(job)).await);
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Waits for the pool.
struct Pooled<R, F> {
    wait: Option<LocalFuture<Option<R>>>,
    found: Rc<std::cell::Cell<Option<R>>>,
    then: Option<F>,
}

impl<R: 'static, F: FnOnce(&mut Cx<'_>, R) -> Outcome> Task for Pooled<R, F> {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if let Some(wait) = self.wait.take() {
            let found = Rc::clone(&self.found);
            return Ok(Step::Await(Box::pin(async move {
                found.set(wait.await);
                Ok(Value::None)
            })));
        }
        match (self.found.take(), self.then.take()) {
            (Some(found), Some(then)) => Ok(Step::Done(then(cx, found)?)),
            _ => Err(Throw::error("the work was interrupted")),
        }
    }
}

/// Asks for TXT records, and works on the pool: what verifying needs of the outside, without a borrow of the execution.
#[derive(Clone)]
pub struct Verifier {
    dns: Rc<dyn Dns>,
    pool: Arc<dyn Pool>,
    query: Query,
    now: u64,
}

impl Verifier {
    /// A verifier whose DNS queries take `timeout` at most.
    #[must_use]
    pub fn new(cx: &Cx<'_>, timeout: Duration) -> Verifier {
        Verifier {
            dns: Rc::clone(&cx.host.dns),
            pool: Arc::clone(&cx.host.pool),
            query: Query {
                servers: Vec::new(),
                timeout: Some(timeout),
            },
            now: now(cx),
        }
    }

    /// The TXT records at a name.
    ///
    /// # Errors
    /// [`Failure::NoKey`] or [`Failure::Fetch`]
    pub async fn fetch(&self, name: &str) -> Result<Vec<Vec<u8>>, Failure> {
        match self.dns.query(name, RecordType::Txt, &self.query).await {
            Ok(answer) => {
                let records = answer.records.into_iter();
                Ok(records
                    .filter_map(|record| match record.data {
                        RecordData::Txt(text) => Some(text),
                        _ => None,
                    })
                    .collect())
            }
            Err(error) if error.is_temporary() => Err(Failure::Fetch {
                name: name.to_owned(),
                reason: error.to_string(),
            }),
            Err(_) => Err(Failure::NoKey(name.to_owned())),
        }
    }

    /// Checks a signature with the records at its key's name.
    ///
    /// # Errors
    /// Why it does not hold.
    pub async fn check(
        &self,
        source: SharedSource,
        signature: Signature,
        records: Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        let size = usize::try_from(source.len()).unwrap_or(usize::MAX);
        let now = self.now;
        let work = move || check(&source, &signature, &records, now);
        if size <= INLINE_BYTES {
            return work();
        }
        let stopped = || Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into());
        run_on(&self.pool, work).await.unwrap_or_else(stopped)
    }

    /// Verifies the signature in a field.
    ///
    /// # Errors
    /// Why it does not hold.
    pub async fn verify(&self, source: SharedSource, signature: Signature) -> Result<(), Failure> {
        let records = self.fetch(&signature.key_name()).await?;
        self.check(source, signature, records).await
    }
}

/// As many records are tried when a selector has several, which it should not (RFC 6376 §3.6.2.2).
const MAX_RECORDS: usize = 4;

fn check(
    source: &SharedSource,
    signature: &Signature,
    records: &[Vec<u8>],
    now: u64,
) -> Result<(), Failure> {
    let header = HeaderBlock::read(source)?;
    let mut failure = Failure::NoKey(signature.key_name());
    for record in records.iter().take(MAX_RECORDS) {
        let verified = PublicKey::from_record(record, signature)
            .map_err(Failure::from)
            .and_then(|key| dkim::verify(&header, source, signature, &key, now));
        match verified {
            Ok(()) => return Ok(()),
            // What the right key says is worth more than that another record is none.
            Err(found) if found.is_mismatch() || !failure.is_mismatch() => failure = found,
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The timeout among options.
///
/// # Errors
/// An Exception for what is no number of seconds.
pub(crate) fn timeout(function: &str, options: Options<'_>) -> Result<Duration, Throw> {
    let seconds = options.number("timeout", 5.0);
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(Throw::error(format!(
            "{function}: timeout must be a number of seconds"
        )));
    }
    Ok(Duration::from_secs_f64(seconds.min(3600.0)))
}

fn verify(cx: &mut Cx<'_>, args: &Args<'_>, source: SharedSource) -> Result<Box<dyn Task>, Throw> {
    let options = args.options(1);
    let field = args.bytes(0);
    cx.charge(field.len() / 16);
    cx.charge(usize::try_from(source.len() / 64).unwrap_or(usize::MAX));
    Ok(Box::new(Verify {
        tags: tags_of(field),
        signature: Some(Signature::parse(field).map_err(Failure::from)),
        function: options
            .get("dns_function")
            .and_then(|function| function.as_function().map(Rc::clone)),
        verifier: Verifier::new(cx, timeout("verifyDKIM", options)?),
        source,
        asked: false,
        failure: Rc::default(),
    }))
}

/// The tags of a field, if its value is a tag list.
fn tags_of(field: &[u8]) -> Option<Value> {
    let colon = memchr::memchr(b':', field)?;
    let tags = TagList::parse(field.get(colon + 1..)?).ok()?;
    Some(tags_value(&tags))
}

pub(crate) fn tags_value(tags: &TagList<'_>) -> Value {
    let mut array = Array::new();
    for (name, value) in tags.iter() {
        let Some(name) = Key::cast(&Value::bytes(name)) else {
            continue;
        };
        array.insert(name, Value::bytes(value));
    }
    array.into()
}

/// One `verifyDKIM`.
struct Verify {
    tags: Option<Value>,
    signature: Option<Result<Signature, Failure>>,
    function: Option<Rc<Function>>,
    verifier: Verifier,
    source: SharedSource,
    /// The function was called.
    asked: bool,
    failure: Rc<std::cell::Cell<Option<Failure>>>,
}

impl Verify {
    fn done(&mut self, outcome: Result<(), Failure>) -> Step {
        let mut array = Array::new();
        match outcome {
            Ok(()) => array.insert(Key::from("result"), "pass".into()),
            Err(failure) => {
                let result = if failure.is_temporary() {
                    "temperror"
                } else {
                    "permerror"
                };
                array.insert(Key::from("result"), result.into());
                array.insert(Key::from("error"), failure.to_string().into());
            }
        }
        if let Some(tags) = self.tags.take() {
            array.insert(Key::from("tags"), tags);
        }
        Step::Done(array.into())
    }

    /// Waits for the rest, which leaves its failure behind.
    fn wait(&self, work: impl Future<Output = Result<(), Failure>> + 'static) -> Step {
        let failure = Rc::clone(&self.failure);
        Step::Await(Box::pin(async move {
            failure.set(work.await.err());
            Ok(Value::None)
        }))
    }
}

impl Task for Verify {
    fn resume(&mut self, _: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        let signature = match self.signature.take() {
            // The work is done.
            None => {
                let outcome = self.failure.take().map_or(Ok(()), Err);
                return Ok(self.done(outcome));
            }
            Some(Err(failure)) => return Ok(self.done(Err(failure))),
            Some(Ok(signature)) => signature,
        };
        let (verifier, source) = (self.verifier.clone(), Arc::clone(&self.source));
        let Some(function) = &self.function else {
            return Ok(self.wait(async move { verifier.verify(source, signature).await }));
        };
        match input {
            Input::Value(answer) if self.asked => match records_of(&answer, &signature) {
                Ok(records) => {
                    Ok(self.wait(async move { verifier.check(source, signature, records).await }))
                }
                Err(failure) => Ok(self.done(Err(failure))),
            },
            _ => {
                let name = Value::from(signature.key_name());
                let call = Step::Call(Rc::clone(function), smallvec::smallvec![name]);
                self.asked = true;
                self.signature = Some(Ok(signature));
                Ok(call)
            }
        }
    }
}

/// What a `dns_function` answered: `result` is the text of a record, or a list of such as dns_query gives.
fn records_of(answer: &Value, signature: &Signature) -> Result<Vec<Vec<u8>>, Failure> {
    let name = signature.key_name();
    let Some(array) = answer.as_array() else {
        return Err(Failure::NoKey(name));
    };
    let given = |key: &str| array.get_str(key).filter(|value| !value.is_none());
    match given("result") {
        Some(result) => Ok(match result.as_array() {
            Some(list) => list
                .values()
                .map(|text| to_str(&text).as_bytes().to_vec())
                .collect(),
            None => vec![to_str(&result).as_bytes().to_vec()],
        }),
        None => {
            let error = given("error").map(|error| to_str(&error).to_text().into_owned());
            // What dns_query says of a server is known too.
            let temporary = ["temperror", "SERVFAIL", "REFUSED", "TRY_AGAIN"];
            match error {
                Some(reason) if temporary.contains(&reason.as_str()) => {
                    Err(Failure::Fetch { name, reason })
                }
                _ => Err(Failure::NoKey(name)),
            }
        }
    }
}

/// The functions of this family that belong to no class.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::plain(
    "header_dkim_decode(value: string, options?: array): array|none",
    "Takes a list of tags apart, the value of a DKIM or ARC field or of a key or DMARC record: names as they are written \
     to values without the white space around them. None for a text that is no such list: a tag twice, without `=` or \
     without a name, or a `v` that is not the first.",
    |cx, args| {
        let text = args.bytes(0);
        cx.charge(text.len() / 16);
        let value = if args.options(1).boolean("field", false) {
            match memchr::memchr(b':', text) {
                Some(colon) => text.get(colon + 1..).unwrap_or_default(),
                None => return Ok(Value::None),
            }
        } else {
            text
        };
        Ok(TagList::parse(value).map_or(Value::None, |tags| tags_value(&tags)))
    },
)
.options(&[opt("field", "boolean", "false", "the text is a whole field, `Name: value`")])
.example(r#"header_dkim_decode("v=1; d = example.com;") // ["v"=>"1","d"=>"example.com"]"#)];
