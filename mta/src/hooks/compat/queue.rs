//! Setters of predelivery, which do what an option of Try does, and the older names of Queue.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{LazyLock, Mutex, PoisonError};

use angarium_queue::item::Item;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, Cx, FnDecl, OptDecl, Outcome, Throw, opt};
use angarium_runtime::value::Value;
use angarium_stdlib::file;

use crate::hooks::eodrcpt;
use crate::hooks::options::again;
use crate::hooks::queue::{Predelivery, TLS};
use crate::hooks::queue_variables::Files;
use crate::hooks::variables::Map;

const AGAIN: &[OptDecl] = &[
    opt("reason", "string", "", "text for the log"),
    opt(
        "increment_retry",
        "boolean",
        "true",
        "count this as a retry",
    ),
    opt(
        "reset_retry",
        "boolean",
        "false",
        "start counting retries again from 0",
    ),
    opt("transportid", "string", "", "change the transport"),
];

const RETRY: &[OptDecl] = &[
    opt("delay", "number", "", "seconds until the next attempt"),
    AGAIN[0],
    AGAIN[1],
    AGAIN[2],
    AGAIN[3],
];

const SET_DSN: FnDecl = FnDecl::plain(
    "SetDSN(options: array): none",
    "Says how a notification that this attempt leads to looks, unless Bounce or Queue say so themselves.",
    |cx, args| {
        Setters::of(cx)?.dsn.replace(Some(args.get(0).clone()));
        Ok(Value::None)
    },
)
.options(&[
    opt("transportid", "string", "", "transport of the notification"),
    opt("recipient", "string|array", "", "its recipient"),
    opt("metadata", "array", "", "string pairs"),
    opt("from", "string|array", "", "address of its sender"),
    opt("from_name", "string", "", "name of its sender"),
    opt("dkim", "array", "", "how it is signed"),
    opt("jobid", "string", "", "job"),
])
.legacy();

const GET_MAIL_FILE: FnDecl = FnDecl::plain(
    "GetMailFile(options?: array): File",
    "Gives the message as a file, as it was received.",
    |cx, args| {
        let setters = Setters::of(cx)?;
        match args.options(0).boolean("changes", false) {
            true => file::opened(cx, &setters.files.modified),
            false => file::opened(cx, &setters.files.original),
        }
    },
)
.options(&[opt("changes", "boolean", "false", "with its changes")])
.legacy();

macro_rules! set {
    ($signature:literal, $doc:literal, [$($option:literal),+]) => {
        FnDecl::plain($signature, $doc, |cx, args| {
            let setters = Setters::of(cx)?;
            let mut options = setters.options.borrow_mut();
            for (index, name) in [$($option),+].into_iter().enumerate() {
                options.insert(Key::from(name), args.get(index).clone());
            }
            Ok(Value::None)
        })
        .legacy()
    };
}

