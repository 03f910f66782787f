//! The part `options` of a submission: who sends to whom.

use angarium_queue::destination::to_ascii;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_stdlib::json;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Bytes of a local part. A command line of SMTP holds no more either.
const MOST_LOCALPART: usize = 1000;

/// What a submission asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The sender.
    pub sender: ReversePath,
    /// The recipients, one or more.
    pub recipients: Vec<Mailbox>,
    /// Whatever the client wants the eod hook to know.
    pub metadata: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Null is the null path, as two empty parts are; it has to be said.
    #[serde(deserialize_with = "present")]
    sender: Option<Address>,
    recipients: Vec<Address>,
    /// As it is written: the order of its entries counts.
    metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    localpart: String,
    domain: String,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Address>, D::Error> {
    Option::deserialize(from)
}

/// Reads the part; `most` recipients are allowed.
///
/// # Errors
/// What is wrong with it, for the client.
pub(super) fn read(text: &[u8], most: usize) -> Result<Wanted, String> {
    let options: Options =
        serde_json::from_slice(text).map_err(|error| format!("options: {error}"))?;
    let sender = match options.sender {
        None => ReversePath::Null,
        Some(of) if of.localpart.is_empty() && of.domain.is_empty() => ReversePath::Null,
        Some(of) => ReversePath::Mailbox(mailbox(of, "sender")?),
    };
    if options.recipients.is_empty() {
        return Err("options: recipients: there is none".to_owned());
    }
    if options.recipients.len() > most {
        return Err(format!("options: recipients: more than {most}"));
    }
    let recipients = options.recipients.into_iter().enumerate();
    let recipients = recipients.map(|(at, of)| mailbox(of, &format!("recipients[{at}]")));
    let metadata = options.metadata.map(|written| {
        let read = json::decode(written.get().as_bytes());
        read.map_err(|fault| format!("options: metadata: {}", fault.message))
    });
    Ok(Wanted {
        sender,
        recipients: recipients.collect::<Result<_, _>>()?,
        metadata: metadata.transpose()?,
    })
}

/// An address of the envelope. A domain of U-labels behind an ASCII local part becomes one of A-labels: then every server
/// takes it, not only those that know SMTPUTF8 (RFC 6531 §3.2).
fn mailbox(written: Address, name: &str) -> Result<Mailbox, String> {
    let refused = |why: &str| format!("options: {name}: {why}");
    let Address {
        localpart,
        mut domain,
    } = written;
    if localpart.is_empty() || localpart.len() > MOST_LOCALPART {
        return Err(refused("localpart is empty or too long"));
    }
    if localpart.is_ascii() && !domain.is_ascii() {
        domain = to_ascii(domain.as_bytes()).ok_or_else(|| refused("domain is none"))?;
    }
    Mailbox::new(&localpart, &domain).map_err(|error| refused(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Wanted, String> {
        read(text.as_bytes(), 2)
    }

    #[test]
    fn sender_recipients_and_metadata_are_read() {
        let wanted = parse(
            r#"{"sender": {"localpart": "A b", "domain": "X.Test"},
                "recipients": [{"localpart": "c", "domain": "bücher.test"}, {"localpart": "ü", "domain": "bücher.test"}],
                "metadata": {"z": 1, "a": [null, "x"]}}"#,
        )
        .unwrap();
        assert_eq!(wanted.sender.to_string(), "\"A b\"@X.Test");
        let recipients: Vec<String> = wanted.recipients.iter().map(ToString::to_string).collect();
        assert_eq!(recipients, ["c@xn--bcher-kva.test", "ü@bücher.test"]);
        let form = json::Form {
            ascii: false,
            pretty: false,
        };
        let text = json::encode(&wanted.metadata.unwrap(), form).unwrap();
        assert_eq!(text, br#"{"z":1,"a":[null,"x"]}"#);
        for null in ["null", r#"{"localpart": "", "domain": ""}"#] {
            let text = format!(
                r#"{{"sender": {null}, "recipients": [{{"localpart": "c", "domain": "d.test"}}]}}"#
            );
            assert_eq!(parse(&text).unwrap().sender, ReversePath::Null);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = r#"{"localpart": "c", "domain": "d.test"}"#;
        let with = |sender: &str, recipients: &str, more: &str| {
            let text = format!(r#"{{"sender": {sender}, "recipients": [{recipients}]{more}}}"#);
            parse(&text).unwrap_err()
        };
        assert_eq!(with(one, "", ""), "options: recipients: there is none");
        let three = [one; 3].join(",");
        assert_eq!(with(one, &three, ""), "options: recipients: more than 2");
        for (sender, recipient, more, error) in [
            (
                r#"{"localpart": "a"}"#,
                one,
                "",
                "options: missing field `domain`",
            ),
            (one, r#""c@d.test""#, "", "options: invalid type: string"),
            (
                one,
                one,
                r#", "tenant": 1"#,
                "options: unknown field `tenant`",
            ),
            (
                one,
                r#"{"localpart": "", "domain": "d.test"}"#,
                "",
                "options: recipients[0]: localpart is empty",
            ),
            (
                one,
                r#"{"localpart": "c\r\nRCPT", "domain": "d.test"}"#,
                "",
                "options: recipients[0]: malformed address",
            ),
            (
                r#"{"localpart": "c", "domain": "d>\r\n"}"#,
                one,
                "",
                "options: sender: malformed address",
            ),
            (
                one,
                r#"{"localpart": "c", "domain": "ü..test"}"#,
                "",
                "options: recipients[0]: domain is none",
            ),
        ] {
            let found = with(sender, recipient, more);
            assert!(found.starts_with(error), "{found}");
        }
        assert!(
            parse(r#"{"recipients": []}"#)
                .unwrap_err()
                .contains("missing field `sender`")
        );
        assert!(parse("[]").is_err() && parse("").is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(!with(one, one, &format!(r#", "metadata": {deep}"#)).is_empty());
    }
}
