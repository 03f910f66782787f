//! Date and time.

use std::time::Duration;

use angarium_runtime::native::{Args, Cx, FnDecl, LocalFuture, Outcome, Throw, opt};
use angarium_runtime::pieces::LARGE_BYTES;
use angarium_runtime::value::Value;

use crate::calendar::{self, Zone};
use crate::string::is_large;

const LOCAL: angarium_runtime::native::OptDecl = opt(
    "local",
    "boolean",
    "true",
    "use the local time zone; false for UTC",
);

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "executiontime(): number",
        "Gives the seconds since this script began to run, with fractions.",
        |cx, _| Ok(cx.host.clock.monotonic().since(cx.host.started).as_secs_f64().into()),
    )
    .example("executiontime() >= 0 // true"),
    FnDecl::waiting(
        "sleep(seconds: number): number",
        "Waits and gives the seconds waited. Only this script waits. A negative number returns 0 at once.",
        sleep,
    )
    .example("sleep(0) // 0"),
    FnDecl::plain(
        "strftime(format: string, time?: number, options?: array): string",
        "Formats a time (now) by the directives of strftime(3) in the C locale, fractions cut off. Unknown \
         directives are copied; a result longer than 100 bytes becomes an empty string.",
        strftime,
    )
    .options(&[LOCAL])
    .example(r#"strftime("%Y-%m-%d %H:%M:%S", 0, ["local" => false]) // "1970-01-01 00:00:00""#),
    FnDecl::plain(
        "strptime(datestring: string, format: string, options?: array): number|none",
        "Reads a time by the directives of strftime. White space in the format matches any white space, names are \
         read in any case, `%z` wins over the option. Missing date fields are today's, missing time fields 0; what \
         follows the match is ignored. Gives none when the text does not match; a format of more than 64 KiB matches nothing.",
        strptime,
    )
    .options(&[LOCAL])
    .example(r#"strptime("1970-01-02 00:00:10", "%Y-%m-%d %H:%M:%S", ["local" => false]) // 86410"#),
    FnDecl::plain(
        "strpduration(during: string): number|none",
        "Reads a duration such as `1h30m` in seconds: numbers with the units d, h, m and s, each at most once. \
         Anything else gives none.",
        |_, args| Ok(parse_duration(args.bytes(0)).into()),
    )
    .since(">5.5")
    .example("strpduration(\"1h30m\") // 5400\nstrpduration(\"90\") // none"),
    FnDecl::plain("time(): number", "Gives the seconds since 1970-01-01 UTC, with fractions.", |cx, _| {
        Ok(cx.host.clock.unix().as_secs_f64().into())
    })
    .example("time() > 1500000000 // true"),
    FnDecl::plain("timelocal(): number", "Gives time() plus the offset of the local time zone from UTC.", |cx, _| {
        let now = cx.host.clock.unix();
        let (offset, _) = cx.host.clock.local_offset(now.as_secs() as i64);
        Ok((now.as_secs_f64() + f64::from(offset)).into())
    })
    .example("timelocal() > 1500000000 // true"),
    FnDecl::plain("uptime(): number", "Gives the seconds since the system started.", |cx, _| {
        Ok(cx.host.clock.monotonic().0.as_secs_f64().into())
    })
    .example("uptime() >= 0 // true"),
];

/// Longest wait that a timer is asked for: the script's own time limit ends it long before.
const LONGEST: f64 = 1e9;

fn sleep(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let seconds = args.number(0, 0.0);
    if seconds.is_nan() || seconds <= 0.0 {
        return Ok(Box::pin(async { Ok(Value::Number(0.0)) }));
    }
    let clock = std::rc::Rc::clone(&cx.host.clock);
    Ok(Box::pin(async move {
        let start = clock.monotonic();
        clock
            .sleep(Duration::from_secs_f64(seconds.min(LONGEST)))
            .await;
        Ok(clock.monotonic().since(start).as_secs_f64().into())
    }))
}

fn zone(cx: &Cx<'_>, args: &Args<'_>, at: i64) -> Zone {
    if args.options(2).boolean("local", true) {
        let (offset, name) = cx.host.clock.local_offset(at);
        Zone { offset, name }
    } else {
        Zone {
            offset: 0,
            name: "UTC".to_owned(),
        }
    }
}

fn strftime(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let time = if args.has(1) {
        args.number(1, 0.0)
    } else {
        cx.host.clock.unix().as_secs_f64()
    };
    let seconds = time.floor() as i64;
    let zone = zone(cx, &args, seconds);
    let text = calendar::format(args.bytes(0), seconds, &zone);
    cx.charge(args.bytes(0).len() / 16);
    Ok(if text.len() > 100 {
        Value::bytes(b"")
    } else {
        text.into()
    })
}

fn strptime(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let now = cx.host.clock.unix().as_secs() as i64;
    let zone_now = zone(cx, &args, now);
    let (text, format) = (args.bytes(0), args.bytes(1));
    if is_large(format) {
        return Ok(Value::None);
    }
    let text = text.get(..LARGE_BYTES).unwrap_or(text);
    cx.charge((text.len() + format.len()) / 16);
    let Some(civil) = calendar::parse(text, format, now + i64::from(zone_now.offset)) else {
        return Ok(Value::None);
    };
    let seconds = match civil {
        calendar::Parsed::Unix(seconds) => seconds,
        calendar::Parsed::Civil {
            seconds,
            offset: Some(offset),
        } => seconds.saturating_sub(i64::from(offset)),
        calendar::Parsed::Civil {
            seconds,
            offset: None,
        } => {
            // The offset depends on the instant, which depends on the offset: the second look settles it except
            // within a change of clocks, where either reading is right.
            let guess = seconds.saturating_sub(i64::from(zone(cx, &args, seconds).offset));
            seconds.saturating_sub(i64::from(zone(cx, &args, guess).offset))
        }
    };
    Ok((seconds as f64).into())
}

/// `(digits[.digits]unit)+` in seconds; each unit at most once.
pub(crate) fn parse_duration(text: &[u8]) -> Option<f64> {
    let mut total = 0.0;
    let mut seen = [false; 4];
    let mut rest = text;
    if rest.is_empty() || is_large(rest) {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let number = std::str::from_utf8(&rest[..end]).ok()?;
        if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
            return None;
        }
        let (unit, seconds) = match rest[end] {
            b'd' => (0, 86_400.0),
            b'h' => (1, 3_600.0),
            b'm' => (2, 60.0),
            b's' => (3, 1.0),
            _ => return None,
        };
        if std::mem::replace(&mut seen[unit], true) {
            return None;
        }
        total += number.parse::<f64>().ok()? * seconds;
        rest = &rest[end + 1..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_need_units_each_once() {
        for (text, expected) in [
            ("1h30m", Some(5400.0)),
            ("1.5h", Some(5400.0)),
            ("2d", Some(172_800.0)),
            ("10s1m", Some(70.0)),
            ("", None),
            ("90", None),
            ("1h1h", None),
            ("1 h", None),
            ("h", None),
            (".5h", None),
            ("5.h", None),
            ("1.2.3s", None),
            ("-1s", None),
            ("1w", None),
        ] {
            assert_eq!(parse_duration(text.as_bytes()), expected, "{text:?}");
        }
    }
}
