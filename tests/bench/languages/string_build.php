<?php
function run($rounds) {
    $text = "";
    $total = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $user = "user" . $i % 1000;
        $line = "<$user@example.com> " . $i . " ok";
        $text .= $line;
        $text .= "\n";
        if (strlen($text) > 100000) {
            $total += strlen($text);
            $text = "";
        }
    }
    return ($total + strlen($text)) . " " . $line;
}
echo run(5000000) . "\n";
