<?php
function run($rounds) {
    $domains = [];
    for ($i = 0; $i < 1000; $i++)
        $domains[] = "host$i.example.com";
    $counts = [];
    $hits = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $domain = $domains[($i * 7919) % 1000];
        if (isset($counts[$domain]))
            $counts[$domain] += 1;
        else
            $counts[$domain] = 1;
        $other = $domains[($i * 104729) % 1000];
        if (isset($counts[$other]))
            $hits += $counts[$other];
        if ($i % 1000 == 999)
            unset($counts[$other]);
    }
    $sum = 0;
    foreach ($counts as $domain => $count)
        $sum += $count * strlen($domain);
    return "$hits $sum " . count($counts);
}
echo run(12000000) . "\n";
