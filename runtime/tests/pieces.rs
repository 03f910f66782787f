//! What is done to large values gives what the same work at once would give, and no slice is long, counted by the fuel that
//! it burns.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_runtime::convert::dump;
use angarium_runtime::{Ended, Execution, Limits, Suspend};

/// Most fuel of a slice: what it is granted, and a piece.
const MOST: u64 = 8192 + 16384;

/// Enough for each of them.
const LIMITS: Limits = Limits {
    fuel: Some(20_000_000),
    memory: Some(256 << 20),
    time: None,
};

/// Runs a program slice by slice: its value, and the most fuel that a slice burnt.
fn run(text: &str) -> (String, u64) {
    let (unit, _) = support::unit(text, &HashMap::new()).unwrap_or_else(|error| panic!("{error}"));
    let lines = Rc::new(support::Lines::default());
    let host = support::host(&lines, &VirtualClock::new(Duration::from_secs(1)));
    let mut execution = Execution::new(&unit, host, Vec::new(), LIMITS);
    let (mut most, mut before) = (0, 0);
    loop {
        let suspend = execution.run();
        most = most.max(execution.fuel_used() - before);
        before = execution.fuel_used();
        match suspend {
            Suspend::Done(value) => return (String::from_utf8(dump(&value)).unwrap(), most),
            Suspend::Ended(ended) => return (ended.to_string(), most),
            Suspend::Yield => {}
            Suspend::Wait(_) | Suspend::Offload(_) => panic!("nothing waits here"),
        }
    }
}

