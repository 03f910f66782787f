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
    // Maps and Sets.
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
