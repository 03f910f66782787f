//! What the compiler makes of small programs, and what it says about wrong ones.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use angarium_lang::listing::listing;

/// The program and its listing.
fn code(text: &str) -> String {
    let (program, warnings) = support::compile(text).unwrap();
    format!("{}\n\n{}{warnings}", text.trim(), listing(&program))
}

/// The program and the message.
fn message(text: &str) -> String {
    match support::compile(text) {
        Ok((_, warnings)) => format!("{}\n\n{warnings}", text.trim()),
        Err(message) => format!("{}\n\n{message}", text.trim()),
    }
}

macro_rules! code {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(code($text)); })*
    };
}

macro_rules! message {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(message($text)); })*
    };
}

code! {
    a_loop_has_one_instruction_for_test_and_jump: "$s = 0; for ($i = 0; $i < 1000; $i++) { $s += $i * 2; }";
    a_call_of_a_known_function_needs_no_look_up: "function fib($n) { if ($n < 2) return $n; return fib($n - 1) + fib($n - 2); } echo fib(20);";
    constants_are_folded: "echo 1 + 2 * 3 . \"x\"; echo [1, \"a\" => [true, none]]; echo -5; echo !true;";
    interpolation_is_one_instruction: "$a = 1; $b = 2; echo \"$a and $b\"; echo $a . \" \" . $b . \"\\n\";";
    a_variable_grows_in_place: "$s = \"\"; $s .= \"x\"; $s = $s . \"y\" . 1; $a = []; $a[] = $s; $a[\"k\"][] = 1; $a[\"n\"] += 1;";
    a_variable_dies_in_its_last_call: "function f($x) { return $x; } function g($y) { $y = f($y); return f($y); } g(1);";
    closures_share_cells: "function f($n) { return function ($x) closure ($n) { $n += $x; return $n; }; } f(1)(2);";
    globals_are_cells: "$n = 1; function f() { global $n; return $n++; } f();";
    undefined_variables_are_checked_once: "function f() { echo $x; echo $x; } if (length(\"a\")) $y = 1; echo $y; $z = $u ?? $y;";
    a_switch_is_a_chain_of_jumps: "switch (length(\"ab\")) { case 1: echo 1; break; case \"x\": echo 2; default: echo 3; }";
    try_costs_nothing_on_entry: "try { echo length(\"a\"); } catch ($e) { echo $e; } echo 2;";
    patterns_take_an_array_apart: "[$a, $b = 5, ...$c] = [1]; [\"k\" => $d] = [];";
    foreach_writes_its_variables_directly: "foreach ([1, 2] as $k => $v) { echo $k; if ($v) break; }";
    arguments_are_copied_in_pairs_and_results_go_to_their_variable: "$a = 1; $b = 2; $c = length($a); function f($x, $y, $z) {} $d = padded($c); f($a, $b, $c); $c->f($a);";
    isset_and_coalesce_read_a_variable_where_it_is: "$a = []; $k = 1; if (isset($a[$k])) echo 1; echo $a[$k][2] ?? 0; echo $a[$k = 2] ?? isset($a[$k][$k]);";
    conditions_jump_on_comparisons: "$a = 1; $b = \"x\"; if ($a > 0 and ($b == \"x\" or !$a) and 5 >= $a) echo 1; while ($a != $b) { $a = $b; }";
}

message! {
    an_unknown_function: "echo lenght(\"x\");";
    a_wrong_number_of_arguments: "function f($a, $b = 1) {}\nf(1, 2, 3);";
    a_name_defined_twice: "function f() {}\nfunction f() {}";
    a_read_only_variable: "$connection[\"ip\"] = 1;";
    a_default_that_is_not_constant: "function f($x = length(\"a\")) {}";
    break_outside_of_a_loop: "if (1) { break; }";
    what_is_not_there_yet: "import $x from \"data.crt\";";
    a_missing_file: "include \"nope.hsl\";";
    warnings_about_names: "$valeu = 1;\necho $value;\n$totl += 1;\necho $totl;\n$m = Map(\"string\", \"any\");\n$m->ste(\"a\", 1);\nclass C { function sent() {} $own = none; }\nC()->snet();\nC()->own();\npadded(\"x\", [\"fil\" => \"y\", \"other\" => 1]);\n$m->write([\"sinc\" => true]);\n$m->write([\"sync\" => true], [\"sinc\" => true]);";
    parameters_with_one_name: "function f($a, $b = 1, $a) { return $b; }\nfunction ($x, $x) closure ($y, $y) {};";
    an_operator_on_literals: "echo [1] / 2;\necho 1 + 2 * [1] - 5;\necho \"%s\" % [1];";
    warnings: "function print() { return 1; echo 2; }\n$x == 5;\necho [1] / 2;\necho $missing;\nfunction g() { return $connection; }";
}

#[test]
fn an_expression_with_too_many_intermediate_values_is_refused() {
    let call = "f($a, $b, ".repeat(200);
    let text = format!(
        "function f($x, $y, $z) {{}} $a = 1; $b = 2;\n$r = {call}1{};",
        ")".repeat(200)
    );
    let message = support::compile(&text).err().unwrap_or_default();
    assert!(
        message.contains("too many intermediate values"),
        "{message}"
    );
}
