//! Codecs as scripts use them: what is small and what is worked on elsewhere or in pieces give the same, errors are told as they
//! should be, and budgets end the work.
#![allow(clippy::unwrap_used, reason = "what cannot be run fails the test")]

mod support;

use angarium_runtime::Limits;
use support::{dumped, run_within};

/// The dump form of what a script returns.
fn gives(script: &str, expected: &str) {
    assert_eq!(dumped(script).as_deref(), Ok(expected), "{script}");
}

#[test]
fn large_values_are_coded_as_small_ones_are() {
    // One and a half megabytes, of every byte.
    let text = "$t = \"\"; for ($i = 0; $i < 256; $i++) $t .= chr($i); $t = str_repeat($t, 6000);";
    for (there, back) in [
        ("base64_encode($t)", "base64_decode($x)"),
        ("base64url_encode($t)", "base64url_decode($x)"),
        ("base32_encode($t)", "base32_decode($x)"),
        ("url_encode($t)", "url_decode($x)"),
        ("xtext_encode($t)", "xtext_decode($x)"),
        ("zlib_compress($t)", "zlib_uncompress($x)"),
        ("zlib_compress($t, 1, -15)", "zlib_uncompress($x, -15)"),
        ("zlib_compress($t, 9, 31)", "zlib_uncompress($x, 47)"),
        ("pack(\"a*\", $t)", "unpack(\"a*\", $x)[0]"),
        ("unpack(\"H*\", $t)[0]", "pack(\"H*\", $x)"),
        (
            "Iconv(\"latin1\", \"utf-8\")->convert($t)",
            "Iconv(\"utf-8\", \"latin1\")->convert($x)",
        ),
        (
            "Iconv(\"latin1\", \"utf-16\")->convert($t)",
            "Iconv(\"utf-16\", \"latin1\")->convert($x)",
        ),
        (
            "csv_encode([$t, \"b\"])",
            "csv_decode($x, [\"header\" => false])[0][0]",
        ),
        (
            "json_encode([Iconv(\"latin1\", \"utf-8\")->convert($t)])",
            "Iconv(\"utf-8\", \"latin1\")->convert(json_decode($x)[0])",
        ),
    ] {
        gives(
            &format!("{text} $x = {there}; return [$x !== $t or true, {back} === $t];"),
            "[0=>true,1=>true]",
        );
    }
    gives(
        "$list = []; for ($i = 0; $i < 30000; $i++) $list[] = [\"n\" => $i, \"s\" => \"text $i\", \"l\" => [$i / 4, none, true]]; \
         $text = json_encode($list); return [json_decode($text) === $list, json_encode(json_decode($text)) === $text, \
         json_decode(json_encode($list, [\"pretty_print\" => true])) === $list, length($text) > 1000000, \
         json_decode($text . \"x\"), json_decode(str_slice($text, 0, -1)), \
         json_decode(\"/* x */\" . $text, [\"allow_comments\" => true]) === $list];",
        "[0=>true,1=>true,2=>true,3=>true,4=>none,5=>none,6=>true]",
    );
    gives(
        "$text = \"a,b\\n\"; for ($i = 0; $i < 30000; $i++) $text .= \"$i,\\\"x\\\"\\\"$i\\\"\\n\"; $rows = csv_decode($text); \
         return [length($rows), $rows[29999], csv_explode($text)];",
        "[0=>30000,1=>[\"a\"=>\"29999\",\"b\"=>''x\"29999''],2=>[0=>\"a\",1=>\"b\"]]",
    );
    // Out of shared memory, where arrays are kept in another form.
    gives(
        "$list = []; for ($i = 0; $i < 3000; $i++) $list[] = [\"n\" => $i, 7 => \"text $i\", \"l\" => [$i / 4, [], true]]; \
         memory_store(\"list\", $list); $kept = memory_fetch(\"list\"); \
         return [json_encode($kept) === json_encode($list), json_decode(json_encode($kept)) === $list, \
         json_encode($kept, [\"pretty_print\" => true]) === json_encode($list, [\"pretty_print\" => true])];",
        "[0=>true,1=>true,2=>true]",
    );
    gives(
        "$x = []; for ($i = 0; $i < 5000; $i++) $x[] = \"n$i\"; return csv_encode($x) === array_join($x, \",\");",
        "true",
    );
}

#[test]
fn a_converter_tells_what_went_wrong() {
    gives(
        "$c = Iconv(\"UTF-8\", \"ISO-8859-1\"); return [$c->convert(\"\\xc3\\xa5\"), $c->errno(), $c->convert(\"\\xff\"), $c->errno(), \
         $c->convert(\"a\\xc3\"), $c->errno(), $c->convert(\"\\xe2\\x82\\xac\"), $c->errno(), $c->convert(\"a\"), $c->errno(), \
         $c->close(), $c->convert(\"a\"), $c->errno()];",
        "[0=>\"\u{fffd}\",1=>0,2=>none,3=>84,4=>none,5=>22,6=>none,7=>84,8=>\"a\",9=>0,10=>none,11=>none,12=>9]",
    );
    // The same where the text is converted elsewhere.
    gives(
        "$c = Iconv(\"utf-8\", \"utf-16\"); $t = str_repeat(\"a\", 200000); return [length($c->convert($t)), $c->errno(), \
         $c->convert($t . \"\\xff\"), $c->errno(), $c->convert($t . \"\\xc3\"), $c->errno()];",
        "[0=>400002,1=>0,2=>none,3=>84,4=>none,5=>22]",
    );
    gives(
        "try { Iconv(\"utf-8\", \"x-none\"); } catch ($e) { return $e->message(); }",
        "''Iconv: unknown charset \"x-none\"''",
    );
}

