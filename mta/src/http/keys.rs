//! Keys that clients present in `X-API-Key`.

use hyper::HeaderMap;
use subtle::{Choice, ConstantTimeEq as _};

/// The field.
pub const FIELD: &str = "x-api-key";

/// Whether a request has one of these keys. How long it takes tells nothing of a key but its length.
#[must_use]
pub fn has_one(fields: &HeaderMap, keys: &[String]) -> bool {
    let mut given = fields.get_all(FIELD).iter();
    let (Some(shown), None) = (given.next(), given.next()) else {
        return false;
    };
    let mut found = Choice::from(0);
    for key in keys.iter().filter(|key| !key.is_empty()) {
        found |= key.as_bytes().ct_eq(shown.as_bytes());
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_opens_and_nothing_else_does() {
        let keys = ["first", "", "second"].map(str::to_owned);
        let shown = |values: &[&str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(FIELD, value.parse().unwrap());
            }
            has_one(&fields, &keys)
        };
        assert!(shown(&["first"]) && shown(&["second"]));
        for wrong in [&[][..], &[""], &["firs"], &["First"], &["first", "second"]] {
            assert!(!shown(wrong), "{wrong:?}");
        }
    }
}
