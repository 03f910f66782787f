def run(rounds):
    text = "\"Doe, John\" <john.doe+tag@mail.example.com> (a comment), other@example.org; "
    length = len(text)
    hash_ = 0
    quoted = 0
    words = 0
    for _ in range(rounds):
        inside = False
        for i in range(length):
            c = text[i]
            if c == "\"":
                inside = not inside
            elif inside:
                quoted += 1
            elif c == " " or c == "," or c == ";":
                words += 1
            hash_ = (hash_ * 31 + ord(c)) % 65521
    return f"{hash_} {quoted} {words}"


print(run(200000))
