<?php
$message = "Received: from mail.example.org (mail.example.org [192.0.2.25])\r\n\tby mx1.example.com with ESMTPS id 4QxYzA;\r\n\tMon, 14 Oct 2024 08:15:42 +0200\r\n"
    . "From: \"Doe, John\" <john.doe@mail.example.com>\r\nTo: sales@here.example,\r\n info@here.example\r\nSubject: Your invoice\r\n"
    . "X-Originating-IP: [198.51.100.7]\r\nX-Spam-Flag: NO\r\nMessage-ID: <4QxYzA@mail.example.org>\r\nMIME-Version: 1.0\r\n"
    . "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes; x-note=this-line-is-long\r\n";
$drop = ["x-originating-ip" => true, "x-spam-flag" => true];
$size = 0;
$kept = 0;
for ($i = 0; $i < 120000; $i++) {
    $lines = explode("\r\n", $message);
    $headers = [];
    foreach ($lines as $line) {
        if ($line == "")
            continue;
        if ($line[0] == " " or $line[0] == "\t")
            $headers[count($headers) - 1]["value"] .= " " . trim($line);
        else {
            $colon = strpos($line, ":");
            $headers[] = ["name" => substr($line, 0, $colon), "value" => trim(substr($line, $colon + 1))];
        }
    }
    $out = "";
    foreach ($headers as $header) {
        $name = strtolower($header["name"]);
        if (isset($drop[$name]))
            continue;
        $value = $header["value"];
        if ($name == "subject" and $i % 2 == 0)
            $value = "[EXTERNAL] " . $value;
        if ($name == "from")
            $value = str_replace("mail.example.com", "example.com", $value);
        $line = $header["name"] . ": ";
        $column = strlen($line);
        foreach (explode(" ", $value) as $n => $word) {
            if ($n > 0) {
                if ($column + strlen($word) + 1 > 78) {
                    $line .= "\r\n\t";
                    $column = 8;
                } else {
                    $line .= " ";
                    $column++;
                }
            }
            $line .= $word;
            $column += strlen($word);
        }
        $out .= $line . "\r\n";
        $kept++;
    }
    $out .= "X-Processed: message " . $i . "\r\n";
    $size += strlen($out);
}
echo $size . " " . $kept . "\n";
