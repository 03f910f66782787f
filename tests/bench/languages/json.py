import json

ENCODER = json.JSONEncoder(separators=(",", ":"))


def run(rounds):
    message = {
        "id": "4QxYzA",
        "sender": {"localpart": "john.doe", "domain": "mail.example.com"},
        "recipients": [],
        "size": 48213,
        "score": 7.25,
        "tls": True,
        "reason": None,
        "subject": "Re: \"Your invoice\" \\ overdue",
    }
    for i in range(10):
        message["recipients"].append({"localpart": f"user{i}", "domain": "example.org", "tags": ["a", "b", i]})
    size = 0
    total = 0
    for i in range(rounds):
        message["size"] = i
        text = ENCODER.encode(message)
        size += len(text)
        copy = json.loads(text)
        total += copy["size"] + copy["recipients"][i % 10]["tags"][2]
    return f"{size} {total}"


print(run(100000))