pub(super) const PREDELIVERY: &[FnDecl] = &[
    FnDecl::plain(
        "Reschedule(delay: number, options?: array)",
        "Queues the message again without an attempt.",
        reschedule,
    )
    .options(AGAIN)
    .legacy(),
    set!(
        "SetDestination(host: string, port?: number): none",
        "Sets the host and the port of this attempt.",
        ["host", "port"]
    ),
    set!(
        "SetProtocol(protocol: string): none",
        "Sets the protocol of this attempt: smtp or lmtp.",
        ["protocol"]
    ),
    set!(
        "SetSASL(username: string, password: string): none",
        "Logs in at the peer in this attempt.",
        ["saslusername", "saslpassword"]
    ),
    set!(
        "SetXCLIENT(attributes: array): none",
        "Sends these attributes of XCLIENT in this attempt.",
        ["xclient"]
    ),
    set!(
        "SetHELO(hostname: string): none",
        "Sets the name for EHLO in this attempt.",
        ["helo"]
    ),
    FnDecl::plain(
        "SetTLS(options: array): none",
        "Sets the use of TLS in this attempt, by the options that Try has.",
        set_tls,
    )
    .options(&[
        TLS[0],
        TLS[1],
        TLS[2],
        TLS[3],
        TLS[4],
        TLS[5],
        TLS[6],
        TLS[7],
        opt(
            "tls_capture_peer_cert",
            "boolean",
            "false",
            "the peer's certificate is always given",
        ),
    ])
    .legacy(),
    FnDecl::plain(
        "SetSourceIP(id: string|array, options?: array): none",
        "Sets the source address of this attempt: an id, or one for each family.",
        set_source,
    )
    .options(&[opt(
        "nonlocal_source",
        "boolean",
        "false",
        "bind addresses that are not this machine's",
    )])
    .legacy(),
    set!(
        "SetSender(sender: string|array): none",
        "Sets the address of MAIL in this attempt.",
        ["sender"]
    ),
    set!(
        "SetSenderParams(params: array): none",
        "Sets the parameters of MAIL in this attempt.",
        ["senderparams"]
    ),
    set!(
        "SetRecipient(recipient: string|array): none",
        "Sets the address of RCPT in this attempt.",
        ["recipient"]
    ),
    set!(
        "SetRecipientParams(params: array): none",
        "Sets the parameters of RCPT in this attempt.",
        ["recipientparams"]
    ),
    FnDecl::plain(
        "CurrentConnections(namespace: string, entry: string, max: number): boolean",
        "Takes one of `max` places for the time of the attempt; false when all are taken.",
        current_connections,
    )
    .legacy(),
    SET_DSN,
    GET_MAIL_FILE,
];

pub(super) const POSTDELIVERY: &[FnDecl] = &[
    FnDecl::plain(
        "Retry(options?: array)",
        "Queues the message again.",
        |cx, args| {
            crate::hooks::queue::undelivered(cx, "Retry")?;
            let again = again(cx, args.get(0))?;
            Err(Throw::end(angarium_queue::outcome::Verdict::Queue(
                Box::new(again),
            )))
        },
    )
    .options(RETRY)
    .legacy(),
    SET_DSN,
    GET_MAIL_FILE,
    eodrcpt::GET_TLS.legacy(),
];

/// What setters have said in one run of a queue's hook.
pub struct Setters {
    /// By the names of Try's options; `senderparams` and `recipientparams` beside them.
    options: RefCell<Array>,
    dsn: RefCell<Option<Value>>,
    slots: RefCell<Vec<Slot>>,
    files: Files,
    /// Sender and recipient as arrays, for parameters without an address.
    sender: Value,
    recipient: Value,
}

impl Setters {
    /// For a run about this item; `dsn` is what predelivery has set.
    #[must_use]
    pub fn new(item: &Item, files: Files, dsn: Option<Value>) -> Setters {
        let address = |address: &angarium_queue::item::Address| {
            Value::from(
                Map::default()
                    .with("localpart", Value::bytes(address.localpart.as_bytes()))
                    .with("domain", Value::bytes(address.domain.as_bytes())),
            )
        };
        Setters {
            options: RefCell::default(),
            dsn: RefCell::new(dsn),
            slots: RefCell::default(),
            files,
            sender: address(&item.sender),
            recipient: address(&item.recipient),
        }
    }

    fn of(cx: &Cx<'_>) -> Result<Rc<Setters>, Throw> {
        cx.host
            .extension::<Setters>()
            .ok_or_else(|| Throw::error("there is no message here"))
    }

    /// Whether something was set for Try.
    #[must_use]
    pub fn has_options(&self) -> bool {
        !self.options.borrow().is_empty()
    }

