blocked = {"bad.example": True, "worse.example": True, "spam.test": "policy"}
relays = ["192.0.2.", "198.51.100.", "203.0.113."]
senders = ["alice@example.com", "Bob.Smith@Example.ORG", "news+42@bad.example", "", "mallory@sub.spam.test", "carol@example.net"]
recipients = ["postmaster@here.example", "sales@here.example", "nobody@elsewhere.example", "info+tag@here.example"]
local = {"here.example": {"postmaster": 1, "sales": 5, "info": 3}}
rates = {}
verdicts = {"accept": 0, "reject": 0, "defer": 0}
texts = 0
for i in range(900000):
    ip = relays[i % 3] + str(i % 254)
    sender = senders[i % 6].lower()
    recipient = recipients[i % 4]
    score = 0
    reason = ""
    at = sender.rfind("@")
    domain = "" if at < 0 else sender[at + 1:]
    if domain == "":
        score += 1
    elif domain in blocked:
        score += 10
        reason = f"domain {domain} is blocked"
    else:
        for name, why in blocked.items():
            if domain[-len(name) - 1:] == "." + name:
                score += 7
                reason = f"subdomain of {name}"
                break
    parts = recipient.split("@")
    user = parts[0]
    plus = user.find("+")
    if plus >= 0:
        user = user[:plus]
    if parts[1] not in local:
        score += 20
        reason = f"relaying denied for <{recipient}>"
    elif user in local[parts[1]]:
        score -= local[parts[1]][user]
    key = ip + "/" + domain
    rates[key] = rates.get(key, 0) + 1
    if rates[key] > 300 and score < 5:
        verdict = "defer"
    elif score >= 5:
        verdict = "reject"
    else:
        verdict = "accept"
    verdicts[verdict] += 1
    if verdict != "accept":
        code = 550 if verdict == "reject" else 451
        text = f"{code} 5.7.1 " + ("try later" if reason == "" else reason) + f" (score {score})"
        texts += len(text)
print(f"{verdicts['accept']} {verdicts['reject']} {verdicts['defer']} {texts} {len(rates)}")
