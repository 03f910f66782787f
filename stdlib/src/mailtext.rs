//! Texts of mail apart from messages: addresses, encoded words (RFC 2047), xtext (RFC 3461 §4).

use angarium_mail::{address, encoded_word, envelope};
use angarium_runtime::array::{Array, Key, View};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, OptDecl, Outcome, Throw, opt};
use angarium_runtime::string::Str;
use angarium_runtime::value::{Kind, Value};

use crate::encoding::{coded, hex_value};
use crate::heavy::{self, Failure};

const EXTRACT: &[OptDecl] = &[
    opt(
        "field",
        "boolean",
        "false",
        "`value` is a whole field: \"Name: value\"",
    ),
    opt(
        "name",
        "boolean",
        "false",
        "give an array of name and address for each",
    ),
];

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "envelope_address_parse(address: string): array|none",
        "Takes an envelope address apart, angle brackets or not. The local part comes without quotes and escapes, an address \
         literal keeps its brackets, letters keep their case. Gives none for what RFC 5321 does not allow, for an empty \
         text, and without a domain.",
        envelope_address_parse,
    )
    .example(
        "envelope_address_parse(''<\"a b\"@example.com>'') // [\"localpart\"=>\"a b\",\"domain\"=>\"example.com\"]\n\
         envelope_address_parse(\"a@[192.0.2.1]\")[\"domain\"] // \"[192.0.2.1]\"\n\
         envelope_address_parse(\"postmaster\") // none",
    ),
    FnDecl::heavy(
        "envelope_localpart_escape(localpart: string): string",
        "Writes a local part as it stands before the `@` of an envelope address: in quotes unless it is made of atoms and \
         dots. One with control characters, which no address can hold, raises an Exception.",
        envelope_localpart_escape,
    )
    .example("envelope_localpart_escape(\"a.b\") // \"a.b\"\nenvelope_localpart_escape(\"email address\") // ''\"email address\"''"),
    FnDecl::heavy(
        "header_addresslist_compile(addresses: array): string",
        "Writes the value of an address header field from a list of addresses, or of arrays with `address` and, if it has \
         one, `name`. Names are quoted or encoded where they have to be. An address with CR, LF or NUL raises an Exception.",
        header_addresslist_compile,
    )
    .since(">5.5")
    .example(
        "header_addresslist_compile([[\"name\" => \"Doe, J\", \"address\" => \"j@example.com\"], \"k@example.com\"]) // \
         ''\"Doe, J\" <j@example.com>, k@example.com''",
    ),
    FnDecl::heavy(
        "header_addresslist_extract(value: string, options?: array): array|none",
        "Gives the addresses of an address header field, members of groups included. Comments are dropped; `;` separates like \
         `,`. Without addresses the list is empty, a value that cannot be read gives none.",
        |cx, args| extract(cx, &args, Value::None),
    )
    .options(EXTRACT)
    .example(
        "header_addresslist_extract(\"A (x) <a@example.com>, b@example.com\") // [0=>\"a@example.com\",1=>\"b@example.com\"]\n\
         header_addresslist_extract(\"To: A <a@example.com>\", [\"field\" => true, \"name\" => true]) // \
         [0=>[\"name\"=>\"A\",\"address\"=>\"a@example.com\"]]",
    ),
    FnDecl::heavy(
        "GetAddressList(value: string, options?: array): array",
        "Older name of header_addresslist_extract; a value that cannot be read gives an empty list.",
        |cx, args| extract(cx, &args, Array::new().into()),
    )
    .options(EXTRACT)
    .legacy(),
    FnDecl::heavy(
        "mimeword_encode(string: string): string",
        "Encodes a text as RFC 2047 words of at most 75 bytes with a space between them. Printable ASCII that cannot be taken \
         for such a word is left as it is.",
        |cx, args| coded(cx, &args, 7, |bytes| encoded_word::encode(bytes).into()),
    )
    .since(">5.5")
    .example("mimeword_encode(\"Hello\") // \"Hello\"\nmimeword_encode(\"Åsa\") // \"=?utf-8?Q?=C3=85sa?=\""),
    FnDecl::heavy(
        "mimeword_decode(string: string): string",
        "Decodes the RFC 2047 words of a text to UTF-8. White space between two of them is dropped; one that is broken or of \
         an unknown charset is left as it is.",
        |cx, args| coded(cx, &args, 3, |bytes| encoded_word::decode(bytes).into()),
    )
    .since(">5.5")
    .example("mimeword_decode(\"=?iso-8859-1?Q?=C5sa?= B\") // \"Åsa B\""),
    FnDecl::heavy(
        "xtext_encode(text: string): string",
        "Writes every byte that is not printable, the space, `+` and `=` as +XX (RFC 3461).",
        |cx, args| coded(cx, &args, 3, |bytes| xtext_encode(bytes).into()),
    )
    .example("xtext_encode(\"a b=c\") // \"a+20b+3Dc\""),
    FnDecl::heavy(
        "xtext_decode(text: string): string",
        "Decodes +XX (RFC 3461). A `+` without two hexadecimal digits stays.",
        |cx, args| coded(cx, &args, 1, |bytes| xtext_decode(bytes).into()),
    )
    .example("xtext_decode(\"a+20b+2\") // \"a b+2\""),
];

fn envelope_address_parse(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(match envelope::parse(args.bytes(0)) {
        Some(address) => record([
            ("localpart", address.localpart.into()),
            ("domain", address.domain.into()),
        ]),
        None => Value::None,
    })
}

fn envelope_localpart_escape(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    heavy::fits(size.saturating_mul(2))?;
    heavy::run(cx, size, args.values, |values| {
        let localpart = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        match envelope::escape_localpart(localpart) {
            Some(escaped) => Ok(escaped.into()),
            None => Err(Failure::Error(
                "envelope_localpart_escape: an address cannot hold control characters".to_owned(),
            )),
        }
    })
}

