<?php
function sieve($size) {
    $prime = [];
    for ($i = 0; $i <= $size; $i++)
        $prime[] = true;
    $count = 0;
    for ($i = 2; $i <= $size; $i++) {
        if ($prime[$i]) {
            $count++;
            for ($j = $i + $i; $j <= $size; $j += $i)
                $prime[$j] = false;
        }
    }
    return $count;
}
function reversals($size, $rounds) {
    $list = [];
    for ($i = 0; $i < $size; $i++)
        $list[$i] = $i;
    for ($round = 0; $round < $rounds; $round++) {
        $low = $round % 10;
        $high = $size - 1;
        while ($low < $high) {
            $held = $list[$low];
            $list[$low] = $list[$high];
            $list[$high] = $held;
            $low++;
            $high--;
        }
    }
    return $list[0] * 1000 + $list[20];
}
$sum = 0;
for ($i = 0; $i < 5; $i++)
    $sum += sieve(1000000 + $i);
echo $sum . " " . reversals(10000, 2000) . "\n";
