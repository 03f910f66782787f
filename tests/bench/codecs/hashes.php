<?php
$last = "";
for ($i = 0; $i < 100000; $i++)
    $last = md5("$last$i") . sha1("$last$i") . hash("sha256", "$last$i") . hash_hmac("sha256", "$last$i", "key");
$large = str_repeat("0123456789abcdef", 65536);
for ($i = 0; $i < 10; $i++)
    $last .= md5($large) . sha1($large) . hash("sha256", $large) . hash("sha512", $large);
echo md5($last), "\n";
