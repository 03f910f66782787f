//! Lists of tags, `name=value; name=value` (RFC 6376 §3.2), of which signatures, key records, ARC sets and DMARC
//! records are made.

/// A tag list: names and values as they stand, without the white space around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagList<'a> {
    tags: Vec<(&'a [u8], &'a [u8])>,
}

/// Why a text is no tag list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Nothing but white space.
    #[error("the tag list is empty")]
    Empty,
    /// Something between two semicolons has no `=`.
    #[error("a tag has no value")]
    NoValue,
    /// A `=` without a name before it.
    #[error("a tag has no name")]
    NoName,
    /// The name occurs twice.
    #[error("the tag {0}= occurs twice")]
    Duplicate(String),
    /// There is a version and it is not the first tag.
    #[error("the tag v= is not the first one")]
    VersionNotFirst,
}

/// A list has this many tags at most: signatures have about a dozen.
const MAX_TAGS: usize = 1024;

impl<'a> TagList<'a> {
    /// Takes a tag list apart.
    ///
    /// # Errors
    /// [`TagError`]: a list with one bad tag is bad as a whole.
    pub fn parse(text: &'a [u8]) -> Result<Self, TagError> {
        let mut tags: Vec<(&[u8], &[u8])> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut items = text.split(|&byte| byte == b';').peekable();
        while let Some(item) = items.next() {
            if items.peek().is_none() && trim(item).is_empty() {
                break;
            }
            let at = memchr::memchr(b'=', item).ok_or(TagError::NoValue)?;
            let name = trim(item.get(..at).unwrap_or_default());
            if name.is_empty() {
                return Err(TagError::NoName);
            }
            if !seen.insert(name) || tags.len() >= MAX_TAGS {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(TagError::Duplicate(name));
            }
            if name == b"v" && !tags.is_empty() {
                return Err(TagError::VersionNotFirst);
            }
            tags.push((name, trim(item.get(at + 1..).unwrap_or_default())));
        }
        if tags.is_empty() {
            return Err(TagError::Empty);
        }
        Ok(Self { tags })
    }

    /// The value of a tag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.tags
            .iter()
            .find(|(known, _)| *known == name.as_bytes())
            .map(|(_, value)| *value)
    }

    /// All tags in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.tags.iter().copied()
    }

    /// Whether every name is one that the grammar allows: a letter, then letters, digits and `_`.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.tags.iter().all(|(name, _)| {
            name.first().is_some_and(u8::is_ascii_alphabetic)
                && name
                    .iter()
                    .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    }
}

/// Removes folding white space at both ends.
#[must_use]
pub fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// The value without any folding white space: base64 and lists may have it anywhere.
#[must_use]
pub(crate) fn without_space(value: &[u8]) -> Vec<u8> {
    value
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect()
}

/// Decodes base64 with white space in it; padding may be missing, since key records in the field lack it.
#[must_use]
pub(crate) fn base64(value: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    ENGINE.decode(without_space(value)).ok()
}

/// The parts of a list `a : b : c`.
pub(crate) fn colons(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b':').map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, TagError> {
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        TagList::parse(text.as_bytes()).map(|list| {
            list.iter()
                .map(|(name, value)| (text_of(name), text_of(value)))
                .collect()
        })
    }

    #[test]
    fn values_keep_their_inner_space_and_lose_the_outer() {
        let list = parse(" v=1 ; h = a :\r\n b;\r\n p=;").unwrap();
        let expected = [("v", "1"), ("h", "a :\r\n b"), ("p", "")];
        assert_eq!(
            list,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_list_with_one_bad_tag_is_bad() {
        assert_eq!(parse(""), Err(TagError::Empty));
        assert_eq!(parse(" ; "), Err(TagError::NoValue));
        assert_eq!(parse("a=1;;b=2"), Err(TagError::NoValue));
        assert_eq!(parse("a=1;b"), Err(TagError::NoValue));
        assert_eq!(parse("=1"), Err(TagError::NoName));
        assert_eq!(parse("a=1;a=1"), Err(TagError::Duplicate("a".to_owned())));
        assert_eq!(parse("a=1;v=1"), Err(TagError::VersionNotFirst));
        // Names are told apart by case, and a value may hold `=`.
        assert!(parse("a=1==;A=1").is_ok());
    }

    #[test]
    fn base64_may_be_folded_and_lack_padding() {
        assert_eq!(base64(b" aGVs\r\n\tbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(base64(b"aGVs*G8"), None);
    }
}
