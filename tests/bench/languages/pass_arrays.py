# Lists are references: what has to stay as it was is copied.
def bump(items, at):
    items = items[:]
    items[at] = items[at] + 1
    return items


def total(items):
    sum_ = 0
    for i in range(5):
        sum_ += items[i]
    return sum_


def run(size, rounds):
    items = list(range(size))
    kept = items
    sum_ = 0
    for i in range(rounds):
        items = bump(items, i % size)
        sum_ += total(items)
        if i % 1000 == 0:
            kept = items
    return f"{sum_} {items[7]} {kept[7]} {kept[size - 1]}"


print(run(200, 2500000))
