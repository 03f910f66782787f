//! Option arrays of the queue's functions, read into the types of the queue.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use angarium_mail::dsn::ExtraHeader;
use angarium_queue::dsn::{DsnOptions, DsnRequest};
use angarium_queue::item::{Address, Pairs};
use angarium_queue::retry::Again;
use angarium_queue::text::Text;
use angarium_runtime::array::View;
use angarium_runtime::convert::{to_number, to_str, truthy};
use angarium_runtime::native::{Cx, OptDecl, Throw, opt};
use angarium_runtime::value::{Kind, Value};
use angarium_smtp::xtext;

use super::compat::QueueSetters;
use super::envelope;
use crate::signing;

/// What a queue hook knows of the configuration: the ids of its transports.
#[derive(Clone, Debug)]
pub struct TransportIds(pub Arc<BTreeSet<String>>);

/// Reads options and names the function in every complaint.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    function: &'static str,
    /// Before the names of options: `dsn.` for those of that member.
    prefix: &'static str,
    array: Option<View<'a>>,
}

impl<'a> Reader<'a> {
    /// Reads the options array `value`; anything else counts as empty.
    #[must_use]
    pub fn new(function: &'static str, value: &'a Value) -> Reader<'a> {
        Reader {
            function,
            prefix: "",
            array: value.as_array(),
        }
    }

    /// Reads the member `dsn` of a function's options.
    fn dsn(function: &'static str, value: &'a Value) -> Reader<'a> {
        Reader {
            prefix: "dsn.",
            ..Reader::new(function, value)
        }
    }

    /// The function whose options these are.
    #[must_use]
    pub fn function(self) -> &'static str {
        self.function
    }

    /// The value of an option; a none counts as absent.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Value> {
        self.array?.get_str(name).filter(|value| !value.is_none())
    }

    fn wrong(self, name: &str, expected: &str, got: &Value) -> Throw {
        Throw::error(format!(
            "{}: option {}{name}: expected {expected}, got {}",
            self.function,
            self.prefix,
            got.kind().name()
        ))
    }

    /// An Exception about an option.
    #[must_use]
    pub fn refuse(self, name: &str, why: &str) -> Throw {
        let Reader {
            function, prefix, ..
        } = self;
        Throw::error(format!("{function}: option {prefix}{name}: {why}"))
    }

    /// A string option as text.
    ///
    /// # Errors
    /// For arrays, functions, objects and resources.
    pub fn text(self, name: &str) -> Result<Option<Text>, Throw> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) => {
                Ok(Some(Text::from(to_str(&value).into_vec())))
            }
            Some(value) => Err(self.wrong(name, "string", &value)),
        }
    }

    /// The id of a transport of this configuration.
    ///
    /// # Errors
    /// As [`Reader::text`], and for a transport that there is not.
    pub fn transport(self, cx: &Cx<'_>, name: &str) -> Result<Option<Text>, Throw> {
        let given = self.text(name)?;
        if let (Some(id), Some(known)) = (&given, cx.host.extension::<TransportIds>())
            && !known.0.contains(&*id.to_str())
        {
            return Err(self.refuse(name, &format!("unknown transport \"{id}\"")));
        }
        Ok(given)
    }

    /// A boolean option.
    #[must_use]
    pub fn boolean(self, name: &str) -> Option<bool> {
        self.get(name).map(|value| truthy(&value))
    }

    /// A number of seconds.
    ///
    /// # Errors
    /// For what is no finite number of at least 0.
    pub fn seconds(self, name: &str) -> Result<Option<Duration>, Throw> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let seconds = to_number(&value);
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(self.refuse(name, "expected a number of seconds"));
        }
        // A century is more than any schedule needs and keeps all sums in range.
        Ok(Some(Duration::from_secs_f64(seconds.min(3_153_600_000.0))))
    }

    /// A list or map option.
    ///
    /// # Errors
    /// For what is no array.
    pub fn array(self, name: &str) -> Result<Option<Value>, Throw> {
        match self.get(name) {
            Some(value) if value.as_array().is_none() => Err(self.wrong(name, "array", &value)),
            other => Ok(other),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// For what is no array.
    pub fn texts(self, name: &str) -> Result<Vec<Text>, Throw> {
        Ok(self
            .array(name)?
            .and_then(|value| {
                let list = value.as_array()?;
                Some(
                    list.values()
                        .map(|item| Text::from(to_str(&item).into_vec()))
                        .collect(),
                )
            })
            .unwrap_or_default())
    }

    /// String pairs.
    ///
    /// # Errors
    /// When a value is no string or number, or they are too large.
    pub fn pairs(self, name: &str) -> Result<Option<Pairs>, Throw> {
        match self.array(name)? {
            None => Ok(None),
            Some(value) => pairs(self.function, &value).map(Some),
        }
    }

    /// Parameters of MAIL or RCPT: pairs, names in upper case.
    ///
    /// # Errors
    /// As [`pairs`].
    pub fn parameters(self, name: &str) -> Result<Option<Pairs>, Throw> {
        let Some(given) = self.pairs(name)? else {
            return Ok(None);
        };
        let upper = given.iter().map(|(name, value)| {
            let name = Text::from(name.as_bytes().to_ascii_uppercase());
            (name, value.clone())
        });
        let upper = Pairs::new(upper);
        upper
            .map(Some)
            .map_err(|error| Throw::error(format!("{}: {error}", self.function)))
    }

    /// A mailbox.
    ///
    /// # Errors
    /// For what is no address.
    pub fn mailbox(self, name: &str) -> Result<Option<Address>, Throw> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let mailbox = envelope::mailbox(
            &value,
            &format!("{}: option {}{name}", self.function, self.prefix),
        )?;
        Ok(Some(Address::new(mailbox.localpart(), mailbox.domain())))
    }
}

