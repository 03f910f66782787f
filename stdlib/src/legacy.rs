//! Older names that scripts still use (stdlib.md, "Legacy and 5.x-era names").

use angarium_runtime::native::{Args, Cx, FnDecl, Imp, Outcome, Throw};
use angarium_runtime::value::Value;

use crate::{array, hash, inet, string, types};

/// An alias: another name in front of the parameters of the function that it stands for.
const fn alias(signature: &'static str, doc: &'static str, imp: Imp) -> FnDecl {
    let mut decl = FnDecl::construct(signature, doc).legacy();
    decl.imp = imp;
    decl
}

/// The Rust function of `name` in `family`.
const fn imp(family: &'static [FnDecl], name: &str) -> Imp {
    let mut at = 0;
    while at < family.len() {
        if starts_with(family[at].signature, name) {
            return family[at].imp;
        }
        at += 1;
    }
    panic!("an alias names a function that its family does not have")
}

/// Whether `signature` is that of `name`, at compile time.
const fn starts_with(signature: &str, name: &str) -> bool {
    let (signature, name) = (signature.as_bytes(), name.as_bytes());
    if signature.len() <= name.len() || signature[name.len()] != b'(' {
        return false;
    }
    let mut at = 0;
    while at < name.len() {
        if signature[at] != name[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    alias("count(value: any): number|none", "Older name of length.", imp(types::FUNCTIONS, "length")),
    alias("strlen(value: any): number|none", "Older name of length.", imp(types::FUNCTIONS, "length")),
    alias(
        "strpos(string: string, substring: string, offset?: number = 0): number",
        "Older name of str_find.",
        imp(string::FUNCTIONS, "str_find"),
    ),
    alias(
        "strrpos(string: string, substring: string, offset?: number = 0): number",
        "Older name of str_rfind.",
        imp(string::FUNCTIONS, "str_rfind"),
    ),
    alias(
        "substr(string: string, offset: number, length?: number): string",
        "Older name of str_slice.",
        imp(string::FUNCTIONS, "str_slice"),
    ),
    alias("strtolower(string: string): string", "Older name of str_lower.", imp(string::FUNCTIONS, "str_lower")),
    alias("strtoupper(string: string): string", "Older name of str_upper.", imp(string::FUNCTIONS, "str_upper")),
    alias(
        "trim(string: string, characters?: string = \" \\t\\r\\n\"): string",
        "Older name of str_strip.",
        imp(string::FUNCTIONS, "str_strip"),
    ),
    alias(
        "is_subdomain(subdomain: string, domain: string, options?: array): boolean",
        "Older name of domain_includes.",
        imp(inet::FUNCTIONS, "domain_includes"),
    ),
    alias(
        "in_network(ip: string, network: string): boolean|none",
        "Older name of inet_includes.",
        imp(inet::FUNCTIONS, "inet_includes"),
    ),
    alias("rand(x: number, y: number): number", "Older name of random_number.", imp(hash::FUNCTIONS, "random_number")),
    FnDecl::task(
        "in_array(needle: any, array: array): boolean",
        "Tells whether a value is in the array, compared with `==`, where array_includes takes `===`. A function as \
         `needle` is called with each value.",
        |cx, args| array::includes(cx, args, true),
    )
    .legacy()
    .example(r#"in_array("1", [1]) // true"#),
    FnDecl::plain(
        "range(start: number, stop: number, step?: number = 1): array",
        "Lists the numbers from `start` by `step` up to `stop`, which belongs to them; array_range leaves it out.",
        range,
    )
    .legacy()
    .example("range(0, 2) // [0=>0,1=>1,2=>2]"),
    FnDecl::plain(
        "explode(delimiter: string, string: string, limit?: number = 0): array",
        "Splits like str_split, with the delimiter first.",
        |cx, args| {
            string::split(cx, args.get(1), args.get(0), args.integer(2, 0))
        },
    )
    .legacy()
    .example(r#"explode(",", "a,b") // [0=>"a",1=>"b"]"#),
    FnDecl::plain("implode(glue: string, array: array): string", "Joins like array_join, with the glue first.", implode)
        .legacy()
        .example(r#"implode("-", [1, 2]) // "1-2""#),
];

fn range(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (start, stop, step) = (
        args.number(0, 0.0),
        args.number(1, 0.0),
        args.number(2, 1.0),
    );
    if step == 0.0 || step.is_nan() {
        return Err(Throw::error("range: step must not be 0"));
    }
    array::range(cx, start, stop, step, true)
}

fn implode(cx: &mut Cx<'_>, mut args: Args<'_>) -> Outcome {
    let mut swapped: [Value; 2] = [args.take(1), args.take(0)];
    array::join(
        cx,
        Args {
            this: None,
            values: &mut swapped,
        },
    )
}
