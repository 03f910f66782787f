//! Numbers.

use angarium_runtime::convert::write_number;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome};
use angarium_runtime::value::Value;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain("abs(number: number): number", "Gives the absolute value.", |_, args| unary(&args, f64::abs))
        .example("abs(-2) // 2"),
    FnDecl::plain("ceil(number: number): number", "Rounds up to an integer.", |_, args| unary(&args, f64::ceil))
        .example("ceil(1.2) // 2"),
    FnDecl::plain("floor(number: number): number", "Rounds down to an integer.", |_, args| unary(&args, f64::floor))
        .example("floor(-1.2) // -2"),
    FnDecl::plain(
        "log(number: number, base?: number = 2.718281828459045): number",
        "Gives the logarithm. IEEE rules: -Infinity for 0, NaN below.",
        log,
    )
    .example("log(8, 2) // 3"),
    FnDecl::plain("pow(base: number, exponent: number): number", "Raises to a power, as `**` does.", pow)
        .example("pow(2, 10) // 1024"),
    FnDecl::plain(
        "round(number: number, decimals?: number = 0): number",
        "Rounds half away from zero to that many decimals, counted on the number's shortest decimal text. Negative \
         `decimals` round left of the point.",
        round,
    )
    .example("round(2.5) // 3\nround(-2.5) // -3\nround(1.005, 2) // 1.01\nround(1250, -2) // 1300"),
    FnDecl::plain("sqrt(number: number): number", "Gives the square root; NaN below 0.", |_, args| unary(&args, f64::sqrt))
        .example("sqrt(9) // 3"),
];

fn unary(args: &Args<'_>, function: fn(f64) -> f64) -> Outcome {
    Ok(Value::Number(function(args.number(0, 0.0))))
}

fn log(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let number = args.number(0, 0.0);
    if !args.has(1) {
        return Ok(number.ln().into());
    }
    let base = args.number(1, std::f64::consts::E);
    // The dedicated functions are exact where the quotient of logarithms is not.
    Ok((if base == 2.0 {
        number.log2()
    } else if base == 10.0 {
        number.log10()
    } else {
        number.ln() / base.ln()
    })
    .into())
}

fn pow(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(args.number(0, 0.0).powf(args.number(1, 0.0)).into())
}

fn round(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(round_decimal(args.number(0, 0.0), args.integer(1, 0)).into())
}

/// Rounds half away from zero at `decimals` places of the shortest decimal text of `number`.
pub(crate) fn round_decimal(number: f64, decimals: i64) -> f64 {
    if decimals == 0 {
        return number.round();
    }
    if !number.is_finite() || number == 0.0 {
        return number;
    }
    let mut text = Vec::new();
    write_number(&mut text, number.abs());
    let text = String::from_utf8_lossy(&text).into_owned();
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(0)),
        None => (text.as_str(), 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|digit| digit - b'0')
        .collect();
    // Position of the point among the digits, and of the first digit that is rounded away.
    let point = whole.len() as i64 + exponent;
    let keep = point.saturating_add(decimals);
    if keep >= digits.len() as i64 {
        return number;
    }
    if keep < 0 {
        return 0.0_f64.copysign(number);
    }
    let keep = keep as usize;
    let mut kept = digits[..keep].to_vec();
    if digits[keep] >= 5 {
        let mut at = keep;
        loop {
            if at == 0 {
                kept.insert(0, 1);
                break;
            }
            at -= 1;
            if kept[at] == 9 {
                kept[at] = 0;
            } else {
                kept[at] += 1;
                break;
            }
        }
    }
    let digits: String = if kept.is_empty() {
        "0".into()
    } else {
        kept.iter().map(|digit| char::from(digit + b'0')).collect()
    };
    // The kept digits are an integer count of 10^-decimals.
    format!("{digits}e{}", decimals.saturating_neg())
        .parse::<f64>()
        .unwrap_or(number)
        .copysign(number)
}

#[cfg(test)]
mod tests {
    use super::round_decimal;

    #[test]
    fn rounding_works_on_the_decimal_text() {
        for (number, decimals, expected) in [
            (1.005, 2, 1.01),
            (2.5, 0, 3.0),
            (-2.5, 0, -3.0),
            (0.285, 2, 0.29),
            (1250.0, -2, 1300.0),
            (1249.0, -2, 1200.0),
            (49.0, -2, 0.0),
            (50.0, -2, 100.0),
            (1e-7, 7, 1e-7),
            (1.5e-7, 7, 2e-7),
            (1e21, 2, 1e21),
            (9.995, 2, 10.0),
            (5.0, 400, 5.0),
            (5.0, -400, 0.0),
        ] {
            assert_eq!(
                round_decimal(number, decimals),
                expected,
                "round({number}, {decimals})"
            );
        }
    }
}
