<?php
function run($size, $limit) {
    $inside = 0;
    $steps = 0;
    for ($py = 0; $py < $size; $py++) {
        $cy = $py * 2.5 / $size - 1.25;
        for ($px = 0; $px < $size; $px++) {
            $cx = $px * 3.5 / $size - 2.5;
            $x = 0.0;
            $y = 0.0;
            $n = 0;
            while ($n < $limit) {
                $xx = $x * $x;
                $yy = $y * $y;
                if ($xx + $yy > 4.0)
                    break;
                $y = 2.0 * $x * $y + $cy;
                $x = $xx - $yy + $cx;
                $n++;
            }
            $steps += $n;
            if ($n == $limit)
                $inside++;
        }
    }
    return "$inside $steps";
}
echo run(700, 200) . "\n";
