<?php
function run($rounds) {
    $map = [];
    $names = [];
    $set = [];
    $sum = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $key = ($i * 7919) % 5003;
        if (isset($map[$key]))
            $map[$key] = $map[$key] + 1;
        else
            $map[$key] = 1;
        $set[$i % 4001] = true;
        if ($i % 3 == 0)
            unset($set[($i * 31) % 4001]);
        if (isset($set[$key]))
            $sum++;
        if ($i % 8 == 0)
            $names["n" . $key] = $i;
    }
    foreach ($map as $key => $count)
        $sum += $key * $count;
    foreach ($set as $key => $unused)
        $sum += $key;
    return "$sum " . count($map) . " " . count($set) . " " . count($names);
}
echo run(8000000) . "\n";
