//! What a user reads: sources with mistakes, and the messages about them.

mod common;

/// Compares source and messages with the stored snapshot `name`.
fn shows(name: &str, source: &str) {
    let messages = common::rendered(source.as_bytes());
    assert!(!messages.is_empty(), "{name}: no message");
    let text = format!("{}\n----\n{messages}", source.trim_end());
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Defines a test for each source.
macro_rules! shows {
    ($($name:ident: $source:expr;)*) => {
        $(#[test] fn $name() { shows(stringify!($name), $source); })*
    };
}

shows! {
    missing_semicolon: "$a = 1\n$b = 2;\nreturn\n$c\n";
    missing_semicolon_on_one_line: "$a = 1 $b = 2;";
    missing_semicolon_before_a_pattern: "$a = f()\n[$x, $y] = [1, 2];";
    misspelt_keywords: "ecoh \"x\";\nwhlie ($x) { echo 1 2; }\n$f = functoin ($x) { return 1; };\nretrun 5 6;";
    words_of_other_languages: "throw new Exception(\"x\");\nvar $x = 1;\ndef f() { }\ndo { f(); } while (1);\nif (1) { } elseif (2) { }\nprint \"x\";\nclass B extends A { }\nforeach ($x in $y) { }";
    operators_of_other_languages: "if ($a && $b || $c) echo 1;\n$x = $a <> $b;\n$f = ($x) => $x + 1;\n$y = $a?->b;\n$z = {\"a\": 1};\n$w = [\"a\": 1];";
    types_and_references: "function f(string $x) { }\nfunction g(&$x) { }\nfunction h($x): string { }\ntry { } catch (Exception $e) { }";
    single_quotes: "echo 'hello world';\necho 'hello';\necho 'x;\n";
    raw_string_without_end: "$x = ''abc;\n$y = 1;";
    string_without_end: "$s = \"abc;\n$t = \"def\";\necho $t, 2;";
    string_without_end_in_a_call: "foo(\"abc, 1);\nbar(\"def\");\nif ($x) {\n    echo \"y\";\n}";
    characters_of_word_processors: "echo “hi”;\n$x =\u{a0}1;\n$y = 1 – 2;\n$z = ‘x’;\nécho 1;\n@f();\n# comment\n$ x = 1;\n";
    control_characters_and_bytes: "echo \u{0}1;\necho \u{1b}2;\u{feff}\n";
    numbers: "$a = 1e5;\n$b = 1.2.3;\n$c = 0xfg;\n$d = 0b12;\n$e = 1__0;\n$f = 5x;\n$g = .5;\n$h = 5.;\n$i = 0x;\n";
    escapes: "$a = \"\\q\";\n$b = \"\\x4\";\n$c = \"${a.b}\";\n$d = \"\\u0041\";";
    regexes: "$a = #/abc;\n$b = #/abc/g;\n$c = #//;\n$d = #/[a\\/b]/i;";
    comment_without_end: "echo 1;\n/* and\nso on";
    unclosed_parenthesis: "if ($a == 1 {\n  echo \"x\";\n}\n$x = foo(1, 2;\nwhile ($x\necho 1;\n";
    unclosed_bracket: "$y = [1, 2;\n$z = [\n  \"a\" => [1, 2,\n  \"b\" => 3\n];\n$w = 1;";
    unclosed_brace: "function f() {\n    if ($a) {\n        echo 1;\n\n}\necho 2;\n";
    unclosed_class: "class A {\n    $x;\n    function f() {\n        return 1;\n    }\n\n$a = A();\necho 1 2;\nfunction g() {\n    if (1) {\n        echo 2;\n\nclass B {\n    $y;\n}\n";
    unclosed_brace_at_the_end: "function f() {\n    echo 1;\n";
    missing_opening_brace: "function f()\n    echo 1;\n}\necho 2;\nif ($x)\n    echo 1;\n} else {\n    echo 2;\n}\n";
    wrong_bracket: "$z = foo(1, 2];\n$y = [1, 2);\n";
    stray_brackets: "echo 1);\n}\necho $a];\n";
    conditions_without_parentheses: "if $a > 1 { echo 1; }\nwhile $x { }\nswitch $x { case 1: echo 1; }\nif ($a) and ($b) { echo 1; } else { echo 2 3; }";
    incomplete_statements: "echo ;\n$x = $y + ;\nif ($a = ) { echo 1 2; }\nforeach ($a $b) { }\nfor ($i = 0; $i < 10) { }\nreturn 1 2;\n";
    missing_dollar: "x = 1;\nforeach ($a as k => $v) { }\nglobal y;\nfunction f(a) { }\ncatch_it(b = 1);\nisset(x);";
    reserved_words_as_names: "function default() { }\nclass match { }\nimport { echo } from \"x\";\n";
    objects_of_old_versions: "$x = object [\"a\" => 1];\nobject [\"b\"];\n";
    targets: "f() = 1;\n1 = 2;\n$a + $b = 3;\n[$a, f()] = $b;\n($x) = 1;\nf()[0] = 1;\n[1, 2][0] = 3;\n$s[0:2][1] = 4;\nX::y = 5;\n\"s\"[0] = 6;\n";
    targets_and_operators: "$a[] += 1;\n[$a] += 1;\n$a[1:2] .= 3;\n$a[1:2:2] = [];\n$a[]++;\n++f();\n++$a[:];\necho $a[];\n";
    patterns: "[$a, \"k\" => $b] = $x;\n[...$r, $a] = $x;\n[\"k\" => $v, ...$r] = $x;\n[$a, 5] = $x;\nforeach ($x as [$a, 1]) { }\n";
    isset_and_unset: "isset(f());\nisset($x->f());\nisset($a[]);\nunset(1);\nunset(A::b);\nisset(x[0]);\nisset($a, $b);\n";
    places: "break;\ncontinue;\nyield 1;\nglobal $x;\nif (1) { import { a } from \"x\"; class A { } }\nswitch (1) { case 1: continue; }\nwhile (1) { function () { break; }; }\n";
    yields_in_barriers: "function f() { barrier \"x\" { yield 1; $g = function () { yield 2; }; } yield 3; }";
    functions: "function f($a = 1, $b, ...$c, $d) { }\n$f = function ($a) closure ($a) { };\nfunction g($a, $a) { }\nfunction h() closure ($x) { }\nfunction ($x) {\n    echo $x;\n}\necho 1;\n";
    classes: "class A {\n    private private $x;\n    readonly function f() { }\n    $y = 1;\n    $y = 2;\n    function y() { }\n    constructor($a { }\n    foo bar;\n    $z\n    static function g() { return 1 }\n    function () { }\n    public $q;\n}\nclass { }\n";
    switches: "switch ($x) {\n    case 1\n        echo 1;\n    case : echo 2;\n    default: echo 3;\n    default: echo 4;\n}\nswitch ($x) { echo 1; case 1: echo 2 3; }\ncase 5: echo 1;\n";
    matches: "$x = match ($y) { 1 => 2 3 => 4, 5 6, default => };\n$x = match ($y) {\n    1 => 2\n    3 => 4,\n};\n$x = match ($y) { default => 1, default => 2 };\n$x = match ($y) { 1: 2 };\n";
    tries: "try { echo 1; }\necho 2;\n{ echo 3; } catch ($e) { }\ntry { } catch { }\ntry { } catch ($e) { } finally { echo 1 2; }\ntry echo 1;\n";
    elses: "else { echo 1; }\nif (1) echo 1; echo 2; else echo 3;\nif (1) { } else\n";
    imports: "import foo from \"x\";\nimport { a as $b, $c as d } from \"x\";\nimport { a };\nimport { a } from $x;\ninclude \"a$b\";\nimport * from \"x\";\nimport $x from \"d.csv\" with 5;\n";
    debug_prefixes: "__debug [\"a\"] echo 1;\n__debug [$x, \"b\"] echo 2;\n__debug [\"a\", \"b\"]\nif (1) __debug [\"a\", \"b\"] else echo 3;\n";
    caches: "cache f();\ncache [] $x->f();\ncache [] f;\n";
    misspelt_words_in_expressions: "$x = array_map(functoin ($x) { return 1; }, $a);\n$y = macth ($x) { 1 => 2, default => 3 };\nforech ($a as $b) { }\nfro ($i = 0; $i < 1; $i++) { }\nprint($a) $b;\n$c = cahce [] f();\n";
    habits_of_other_languages: "if ($a =< 1) { }\nif ($a => 5) { }\n$x = $y ? 1;\necho \"a\", \"b\";\nforeach ($a as $k, $v) { }\nswitch ($x) { case 1, 2: break; }\nclass A($x) { }\nfunction f() { static $n = 1; }\n$s =~ /abc/;\n$a = &$b;\n$i = (int)$x;\n$$x = 1;\n$t = <<<EOT;\n$c = $s{0};\nfor (i = 0; i < 5; i++) { }\n$a := 1;\n$o = $a <=> $b;\n";
    missing_commas: "$y = [\n  \"a\" => 1\n  \"b\" => 2,\n];\nf($a $b);\nf(\"a\" \"b\");\n";
    statics_of_objects: "$x::y();\n$x::$y = 1;\n";
    properties: "$x->$y;\n$x->;\n$x.->y;\nA::;\n$x::y;\n";
    errors_inside_functions_of_a_broken_statement: "$z = foo($a, function () { echo 1 2; return 3; } $b);\n$w = 1 2;\n";
    deep_nesting: &format!("echo {}1{};\necho 2 3;", "(".repeat(300), ")".repeat(300));
    at_most_twenty: &"echo 1 2;\n".repeat(30);
    end_of_file: "echo 1 +";
    other_line_ends: "echo 1\r\necho 2 3;\r\n\techo 4 5;\r\n";
}
