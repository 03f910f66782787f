<?php
$sum = 0;
for ($i = 0; $i < 600000; $i++)
    $sum += strlen(base64_decode(base64_encode("some header value $i")));
$large = str_repeat("0123456789abcdef", 65536);
for ($i = 0; $i < 200; $i++)
    $sum += strlen(base64_decode(base64_encode($large)));
echo $sum, "\n";
