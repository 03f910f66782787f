<?php
$blocked = ["bad.example" => true, "worse.example" => true, "spam.test" => "policy"];
$relays = ["192.0.2.", "198.51.100.", "203.0.113."];
$senders = ["alice@example.com", "Bob.Smith@Example.ORG", "news+42@bad.example", "", "mallory@sub.spam.test", "carol@example.net"];
$recipients = ["postmaster@here.example", "sales@here.example", "nobody@elsewhere.example", "info+tag@here.example"];
$local = ["here.example" => ["postmaster" => 1, "sales" => 5, "info" => 3]];
$rates = [];
$verdicts = ["accept" => 0, "reject" => 0, "defer" => 0];
$texts = 0;
for ($i = 0; $i < 900000; $i++) {
    $ip = $relays[$i % 3] . $i % 254;
    $sender = strtolower($senders[$i % 6]);
    $recipient = $recipients[$i % 4];
    $score = 0;
    $reason = "";
    $at = strrpos($sender, "@");
    $domain = $at === false ? "" : substr($sender, $at + 1);
    if ($domain == "")
        $score += 1;
    else if (isset($blocked[$domain])) {
        $score += 10;
        $reason = "domain $domain is blocked";
    } else {
        foreach ($blocked as $name => $why) {
            if (substr($domain, 0 - strlen($name) - 1) == "." . $name) {
                $score += 7;
                $reason = "subdomain of $name";
                break;
            }
        }
    }
    $parts = explode("@", $recipient);
    $user = $parts[0];
    $plus = strpos($user, "+");
    if ($plus !== false)
        $user = substr($user, 0, $plus);
    if (!isset($local[$parts[1]])) {
        $score += 20;
        $reason = "relaying denied for <$recipient>";
    } else if (isset($local[$parts[1]][$user]))
        $score -= $local[$parts[1]][$user];
    $key = $ip . "/" . $domain;
    $rates[$key] = ($rates[$key] ?? 0) + 1;
    if ($rates[$key] > 300 and $score < 5)
        $verdict = "defer";
    else if ($score >= 5)
        $verdict = "reject";
    else
        $verdict = "accept";
    $verdicts[$verdict] += 1;
    if ($verdict != "accept") {
        $code = $verdict == "reject" ? 550 : 451;
        $text = "$code 5.7.1 " . ($reason == "" ? "try later" : $reason) . " (score $score)";
        $texts += strlen($text);
    }
}
echo $verdicts["accept"] . " " . $verdicts["reject"] . " " . $verdicts["defer"] . " " . $texts . " " . count($rates) . "\n";
