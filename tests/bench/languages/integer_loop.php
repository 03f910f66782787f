<?php
function run($rounds) {
    $s = 1;
    $odd = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $s = ($s * 7 + $i) % 1000003;
        if ($s & 1)
            $odd++;
        $s = $s ^ ($i & 255);
    }
    return "$s $odd";
}
echo run(30000000) . "\n";
