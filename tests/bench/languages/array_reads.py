def run(rounds):
    items = [(i * 7919) % 2000 for i in range(2000)]
    total = 0
    at = 0
    for _ in range(rounds):
        for i in range(2000):
            at = items[at]
            total += items[i] + items[1999 - i] - at
            if at == i:
                at = items[0] + 1
        for value in items:
            total += value
    return total


print(run(12000))
