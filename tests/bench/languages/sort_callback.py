from functools import cmp_to_key


def numbers(count):
    items = []
    seed = 42
    for _ in range(count):
        seed = (seed * 16807) % 2147483647
        items.append(seed)
    return items


items = sorted(numbers(400000), key=cmp_to_key(lambda a, b: (a > b) - (a < b)))
total = 0
for i in range(0, len(items), 1000):
    total = (total * 31 + items[i]) % 1000003
records = []
for i, n in enumerate(numbers(100000)):
    records.append({"score": n, "name": f"n{i}"})
records.sort(key=cmp_to_key(lambda a, b: (a["score"] > b["score"]) - (a["score"] < b["score"])))
print(f"{total} {records[0]['name']} {records[50000]['name']}")