fn record<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (Key::from(key), value));
    entries.into_iter().collect::<Array>().into()
}

fn header_addresslist_compile(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let list = args.get(0).as_array();
    let size = list.map_or(0, |list| {
        let few = list.values().take(256).map(|entry| entry_size(&entry));
        few.sum::<usize>() + list.len() * 64
    });
    heavy::run(cx, size, &args.values[..1], |values| {
        let mut out = String::new();
        let list = values.first().and_then(Value::as_array);
        for (index, entry) in list.into_iter().flat_map(View::values).enumerate() {
            let (name, address) = mailbox(&entry).map_err(|why| {
                Failure::Error(format!("header_addresslist_compile: entry {index}: {why}"))
            })?;
            if index > 0 {
                out.push_str(", ");
            }
            let name = name.as_ref().map(Str::to_text);
            out.push_str(&address::compile(name.as_deref(), &address.to_text()));
            heavy::fits(out.len())?;
        }
        Ok(out.into())
    })
}

/// What the texts of an entry hold, for deciding where to work.
fn entry_size(entry: &Value) -> usize {
    let length = |value: &Value| value.as_bytes().map_or(0, <[u8]>::len);
    match entry.as_array() {
        Some(fields) => fields.values().take(2).map(|value| length(&value)).sum(),
        None => length(entry),
    }
}

/// Name and address of an entry of the list.
fn mailbox(entry: &Value) -> Result<(Option<Str>, Str), String> {
    let text = |value: &Value, what: &str| match value.kind() {
        Kind::String | Kind::Number | Kind::Boolean => Ok(to_str(value)),
        kind => Err(format!("expected a string as {what}, got {}", kind.name())),
    };
    let (name, address) = match entry.as_array() {
        Some(fields) => {
            let name = match fields.get_str("name") {
                None | Some(Value::None) => None,
                Some(name) => Some(text(&name, "name")?),
            };
            let address = fields.get_str("address").unwrap_or_default();
            (name, text(&address, "address")?)
        }
        None => (None, text(entry, "address")?),
    };
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    if address.as_bytes().iter().any(breaks) {
        return Err("an address cannot hold CR, LF or NUL".to_owned());
    }
    Ok((name, address))
}

/// `header_addresslist_extract`, which gives `unreadable` for a value that cannot be read.
fn extract(cx: &mut Cx<'_>, args: &Args<'_>, unreadable: Value) -> Result<Heavy, Throw> {
    let options = args.options(1);
    let (field, names) = (
        options.boolean("field", false),
        options.boolean("name", false),
    );
    let size = args.bytes(0).len();
    cx.reserve(size)?;
    let list_on_error = !unreadable.is_none();
    heavy::run(cx, size, &args.values[..1], move |values| {
        let value = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let value = match field {
            true => memchr::memchr(b':', value).map(|colon| &value[colon + 1..]),
            false => Some(value),
        };
        // Every one of these may begin a word, or an address of its own.
        let pieces = value.map_or(0, |value| {
            let begins = |byte: &&u8| b" \t\r\n,;:<>()\"[]".contains(byte);
            value.iter().filter(begins).count()
        });
        heavy::fits_entries(pieces)?;
        heavy::fits_budget(pieces.saturating_mul(size_of::<address::Mailbox>()))?;
        let Some(list) = value.and_then(address::parse_list) else {
            let empty = Value::from(Array::new());
            return Ok(if list_on_error { empty } else { Value::None });
        };
        let entries = list.into_iter().map(|mailbox| match names {
            true => record([
                ("name", mailbox.name.into()),
                ("address", mailbox.address.into()),
            ]),
            false => mailbox.address.into(),
        });
        Ok(Array::from_list(entries.collect()).into())
    })
}

fn xtext_encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'+' | b'=' | 0..=32 | 127.. => {
                let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'+', digit(byte >> 4), digit(*byte)]);
            }
            _ => out.push(*byte),
        }
    }
    out
}

fn xtext_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'+'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext_leaves_printable_bytes_alone() {
        assert_eq!(xtext_encode(b"Bob@x"), b"Bob@x");
        assert_eq!(
            xtext_encode(b"+ =\x7f\xff\r\n\0"),
            b"+2B+20+3D+7F+FF+0D+0A+00"
        );
        assert_eq!(xtext_decode(b"+2B+2b+zz+2"), b"+++zz+2");
    }

    #[test]
    fn entries_are_texts_or_records_without_line_ends() {
        let record = |entries: &[(&str, Value)]| {
            let entries = entries.iter().cloned();
            Value::from(
                entries
                    .map(|(key, value)| (Key::from(key), value))
                    .collect::<Array>(),
            )
        };
        let read = |value: &Value| {
            mailbox(value).map(|(name, address)| (name.is_some(), address.into_vec()))
        };
        assert_eq!(read(&"a@b".into()), Ok((false, b"a@b".to_vec())));
        assert_eq!(
            read(&record(&[("name", "N".into()), ("address", "a@b".into())])),
            Ok((true, b"a@b".to_vec()))
        );
        for bad in [
            Value::None,
            record(&[("name", "N".into())]),
            record(&[
                ("name", Value::from(Array::new())),
                ("address", "a@b".into()),
            ]),
            "a@b\r\nBcc: c@d".into(),
            "a@b\0".into(),
        ] {
            assert!(mailbox(&bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn xtext_survives_encoding_and_decoding(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let encoded = xtext_encode(&bytes);
            prop_assert!(encoded.iter().all(|byte| (33..127).contains(byte) && *byte != b'='));
            prop_assert_eq!(xtext_decode(&encoded), bytes);
        }
    }
}
