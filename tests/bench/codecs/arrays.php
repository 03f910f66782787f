<?php
$list = range(0, 19999);
$sum = 0;
for ($i = 0; $i < 400; $i++) {
    $sum += count(array_reverse($list)) + count(array_keys($list)) + count(array_unique($list))
        + count(array_combine($list, $list)) + (in_array(19999, $list, true) ? 1 : 0) + strlen(implode(",", $list));
}
echo $sum, "\n";
