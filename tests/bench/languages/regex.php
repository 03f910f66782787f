<?php
function run($rounds) {
    $lines = [
        "Received: from mail.example.org (mail.example.org [192.0.2.25]) by mx1.example.com with ESMTPS id 4QxYzA",
        "From: \"Doe, John\" <john.doe+news@mail.example.com>",
        "To: undisclosed-recipients:;",
        "Subject: Re: [SPAM?] Your invoice No. 2024-00817 is overdue",
        "Date: Mon, 14 Oct 2024 08:15:42 +0200",
        "Message-ID: <20241014081542.4QxYzA@mail.example.org>",
        "X-Spam-Score: 7.5 (required 5.0) BAYES_99,HTML_MESSAGE",
        "Content-Type: multipart/alternative; boundary=\"=_b1_9f3c\"",
    ];
    $names = 0;
    $size = 0;
    $dates = 0;
    $spam = 0;
    for ($round = 0; $round < $rounds; $round++) {
        foreach ($lines as $line) {
            if (preg_match('/^([A-Za-z-]+):\s*(.*)$/', $line, $m)) {
                $names += strlen($m[1]);
                $size += strlen($m[2]);
            }
            if (preg_match('/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} [A-Z][a-z]{2} \d{4}\b/', $line))
                $dates++;
            if (preg_match('/^X-Spam-Score:\s*[5-9]\./i', $line))
                $spam++;
            if (preg_match_all('/<([^<>@\s]+)@([^<>@\s]+)>/', $line, $all))
                $size += strlen($all[2][0]);
            $size += strlen(preg_replace('/[0-9]+/', "#", $line));
        }
    }
    return "$names $size $dates $spam";
}
echo run(150000) . "\n";
