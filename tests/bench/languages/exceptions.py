def check(n):
    if n % 3 == 0:
        raise ValueError(f"bad number {n % 10}")
    return n


def middle(n):
    return check(n) + 1


def run(rounds):
    total = 0
    length = 0
    for i in range(rounds):
        try:
            total += middle(i)
        except ValueError as e:
            length += len(e.args[0])
    return f"{total} {length}"


print(run(5000000))
