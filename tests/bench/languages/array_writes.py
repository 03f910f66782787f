def sieve(size):
    prime = []
    for _ in range(size + 1):
        prime.append(True)
    count = 0
    for i in range(2, size + 1):
        if prime[i]:
            count += 1
            for j in range(i + i, size + 1, i):
                prime[j] = False
    return count


def reversals(size, rounds):
    items = list(range(size))
    for round_ in range(rounds):
        low = round_ % 10
        high = size - 1
        while low < high:
            held = items[low]
            items[low] = items[high]
            items[high] = held
            low += 1
            high -= 1
    return items[0] * 1000 + items[20]


total = 0
for i in range(5):
    total += sieve(1000000 + i)
print(f"{total} {reversals(10000, 2000)}")
