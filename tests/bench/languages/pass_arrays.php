<?php
function bump($list, $at) {
    $list[$at] = $list[$at] + 1;
    return $list;
}
function total($list) {
    $sum = 0;
    for ($i = 0; $i < 5; $i++)
        $sum += $list[$i];
    return $sum;
}
function run($size, $rounds) {
    $list = [];
    for ($i = 0; $i < $size; $i++)
        $list[] = $i;
    $kept = $list;
    $sum = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $list = bump($list, $i % $size);
        $sum += total($list);
        if ($i % 1000 == 0)
            $kept = $list;
    }
    return $sum . " " . $list[7] . " " . $kept[7] . " " . $kept[$size - 1];
}
echo run(200, 2500000) . "\n";
