message = (
    "Received: from mail.example.org (mail.example.org [192.0.2.25])\r\n\tby mx1.example.com with ESMTPS id 4QxYzA;\r\n\tMon, 14 Oct 2024 08:15:42 +0200\r\n"
    "From: \"Doe, John\" <john.doe@mail.example.com>\r\nTo: sales@here.example,\r\n info@here.example\r\nSubject: Your invoice\r\n"
    "X-Originating-IP: [198.51.100.7]\r\nX-Spam-Flag: NO\r\nMessage-ID: <4QxYzA@mail.example.org>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes; x-note=this-line-is-long\r\n"
)
drop = {"x-originating-ip": True, "x-spam-flag": True}
size = 0
kept = 0
for i in range(120000):
    lines = message.split("\r\n")
    headers = []
    for line in lines:
        if line == "":
            continue
        if line[0] == " " or line[0] == "\t":
            headers[len(headers) - 1]["value"] += " " + line.strip()
        else:
            colon = line.find(":")
            headers.append({"name": line[:colon], "value": line[colon + 1:].strip()})
    out = ""
    for header in headers:
        name = header["name"].lower()
        if name in drop:
            continue
        value = header["value"]
        if name == "subject" and i % 2 == 0:
            value = "[EXTERNAL] " + value
        if name == "from":
            value = value.replace("mail.example.com", "example.com")
        line = header["name"] + ": "
        column = len(line)
        for n, word in enumerate(value.split(" ")):
            if n > 0:
                if column + len(word) + 1 > 78:
                    line += "\r\n\t"
                    column = 8
                else:
                    line += " "
                    column += 1
            line += word
            column += len(word)
        out += line + "\r\n"
        kept += 1
    out += f"X-Processed: message {i}\r\n"
    size += len(out)
print(f"{size} {kept}")
