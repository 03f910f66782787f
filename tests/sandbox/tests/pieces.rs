//! What the library does to large values gives what the same work at once would give, and no slice is long, counted by the fuel
//! that it burns: as `runtime/tests/pieces.rs` does for instructions.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

use std::collections::HashMap;

use angarium_runtime::{Execution, Limits};
use angarium_sandbox::script;

/// Most fuel of a slice: what it is granted, and a piece.
const MOST: u64 = 8192 + 16384;

/// Enough for each of them.
const LIMITS: Limits = Limits {
    fuel: Some(40_000_000),
    memory: Some(256 << 20),
    time: None,
};

/// Runs a program: how it ended, and the most fuel that a slice burnt.
fn run(text: &str) -> (String, u64) {
    let unit = script::unit(text.as_bytes(), &HashMap::new()).unwrap();
    let (mut most, mut before) = (0, 0);
    let ran = script::run_watched(&unit, LIMITS, |execution: &Execution| {
        most = most.max(execution.fuel_used() - before);
        before = execution.fuel_used();
    });
    (ran.result.unwrap_or_else(|ended| ended), most)
}

/// Every text returns true when large work did what small work does.
const SCRIPTS: &[&str] = &[
    // Sorting, the reading and the writing included.
    r#"$a = array_range(0, 70000); $b = array_sort(function ($x, $y) { return $x > $y; }, $a); return [length($b), $b[0], $b[69999], $b[:][0], $b[:][69999]] == [70000, 0, 69999, 69999, 0];"#,
    r#"$a = array_range(0, 70000); $b = array_sort(function ($x, $y) { return $x < $y; }, $a); return $a == $b;"#,
    r#"$a = []; foreach (array_range(0, 40000) as $i) $a["k$i"] = $i; $b = array_sort(function ($x, $y) { return false; }, $a, ["keys" => true]); return $a == $b;"#,
    // What is built entry by entry: lists, arrays with keys, and lists that become such.
    r#"$a = array_range(0, 150000); $b = array_map(function ($x) { return $x + 1; }, $a); return [length($b), $b[0], $b[149999]] == [150000, 1, 150000];"#,
    r#"$a = array_range(0, 150000); $b = array_filter(function ($x) { return $x != 100000; }, $a); return [length($b), $b[99999], isset($b[100000]), $b[149999]] == [149999, 99999, false, 149999];"#,
    r#"$a = []; foreach (array_range(0, 70000) as $i) $a["k$i"] = $i; $b = array_map(function ($x) { return $x * 2; }, $a); return [length($b), $b["k0"], $b["k69999"]] == [70000, 0, 139998];"#,
    r#"$a = array_range(0, 100000); $b = array_unique([...$a, ...$a, "x", none, "x", 0 / 0, 0 / 0]); return [length($b), $b[99999], $b[200000], isset($b[200002])] == [100004, 99999, "x", false];"#,
    r#"$a = []; foreach (array_range(0, 50000) as $i) $a[] = "text " . ($i % 40000); return [length(array_unique($a)), array_unique($a)[39999]] == [40000, "text 39999"];"#,
    r#"$k = array_map(function ($x) { return "k$x"; }, array_range(0, 60000)); $c = array_combine($k, $k); return [length($c), $c["k0"], $c["k59999"]] == [60000, "k0", "k59999"];"#,
    r#"$a = []; foreach (array_range(0, 50000) as $i) { $a["k$i"] = $i; $a[] = $i; } $b = array_reverse($a); return [length($b), $b[0], $b[49999], $b["k7"], array_keys($b)[0]] == [100000, 49999, 0, 7, 0];"#,
    r#"$a = array_range(0, 100000); return [length(array_shuffle($a)), length(array_unique(array_shuffle($a)))] == [100000, 100000];"#,
    // Replacing: places everywhere, none, where pieces meet, at the ends; nothing instead, and much.
    r#"$s = str_repeat("a", 100000); return [str_replace("a", "bb", $s) == str_repeat("bb", 100000), str_replace("aa", "", $s . "a") == "a", str_replace("aa", "b", $s) == str_repeat("b", 50000), str_replace("b", "c", $s) == $s] == [true, true, true, true];"#,
    r#"$s = str_repeat("x", 524287) . "ab" . str_repeat("y", 3000000) . "ab"; return str_replace("ab", "--", $s) == str_repeat("x", 524287) . "--" . str_repeat("y", 3000000) . "--";"#,
    r#"$s = str_repeat("x", 524287) . "aba" . str_repeat("x", 524285) . "abababa" . str_repeat("x", 10); return str_replace("aba", "", $s) == str_repeat("x", 1048572) . "b" . str_repeat("x", 10);"#,
    r#"$n = str_repeat("n", 600000); return str_replace($n, "-", "<$n$n<$n>") == "<--<->";"#,
    r#"$n = str_repeat("n", 1000000); return str_replace("|", $n, "a|b||") == "a$n" . "b$n$n";"#,
    r#"$m = str_repeat("m", 100000); return [pcre_replace("b", $m . "$0$0", "abc", 1) == "a$m" . "bbc", pcre_replace("(a)(b)", "$2[$0]$1$9", "xab") == "xb[ab]a$9", length(pcre_replace("m+", str_repeat("$0$", 100), $m))] == [true, true, 10000100];"#,
    r#"$m = str_repeat("m", 100000); return [pcre_replace("^|$", "-", $m) == "-$m-", pcre_replace("x", "-", $m) == $m, pcre_replace("b", function ($g) { return str_repeat($g[0], 500000); }, "abb") == "a" . str_repeat("b", 1000000)] == [true, true, true];"#,
    r#"$s = str_repeat("abc", 100000); return [str_replace("b", "", $s) == str_repeat("ac", 100000), str_replace("b", "1234", $s) == str_repeat("a1234c", 100000), str_replace("b", "12345", $s) == str_repeat("a12345c", 100000)] == [true, true, true];"#,
    // Splitting and joining, with parts that are long themselves.
    r#"$s = str_repeat("ab,,c,", 50000); $p = str_split($s, ","); return [length($p), $p[0], $p[1], $p[149998], $p[149999], $p[150000], array_join($p, ",") == $s] == [150001, "ab", "", "", "c", "", true];"#,
    r#"$n = ["a"]; foreach (array_range(4090, 4100) as $i) $n[] = str_repeat("p", $i); $n[] = str_repeat("q", 70000); $n[] = "z"; return str_split(array_join($n, "\n"), "\n") == $n;"#,
    r#"$a = str_repeat("a", 500000); $t = "$a,,$a"; return [str_split($t, ",") == [$a, "", $a], str_split($t, ",", -2) == ["$a,", $a], str_split($t, ",", 2) == [$a, ",$a"], str_split($t, ";") == [$t], str_split($t, ";", -9) == [$t], str_split($t, "", 3) == ["a", "a", str_slice($t, 2)]] == [true, true, true, true, true, true];"#,
    r#"$a = str_repeat("a", 300000); return [str_chunk($a . $a, 300000) == [$a, $a], length(str_chunk($a, 1)), str_chunk($a . "b", 400000, 1)[1] == str_slice($a, 1) . "b"] == [true, 300000, true];"#,
    r#"$s = str_repeat("s", 400000); return [array_join(["a", "b", "c"], $s) == "a$s" . "b$s" . "c", array_join([$s], $s) == $s, array_join([$s, "", ""], $s) == "$s$s$s"] == [true, true, true];"#,
    // What is searched for is long itself: found, almost found, at the ends, again and again.
    r#"$n = str_repeat("n", 30000) . "!"; $t = str_repeat("n", 10) . $n . "n" . $n; return [str_find($t, $n), str_find($t, $n, 11), str_find($t, $n . "?"), str_rfind($t, $n), str_rfind($t, $n, 1), str_rfind($t, "?" . $n), str_find($n, $n), str_rfind($n, $n), str_find($n, $t), str_find("n", $n)] == [10, 30012, -1, 30012, 10, -1, 0, 0, -1, -1];"#,
    r#"$n = "!" . str_repeat("n", 30000); $t = $n . "n" . $n . "nn"; return [str_find($t, $n), str_find($t, $n, 1), str_rfind($t, $n), str_rfind($t, $n, 3), str_rfind($t, "!!" . $n), str_split($t, $n), str_split($t, $n, 2), str_split($t, $n, -2), str_replace($n, "-", $t), str_replace($n . "?", "-", $t) == $t] == [0, 30002, 30002, 0, -1, ["", "n", "nn"], ["", "n" . $n . "nn"], [$n . "n", "nn"], "-n-nn", true];"#,
    r#"$n = str_repeat("ab", 3000); $t = str_repeat("ab", 100000); return [length(str_split($t, $n)), length(str_replace($n, "", $t)), str_find($t, $n . "b"), str_rfind($t, "b" . $n), str_split($t . "c", $n, -2)[1]] == [34, 200000 - 33 * 6000, -1, 193999, "c"];"#,
    r#"$n = str_repeat("nm", 300000) . "!"; $t = "mm$n" . "n$n?"; return [str_find($t, $n), str_rfind($t, $n), str_split($t, $n), str_split($t, $n, -2)[1], str_replace($n, "", $t)] == [2, 600004, ["mm", "n", "?"], "?", "mmn?"];"#,
    // Stripping and quoting.
    r#"$w = str_repeat(" ", 300000); $t = "$w x$w y$w"; return [str_strip($t), str_lstrip($t) == "x$w y$w", str_rstrip($t) == "$w x$w y", str_strip($w), str_strip("a", str_repeat("b", 100000) . "a"), str_strip("x$w", "y") == "x$w", length(str_strip(".$w.", "."))] == ["x$w y", true, true, "", "", true, 300000];"#,
    r#"$t = str_repeat("a.b", 100000); return pcre_quote($t) == str_repeat("a\\.b", 100000);"#,
    r#"$z = str_repeat("0", 300000); return [number($z . "12"), number("x" . $z), number("1" . $z) > 10 ** 308, number("." . $z . "1"), number("0x" . $z . "ff"), number($z . " ")] == [12, 0, true, 0, 255, 0];"#,
    // Groups that are long together, for the array and for a function.
    r#"$x = str_repeat("x", 50000); return [pcre_match(''^((x+)(y?))$'', $x) == [$x, $x, $x, ""], pcre_match(''(?<k>x+)(x)'', $x)["k"] == str_slice($x, 1), pcre_match_all(''((x{500})+)'', $x) == [[$x], [$x], [str_repeat("x", 500)]], pcre_replace(''((x+))'', function ($m) { return length($m[0] . $m[1] . $m[2]); }, $x . "y")] == [true, true, true, "150000y"];"#,
    r#"$x = str_repeat("x", 40000); $a = pcre_match_all(''(x)(y)?'', $x); return [length($a[0]), length($a[2]), $a[1][39999], $a[2][0]] == [40000, 40000, "x", ""];"#,
    // Arrays from which much is taken out: from the front, from the middle, the highest keys.
    r#"$a = []; for ($i = 0; $i < 20000; $i += 1) $a["k$i"] = $i; $sum = 0; while (length($a) > 1) { foreach ($a as $k => $v) break; $sum += $v; unset($a[$k]); } return [$sum, array_keys($a)] == [19999 * 19998 / 2, ["k19999"]];"#,
    r#"$a = ["x" => 0]; for ($i = 0; $i < 20000; $i += 1) $a[$i * 2] = $i; unset($a[39998]); $a[] = "p"; $a[] = "q"; unset($a[39998]); $a[] = "r"; return [$a[39997], isset($a[39998]), $a[39999] ?? none, length($a)] == ["p", true, none, 20002];"#,
    r#"$a = []; for ($i = 0; $i < 10000; $i += 1) $a["k$i"] = $i; for ($i = 1; $i < 9999; $i += 1) unset($a["k$i"]); $a["n"] = 1; return $a == ["k0" => 0, "k9999" => 9999, "n" => 1];"#,
    // Maps and Sets.
    r#"$m = Map("number", "any"); for ($i = 0; $i < 20000; $i += 1) $m->set($i, $i); $n = 0; foreach ($m as $k => $v) { $m->delete($k + 1); $m->set($k + 100000, 1); $n += 1; } $i = $m->entries(); $m->clear(); return [$n, $i->next(), length([...$m])] == [10000, false, 0];"#,
    // Messages.
    r#"$m = MailMessage::String("A: " . str_repeat("x", 100000) . "\r\nB: c\r\n\r\n" . str_repeat("y", 200000)); return [length($m->getHeader("a")), $m->getHeader("b"), length($m->getBody()), length($m->toString())] == [100000, "c", 200000, 300013];"#,
    r#"$m = Map("string", "any"); foreach (array_range(0, 100000) as $i) $m->set("k$i", $i); $a = [...$m]; return [length($a), $a["k99999"], $m->size()] == [100000, 99999, 100000];"#,
    r#"$s = Set("number"); foreach (array_range(0, 100000) as $i) $s->add($i); $a = ["first", ...$s]; return [length($a), $s->has(99999)] == [100001, true];"#,
    // The variable of a barrier, with text and with arrays.
    r#"barrier "b" => $v { $v = [array_range(0, 100000), str_repeat("x", 3000000)]; } barrier "b" => $v { $n = length($v[0]) + length($v[1]); } return $n == 3100000;"#,
    r#"class C {} barrier "b" => $v { $v = 1; } try { barrier "b" => $v { $v = array_range(0, 100000); $v[] = C(); } return 0; } catch ($e) {} barrier "b" => $v { return $v == 1; }"#,
];

#[test]
fn large_work_of_the_library_is_right_and_comes_in_pieces() {
    let mut wrong = Vec::new();
    for text in SCRIPTS {
        let (result, most) = run(text);
        if result != "true" || most > MOST {
            wrong.push(format!(
                "{text}\n    gave {result}, at most {most} units a slice"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
