//! Names of things: host, identifiers, the system log.

use angarium_effects::random::{uuid_bytes, uuid_text};
use angarium_runtime::convert::to_integer;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Outcome, Throw};
use angarium_runtime::value::Value;
use sha1::{Digest as _, Sha1};

use crate::heavy;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain("gethostname(): string", "Gives the name of this host.", |cx, _| Ok((&*cx.host.hostname).into()))
        .example("length(gethostname()) > 0 // true"),
    FnDecl::plain("uuid(): string", "Gives a new random UUID in lower case.", |cx, _| {
        Ok(uuid_text(&cx.host.random.uuid()).into())
    })
    .example("length(uuid()) // 36"),
    FnDecl::heavy(
        "uuidv5(uuidnamespace: string, value: string): string",
        "Gives the UUID of version 5 of a value within a namespace, the same each time. A namespace that is no UUID raises \
         an Exception.",
        uuidv5,
    )
    .since(">5.5")
    .example(r#"uuidv5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com") // "2ed6657d-e927-568b-95e1-2665a8aea6a2""#),
    FnDecl::plain(
        "syslog(priority: string|number, message: string): none",
        "Writes to the system log. `priority` is emerg, alert, crit, err, warning, notice, info, debug, or a number from 0 to \
         7, to which a facility times 8 may be added. An unknown name raises an Exception.",
        syslog,
    )
    .example("syslog(\"info\", \"hello\") // none"),
];

fn uuidv5(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let text = args.get(0).as_str().map(|text| text.to_text());
    let text = text.unwrap_or_default();
    let Some(namespace) = uuid_bytes(&text) else {
        let shown: String = text.chars().take(64).collect();
        return Err(Throw::error(format!(
            "uuidv5: \"{}\" is no UUID",
            shown.escape_debug()
        )));
    };
    let values = args.values.get(1..).unwrap_or_default();
    heavy::run(cx, args.bytes(1).len(), values, move |values| {
        let value = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let digest = Sha1::new()
            .chain_update(namespace)
            .chain_update(value)
            .finalize();
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        uuid[6] = (uuid[6] & 0x0f) | 0x50;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        Ok(uuid_text(&uuid).into())
    })
}

const NAMES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

fn syslog(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let priority = match args.get(0) {
        number @ Value::Number(_) => u32::try_from(to_integer(number)).unwrap_or(7),
        name => {
            let name = name.as_bytes().unwrap_or(b"");
            let found = NAMES
                .iter()
                .position(|known| known.as_bytes().eq_ignore_ascii_case(name));
            found.map(|index| index as u32).ok_or_else(|| {
                Throw::error(format!(
                    "syslog: unknown priority \"{}\"",
                    String::from_utf8_lossy(name)
                ))
            })?
        }
    };
    cx.charge(args.bytes(1).len() / 16 + 100);
    cx.host.output.syslog(priority, args.bytes(1));
    Ok(Value::None)
}
