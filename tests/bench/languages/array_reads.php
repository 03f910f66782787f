<?php
function run($rounds) {
    $list = [];
    for ($i = 0; $i < 2000; $i++)
        $list[] = ($i * 7919) % 2000;
    $sum = 0;
    $at = 0;
    for ($round = 0; $round < $rounds; $round++) {
        for ($i = 0; $i < 2000; $i++) {
            $at = $list[$at];
            $sum += $list[$i] + $list[1999 - $i] - $at;
            if ($at == $i)
                $at = $list[0] + 1;
        }
        foreach ($list as $value)
            $sum += $value;
    }
    return $sum;
}
echo run(12000) . "\n";