#[test]
fn wrong_arguments_raise_exceptions() {
    for (call, message) in [
        (
            "zlib_compress(\"a\", 10)",
            "zlib_compress: compression 10 is not 0 to 9",
        ),
        (
            "zlib_compress(\"a\", -1)",
            "zlib_compress: compression -1 is not 0 to 9",
        ),
        (
            "zlib_compress(\"a\", 6, 47)",
            "zlib_compress: window bits 47 are not possible",
        ),
        (
            "zlib_compress(\"a\", 6, 7)",
            "zlib_compress: window bits 7 are not possible",
        ),
        (
            "zlib_uncompress(\"a\", 0)",
            "zlib_uncompress: window bits 0 are not possible",
        ),
        (
            "csv_encode([\"a\"], [\"delimiter\" => \"\"])",
            "csv_encode: option delimiter: neither empty, nor a quote or line break",
        ),
        (
            "envelope_localpart_escape(\"a\\nb\")",
            "envelope_localpart_escape: an address cannot hold control characters",
        ),
        (
            "header_addresslist_compile([\"a@b\", 1 == 1 ? [] : 0])",
            "header_addresslist_compile: entry 1: expected a string as address, got none",
        ),
        ("uuidv5(\"x\", \"y\")", "''uuidv5: \"x\" is no UUID''"),
        (
            "sha2(\"\", 255)",
            "sha2: hash size 255 is none of 224, 256, 384, 512",
        ),
        (
            "random_bytes(-1)",
            "random_bytes: the number of bytes must be 0 to 1048576",
        ),
        (
            "base64_encode([])",
            "base64_encode: argument 1: expected string, got array",
        ),
        (
            "strftime(\"%Y\", none)",
            "strftime: argument 2: expected number, got none",
        ),
    ] {
        let message = match message.starts_with("''") {
            true => message.to_owned(),
            false => format!("\"{message}\""),
        };
        gives(
            &format!("try {{ {call}; }} catch ($e) {{ return $e->message(); }}"),
            &message,
        );
    }
}

#[test]
fn what_cannot_be_read_is_none() {
    for call in [
        "zlib_uncompress(\"\")",
        "zlib_uncompress(zlib_compress(\"a\"), 31)",
        "unpack(\"C\", \"a\", 2)",
        "unpack(\"C\", \"a\", -1)",
        "pack(\"C\", [])",
        "pack(\"a\", none)",
        "url_parse(\"\")",
        "envelope_address_parse(\"\")",
        "header_addresslist_extract(\"a b\")",
        "header_addresslist_extract(\"no field\", [\"field\" => true])",
        "json_decode(\"[1,]\")",
        "json_encode([0 / 0])",
        "json_encode(\"\\xff\")",
        "csv_decode(\"a\\n\\\"b\")",
        "yaml_decode(\"[\")",
    ] {
        gives(&format!("return {call};"), "none");
    }
    gives("return GetAddressList(\"a b\");", "[]");
    gives("return header_addresslist_extract(\"\");", "[]");
    gives(
        "return header_addresslist_extract(\"To:\", [\"field\" => true]);",
        "[]",
    );
    gives(
        "return header_addresslist_extract(\"g: a@b, C <d@e>;\", [\"name\" => true]);",
        "[0=>[\"name\"=>none,\"address\"=>\"a@b\"],1=>[\"name\"=>\"C\",\"address\"=>\"d@e\"]]",
    );
}

#[test]
fn budgets_end_the_work() {
    let limits = |memory: usize| Limits {
        memory: Some(memory),
        ..Limits::default()
    };
    for script in [
        "return length(csv_decode(str_repeat(\"a,\", 3000000), [\"header\" => false]));",
        "return length(csv_explode(str_repeat(\"a,\", 3000000)));",
        "return length(json_decode(\"[\" . str_repeat(\"[0,0,0],\", 700000) . \"0]\"));",
        "return length(header_addresslist_extract(str_repeat(\"a,\", 3000000)));",
        "return length(unpack(\"C*\", str_repeat(\"a\", 6000000)));",
        "return length(url_encode(str_repeat(\" \", 8000000)));",
        "return length(mimeword_encode(str_repeat(\"\\xff\", 6000000)));",
        "$x = \"a\"; for ($i = 0; $i < 30; $i++) $x = [$x, $x]; return length(json_encode($x));",
        "$x = \"a\"; for ($i = 0; $i < 30; $i++) $x = [$x, $x]; return length(csv_encode([$x]));",
    ] {
        let ended = run_within(script, limits(16 << 20));
        assert!(
            ended.as_ref().is_err_and(|error| error.contains("memory")),
            "{script}: {ended:?}"
        );
    }
}
