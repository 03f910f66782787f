//! Types: conversions and tests.

use angarium_runtime::convert;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, Throw};
use angarium_runtime::pieces;
use angarium_runtime::value::{Kind, Value};

use crate::string::{is_large, text};

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::construct("array(...args: any): array", "Makes an array; the same as `[...]`, keys with `=>` included.")
        .example(r#"array(1, "k" => 2) // [0=>1,"k"=>2]"#),
    FnDecl::plain("boolean(value: any): boolean", "Converts to boolean by truthiness.", boolean)
        .example(r#"boolean("0") // true"#),
    FnDecl::plain("is_array(value: any): boolean", "Tells whether the value is an array.", |_, args| is(&args, Kind::Array))
        .example("is_array([]) // true"),
    FnDecl::plain("is_boolean(value: any): boolean", "Tells whether the value is a boolean.", |_, args| is(&args, Kind::Boolean))
        .example("is_boolean(0) // false"),
    FnDecl::plain(
        "is_function(value: any): boolean",
        "Tells whether the value is a function: an anonymous one, a name, a method or a class.",
        |_, args| is(&args, Kind::Function),
    )
    .example("is_function(length) // true"),
    FnDecl::plain(
        "is_number(value: any): boolean",
        "Tells whether the value is a number. Booleans and strings of digits are none.",
        |_, args| is(&args, Kind::Number),
    )
    .example(r#"is_number("1") // false"#),
    FnDecl::plain("is_object(value: any): boolean", "Tells whether the value is an object.", |_, args| is(&args, Kind::Object))
        .example(r#"is_object(Set("string")) // true"#),
    FnDecl::plain("is_string(value: any): boolean", "Tells whether the value is a string.", |_, args| is(&args, Kind::String))
        .example(r#"is_string("") // true"#),
    FnDecl::construct(
        "isset(x: variable): boolean",
        "Tells whether a variable, element or property exists, also when it holds none. Missing steps on the way \
         give false.",
    )
    .example(r#"isset($missing["x"]) // false"#),
    FnDecl::plain(
        "length(value: any): number|none",
        "Gives the number of bytes of a string or of entries of an array; none for everything else.",
        length,
    )
    .example(r#"length("abc") // 3"#),
    FnDecl::plain(
        "number(value: any): number",
        "Converts to number. A string counts when the whole of it is a decimal number or `0x` and hexadecimal \
         digits, else it gives 0.",
        number,
    )
    .example(r#"number("0x1f") // 31
number("12abc") // 0"#),
    FnDecl::plain(
        "string(value: any): string",
        "Converts to string: the shortest text that reads back for numbers, `[key=>value,...]` for arrays.",
        string,
    )
    .example("string(0.1) // \"0.1\"\nstring([true]) // \"[0=>true]\""),
    FnDecl::construct(
        "unset(x: variable): boolean",
        "Removes a variable, an element or a slice and tells whether it was there. Other keys stay as they are.",
    )
    .example("unset($missing) // false"),
];

fn is(args: &Args<'_>, kind: Kind) -> Outcome {
    Ok(Value::Boolean(args.get(0).kind() == kind))
}

fn boolean(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::Boolean(convert::truthy(args.get(0))))
}

fn number(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    if is_large(args.bytes(0)) {
        let mut number = pieces::number_of(text(&args, 0));
        return Err(Throw::pieces(move |cx: &mut Cx<'_>| {
            let number = number(cx)?;
            Ok(number.map(|number| convert::to_number(&number).into()))
        }));
    }
    cx.charge(args.bytes(0).len() / 16);
    Ok(Value::Number(convert::to_number(args.get(0))))
}

fn string(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    if let Value::String(_) = args.get(0) {
        return Ok(args.get(0).clone());
    }
    if args
        .get(0)
        .as_array()
        .is_some_and(|array| !array.is_empty())
    {
        return Err(Throw::pieces(pieces::text_of(args.get(0))));
    }
    let mut text = Vec::new();
    cx.write_str(&mut text, args.get(0))?;
    Ok(text.into())
}

pub(crate) fn length(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(match args.get(0) {
        Value::String(string) => string.len().into(),
        Value::Array(_) => args.get(0).as_array().map(|array| array.len()).into(),
        _ => Value::None,
    })
}
