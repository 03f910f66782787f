<?php
function run($rounds) {
    $line = "Received, from , mail.Example.ORG ,by, mx1.example.com, with ,ESMTPS, id,4QxYzA, for , <Someone@example.com>,";
    $total = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $parts = explode(",", $line . $i);
        $kept = [];
        foreach ($parts as $part) {
            $part = trim($part);
            if ($part != "")
                $kept[] = strtolower($part);
        }
        $joined = implode("; ", $kept);
        $total += strlen(str_replace("example", "test", $joined)) + count($kept);
    }
    return $total . " " . $joined;
}
echo run(550000) . "\n";
