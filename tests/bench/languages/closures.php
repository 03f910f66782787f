<?php
function run($rounds) {
    $list = range(0, 999);
    $sum = 0;
    $calls = 0;
    for ($round = 0; $round < $rounds; $round++) {
        $scaled = array_map(function ($x) use ($round) { return $x * 3 + $round; }, $list);
        $kept = array_filter($scaled, function ($x) { return $x % 2 == 0; });
        $sum += array_reduce($kept, function ($carry, $x) { return ($carry + $x) % 1000003; }, 0);
        $count = function ($by) use (&$calls) { $calls += $by; return $calls; };
        for ($i = 0; $i < 500; $i++)
            $count($i);
    }
    return "$sum $calls";
}
echo run(6600) . "\n";
