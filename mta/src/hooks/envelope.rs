//! Addresses as scripts give them: one string, or an array with `localpart` and `domain`.

use angarium_runtime::convert::to_str;
use angarium_runtime::native::Throw;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};

/// The two parts of an address array; none for anything else.
fn parts(value: &Value) -> Option<(String, String)> {
    let array = value.as_array()?;
    let part = |name| {
        array
            .get_str(name)
            .map(|part| to_str(&part).to_text().into_owned())
    };
    Some((part("localpart")?, part("domain")?))
}

/// A sender; the empty string and two empty parts are the null path.
///
/// # Errors
/// An Exception, which names `what`, when it is no address.
pub fn reverse_path(value: &Value, what: &str) -> Result<ReversePath, Throw> {
    let parsed = match parts(value) {
        Some((localpart, domain)) if localpart.is_empty() && domain.is_empty() => {
            Ok(ReversePath::Null)
        }
        Some((localpart, domain)) => Mailbox::new(&localpart, &domain).map(ReversePath::Mailbox),
        None if value.as_array().is_some() => return Err(refused(value, what)),
        None => ReversePath::parse(&to_str(value).to_text()),
    };
    parsed.map_err(|_| refused(value, what))
}

/// A recipient.
///
/// # Errors
/// As [`reverse_path`].
pub fn mailbox(value: &Value, what: &str) -> Result<Mailbox, Throw> {
    let parsed = match parts(value) {
        Some((localpart, domain)) => Mailbox::new(&localpart, &domain),
        None if value.as_array().is_some() => return Err(refused(value, what)),
        None => Mailbox::parse(&to_str(value).to_text()),
    };
    parsed.map_err(|_| refused(value, what))
}

fn refused(value: &Value, what: &str) -> Throw {
    Throw::error(format!("{what}: {value:?} is not an address"))
}
