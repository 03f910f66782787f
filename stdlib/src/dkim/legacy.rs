//! The older functions of eod that sign and verify the message of the hook: DKIMSign, DKIMVerify, DKIMSDID.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::dkim::{Failure, Signature, TagList};
use angarium_mail::header::HeaderBlock;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Input, OptDecl, Step, Task, Throw, opt};
use angarium_runtime::object::{Function, Object};
use angarium_runtime::value::Value;

use super::{
    DKIM, DNS_FUNCTION, SharedSource, Signable as _, Signing, TIMEOUT, Verifier, now, on_pool,
    records_of, refuse, size_of_work, timeout, verify,
};
use crate::message::PartObject;

/// The message that a hook handles, for the older functions that name none.
pub struct CurrentMail {
    /// The object of its class.
    pub object: Rc<Object>,
    /// The address that it comes from.
    pub ip: Option<std::net::IpAddr>,
    /// What the client calls itself.
    pub helo: String,
    /// The domain of the envelope sender; empty for the null sender.
    pub sender_domain: String,
}

impl CurrentMail {
    /// The message of this execution.
    ///
    /// # Errors
    /// An Exception where there is none.
    pub fn of(cx: &Cx<'_>, function: &str) -> Result<Rc<CurrentMail>, Throw> {
        cx.host
            .extension::<CurrentMail>()
            .ok_or_else(|| Throw::error(format!("{function}: there is no message here")))
    }

    /// The message as what can be signed.
    ///
    /// # Errors
    /// An Exception when it is none.
    pub fn mail(&self) -> Result<&PartObject, Throw> {
        self.object
            .downcast()
            .ok_or_else(|| Throw::error("the message cannot be signed"))
    }
}

/// The older functions of eod.
pub const LEGACY_EOD: &[FnDecl] = &[
    FnDecl::heavy(
        "DKIMSign(selector: string, domain: string, key: resource|string, options?: array): boolean|string",
        "Signs the message as its method signDKIM does, and tells whether that worked; with `return_header` it gives the value \
         of the field. With `discard_changes` all changes made before are undone first.",
        dkim_sign,
    )
    .options(SIGN_LEGACY)
    .legacy(),
    FnDecl::task(
        "DKIMVerify(headerfield: string, options?: array): array",
        "Older name of the message's method verifyDKIM.",
        |cx, args| {
            let mail = CurrentMail::of(cx, "DKIMVerify")?.mail()?.original();
            verify(cx, &args, mail)
        },
    )
    .options(&[TIMEOUT, DNS_FUNCTION])
    .legacy(),
    FnDecl::task(
        "DKIMSDID(explicitdomains?: array, options?: array): array",
        "Verifies the signatures of the message and tells for each signing domain: pass, fail, temperror, permerror, or \
         skip for what was not looked at: other domains than the given ones, and signatures beyond the limit. Of several \
         signatures of a domain the best one counts.",
        dkim_sdid,
    )
    .options(&[
        opt("signature_limit", "number", "5", "as many signatures are verified"),
        TIMEOUT,
        DNS_FUNCTION,
    ])
    .legacy(),
];

/// Group DKIM with `discard_changes`.
const SIGN_LEGACY: &[OptDecl] = &{
    let discard = opt(
        "discard_changes",
        "boolean",
        "false",
        "undo all changes first",
    );
    let mut options = [discard; DKIM.len() + 1];
    let mut at = 0;
    while at < DKIM.len() {
        options[at] = DKIM[at];
        at += 1;
    }
    options
};

fn dkim_sign(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let current = CurrentMail::of(cx, "DKIMSign")?;
    let signing = match Signing::from_args(cx, "DKIMSign", &args)? {
        Ok(signing) => signing,
        Err(why) => {
            refuse(cx, &why);
            return Ok(Heavy::Done(false.into()));
        }
    };
    let options = args.options(3);
    let return_header = options.boolean("return_header", false);
    if options.boolean("discard_changes", false) {
        current.mail()?.reset();
    }
    let source = current.mail()?.changed(now(cx) as i64)?;
    let name = signing.options.field_name();
    let size = size_of_work(&source, &signing.key);
    on_pool(
        cx,
        size,
        move || signing.value(&source),
        move |cx, value| match value {
            Err(why) => {
                refuse(cx, &why.to_string());
                Ok(false.into())
            }
            Ok(value) if return_header => {
                cx.reserve(value.len())?;
                Ok(Value::bytes(&value))
            }
            Ok(value) => {
                current.mail()?.add_field(name, &value)?;
                Ok(true.into())
            }
        },
    )
}

