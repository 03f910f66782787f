<?php
$file = fopen("php://memory", "w+");
$sum = 0;
for ($i = 0; $i < 200000; $i++)
    $sum += fputcsv($file, [$i, "user$i", "user$i@example.com", "a, \"b\" $i"], ",", "\"", "", "");
echo $sum, "\n";
