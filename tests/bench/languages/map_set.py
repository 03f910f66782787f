def run(rounds):
    map_, names, set_ = {}, {}, set()
    total = 0
    for i in range(rounds):
        key = (i * 7919) % 5003
        if key in map_:
            map_[key] = map_[key] + 1
        else:
            map_[key] = 1
        set_.add(i % 4001)
        if i % 3 == 0:
            set_.discard((i * 31) % 4001)
        if key in set_:
            total += 1
        if i % 8 == 0:
            names[f"n{key}"] = i
    for key, count in map_.items():
        total += key * count
    for key in set_:
        total += key
    return f"{total} {len(map_)} {len(set_)} {len(names)}"


print(run(8000000))