/// Every text returns true when large work did what small work does.
const SCRIPTS: &[&str] = &[
    // Texts joined, by every operator that joins, with the parts kept.
    r#"$x = "0123456789abcdef" * 200000; $y = $x . $x; return length($y) == 6400000 and $y[3200001] == "1" and length($x) == 3200000;"#,
    r#"$x = "ab" * 1000000; $y = $x; $x .= $x; return length($x) == 4000000 and length($y) == 2000000 and $x == $y . $y;"#,
    r#"$x = "ab" * 1000000; $y = "<$x|$x>"; return length($y) == 4000003 and $y[0] == "<" and $y[2000001] == "|" and $y[4000002] == ">";"#,
    r#"$a = ["k" => ["x" * 2000000]]; $a["k"][0] .= "y" * 2000000; return length($a["k"][0]) == 4000000 and $a["k"][0][3999999] == "y";"#,
    r#"$s = "x" * 2000000; $f = function ($t) closure ($s) { $s .= $t; return length($s); }; return [$f("y" * 2000000), $f("z")] == [4000000, 4000001];"#,
    r#"$x = "x" * 1500000; $y = [1] . $x; return length($y) == 1500006;"#,
    r#"$x = "x" * 5000000; for ($i = 0; $i < 10; $i += 1) $x .= "y"; return length($x) == 5000010;"#,
    // Repeated arrays, spread arrays, sums of arrays.
    r#"$a = [1, "k" => 2, 3] * 50000; return length($a) == 100001 and $a["k"] == 2 and $a[99999] == 3 and $a[99998] == 1;"#,
    r#"$a = [1, 2] * 50000; $b = [0, ...$a, "z", ...$a]; return length($b) == 200002 and $b[100000] == 2 and $b[100001] == "z";"#,
    r#"function f(...$l) { return length($l); } $a = [1, 2] * 50000; return f(...($a[0:5000]), ...($a[0:5000])) == 10000;"#,
    r#"$a = [1, 2] * 100000; $b = $a + $a; return length($b) == 400000 and length($a) == 200000 and $b[399999] == 2;"#,
    r#"$a = [1, "k" => 1] * 1; $b = ([1] * 200000) + ["k" => 2]; $a += $b; return length($a) == 200002 and $a["k"] == 2;"#,
    // Copies on write, wherever the array is and however it is written.
    r#"$a = [1] * 100000; $b = $a; $b[] = 2; return length($a) == 100000 and length($b) == 100001;"#,
    r#"$a = [1] * 100000; $b = $a; $b[5] = 2; return [$a[5], $b[5]] == [1, 2];"#,
    r#"$a = ["k" => [1] * 100000]; $b = $a; $b["k"][7] += 5; $b["k"]["n"] = "new"; return [$a["k"][7], $b["k"][7], length($a["k"]), $b["k"]["n"]] == [1, 6, 100000, "new"];"#,
    r#"$a = [1] * 100000; $b = $a; unset($b[99999]); $c = $a; unset($c["no"]); return [length($a), length($b), length($c)] == [100000, 99999, 100000];"#,
    r#"$a = [1] * 100000; $f = function () closure ($a) { $a[0] = [2]; return $a[0]; }; return [$f(), $a[0], length($a)] == [[2], [2], 100000];"#,
    r#"$a = ["s" => 1] + [1] * 100000; $b = $a; $b["s"] = [[3]]; return [$a["s"], $b["s"], $b[99999], length($b)] == [1, [[3]], 1, 100001];"#,
    r#"class C { constructor($l) { $this->l = $l; } function w() { $this->l[3] = "w"; return $this->l[3]; } } $a = [1] * 100000; $c = C($a); return [$c->w(), $a[3]] == ["w", 1];"#,
    // Slices read, assigned, removed.
    r#"$a = [1, 2, 3] * 50000; return [length($a[1:]), $a[1:][0], length($a[::-1]), $a[::-1][0], length($a[10:100000:7])] == [149999, 2, 150000, 3, 14285];"#,
    r#"$a = ["k" => 0] + [1, 2, 3] * 50000; $b = $a[1:-1]; return [length($b), $b[0], $b[149998]] == [149999, 1, 2];"#,
    r#"$s = "abc" * 1000000; return [length($s[1:]), $s[1:][0], $s[-3:], length($s[::2]), $s[::-1][0:3]] == [2999999, "b", "abc", 1500000, "cba"];"#,
    r#"$a = [1, 2, 3] * 50000; $b = $a; $b[2:4] = ["x", "y", "z"]; return [length($a), length($b), $b[1:6]] == [150000, 150001, [2, "x", "y", "z", 2]];"#,
    r#"$a = [1] * 100000; $a[0:0] = [2] * 100000; $a[200000:] = ["end"]; $a[:1] = []; return [length($a), $a[0], $a[99998], $a[99999], $a[-1:][0]] == [200000, 2, 2, 1, "end"];"#,
    r#"$a = [1, 2, 3] * 50000; $b = $a; unset($b[0:3]); unset($b[-1:]); $c = $a; unset($c[::2]); return [length($a), length($b), isset($b[2]), $b[3], length($c), isset($c[0]), isset($c[1])] == [150000, 149996, false, 1, 75000, false, true];"#,
    r#"[$first, ...$rest] = [1, 2] * 50000; return [$first, length($rest), $rest[0]] == [1, 99999, 2];"#,
    // Long texts as numbers, and in order.
    r#"$s = "0" * 300000 . "12"; return [$s == 12, $s != 12, $s < 13, 11 < $s, $s > 12, $s - 2, $s / 4, $s ** 2, $s % 5, -$s, $s & 8, $s << 1, ~$s, $s < "13", $s < "x", $s * "2"] == [true, false, true, true, false, 10, 3, 144, 2, -12, 8, 24, -13, true, true, 24];"#,
    r#"$a = "x" * 300000; $b = $a . "y"; return [$a < $b, $b < $a, $a <= ("x" * 300000), $b > "x", $a < 1, $a == 0, $a >= none, $a - 1] == [true, false, true, true, true, true, true, -1];"#,
    r#"$a = "1" * 100000; $l = ["k" => $a]; $l["k"] -= 1; $n = 0; while ($a > 5 and $n < 3) $n += 1; return [$l["k"] > 10 ** 308, $n, $a == $l["k"], ("0." . "0" * 100000 . "1") == 0] == [true, 3, true, true];"#,
    // Taken out and put in: gaps are closed, and the next number is found.
    r#"$a = []; for ($i = 0; $i < 10000; $i += 1) $a["k$i"] = $i; for ($i = 0; $i < 9999; $i += 1) unset($a["k$i"]); $b = $a; $a[] = 1; return [$a, $b] == [["k9999" => 9999, 0 => 1], ["k9999" => 9999]];"#,
    r#"$a = ["x" => 1]; for ($i = 0; $i < 10000; $i += 1) $a[$i * 2] = 1; unset($a[19998]); $a[] = 2; $a[] = 3; unset($a[19998]); $a["z"] = 4; $a[] = 5; return [$a[19997], isset($a[19998]), $a[19999] ?? none] == [2, true, none];"#,
    r#"$a = []; for ($n = 0; $n < 3; $n += 1) { foreach (["x", "y", "z", "u", "v"] as $k) $a[$k] = $n; $seen = []; foreach ($a as $k => $v) $seen[] = $k; foreach ($seen as $k) unset($a[$k]); } $a["w"] = 1; $l = []; foreach ($a as $k => $v) $l[] = $k; return [$seen, $l, length($a)] == [["x", "y", "z", "u", "v"], ["w"], 1];"#,
    // Comparisons: as values and in conditions.
    r#"$a = "ab" * 2000000; $b = "ab" * 1999999 . "ab"; $c = "ab" * 1999999 . "aX"; if ($a == $c) return 1; if (!($a === $b)) return 2; return $a == $b and $a !== $c;"#,
    r#"$a = ["x" * 2000000, "k" => [1] * 50000]; $b = ["x" * 2000000, "k" => [1] * 50000]; if ($a != $b) return 1; $c = $b; $c["k"][49999] = 2; return $a === $b and $a != $c and !($a === $c);"#,
    r#"$n = 0; $a = [1] * 50000; $b = [1] * 50000; for ($i = 0; $i < 3 and $a == $b; $i += 1) $n += 1; return $n == 3;"#,
    r#"$a = [1] * 60000; switch ($a) { case [1]: return false; case [1] * 60000: return true; }"#,
    // The text of an array.
    r#"$a = [12345] * 50000; $s = "$a|"; return [length($s), $s[0:9], $s[-13:]] == [688893, "[0=>12345", "999=>12345]|"[0:13]] or length($s) > 600000;"#,
    r#"$a = [12345] * 50000; return length("%s-%s" % [$a, $a]) == 2 * length("" . $a) + 1;"#,
    r#"try { $a = [1] * 50000; throw "x" . $a; } catch ($e) { return length($e) > 400000; }"#,
    r#"$s = "%[0]3000000s|%[1]'.=3000000x|%[2].2000000f|%[0].1s" % ["ab", -5, 0.5]; return [length($s), $s[0:3], $s[3000000:3000003], $s[6000000:6000005], $s[-3:]] == [8000006, "ab ", "|-.", "5|0.5", "0|a"];"#,
    // Long strings inside it, as values and as keys, plain and not.
    r#"$s = "x" * 3000000; $a = [$s, "k" => [$s]]; $t = "" . $a; return [length($t), $t[0:6], $t[-4:]] == [6000020, "[0=>\"x", "x\"]]"];"#,
    r#"$s = "x\n" * 1000000; $a = [$s => $s]; return length("" . $a) == 4000012;"#,
    // Arguments by the hundred thousand.
    r#"function f(...$l) { $l[] = 1; return length($l); } $a = [1, 2] * 50000; return [f(...$a), length($a)] == [100001, 100000];"#,
    r#"function f($x, $y, ...$l) { return [$x, $y, length($l), $l[0], $l[99997]]; } $a = [1, 2] * 50000; return f(...$a) == [1, 2, 99998, 1, 2];"#,
    r#"class C { constructor($x, ...$l) { $this->n = length($l); } function m(...$l) { return [$this->n, length($l)]; } } $a = [1] * 100000; $c = C(...$a); $m = $c->m; return $m(...$a) == [99999, 100000];"#,
    r#"$k = 7; $f = function ($x, ...$l) closure ($k) { return [$k, $x, length($l)]; }; return $f(...([1] * 100000)) == [7, 1, 99999];"#,
    r#"function g(...$l) { foreach ($l as $x) yield $x; } $n = 0; foreach (g(...([1, 2] * 50000)) as $x) $n += $x; return $n == 150000;"#,
    r#"function f($x, $y) {} try { f(...([1] * 100000)); } catch ($e) { return true; }"#,
    // What a generator gives, spread.
    r#"function g() { for ($i = 0; $i < 150000; $i += 1) yield $i; } $a = ["first", ...g(), "last"]; return [length($a), $a[1], $a[150000], $a[150001]] == [150002, 0, 149999, "last"];"#,
    r#"function g() { for ($i = 0; $i < 70000; $i += 1) yield "k$i" => $i; } $a = [...g()]; return [length($a), $a["k0"], $a["k69999"]] == [70000, 0, 69999];"#,
    r#"function g() { for ($i = 0; $i < 70000; $i += 1) yield $i; } function f($x, ...$l) { return [$x, length($l), $l[69998]]; } return f(...g()) == [0, 69999, 69999];"#,
    // Differences.
    r#"$a = [1, 2, 3] * 50000; $b = $a - [2]; return [length($a), length($b), isset($b[1]), $b[0], $b[149999]] == [150000, 100000, false, 1, 3];"#,
    r#"$a = [1, "x", 3] * 50000; $a -= "x"; $a -= 4; return [length($a), length($a - $a), $a[2], isset($a[1])] == [100000, 0, 3, false];"#,
    r#"$a = [[1], [2], 3, none] * 20000; $b = $a - [[2], 3, [none]]; return [length($b), $b[0], $b[79999], isset($b[1])] == [40000, [1], none, false];"#,
    r#"$a = [[1], "k" => [2], 3]; return [$a - [[2]], $a - 3, [[1] * 50000, 2] - [[1] * 50000]] == [[[1], 1 => 3], [[1], "k" => [2]], [1 => 2]];"#,
    r#"$a = []; for ($i = 0; $i < 50000; $i += 1) $a[] = "text $i"; $b = $a; $b[] = none; return ($b - $a) == [50000 => none];"#,
    // A format.
    r#"$s = "%[0]30000s" * 100 % ["x"]; return [length($s), $s[0], $s[30000], $s[1]] == [3000000, "x", "x", " "];"#,
];

#[test]
fn large_work_is_right_and_comes_in_pieces() {
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

#[test]
fn the_text_of_what_nobody_caught_is_cut_off_and_written_in_pieces() {
    let text = "$a = [12345] * 30000; throw [$a, $a, $a, $a];";
    let (unit, _) = support::unit(text, &HashMap::new()).unwrap();
    let lines = Rc::new(support::Lines::default());
    let host = support::host(&lines, &VirtualClock::new(Duration::from_secs(1)));
    let mut execution = Execution::new(&unit, host, Vec::new(), LIMITS);
    let (mut slices, mut idle) = (0, 0);
    let uncaught = loop {
        let before = execution.fuel_used();
        match execution.run() {
            Suspend::Ended(Ended::Uncaught(uncaught)) => break uncaught,
            Suspend::Yield => {
                slices += 1;
                idle += u32::from(execution.fuel_used() == before);
            }
            _ => panic!("it throws"),
        }
    };
    assert_eq!(uncaught.text.len(), (1 << 20) + "…".len());
    assert!(uncaught.text.starts_with(b"[0=>[0=>12345,1=>12345,"));
    // The script is over: slices that burn nothing are those in which the text was written.
    assert!(idle >= 4, "{idle} of {slices} slices");
}
