<?php
function counting($to) {
    for ($i = 0; $i < $to; $i++)
        yield $i;
}
function odd($source) {
    foreach ($source as $value) {
        if ($value % 2)
            yield $value => $value * 3;
    }
}
function run($rounds) {
    $sum = 0;
    for ($round = 0; $round < $rounds; $round++) {
        foreach (odd(counting(1000)) as $key => $value)
            $sum += $key + $value;
        foreach (counting(10) as $value)
            $sum += $value;
    }
    return $sum;
}
echo run(13000) . "\n";
