<?php
function numbers($count) {
    $list = [];
    $seed = 42;
    for ($i = 0; $i < $count; $i++) {
        $seed = ($seed * 16807) % 2147483647;
        $list[] = $seed;
    }
    return $list;
}
$list = numbers(400000);
usort($list, function ($a, $b) { return $a <=> $b; });
$sum = 0;
for ($i = 0; $i < count($list); $i += 1000)
    $sum = ($sum * 31 + $list[$i]) % 1000003;
$records = [];
foreach (numbers(100000) as $i => $n)
    $records[] = ["score" => $n, "name" => "n$i"];
usort($records, function ($a, $b) { return $a["score"] <=> $b["score"]; });
echo $sum . " " . $records[0]["name"] . " " . $records[50000]["name"] . "\n";
