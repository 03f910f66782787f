import re

HEADER = re.compile(r"^([A-Za-z-]+):\s*(.*)$")
DATE = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} [A-Z][a-z]{2} \d{4}\b", re.A)
SCORE = re.compile(r"^X-Spam-Score:\s*[5-9]\.", re.I | re.A)
ADDRESS = re.compile(r"<([^<>@\s]+)@([^<>@\s]+)>")
DIGITS = re.compile(r"[0-9]+")


def run(rounds):
    lines = [
        "Received: from mail.example.org (mail.example.org [192.0.2.25]) by mx1.example.com with ESMTPS id 4QxYzA",
        "From: \"Doe, John\" <john.doe+news@mail.example.com>",
        "To: undisclosed-recipients:;",
        "Subject: Re: [SPAM?] Your invoice No. 2024-00817 is overdue",
        "Date: Mon, 14 Oct 2024 08:15:42 +0200",
        "Message-ID: <20241014081542.4QxYzA@mail.example.org>",
        "X-Spam-Score: 7.5 (required 5.0) BAYES_99,HTML_MESSAGE",
        "Content-Type: multipart/alternative; boundary=\"=_b1_9f3c\"",
    ]
    names = size = dates = spam = 0
    for _ in range(rounds):
        for line in lines:
            m = HEADER.match(line)
            if m:
                names += len(m[1])
                size += len(m[2])
            if DATE.search(line):
                dates += 1
            if SCORE.search(line):
                spam += 1
            found = ADDRESS.findall(line)
            if found:
                size += len(found[0][1])
            size += len(DIGITS.sub("#", line))
    return f"{names} {size} {dates} {spam}"


print(run(150000))
