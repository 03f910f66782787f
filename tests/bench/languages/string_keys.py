def run(rounds):
    domains = [f"host{i}.example.com" for i in range(1000)]
    counts = {}
    hits = 0
    for i in range(rounds):
        domain = domains[(i * 7919) % 1000]
        if domain in counts:
            counts[domain] += 1
        else:
            counts[domain] = 1
        other = domains[(i * 104729) % 1000]
        if other in counts:
            hits += counts[other]
        if i % 1000 == 999:
            counts.pop(other, None)
    total = 0
    for domain, count in counts.items():
        total += count * len(domain)
    return f"{hits} {total} {len(counts)}"


print(run(12000000))
