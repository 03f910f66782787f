<?php
$sum = 0;
for ($i = 0; $i < 200000; $i++)
    $sum += strlen(rawurldecode(rawurlencode("a b/c?d=$i&e=å"))) + unpack("N", pack("N", $i))[1];
$text = str_repeat("a line of text that is not so long, 0123456789\n", 2000);
for ($i = 0; $i < 40; $i++)
    $sum += strlen(zlib_decode(zlib_encode($text, ZLIB_ENCODING_DEFLATE)));
echo $sum, "\n";
