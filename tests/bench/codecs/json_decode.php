<?php
$list = [];
for ($i = 0; $i < 4000; $i++)
    $list[] = ["id" => $i, "name" => "user number $i", "mail" => "user$i@example.com", "score" => $i / 8, "on" => $i % 2 == 0,
        "note" => "å line\nand \"quotes\" $i"];
$text = json_encode($list, JSON_UNESCAPED_SLASHES);
$sum = 0;
for ($i = 0; $i < 60; $i++)
    $sum += json_decode($text, true)[$i]["id"];
echo $sum, "\n";
