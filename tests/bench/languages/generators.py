def count(to):
    for i in range(to):
        yield i


def odd(source):
    for value in source:
        if value % 2:
            yield value, value * 3


def run(rounds):
    total = 0
    for _ in range(rounds):
        for key, value in odd(count(1000)):
            total += key + value
        for value in count(10):
            total += value
    return total


print(run(13000))
