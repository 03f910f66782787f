<?php
$sum = 0;
for ($i = 0; $i < 600000; $i++)
    $sum += strlen(str_replace("user", "customer", "user$i@example.com of user $i"));
$text = str_repeat("a line of text that is not so long\n", 30000);
for ($i = 0; $i < 150; $i++)
    $sum += strlen(str_replace("\n", "\r\n", $text));
echo $sum, "\n";
