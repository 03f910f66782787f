<?php
function bodies($count, $rounds) {
    $bodies = [];
    for ($i = 0; $i < $count; $i++)
        $bodies[] = ["x" => $i, "y" => $i * 2, "vx" => 0, "vy" => 0];
    for ($round = 0; $round < $rounds; $round++) {
        for ($i = 0; $i < $count; $i++) {
            for ($j = 0; $j < $count; $j++) {
                $bodies[$i]["vx"] += ($bodies[$j]["x"] - $bodies[$i]["x"]) / 1024;
                $bodies[$i]["vy"] -= ($bodies[$i]["y"] - $bodies[$j]["y"]) / 1024;
            }
        }
        for ($i = 0; $i < $count; $i++) {
            $bodies[$i]["x"] += $bodies[$i]["vx"] / 64;
            $bodies[$i]["y"] += $bodies[$i]["vy"] / 64;
        }
    }
    return round($bodies[1]["x"] * 1000000) . " " . round($bodies[2]["vy"] * 1000000);
}
function matrix($size, $rounds) {
    $m = [];
    for ($round = 0; $round < $rounds; $round++) {
        for ($i = 0; $i < $size; $i++) {
            for ($j = 0; $j < $size; $j++)
                $m[$i][$j] = $i * $j + $round;
        }
    }
    return $m[3][4] + $m[$size - 1][$size - 1];
}
echo bodies(20, 9000) . " " . matrix(100, 1800) . "\n";
