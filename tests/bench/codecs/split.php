<?php
$sum = 0;
for ($i = 0; $i < 600000; $i++)
    $sum += strlen(implode(";", explode(",", "a,b$i,c,d,e,f")));
$text = str_repeat("a line of text that is not so long\n", 30000);
for ($i = 0; $i < 60; $i++)
    $sum += count(explode("\n", $text));
echo $sum, "\n";
