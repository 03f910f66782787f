<?php
$text = "id,name,mail,note\n";
for ($i = 0; $i < 5000; $i++)
    $text .= "$i,user$i,user$i@example.com,\"a, \"\"b\"\" $i\"\n";
function decode($text) {
    $lines = explode("\n", rtrim($text, "\n"));
    $names = str_getcsv(array_shift($lines), ",", "\"", "");
    $rows = [];
    foreach ($lines as $line)
        $rows[] = array_combine($names, str_getcsv($line, ",", "\"", ""));
    return $rows;
}
$sum = 0;
for ($i = 0; $i < 30; $i++) {
    $rows = decode($text);
    $sum += count($rows) + strlen($rows[$i]["note"]);
}
echo $sum, "\n";
