<?php
function run($rounds) {
    $message = [
        "id" => "4QxYzA",
        "sender" => ["localpart" => "john.doe", "domain" => "mail.example.com"],
        "recipients" => [],
        "size" => 48213,
        "score" => 7.25,
        "tls" => true,
        "reason" => null,
        "subject" => "Re: \"Your invoice\" \\ overdue",
    ];
    for ($i = 0; $i < 10; $i++)
        $message["recipients"][] = ["localpart" => "user$i", "domain" => "example.org", "tags" => ["a", "b", $i]];
    $size = 0;
    $sum = 0;
    for ($i = 0; $i < $rounds; $i++) {
        $message["size"] = $i;
        $text = json_encode($message);
        $size += strlen($text);
        $copy = json_decode($text, true);
        $sum += $copy["size"] + $copy["recipients"][$i % 10]["tags"][2];
    }
    return "$size $sum";
}
echo run(100000) . "\n";
