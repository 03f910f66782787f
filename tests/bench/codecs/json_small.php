<?php
function run($rounds) {
    $message = ["id" => "4QxYzA", "sender" => ["localpart" => "john.doe", "domain" => "mail.example.com"],
        "recipients" => [], "size" => 48213, "score" => 7.25, "tls" => true, "reason" => null,
        "subject" => "Re: \"Your invoice\" \\ overdue"];
    for ($i = 0; $i < 10; $i++)
        $message["recipients"][] = ["localpart" => "user$i", "domain" => "example.org", "tags" => ["a", "b", $i]];
    $text = json_encode($message);
    $sum = 0;
    for ($i = 0; $i < $rounds; $i++)
        $sum += strlen(json_encode($message)) + json_decode($text, true)["size"];
    return $sum;
}
echo run(60000), "\n";