/// Metadata: string keys, string values (numbers and booleans are converted).
///
/// # Errors
/// An Exception for other keys or values, or when they are too large.
pub fn pairs(function: &str, value: &Value) -> Result<Pairs, Throw> {
    let Some(array) = value.as_array() else {
        return Err(Throw::error(format!("{function}: expected an array")));
    };
    let mut list = Vec::with_capacity(array.len());
    for (key, value) in array.iter() {
        // A key such as "1" is an integer to the language, but a name to metadata.
        let key = to_str(&key.to_value());
        if !matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean) {
            return Err(Throw::error(format!(
                "{function}: metadata {key:?} must be a string, not {}",
                value.kind().name()
            )));
        }
        list.push((
            Text::from(key.into_vec()),
            Text::from(to_str(&value).into_vec()),
        ));
    }
    Pairs::new(list).map_err(|error| Throw::error(format!("{function}: {error}")))
}

/// The `dsn` member that carries RFC 3461 data (`queue()`, `Try()`).
///
/// # Errors
/// For values that RFC 3461 does not know.
pub fn dsn_request(function: &'static str, value: &Value) -> Result<DsnRequest, Throw> {
    let reader = Reader::dsn(function, value);
    let parse = |name: &str, error: angarium_queue::dsn::BadDsnValue| {
        reader.refuse(name, &error.to_string())
    };
    let given = |name: &str| -> Result<Option<Text>, Throw> {
        Ok(reader.text(name)?.filter(|text| !text.is_empty()))
    };
    let (ret, notify, envid, orcpt) = (
        given("ret")?,
        given("notify")?,
        given("envid")?,
        given("orcpt")?,
    );
    let too_long = |name: &str, most: usize| {
        let why = format!("encoded it is longer than the {most} characters of RFC 3461");
        reader.refuse(name, &why)
    };
    if let Some(envid) = &envid
        && xtext::encode(envid.as_bytes()).len() > xtext::ENVID_MAX
    {
        return Err(too_long("envid", xtext::ENVID_MAX));
    }
    if let Some(orcpt) = &orcpt {
        let form = || reader.refuse("orcpt", "expected \"type;address\"");
        let encoded = xtext::encode_orcpt(&orcpt.to_str()).ok_or_else(form)?;
        if encoded.len() - encoded.find(';').unwrap_or_default() > xtext::ORCPT_MAX + 1 {
            return Err(too_long("orcpt", xtext::ORCPT_MAX));
        }
    }
    Ok(DsnRequest {
        envid,
        ret: ret
            .map(|text| text.to_str().parse().map_err(|error| parse("ret", error)))
            .transpose()?,
        notify: notify
            .map(|text| {
                text.to_str()
                    .parse()
                    .map_err(|error| parse("notify", error))
            })
            .transpose()?,
        orcpt,
    })
}

