//! Scripts that would never end, or would take all memory, and what ends them (language.md 13.5).
//!
//! Used by the test of limits and by the measurement of what such a script does to its neighbours.

/// A script that runs away.
#[derive(Clone, Copy, Debug)]
pub struct Runaway {
    /// What it does.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// How it may end: starts of what is said about it. Empty: it ends well.
    pub ends: &'static [&'static str],
}

const FUEL: &str = "script limit exceeded: fuel";
const MEMORY: &str = "script limit exceeded: memory";
const DEPTH: &str = "Uncaught exception: call depth exceeded";
const STRING: &str = "Uncaught exception: string too long";
const ARRAY: &str = "Uncaught exception: array too large";
const REGEX: &str = "Uncaught exception: regex backtrack limit";
const NOT_JSON: &str = "Uncaught exception: json_encode";

const fn runaway(name: &'static str, ends: &'static [&'static str], text: &'static str) -> Runaway {
    Runaway { name, text, ends }
}

/// The list.
pub const RUNAWAYS: &[Runaway] = &[
    // Loops and calls.
    runaway("an empty loop", &[FUEL], "forever {}"),
    runaway("a loop that counts", &[FUEL], "for ($i = 0; ; $i += 1) {}"),
    runaway(
        "a function that calls itself",
        &[DEPTH],
        "function f($n) { return f($n + 1) + 1; } f(0);",
    ),
    runaway(
        "a function that calls itself and catches what happens",
        &[FUEL, DEPTH],
        "function f() { try { f(); } catch ($e) { f(); } } f();",
    ),
    runaway(
        "a closure that captures itself",
        &[DEPTH],
        "$f = none; $f = function ($n) closure ($f) { return $f($n + 1); }; $f(0);",
    ),
    runaway(
        "closures that capture themselves, made without end",
        &[FUEL, MEMORY],
        "forever { $f = none; $g = function () closure ($f) { return $f; }; $f = [$g, \"0123456789abcdef0123456789abcdef\"]; unset($f); }",
    ),
    runaway(
        "a tower of closures",
        &[MEMORY, FUEL],
        "$f = none; forever { $g = function () closure ($f) { return $f; }; $f = [$f, $g]; }",
    ),
    runaway(
        "recursion through array_map",
        &[DEPTH],
        "function f($x) { return array_map(f, [$x]); } f(1);",
    ),
    runaway(
        "recursion through array_map that forks",
        &[DEPTH],
        "function f($x) { return array_map(f, [$x, $x]); } f(1);",
    ),
    runaway(
        "array_map of a built-in that calls back",
        &[DEPTH, "Uncaught exception: array_map"],
        "function g($h) { return array_map(g, [array_map, $h]); } g(array_map);",
    ),
    runaway(
        "exceptions in a loop",
        &[FUEL],
        "forever { try { throw Exception(\"x\"); } catch ($e) {} }",
    ),
    runaway(
        "exceptions that are kept",
        &[MEMORY, FUEL],
        "$all = []; forever { try { throw Exception(\"x\"); } catch ($e) { $all[] = $e; } }",
    ),
    runaway(
        "exceptions thrown by handlers",
        &[FUEL, DEPTH],
        "function f() { try { throw 1; } catch ($x) { forever { try { f(); } catch ($e) {} } } } f();",
    ),
    runaway(
        "a switch in a loop",
        &[FUEL],
        "$i = 0; forever { switch ($i) { case 1: break; default: $i = 2; } }",
    ),
    runaway(
        "sleeping in a loop",
        &["script limit exceeded: time"],
        "forever { sleep(1); }",
    ),
    runaway(
        "sleeping for ever",
        &["script limit exceeded: time"],
        "sleep(10 ** 18);",
    ),
    // Strings.
    runaway(
        "a string that doubles",
        &[MEMORY, STRING],
        "$s = \"x\"; forever { $s = $s . $s; }",
    ),
    runaway(
        "a string that doubles in place",
        &[MEMORY, STRING],
        "$s = \"x\"; forever { $s .= $s; }",
    ),
    runaway(
        "a string that doubles inside a string",
        &[MEMORY, STRING],
        "$s = \"x\"; forever { $s = \"$s$s\"; }",
    ),
    runaway(
        "a string that grows eightfold",
        &[MEMORY, STRING],
        "$s = \"x\"; forever { $s = \"$s$s$s$s$s$s$s$s\"; }",
    ),
    runaway(
        "a string that grows a byte at a time",
        &[FUEL, MEMORY],
        "$s = \"\"; forever { $s .= \"x\"; }",
    ),
    runaway(
        "str_repeat of a gibibyte",
        &[MEMORY, STRING],
        "return str_repeat(\"x\", 1073741824);",
    ),
    runaway(
        "str_repeat beyond all numbers",
        &[MEMORY, STRING],
        "return str_repeat(\"xyz\", 10 ** 300);",
    ),
    runaway(
        "str_repeat in a loop",
        &[FUEL, MEMORY],
        "forever { $s = str_repeat(\"x\", 10000000); }",
    ),
    runaway(
        "str_repeat of itself",
        &[MEMORY, STRING],
        "$s = \"ab\"; forever { $s = str_repeat($s, 100); }",
    ),
    runaway(
        "a format as wide as memory",
        &[MEMORY, STRING, "Uncaught exception: "],
        "return \"%1000000000s\" % [1];",
    ),
    runaway(
        "a format with many wide places",
        &[FUEL, MEMORY, STRING],
        "return str_repeat(\"%[0]30000s\", 100000) % [\"x\"];",
    ),
    runaway(
        "a format with all the digits",
        &[MEMORY, STRING, "Uncaught exception: "],
        "return \"%.1000000000f\" % [0.1];",
    ),
    runaway(
        "str_replace that blows up",
        &[MEMORY, STRING, FUEL],
        "$s = \"aa\"; forever { $s = str_replace(\"a\", \"aaaaaaaa\", $s); }",
    ),
    runaway(
        "str_split of a long string",
        &[MEMORY, ARRAY],
        "return str_split(str_repeat(\"x\", 16000000), \"\");",
    ),
    runaway(
        "str_chunk of a long string",
        &[MEMORY, ARRAY],
        "return str_chunk(str_repeat(\"x\", 20000000), 1);",
    ),
    runaway(
        "a search for a text that is nearly as long and nearly there",
        &[FUEL, MEMORY],
        "$t = str_repeat(\"a\", 10000000); $n = str_repeat(\"a\", 5000000) . \"b\"; forever { str_find($t, $n); str_rfind($t, \"b\" . $n); }",
    ),
    runaway(
        "a long text replaced and split by a text that is nearly there",
        &[FUEL, MEMORY],
        "$t = str_repeat(\"a\", 10000000); $n = str_repeat(\"a\", 5000000) . \"b\"; forever { str_replace($n, \"\", $t); str_split($t, $n); str_split($t, $n, -2); }",
    ),
    runaway(
        "white space stripped off both ends",
        &[FUEL, MEMORY],
        "$s = str_repeat(\" \", 10000000); forever { str_strip($s); str_lstrip(\"x$s\"); str_rstrip($s . \"x\"); }",
    ),
    runaway(
        "a long string quoted for a pattern",
        &[FUEL, MEMORY],
        "$s = str_repeat(\".\", 10000000); forever pcre_quote($s);",
    ),
    runaway(
        "texts that are just not long",
        &[FUEL],
        "$s = str_repeat(\"x\", 65000); forever { $t = $s . $s; $u = \"$s$s$s$s$s$s$s\"; $a = str_repeat($s, 15); $b = str_slice($a, 1); $c = str_upper($b); }",
    ),
    runaway(
        "times, addresses and names of megabytes",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"1\", 10000000); $f = str_repeat(\"%Y \", 3000000); forever { strptime($s, \"%Y\"); strptime($s, $f); strpduration($s); inet_includes($s, $s); inet_reverse(\"192.0.2.1\", $s); idna_encode($s); domain_publicsuffix($s); envelope_localpart_escape(\"a b\" . $s); envelope_address_parse($s); }",
    ),
    runaway(
        "array_join of the same long string",
        &[MEMORY, STRING],
        "$s = str_repeat(\"x\", 1000000); $a = []; for ($i = 0; $i < 10000; $i += 1) $a[] = $s; return array_join($a, $s);",
    ),
    runaway(
        "the text of a long list of one long string",
        &[MEMORY, STRING],
        "$s = str_repeat(\"x\", 1000000); $a = []; for ($i = 0; $i < 10000; $i += 1) $a[] = $s; return string($a);",
    ),
    runaway(
        "the text of an array that doubles",
        &[MEMORY, STRING],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; return length(string($a));",
    ),
    runaway(
        "an array that doubles, joined to a string",
        &[MEMORY, STRING],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; return \"$a\";",
    ),
    runaway(
        "an array that doubles, printed",
        &[MEMORY, STRING],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; echo $a;",
    ),
    runaway(
        "an array that doubles, thrown",
        &["Uncaught exception: [0=>[0=>"],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; throw $a;",
    ),
    runaway(
        "an array that doubles, as the text of an exception",
        &[MEMORY, STRING, "Uncaught exception: "],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; throw Exception(string($a));",
    ),
    runaway(
        "an array that doubles, in the system log",
        &[MEMORY, STRING, "Uncaught exception: "],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; syslog(\"info\", $a);",
    ),
    runaway(
        "an array that doubles, formatted",
        &[MEMORY, STRING, "Uncaught exception: "],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; return \"%s\" % [$a];",
    ),
    // Arrays.
    runaway(
        "array_range of a milliard",
        &[MEMORY, ARRAY],
        "return array_range(0, 1000000000);",
    ),
    runaway(
        "array_range without end",
        &[MEMORY, ARRAY],
        "return array_range(0, 10 ** 308 * 10);",
    ),
    runaway(
        "a list that grows",
        &[MEMORY, FUEL],
        "$a = []; forever $a[] = 1;",
    ),
    runaway(
        "a list that doubles",
        &[FUEL, MEMORY, ARRAY],
        "$a = [1]; forever $a = [...$a, ...$a];",
    ),
    runaway(
        "lists added up",
        &[FUEL, MEMORY, ARRAY],
        "$a = [1]; forever $a = $a + $a;",
    ),
    runaway(
        "a map of keys that grows",
        &[MEMORY, FUEL],
        "$a = []; for ($i = 0; ; $i += 1) $a[\"key\".$i] = $i;",
    ),
    runaway(
        "a deep array that grows",
        &[MEMORY, FUEL],
        "$a = []; forever $a = [$a];",
    ),
    runaway(
        "a long list copied again and again",
        &[FUEL],
        "$a = array_range(0, 100000); forever { $b = $a; $b[] = 1; }",
    ),
    runaway(
        "a slice assigned again and again",
        &[FUEL, MEMORY],
        "$a = array_range(0, 100000); forever { $a[0:1] = [1]; }",
    ),
    runaway(
        "a slice that makes the list grow",
        &[MEMORY, ARRAY, FUEL],
        "$a = [1]; forever { $a[0:0] = $a; }",
    ),
    runaway(
        "removal from the front",
        &[FUEL],
        "forever { $a = array_range(0, 50000); foreach ($a as $x) { unset($a[0:1]); } }",
    ),
    runaway(
        "an array emptied key by key",
        &[FUEL, MEMORY],
        "forever { $a = []; for ($i = 0; $i < 500000; $i += 1) $a[\"k$i\"] = $i; for ($i = 0; $i < 500000; $i += 1) unset($a[\"k$i\"]); }",
    ),
    runaway(
        "a queue in an array",
        &[FUEL, MEMORY],
        "$a = []; for ($i = 0; $i < 500000; $i += 1) $a[\"k$i\"] = $i; forever { foreach ($a as $k => $v) break; unset($a[$k]); $a[$k] = $v; }",
    ),
    runaway(
        "the highest number removed and counted on",
        &[FUEL, MEMORY],
        "$a = [\"x\" => 1]; for ($i = 0; $i < 500000; $i += 1) $a[$i * 2] = 1; for ($h = 2000000; ; $h += 100) { $a[$h] = 1; unset($a[$h]); $a[] = 1; }",
    ),
    runaway(
        "arrays that are just not long",
        &[FUEL, MEMORY],
        "$a = []; for ($i = 0; $i < 4000; $i += 1) $a[\"k$i\"] = $i; forever { array_reverse($a); array_shuffle($a); array_keys($a); $b = [...$a, ...$a]; $a == $b; $c = $a + $a; $a[1:]; array_join($a, \",\"); }",
    ),
    runaway(
        "two arrays that double, compared",
        &[],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; $b = [1]; for ($i = 0; $i < 60; $i += 1) $b = [$b, $b]; return $a == $b;",
    ),
    runaway(
        "two arrays that double, compared after a stay in shared memory",
        &[],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; memory_store(\"d\", $a); return memory_fetch(\"d\") == $a;",
    ),
    runaway(
        "an array that doubles, searched",
        &[""],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; $b = [2]; for ($i = 0; $i < 60; $i += 1) $b = [$b, $b]; return array_unique([$a, $b, $a]);",
    ),
    runaway(
        "many equal lists made unique",
        &[FUEL, MEMORY],
        "$a = []; for ($i = 0; $i < 3000; $i += 1) $a[] = [...array_range(0, 300), $i]; forever array_unique($a);",
    ),
    runaway(
        "the same search again and again",
        &[FUEL],
        "$a = array_range(0, 100000); $b = [...array_range(0, 10000), 1]; forever { array_includes([$b], [[$b]]); $b == [...$b]; }",
    ),
    runaway(
        "long strings compared in a list",
        &[FUEL],
        "$s = str_repeat(\"x\", 1000000); $t = str_repeat(\"x\", 1000000); $a = []; $b = []; for ($i = 0; $i < 1000; $i += 1) { $a[] = $s; $b[] = $t; } forever $a == $b;",
    ),
    runaway(
        "long strings compared",
        &[FUEL],
        "$s = str_repeat(\"x\", 10000000); $t = str_repeat(\"x\", 10000000); forever $s == $t;",
    ),
    runaway(
        "long numbers read",
        &[FUEL],
        "$s = str_repeat(\"1\", 10000000); forever $n = number($s);",
    ),
    runaway(
        "differences of a long list",
        &[FUEL],
        "$a = array_range(0, 100000); $b = [[1], ...$a]; forever { $b - $a; $a - 7; }",
    ),
    runaway(
        "arguments by the hundred thousand",
        &[FUEL],
        "function f(...$l) { return $l[0]; } $a = array_range(0, 100000); forever f(...$a);",
    ),
    runaway(
        "a long list sorted without end",
        &[FUEL],
        "$a = array_range(0, 100000); forever array_sort(function ($x, $y) { return $x > $y; }, $a);",
    ),
    // Callbacks that lie, throw, change what is sorted.
    runaway(
        "a sort whose callback always says yes",
        &[""],
        "return length(array_sort(function ($a, $b) { return true; }, array_range(0, 1000)));",
    ),
    runaway(
        "a sort whose callback tosses a coin, for ever",
        &[FUEL],
        "forever array_sort(function ($a, $b) { return random_number(0, 1) > 0; }, array_range(0, 1000));",
    ),
    runaway(
        "a sort whose callback throws",
        &["Uncaught exception: \"no\""],
        "array_sort(function ($a, $b) { throw \"no\"; }, array_range(0, 1000));",
    ),
    runaway(
        "a sort whose callback changes what is sorted",
        &[""],
        "$a = array_range(0, 1000); $b = array_sort(function ($x, $y) closure ($a) { $a[] = $x; unset($a[0]); return $x > $y; }, $a); return length($b);",
    ),
    runaway(
        "a sort whose callback sorts",
        &[DEPTH, FUEL],
        "function f($a, $b) { return array_sort(f, [1, 2, 3])[0]; } array_sort(f, [1, 2]);",
    ),
    runaway(
        "array_reduce to a list that doubles",
        &[FUEL, MEMORY, ARRAY],
        "array_reduce(function ($c, $x) { return [...$c, ...$c]; }, array_range(0, 1000), [1]);",
    ),
    runaway(
        "array_map to long strings",
        &[MEMORY],
        "array_map(function ($x) { return str_repeat(\"x\", 1000000); }, array_range(0, 1000));",
    ),
    // Generators.
    runaway(
        "a chain of generators",
        &[DEPTH],
        "function g($i) { foreach ($i as $v) yield $v; } function s() { forever yield 1; } $x = s(); for ($n = 0; $n < 600; $n += 1) $x = g($x); foreach ($x as $v) {}",
    ),
    runaway(
        "a chain of generators within the depth",
        &[FUEL],
        "function g($i) { foreach ($i as $v) yield $v; } function s() { forever yield 1; } $x = s(); for ($n = 0; $n < 400; $n += 1) $x = g($x); foreach ($x as $v) {}",
    ),
    runaway(
        "a chain of generators that is only built",
        &[MEMORY, FUEL],
        "function g($i) { foreach ($i as $v) yield $v; } $x = [1]; forever $x = g($x);",
    ),
    runaway(
        "a generator without end, spread",
        &[MEMORY, FUEL, ARRAY],
        "function g() { forever yield 1; } return [...g()];",
    ),
    runaway(
        "a generator without end, as arguments",
        &[MEMORY, FUEL, ARRAY],
        "function g() { forever yield 1; } function f(...$a) {} f(...g());",
    ),
    runaway(
        "a generator that runs itself",
        &["Uncaught exception: the generator is running already"],
        "$g = none; function f() { global $g; foreach ($g as $v) yield $v; } $g = f(); foreach ($g as $v) {}",
    ),
    // Map and Set.
    runaway(
        "a Map that grows",
        &[MEMORY, FUEL],
        "$m = Map(\"string\", \"any\"); for ($i = 0; ; $i += 1) $m->set(\"k\".$i, $i);",
    ),
    runaway(
        "a Set that grows",
        &[MEMORY, FUEL],
        "$m = Set(\"number\"); for ($i = 0; ; $i += 1) $m->add($i);",
    ),
    runaway(
        "a Map that holds itself",
        &[FUEL, MEMORY],
        "forever { $m = Map(\"string\", \"any\"); $m->set(\"x\", $m); $m->set(\"y\", str_repeat(\"x\", 100)); }",
    ),
    runaway(
        "Maps that double, stored",
        &["", MEMORY],
        "$m = Map(\"string\", \"any\"); $m->set(\"a\", 1); for ($i = 0; $i < 60; $i += 1) { $n = Map(\"string\", \"any\"); $n->set(\"a\", $m); $n->set(\"b\", $m); $m = $n; } memory_store(\"m\", $m);",
    ),
    runaway(
        "a long Map walked and spread again and again",
        &[FUEL, MEMORY],
        "$m = Map(\"string\", \"any\"); for ($i = 0; $i < 50000; $i += 1) $m->set(\"k\".$i, $i); forever { foreach ($m as $k => $v) { break; } $a = [...$m]; }",
    ),
    runaway(
        "a long Map walked while it changes",
        &[FUEL, MEMORY],
        "$m = Map(\"number\", \"any\"); for ($i = 0; $i < 300000; $i += 1) $m->set($i, $i); forever { foreach ($m as $k => $v) { $m->delete($k); $m->set($k, $v); break; } $m->entries()->next(); }",
    ),
    runaway(
        "Maps in Maps without end",
        &[MEMORY, FUEL],
        "$m = Map(\"string\", \"any\"); forever { $n = Map(\"string\", \"any\"); $n->set(\"a\", $m); $m = $n; }",
    ),
    // Shared memory and caches.
    runaway(
        "shared memory that grows",
        &[FUEL, MEMORY, "Uncaught exception: shared memory is full"],
        "for ($i = 0; ; $i += 1) memory_store(\"k\".$i, str_repeat(\"x\", 100000));",
    ),
    runaway(
        "a name of megabytes in shared memory",
        &[
            "Uncaught exception: a key of shared memory has at most 64 KiB",
            MEMORY,
        ],
        "$s = str_repeat(\"x\", 10000000); forever { try { barrier $s . \"y\" {} } catch ($e) {} memory_store($s . \"z\", 1); }",
    ),
    runaway(
        "a stored list of one long string",
        &[MEMORY, ""],
        "$s = str_repeat(\"x\", 1000000); $a = []; for ($i = 0; $i < 100000; $i += 1) $a[] = $s; memory_store(\"a\", $a);",
    ),
    runaway(
        "a stored list that doubles",
        &[FUEL, MEMORY, ARRAY],
        "memory_store(\"a\", [1]); forever memory_update(\"a\", 0, function ($k, $c, $v) { return [...$c, ...$c]; });",
    ),
    runaway(
        "deep data in shared memory",
        &[""],
        "$a = []; for ($i = 0; $i < 100000; $i += 1) $a = [$a]; memory_store(\"a\", $a); $b = memory_fetch(\"a\"); return $a == $b;",
    ),
    runaway(
        "a cache that grows",
        &[MEMORY, FUEL],
        "function f($x) { return str_repeat(\"x\", 100000); } for ($i = 0; ; $i += 1) cache [\"size\" => 1000000000, \"ttl\" => 1000000000] f($i);",
    ),
    runaway(
        "namespaces of a cache that grow",
        &[MEMORY, FUEL],
        "function f($x) { return str_repeat(\"x\", 100000); } for ($i = 0; ; $i += 1) cache [\"namespace\" => \"n\".$i] f($i);",
    ),
    runaway(
        "a cached function that needs itself",
        &[DEPTH],
        "function f($x) { return cache [] f($x); } f(1);",
    ),
    runaway(
        "a barrier whose variable is large",
        &[FUEL],
        "forever { barrier \"b\" => $v { $v = array_range(0, 100000); } }",
    ),
    runaway(
        "barriers in barriers",
        &[DEPTH, FUEL, MEMORY],
        "function f($n) { barrier \"b$n\" { f($n + 1); } } f(0);",
    ),
    // Regular expressions.
    runaway(
        "a pattern that backtracks",
        &[REGEX],
        "return pcre_match(''^(a+)+$(?<!x)'', str_repeat(\"a\", 60) . \"!\");",
    ),
    runaway(
        "an operator whose pattern backtracks",
        &[
            "Uncaught exception: regular expression: match limit exceeded",
            REGEX,
        ],
        "return (str_repeat(\"a\", 60) . \"!\") =~ ''^(a+)+$(?<!x)'';",
    ),
    runaway(
        "pcre_replace with output that grows",
        &[FUEL, MEMORY, STRING],
        "$s = \"aaaa\"; forever $s = pcre_replace(\"a\", \"$0$0$0$0\", $s);",
    ),
    runaway(
        "pcre_replace with a long replacement for every place",
        &[FUEL, MEMORY, STRING],
        "return pcre_replace(\"\", str_repeat(\"x\", 1000000), str_repeat(\"y\", 10000));",
    ),
    runaway(
        "pcre_replace by a function that gives long strings",
        &[FUEL, MEMORY, STRING],
        "return pcre_replace(\"a\", function ($m) { return str_repeat(\"x\", 1000000); }, str_repeat(\"a\", 10000));",
    ),
    runaway(
        "pcre_match_all that finds nothing a million times",
        &[MEMORY, ARRAY, FUEL],
        "return pcre_match_all(\"()()()()()()()()()\", str_repeat(\"x\", 3000000));",
    ),
    runaway(
        "groups that are the whole subject each",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"x\", 1000000); forever { pcre_match(\"((((((((((x*))))))))))\", $s); pcre_match_all(\"((((((((((x*))))))))))\", $s); pcre_replace(\"((((((((((x*))))))))))\", function ($m) { return \"\"; }, $s); }",
    ),
    runaway(
        "a long subject for the pool, again and again",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"a\", 5000000); forever { $s =~ \"^(?:a|b)*?c\"; }",
    ),
    runaway(
        "a function for every match that throws",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"a\", 1000000); forever { try { pcre_replace(\"a\", function ($m) { throw \"x\"; }, $s); } catch ($e) {} }",
    ),
    runaway(
        "patterns compiled without end",
        &[FUEL, MEMORY],
        "for ($i = 0; ; $i += 1) \"x\" =~ (\"[a-z]{1,\" . ($i % 900 + 1) . \"}x\" . $i);",
    ),
    runaway(
        "patterns compiled and kept",
        &[FUEL, MEMORY],
        "$all = []; for ($i = 0; ; $i += 1) $all[] = pcre_compile(\"(?:[a-z]{1,100}x){1,50}\" . $i);",
    ),
    // Data formats.
    runaway(
        "json_encode of deep data",
        &[NOT_JSON, "", "Uncaught exception"],
        "$a = []; for ($i = 0; $i < 100000; $i += 1) $a = [$a]; return length(json_encode($a) ?? \"\");",
    ),
    runaway(
        "json_encode of an array that doubles",
        &[FUEL, MEMORY, STRING],
        "$a = [1]; for ($i = 0; $i < 60; $i += 1) $a = [$a, $a]; return json_encode($a);",
    ),
    runaway(
        "json_encode of a long list of one long string",
        &[FUEL, MEMORY, STRING],
        "$s = str_repeat(\"x\", 1000000); $a = []; for ($i = 0; $i < 10000; $i += 1) $a[] = $s; return json_encode($a);",
    ),
    runaway(
        "json_decode of deep brackets",
        &[""],
        "return json_decode(str_repeat(\"[\", 1000000));",
    ),
    runaway(
        "json_decode of many numbers",
        &[FUEL, MEMORY, ARRAY],
        "return json_decode(\"[\" . str_repeat(\"1,\", 8000000) . \"1]\");",
    ),
    runaway(
        "a table of many columns and short rows",
        &[MEMORY, FUEL],
        "return csv_decode(array_join(array_range(0, 10000), \",\") . str_repeat(\"\\n1\", 6000));",
    ),
    runaway(
        "bytes unpacked and packed again and again",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"x\", 60000); forever { unpack(\"C*\", $s); unpack(str_repeat(\"a0\", 30000), $s); pack(str_repeat(\"x100\", 200)); }",
    ),
    runaway(
        "a long message read again and again",
        &[FUEL, MEMORY],
        "$s = str_repeat(\"A: b\\r\\n\", 1000000) . \"\\r\\nbody\"; forever MailMessage::String($s);",
    ),
    runaway(
        "json_decode of the same key and of many brackets",
        &[FUEL, MEMORY],
        "$s = \"{\" . str_repeat(\"\\\"a\\\":1,\", 9000) . \"\\\"b\\\":[\" . str_repeat(\"[],\", 3000) . \"1]}\"; forever json_encode(json_decode($s));",
    ),
    runaway(
        "yaml that names itself again and again",
        &["", "Uncaught exception", MEMORY],
        "$y = \"a: &a [x,x,x,x,x,x,x,x,x,x]\\n\"; $p = \"a\"; foreach ([\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"] as $n) { $y .= \"$n: &$n [*$p,*$p,*$p,*$p,*$p,*$p,*$p,*$p,*$p,*$p]\\n\"; $p = $n; } return length(string(yaml_decode($y)));",
    ),
    runaway(
        "base64 of a string that grows",
        &[MEMORY, STRING],
        "$s = \"x\"; forever $s = base64_encode($s . $s);",
    ),
    runaway(
        "hashes of a long string",
        &[FUEL],
        "$s = str_repeat(\"x\", 10000000); forever sha2($s, 256);",
    ),
    runaway(
        "deep data, made and dropped",
        &[FUEL],
        "forever { $a = []; for ($i = 0; $i < 10000; $i += 1) $a = [$a]; }",
    ),
    runaway(
        "deep data as text",
        &[""],
        "$a = []; for ($i = 0; $i < 100000; $i += 1) $a = [$a]; return length(string($a));",
    ),
    runaway(
        "objects of classes in a ring, made without end",
        &[FUEL, MEMORY],
        "class C { $next = none; } forever { $a = C(); $b = C(); $a->next = $b; $b->next = $a; }",
    ),
    runaway(
        "an object that holds itself, printed and compared",
        &[""],
        "class C { $me = none; } $a = C(); $a->me = $a; $b = C(); $b->me = $b; return string($a) . string($a == $b);",
    ),
];
