<?php
function check($n) {
    if ($n % 3 == 0)
        throw new Exception("bad number " . $n % 10);
    return $n;
}
function middle($n) { return check($n) + 1; }
function run($rounds) {
    $sum = 0;
    $length = 0;
    for ($i = 0; $i < $rounds; $i++) {
        try {
            $sum += middle($i);
        } catch (Exception $e) {
            $length += strlen($e->getMessage());
        }
    }
    return "$sum $length";
}
echo run(5000000) . "\n";
