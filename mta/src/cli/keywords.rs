//! The words of the language itself, explained for `doc` and `:help` (language.md 1.3).

/// A reserved word.
pub struct Keyword {
    /// The word.
    pub word: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
    /// A piece of a script that runs as it stands; empty where a file or a class is needed around it.
    pub example: &'static str,
}

const fn keyword(
    word: &'static str,
    form: &'static str,
    doc: &'static str,
    example: &'static str,
) -> Keyword {
    Keyword {
        word,
        form,
        doc,
        example,
    }
}

/// What is said of the word `word`.
#[must_use]
pub fn find(word: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.word == word)
}

/// Every reserved word, in alphabetical order.
pub const KEYWORDS: &[Keyword] = &[
    keyword(
        "and",
        "A and B",
        "True when both are. B is evaluated only if A is true.",
        "echo 1 and 0;",
    ),
    keyword(
        "array",
        "array(A, \"key\" => B, ...C)",
        "Makes an array, as [A, \"key\" => B, ...C] does.",
        "echo array(1, \"a\" => 2);",
    ),
    keyword(
        "as",
        "foreach (A as $v), import { a as b }",
        "Names what a loop or an import gives.",
        "foreach ([1, 2] as $i => $v) echo \"$i $v\";",
    ),
    keyword(
        "barrier",
        "barrier NAME { … }, barrier NAME => $v { … }",
        "Lets one execution at a time, of the whole process, into blocks of this name. With `=> $v` the variable is the value that is shared under the name.",
        "barrier \"counter\" => $n { $n = ($n ?? 0) + 1; echo $n; }",
    ),
    keyword(
        "break",
        "break;",
        "Leaves the innermost loop or switch.",
        "forever { break; }",
    ),
    keyword(
        "builtin",
        "builtin NAME",
        "The library's function or class of this name, also where the script has one of its own.",
        "function length($x) { return builtin length($x) + 1; } echo length(\"ab\");",
    ),
    keyword(
        "cache",
        "cache [OPTIONS] F(…)",
        "As the call, but its result may come from a cache that all executions share. Options: ttl, ttl_override, ttl_function, update_function, argv_filter, force, size, namespace, per_message, lru.",
        "function slow($x) { return $x * 2; } echo cache [\"ttl\" => 60] slow(21);",
    ),
    keyword(
        "case",
        "case VALUE: …",
        "A place in a switch where execution starts if the value fits.",
        "switch (2) { case 2: echo \"two\"; break; default: echo \"other\"; }",
    ),
    keyword(
        "catch",
        "try { … } catch ($e) { … }",
        "Gets what was thrown in the try block.",
        "try { throw \"x\"; } catch ($e) { echo $e; }",
    ),
    keyword(
        "class",
        "class Name { constructor(…) { … } $x = 1; function m() { … } }",
        "Declares a class, at the top level only. Members may be private, static, and variables readonly.",
        "class Point { constructor($x) { $this->x = $x; } } echo Point(3)->x;",
    ),
    keyword(
        "closure",
        "function (…) closure ($a, $b) { … }",
        "Names the variables that an anonymous function shares with the place where it is written.",
        "$n = 2; $f = function ($x) closure ($n) { return $x * $n; }; echo $f(21);",
    ),
    keyword(
        "constructor",
        "constructor(…) { … }",
        "Runs when an instance of the class is made.",
        "class A { constructor($x) { $this->x = $x; } } echo A(1)->x;",
    ),
    keyword(
        "continue",
        "continue;",
        "Starts the next round of the innermost loop.",
        "foreach ([1, 2] as $v) { if ($v == 1) continue; echo $v; }",
    ),
    keyword(
        "default",
        "default: …, match (…) { default => … }",
        "Where a switch or match goes when nothing else fits.",
        "echo match (3) { 1 => \"one\", default => \"many\" };",
    ),
    keyword(
        "echo",
        "echo EXPR;",
        "Prints a value. In hsh a new line follows (not with -B); in the server each echo is a line of the log.",
        "echo \"hello\";",
    ),
    keyword(
        "else",
        "if (A) … else …",
        "What runs when the condition is false. There is no elseif: write `else if`.",
        "if (0) echo \"yes\"; else echo \"no\";",
    ),
    keyword(
        "false",
        "false",
        "The boolean that is not true.",
        "echo false;",
    ),
    keyword(
        "for",
        "for (INIT; CONDITION; STEP) …",
        "A loop with a counter. Every part may be empty; INIT and STEP may be several expressions with commas.",
        "for ($i = 0; $i < 3; $i += 1) echo $i;",
    ),
    keyword(
        "foreach",
        "foreach (A as $v) …, foreach (A as $k => $v) …",
        "Walks over an array, an iterator, a Map or a Set.",
        "foreach ([\"a\" => 1] as $k => $v) echo \"$k=$v\";",
    ),
    keyword(
        "forever",
        "forever …",
        "A loop without an end: break, return or an exception leaves it.",
        "forever { break; }",
    ),
    keyword(
        "from",
        "import { … } from \"FILE\"",
        "Says where an import comes from.",
        "",
    ),
    keyword(
        "function",
        "function name($a, $b = 1, ...$rest) { … }, function (…) closure (…) { … }",
        "Declares a function, or makes one as a value. A named function can be called before it is declared. A parameter may have a default; the last one may take the rest.",
        "function add($a, $b = 1) { return $a + $b; } echo add(2);",
    ),
    keyword(
        "global",
        "global $a, $b;",
        "Lets a function use variables of the top level.",
        "$n = 1; function next_one() { global $n; return ++$n; } echo next_one();",
    ),
    keyword(
        "if",
        "if (A) … else …",
        "Runs a statement when the condition is true.",
        "if (1 < 2) echo \"less\";",
    ),
    keyword(
        "import",
        "import { a, b as c, $x } from \"m\"; import * as ns from \"m\"; import $v from \"f.json\" with [OPTIONS];",
        "Takes functions, classes and variables of another file, which runs once, or the data of a file.",
        "",
    ),
    keyword(
        "include",
        "include \"FILE\";",
        "Puts the statements of a file in this place.",
        "",
    ),
    keyword(
        "include_once",
        "include_once \"FILE\";",
        "As include, but nothing happens when the file was included before.",
        "",
    ),
    keyword(
        "isset",
        "isset(VARIABLE)",
        "Whether a variable, element or property exists.",
        "$a = [\"x\" => 1]; echo isset($a[\"y\"]);",
    ),
    keyword(
        "match",
        "match (A) { B, C => X, default => Y }",
        "The value of the first arm that equals A. Without such an arm and without default it throws.",
        "echo match (2) { 1 => \"one\", 2, 3 => \"few\", default => \"many\" };",
    ),
    keyword(
        "none",
        "none",
        "No value: what a missing key, a function without return or a failed conversion gives.",
        "echo none ?? \"nothing\";",
    ),
    keyword(
        "not",
        "not A",
        "True when A is false, as !A.",
        "echo not 0;",
    ),
    keyword(
        "object",
        "object",
        "A statement of releases up to 4.4 that is gone: write a class.",
        "",
    ),
    keyword(
        "or",
        "A or B",
        "True when one of them is. B is evaluated only if A is false.",
        "echo 0 or 1;",
    ),
    keyword(
        "private",
        "private $x; private function f() { … }",
        "A member that only the functions of its class can use.",
        "class A { private $x = 1; function get() { return $this->x; } } echo A()->get();",
    ),
    keyword(
        "readonly",
        "readonly $x = 1;",
        "A variable of a class that everybody reads and only the functions of the class write.",
        "class A { readonly $x = 1; } echo A()->x;",
    ),
    keyword(
        "return",
        "return; return EXPR;",
        "Leaves the function with a value, or ends the script at the top level.",
        "function f() { return 1; } echo f();",
    ),
    keyword(
        "static",
        "static $x = 1; static function f() { … } static::f()",
        "A member of the class itself, reached as Name::$x and Name::f(), and as static::… inside the class.",
        "class A { static function f() { return 1; } } echo A::f();",
    ),
    keyword(
        "switch",
        "switch (A) { case B: … break; default: … }",
        "Starts at the case that equals A, or at default, and goes on until break.",
        "switch (1) { case 1: echo \"one\"; break; default: echo \"other\"; }",
    ),
    keyword(
        "throw",
        "throw EXPR;",
        "Ends what runs until a catch takes the value. Exception(\"text\") makes an exception with a message.",
        "try { throw Exception(\"no\"); } catch ($e) { echo $e->message(); }",
    ),
    keyword(
        "true",
        "true",
        "The boolean that is not false.",
        "echo true;",
    ),
    keyword(
        "try",
        "try { … } catch ($e) { … }",
        "Runs a block; what is thrown in it goes to the catch block.",
        "try { echo $nothing; } catch ($e) { echo $e->message(); }",
    ),
    keyword(
        "unset",
        "unset(VARIABLE)",
        "Removes a variable, element or property; whether it was there.",
        "$a = [1, 2]; unset($a[0]); echo $a;",
    ),
    keyword(
        "while",
        "while (A) …",
        "A loop that runs as long as the condition is true.",
        "$i = 3; while ($i) { echo $i; $i -= 1; }",
    ),
    keyword(
        "with",
        "import $v from \"f.csv\" with [OPTIONS];",
        "Gives the options of a data import.",
        "",
    ),
    keyword(
        "yield",
        "yield VALUE; yield KEY => VALUE;",
        "Makes the function a generator: it gives a value and rests until the next one is asked for.",
        "function count_to($n) { for ($i = 1; $i <= $n; $i += 1) yield $i; } foreach (count_to(3) as $i) echo $i;",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_cannot_name_a_function_is_explained_and_no_other() {
        let reserved = |word: &str| {
            let text = format!("function {word}() {{ }}");
            let (_, diagnostics) =
                angarium_syntax::parse(text.as_bytes(), angarium_lang::FileId(0));
            diagnostics.iter().any(angarium_lang::Diagnostic::is_error)
        };
        for keyword in KEYWORDS {
            assert!(reserved(keyword.word), "{}", keyword.word);
        }
        let spec = "and array as barrier break builtin cache case catch class closure constructor continue default echo else false for foreach forever from function global if import include include_once isset match none not object or private readonly return static switch throw true try unset while with yield";
        let explained: Vec<&str> = KEYWORDS.iter().map(|keyword| keyword.word).collect();
        assert_eq!(explained, spec.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn every_example_is_a_script() {
        for keyword in KEYWORDS {
            let (_, diagnostics) =
                angarium_syntax::parse(keyword.example.as_bytes(), angarium_lang::FileId(0));
            assert!(diagnostics.is_empty(), "{}: {diagnostics:?}", keyword.word);
            if !keyword.example.is_empty() {
                assert!(keyword.example.contains(keyword.word), "{}", keyword.word);
            }
        }
    }
}
