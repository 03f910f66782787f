//! DMARC for scripts: the older function ScanDMARC (RFC 7489). Newer scripts import `extras://dmarc`.

use std::net::IpAddr;
use std::time::Duration;

use angarium_mail::dkim::{Failure, Signature};
use angarium_mail::dmarc::{self, Policy, Record};
use angarium_mail::header::HeaderBlock;
use angarium_mail::spf::{self, Client, SpfResult};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, Cx, FnDecl, LocalFuture, Outcome, Throw, opt};
use angarium_runtime::value::Value;

use crate::dkim::{CurrentMail, SharedSource, Signable as _, Verifier};
use crate::domain;
use crate::spf::HostResolver;

/// The older functions of eod.
pub const LEGACY_EOD: &[FnDecl] = &[FnDecl::waiting(
    "ScanDMARC(options?: array): array|string",
    "Evaluates the message by DMARC and gives the result by the domain in From: pass, none, quarantine, reject, \
     policy_absent or temperror. Of a message that has not exactly one such domain it gives permerror.",
    scan,
)
.options(&[
    opt("ip", "string", "", "address of the client instead of the real one"),
    opt("helo", "string", "", "name in HELO instead of the real one"),
    opt("domain", "string", "", "domain of the envelope sender instead of the real one"),
])
.legacy()];

/// As many signatures are looked at.
const MAX_SIGNATURES: usize = 8;
/// For each DNS query.
const TIMEOUT: Duration = Duration::from_secs(5);

fn scan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let current = CurrentMail::of(cx, "ScanDMARC")?;
    let options = args.options(0);
    let text = |name: &str| {
        let text = options.string(name)?;
        Some(text.to_text().into_owned())
    };
    let ip = match text("ip") {
        None => current.ip,
        Some(text) => Some(text.parse::<IpAddr>().map_err(|_| {
            Throw::error(format!("ScanDMARC: option ip: \"{text}\" is no IP address"))
        })?),
    };
    let source = current.mail()?.original();
    let header = HeaderBlock::read(&source)
        .map_err(|error| Throw::error(format!("the message cannot be read: {error}")))?;
    cx.charge(header.bytes().len() / 16);
    let from: Vec<&[u8]> = header
        .named(b"From")
        .map(|field| field.value_raw())
        .collect();
    let author = dmarc::author_domain(from)
        .ok()
        .and_then(|author| domain::encode(&author));
    let Some(author) = author else {
        return Ok(Box::pin(std::future::ready(Ok("permerror".into()))));
    };
    let signatures = header.named(b"DKIM-Signature").take(MAX_SIGNATURES);
    let evaluation = Evaluation {
        author: author.clone(),
        ip,
        helo: text("helo").unwrap_or_else(|| current.helo.clone()),
        sender: text("domain").unwrap_or_else(|| current.sender_domain.clone()),
        signatures: signatures
            .filter_map(|field| Signature::parse(field.raw()).ok())
            .collect(),
        source,
        verifier: Verifier::new(cx, TIMEOUT),
        resolver: HostResolver::new(cx, TIMEOUT, Vec::new()),
        receiver: cx.host.hostname.to_string(),
        now: cx.host.clock.unix().as_secs(),
        chance: cx.host.random.below(100) as f64,
    };
    Ok(Box::pin(async move {
        let result = evaluation.result().await;
        let mut array = Array::new();
        array.insert(
            Key::cast(&Value::from(author)).unwrap_or(Key::from("")),
            result.into(),
        );
        Ok(array.into())
    }))
}

/// What is known of a message and its client.
struct Evaluation {
    author: String,
    ip: Option<IpAddr>,
    helo: String,
    sender: String,
    signatures: Vec<Signature>,
    source: SharedSource,
    verifier: Verifier,
    resolver: HostResolver,
    receiver: String,
    now: u64,
    chance: f64,
}

impl Evaluation {
    async fn result(&self) -> &'static str {
        let (record, at_organisation) = match self.find().await {
            Ok(Some(found)) => found,
            Ok(None) => return "policy_absent",
            Err(_) => return "temperror",
        };
        let aligned = |name: &str, mode| {
            let name = domain::encode(name).unwrap_or_default();
            dmarc::is_aligned(&name, &self.author, mode, domain::registrable)
        };
        let mut temporary = false;
        let sender = if self.sender.is_empty() {
            &self.helo
        } else {
            &self.sender
        };
        if let Some(ip) = self.ip.filter(|_| aligned(sender, record.spf)) {
            let client = Client {
                ip,
                helo: &self.helo,
                sender,
                receiver: &self.receiver,
                now: self.now,
            };
            match spf::check(&self.resolver, &client).await.result {
                SpfResult::Pass => return "pass",
                SpfResult::TempError => temporary = true,
                _ => {}
            }
        }
        for signature in &self.signatures {
            if !aligned(&signature.domain, record.dkim) {
                continue;
            }
            let source = self.source.clone();
            match self.verifier.verify(source, signature.clone()).await {
                Ok(()) => return "pass",
                Err(failure) => temporary |= failure.is_temporary(),
            }
        }
        if temporary {
            return "temperror";
        }
        let policy = record.policy_for(at_organisation);
        match dmarc::disposition(policy, record.percent, self.chance) {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    /// The record that applies, and whether it is that of the organisational domain (RFC 7489 §6.6.3).
    async fn find(&self) -> Result<Option<(Record, bool)>, Failure> {
        let own = self.records(&self.author).await?;
        if let [text] = own.as_slice() {
            return Ok(Record::applied(text).map(|record| (record, false)));
        }
        let organisation = domain::registrable(&self.author).filter(|name| *name != self.author);
        let Some(organisation) = organisation.filter(|_| own.is_empty()) else {
            return Ok(None);
        };
        let records = self.records(&organisation).await?;
        Ok(match records.as_slice() {
            [text] => Record::applied(text).map(|record| (record, true)),
            _ => None,
        })
    }

    async fn records(&self, domain: &str) -> Result<Vec<Vec<u8>>, Failure> {
        match self.verifier.fetch(&dmarc::record_name(domain)).await {
            Ok(mut records) => {
                records.retain(|text| dmarc::is_record(text));
                Ok(records)
            }
            Err(Failure::NoKey(_)) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }
}
