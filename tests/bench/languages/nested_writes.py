import math


def simulate(count, rounds):
    bodies = [{"x": i, "y": i * 2, "vx": 0, "vy": 0} for i in range(count)]
    for _ in range(rounds):
        for i in range(count):
            for j in range(count):
                bodies[i]["vx"] += (bodies[j]["x"] - bodies[i]["x"]) / 1024
                bodies[i]["vy"] -= (bodies[i]["y"] - bodies[j]["y"]) / 1024
        for i in range(count):
            bodies[i]["x"] += bodies[i]["vx"] / 64
            bodies[i]["y"] += bodies[i]["vy"] / 64
    x, vy = bodies[1]["x"] * 1000000, bodies[2]["vy"] * 1000000
    return f"{math.floor(x + 0.5)} {math.floor(vy + 0.5)}"


def matrix(size, rounds):
    m = [[0] * size for _ in range(size)]
    for round_ in range(rounds):
        for i in range(size):
            for j in range(size):
                m[i][j] = i * j + round_
    return m[3][4] + m[size - 1][size - 1]


print(f"{simulate(20, 9000)} {matrix(100, 1800)}")