fn dkim_sdid(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let source = CurrentMail::of(cx, "DKIMSDID")?.mail()?.original();
    let options = args.options(1);
    let limit = options.number("signature_limit", 5.0).clamp(0.0, 1000.0) as usize;
    let explicit: Option<Vec<String>> = args.get(0).as_array().map(|list| {
        let domain = |value: Value| to_str(&value).to_text().to_ascii_lowercase();
        list.values().map(domain).collect()
    });
    let explicit = explicit.filter(|list: &Vec<String>| !list.is_empty());
    let header = HeaderBlock::read(&source)
        .map_err(|error| Throw::error(format!("the message cannot be read: {error}")))?;
    let mut task = Sdid {
        results: Vec::new(),
        waiting: Vec::new(),
        function: options
            .get("dns_function")
            .and_then(|function| function.as_function().map(Rc::clone)),
        verifier: Verifier::new(cx, timeout("DKIMSDID", options)?),
        source,
        current: None,
        outcome: Rc::default(),
    };
    let mut taken = 0;
    for field in header.named(b"DKIM-Signature") {
        cx.charge(field.raw().len() / 16);
        let signature = Signature::parse(field.raw());
        let domain = match &signature {
            Ok(signature) => signature.domain.clone(),
            Err(_) => match domain_of(field.raw()) {
                Some(domain) => domain,
                None => continue,
            },
        };
        // The domains come in the order of their signatures.
        task.note(&domain, Sdid::SKIP);
        let wanted = explicit.as_ref().is_none_or(|list| list.contains(&domain));
        if !wanted || taken >= limit {
            continue;
        }
        taken += 1;
        match signature {
            Ok(signature) => task.waiting.push(signature),
            Err(_) => task.note(&domain, Sdid::PERMERROR),
        }
    }
    task.waiting.reverse();
    Ok(Box::new(task))
}

/// The `d=` of a signature that cannot be used.
fn domain_of(field: &[u8]) -> Option<String> {
    let colon = memchr::memchr(b':', field)?;
    let tags = TagList::parse(field.get(colon + 1..)?).ok()?;
    let domain = tags.get("d").filter(|domain| !domain.is_empty())?;
    Some(String::from_utf8_lossy(domain).to_ascii_lowercase())
}

/// A domain and what became of its signature.
type Checked = (String, Result<(), Failure>);

/// One `DKIMSDID`.
struct Sdid {
    /// Domains and how good the best of their signatures is.
    results: Vec<(String, usize)>,
    waiting: Vec<Signature>,
    function: Option<Rc<Function>>,
    verifier: Verifier,
    source: SharedSource,
    /// The signature whose key was asked for.
    current: Option<Signature>,
    outcome: Rc<Cell<Option<Checked>>>,
}

impl Sdid {
    /// From worst to best.
    const NAMES: [&'static str; 5] = ["skip", "permerror", "fail", "temperror", "pass"];
    const SKIP: usize = 0;
    const PERMERROR: usize = 1;

    fn note(&mut self, domain: &str, rank: usize) {
        match self.results.iter_mut().find(|(known, _)| known == domain) {
            Some((_, best)) => *best = rank.max(*best),
            None => self.results.push((domain.to_owned(), rank)),
        }
    }

    fn note_outcome(&mut self, domain: &str, outcome: &Result<(), Failure>) {
        let rank = match outcome {
            Ok(()) => 4,
            Err(failure) if failure.is_temporary() => 3,
            Err(failure) if failure.is_mismatch() => 2,
            Err(_) => Self::PERMERROR,
        };
        self.note(domain, rank);
    }

    fn wait(
        &self,
        domain: String,
        work: impl Future<Output = Result<(), Failure>> + 'static,
    ) -> Step {
        let slot = Rc::clone(&self.outcome);
        Step::Await(Box::pin(async move {
            slot.set(Some((domain, work.await)));
            Ok(Value::None)
        }))
    }
}

impl Task for Sdid {
    fn resume(&mut self, _: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Some((domain, outcome)) = self.outcome.take() {
            self.note_outcome(&domain, &outcome);
        } else if let (Some(signature), Input::Value(answer)) = (self.current.take(), input) {
            let domain = signature.domain.clone();
            match records_of(&answer, &signature) {
                Ok(records) => {
                    let (verifier, source) = (self.verifier.clone(), Arc::clone(&self.source));
                    return Ok(self.wait(domain, async move {
                        verifier.check(source, signature, records).await
                    }));
                }
                Err(failure) => self.note_outcome(&domain, &Err(failure)),
            }
        }
        let Some(signature) = self.waiting.pop() else {
            let results = self.results.iter();
            let mut array = Array::new();
            for (domain, rank) in results {
                let name = Self::NAMES.get(*rank).copied().unwrap_or("permerror");
                array.insert(Key::from(domain.as_str()), name.into());
            }
            return Ok(Step::Done(array.into()));
        };
        if let Some(function) = &self.function {
            let name = Value::from(signature.key_name());
            let call = Step::Call(Rc::clone(function), smallvec::smallvec![name]);
            self.current = Some(signature);
            return Ok(call);
        }
        let (verifier, source) = (self.verifier.clone(), Arc::clone(&self.source));
        Ok(self.wait(signature.domain.clone(), async move {
            verifier.verify(source, signature).await
        }))
    }
}
