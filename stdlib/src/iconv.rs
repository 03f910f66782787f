//! Conversion between charsets: the class `Iconv`.

use std::cell::Cell;
use std::rc::Rc;

use angarium_mail::coding::{self, Coding, Fault, Policy};
use angarium_runtime::native::{Args, ClassDecl, Cx, FnDecl, Heavy, Outcome, Throw};
use angarium_runtime::object::{NativeObject, Object};
use angarium_runtime::value::Value;

use crate::heavy;

/// The class `Iconv`.
pub const ICONV: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "Iconv(fromcharset: string, tocharset: string)",
        "Makes a converter between two charsets, named in any case. After `tocharset`, `//TRANSLIT` has characters that it \
         lacks replaced by similar ones or `?`, and `//IGNORE` has them and invalid bytes left out. An unknown charset raises an \
         Exception.",
        iconv,
    )
    .since("5.3"),
    extends: None,
    methods: &[
        FnDecl::plain("close(): none", "Closes the converter; converting fails from then on.", |_, args| {
            args.this::<Iconv>()?.closed.set(true);
            Ok(Value::None)
        }),
        FnDecl::heavy(
            "convert(text: string): string|none",
            "Converts a text, from the initial state each time. Gives none for an invalid or incomplete sequence and for a \
             character that the target lacks; errno() tells which.",
            convert,
        )
        .example("Iconv(\"ISO-8859-1\", \"UTF-8\")->convert(\"\\xe5\") // \"å\"\nIconv(\"UTF-8\", \"US-ASCII//TRANSLIT\")->convert(\"Åsa €5\") // \"Asa EUR5\""),
        FnDecl::plain(
            "errno(): number",
            "Gives the error of the last conversion: 0 for none, 84 (EILSEQ) for an invalid sequence or a character that the \
             target lacks, 22 (EINVAL) for an incomplete sequence at the end, 9 (EBADF) when closed.",
            |_, args| Ok(f64::from(args.this::<Iconv>()?.errno.get()).into()),
        ),
    ],
    statics: &[],
};

const EBADF: u8 = 9;
const EINVAL: u8 = 22;
const EILSEQ: u8 = 84;

/// An instance of the class.
struct Iconv {
    from: Coding,
    to: Coding,
    policy: Policy,
    errno: Cell<u8>,
    closed: Cell<bool>,
}

impl NativeObject for Iconv {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn iconv(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (from, to) = (parse(args.bytes(0))?, parse(args.bytes(1))?);
    let class = cx
        .library
        .class_named("Iconv")
        .ok_or_else(|| Throw::error("there are no converters here"))?;
    let iconv = Iconv {
        from: from.0,
        to: to.0,
        policy: to.1,
        errno: Cell::new(0),
        closed: Cell::new(false),
    };
    Ok(Value::Object(Object::new(class, iconv)))
}

/// `NAME`, or `NAME//TRANSLIT//IGNORE`.
fn parse(text: &[u8]) -> Result<(Coding, Policy), Throw> {
    let unknown = || {
        let name: String = String::from_utf8_lossy(text).chars().take(64).collect();
        Throw::error(format!(
            "Iconv: unknown charset \"{}\"",
            name.escape_debug()
        ))
    };
    let (name, suffixes) = match memchr::memmem::find(text, b"//") {
        Some(end) => text.split_at_checked(end).unwrap_or((text, b"")),
        None => (text, &b""[..]),
    };
    let mut policy = Policy::default();
    let suffixes = suffixes.split(|byte| matches!(byte, b'/' | b','));
    for suffix in suffixes.filter(|suffix| !suffix.is_empty()) {
        match suffix.to_ascii_uppercase().as_slice() {
            b"TRANSLIT" => policy.translit = true,
            b"IGNORE" => policy.ignore = true,
            _ => return Err(unknown()),
        }
    }
    Coding::named(name)
        .map(|coding| (coding, policy))
        .ok_or_else(unknown)
}

fn convert(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let iconv = args.this::<Iconv>()?;
    if iconv.closed.get() {
        iconv.errno.set(EBADF);
        return Ok(Heavy::Done(Value::None));
    }
    let (from, to, policy) = (iconv.from, iconv.to, iconv.policy);
    let size = args.bytes(0).len();
    let work = move |values: &[Value]| {
        let bytes = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let mut out = Vec::with_capacity(bytes.len());
        let mut over = None;
        let whole = coding::convert_while(bytes, from, to, policy, &mut out, |length| {
            // The result grows by doubling.
            over = heavy::fits(length.saturating_mul(2)).err();
            over.is_none()
        });
        match (whole, over) {
            (_, Some(failure)) => Err(failure),
            (Ok(_), None) => heavy::fits(out.len()).map(|()| out.into()),
            // A number stands for the error.
            (Err(Fault::Invalid), None) => Ok(f64::from(EILSEQ).into()),
            (Err(Fault::Incomplete), None) => Ok(f64::from(EINVAL).into()),
        }
    };
    let object = args.this.map(Rc::clone);
    heavy::run_then(cx, size, &args.values[..1], work, move |_, value| {
        let (value, errno) = match value {
            Value::Number(errno) => (Value::None, errno as u8),
            text => (text, 0),
        };
        if let Some(iconv) = object
            .as_ref()
            .and_then(|object| object.downcast::<Iconv>())
        {
            iconv.errno.set(errno);
        }
        Ok(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_read_in_any_case_and_unknown_ones_refused() {
        let policy = |text: &str| parse(text.as_bytes()).ok().map(|(_, policy)| policy);
        let both = Policy {
            translit: true,
            ignore: true,
        };
        assert_eq!(policy("utf-8"), Some(Policy::default()));
        assert_eq!(policy("UTF-8//translit//IGNORE"), Some(both));
        assert_eq!(policy("latin1//IGNORE,TRANSLIT"), Some(both));
        assert_eq!(policy("latin1//"), Some(Policy::default()));
        for bad in ["", "//IGNORE", "latin1//SMOOTH", "x//IGNORE"] {
            assert_eq!(policy(bad), None, "{bad}");
        }
    }
}
