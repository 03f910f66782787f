<?php
$sum = 0;
for ($i = 0; $i < 2000000; $i++) {
    preg_match("/^([a-z0-9.]+)@([a-z]+)[.](com|org)$/", "user.$i@example.org", $m);
    $sum += strlen($m[1]) + strlen($m[2]);
}
$text = str_repeat("see https://www.example.com/path?x=1 and mail to a.b@example.net\n", 300);
for ($i = 0; $i < 200; $i++) {
    preg_match_all("~https?://[^ ]+~", $text, $m);
    $sum += count($m[0]);
    $sum += strlen(preg_replace("/[0-9]+/", "#", $text));
}
echo $sum, "\n";
