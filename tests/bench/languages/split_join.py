def run(rounds):
    line = "Received, from , mail.Example.ORG ,by, mx1.example.com, with ,ESMTPS, id,4QxYzA, for , <Someone@example.com>,"
    total = 0
    for i in range(rounds):
        parts = (line + str(i)).split(",")
        kept = []
        for part in parts:
            part = part.strip()
            if part != "":
                kept.append(part.lower())
        joined = "; ".join(kept)
        total += len(joined.replace("example", "test")) + len(kept)
    return f"{total} {joined}"


print(run(550000))