/// The `dsn` member that says how a notification looks (group DSNGEN).
///
/// # Errors
/// For values of a wrong type, an unknown transport, a header that no notification can have, and a `dkim` that nothing
/// can be signed with.
pub fn dsn_options(
    cx: &Cx<'_>,
    function: &'static str,
    value: Option<Value>,
) -> Result<DsnOptions, Throw> {
    let Some(value) = value else {
        return Ok(DsnOptions::default());
    };
    let reader = Reader::dsn(function, &value);
    let dkim = match reader.array("dkim")? {
        Some(written) => {
            let refuse = |why: String| reader.refuse("dkim", &why);
            Some(signing::from_script(cx, function, written)?.map_err(refuse)?)
        }
        None => None,
    };
    let headers = reader.texts("headers")?;
    for line in &headers {
        ExtraHeader::parse(line.as_bytes())
            .map_err(|error| reader.refuse("headers", &error.to_string()))?;
    }
    Ok(DsnOptions {
        transportid: reader.transport(cx, "transportid")?,
        recipient: reader.mailbox("recipient")?,
        from: reader.mailbox("from")?,
        from_name: reader.text("from_name")?,
        metadata: reader.pairs("metadata")?,
        jobid: reader.text("jobid")?,
        tenantid: reader.text("tenantid")?,
        dkim,
        readable_mimepart: reader.text("readable_mimepart")?,
        original_headers: reader.boolean("original_headers"),
        original_message: reader.boolean("original_message"),
        subject: reader.text("subject")?,
        subject_prepend: reader.text("subject_prepend")?,
        headers,
    })
}

/// `dsn` of the functions that give a message up.
pub const DSN: OptDecl = opt("dsn", "array", "", "how the notification looks");

/// Declarations of group QUEUEAGAIN.
pub const QUEUEAGAIN: &[OptDecl] = &[
    opt(
        "delay",
        "number",
        "",
        "seconds until the next attempt; the transport's interval when absent",
    ),
    opt("reason", "string", "", "text for the log"),
    opt("hold", "boolean", "false", "move to the hold queue instead"),
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
    opt("jobid", "string", "", "change the job"),
    opt(
        "dsn_delayed",
        "boolean",
        "false",
        "send a notice of the delay now",
    ),
    opt("dsn", "array", "", "how that notice looks"),
];

/// Reads the options of `Queue()`.
///
/// # Errors
/// For values of a wrong type.
pub fn again(cx: &Cx<'_>, value: &Value) -> Result<Again, Throw> {
    let reader = Reader::new("Queue", value);
    Ok(Again {
        delay: reader.seconds("delay")?,
        reason: reader.text("reason")?,
        hold: reader.boolean("hold").unwrap_or(false),
        increment_retry: reader.boolean("increment_retry").unwrap_or(true),
        reset_retry: reader.boolean("reset_retry").unwrap_or(false),
        transportid: reader.transport(cx, "transportid")?,
        jobid: reader.text("jobid")?,
        dsn_delayed: reader.boolean("dsn_delayed").unwrap_or(false),
        dsn: {
            let older = cx.host.extension::<QueueSetters>();
            let dsn = reader.array("dsn")?.or_else(|| older?.dsn());
            dsn_options(cx, "Queue", dsn)?
        },
        explicit: true,
        // Where it was called is known when the script has ended.
        origin: None,
    })
}
