from functools import reduce


def run(rounds):
    items = list(range(1000))
    total = 0
    calls = 0
    for round_ in range(rounds):
        scaled = list(map(lambda x: x * 3 + round_, items))
        kept = list(filter(lambda x: x % 2 == 0, scaled))
        total += reduce(lambda carry, x: (carry + x) % 1000003, kept, 0)

        def count(by):
            nonlocal calls
            calls += by
            return calls

        for i in range(500):
            count(i)
    return f"{total} {calls}"


print(run(6600))
