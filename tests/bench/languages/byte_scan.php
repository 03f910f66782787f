<?php
function run($rounds) {
    $text = "\"Doe, John\" <john.doe+tag@mail.example.com> (a comment), other@example.org; ";
    $length = strlen($text);
    $hash = 0;
    $quoted = 0;
    $words = 0;
    for ($round = 0; $round < $rounds; $round++) {
        $inside = false;
        for ($i = 0; $i < $length; $i++) {
            $c = $text[$i];
            if ($c == "\"")
                $inside = !$inside;
            else if ($inside)
                $quoted++;
            else if ($c == " " or $c == "," or $c == ";")
                $words++;
            $hash = ($hash * 31 + ord($c)) % 65521;
        }
    }
    return "$hash $quoted $words";
}
echo run(200000) . "\n";