    /// The options of Try with what was set; what Try itself says wins.
    #[must_use]
    pub fn with_options(&self, given: &Value) -> Value {
        let mut options = self.options.borrow().clone();
        for (name, params, default) in [
            ("sender", "senderparams", &self.sender),
            ("recipient", "recipientparams", &self.recipient),
        ] {
            let params = options.slot(Key::from(params)).take();
            let slot = options.slot(Key::from(name));
            if params.is_none() {
                continue;
            }
            let address = match slot.take() {
                Value::None => default.clone(),
                set => parts(set),
            };
            let mut address: Array = address
                .as_array()
                .map(|array| array.iter().collect())
                .unwrap_or_default();
            address.insert(Key::from("params"), params);
            *slot = address.into();
        }
        for (name, value) in given.as_array().into_iter().flat_map(|given| given.iter()) {
            options.insert(name, value);
        }
        options.into()
    }

    /// What is kept for postdelivery beside `$context`.
    #[must_use]
    pub fn carried(&self, context: Value) -> Carried {
        Carried {
            context,
            dsn: self.dsn.borrow().clone(),
            _slots: self.slots.take(),
        }
    }

    /// What SetDSN has said.
    #[must_use]
    pub fn dsn(&self) -> Option<Value> {
        self.dsn.borrow().clone()
    }
}

/// An address as an array with its parts; what is no address stays as it is, and is refused later.
fn parts(address: Value) -> Value {
    match crate::hooks::envelope::reverse_path(&address, "") {
        Ok(path) => Map::default()
            .with("localpart", path.localpart())
            .with("domain", path.domain())
            .into(),
        Err(_) => address,
    }
}

/// What goes from predelivery to postdelivery of the same attempt; places are free again when it goes.
pub struct Carried {
    /// `$context`
    pub context: Value,
    /// SetDSN
    pub dsn: Option<Value>,
    _slots: Vec<Slot>,
}

type Places = HashMap<(Vec<u8>, Vec<u8>), u64>;

static PLACES: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);

/// A place that CurrentConnections has taken.
struct Slot((Vec<u8>, Vec<u8>));

impl Slot {
    fn take(key: (Vec<u8>, Vec<u8>), max: u64) -> Option<Slot> {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.get(&key).copied().unwrap_or_default();
        if taken >= max {
            return None;
        }
        places.insert(key.clone(), taken + 1);
        Some(Slot(key))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(&self.0) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => drop(places.remove(&self.0)),
        }
    }
}

fn current_connections(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let setters = Setters::of(cx)?;
    let key = (args.bytes(0).to_vec(), args.bytes(1).to_vec());
    let max = u64::try_from(args.integer(2, 0)).unwrap_or(0);
    let bytes = key.0.len().saturating_add(key.1.len()).saturating_add(128);
    cx.reserve(bytes)?;
    angarium_runtime::memory::charge(bytes);
    let Some(slot) = Slot::take(key, max) else {
        return Ok(false.into());
    };
    setters.slots.borrow_mut().push(slot);
    Ok(true.into())
}

fn reschedule(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.get(1).as_array();
    let mut options: Array = options
        .map(|array| array.iter().collect())
        .unwrap_or_default();
    options.insert(Key::from("delay"), args.get(0).clone());
    let again = again(cx, &options.into())?;
    Err(Throw::end(Predelivery::Queue(Box::new(again))))
}

fn set_tls(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let setters = Setters::of(cx)?;
    let mut options = setters.options.borrow_mut();
    for (name, value) in args
        .get(0)
        .as_array()
        .into_iter()
        .flat_map(|given| given.iter())
    {
        // The certificate of the peer is always captured.
        if name != Key::from("tls_capture_peer_cert") {
            options.insert(name, value);
        }
    }
    Ok(Value::None)
}

fn set_source(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let setters = Setters::of(cx)?;
    let list = match args.get(0).as_array() {
        Some(_) => args.get(0).clone(),
        None => Array::from_list(vec![args.get(0).clone()]).into(),
    };
    let mut options = setters.options.borrow_mut();
    options.insert(Key::from("sourceip"), list);
    if let Some(nonlocal) = args.options(1).get("nonlocal_source") {
        options.insert(Key::from("nonlocal_source"), nonlocal);
    }
    Ok(Value::None)
}
