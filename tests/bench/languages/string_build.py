def run(rounds):
    text = ""
    total = 0
    for i in range(rounds):
        user = "user" + str(i % 1000)
        line = f"<{user}@example.com> " + str(i) + " ok"
        text += line
        text += "\n"
        if len(text) > 100000:
            total += len(text)
            text = ""
    return f"{total + len(text)} {line}"


print(run(5000000))
