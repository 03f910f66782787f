def run(rounds):
    s = 1
    odd = 0
    for i in range(rounds):
        s = (s * 7 + i) % 1000003
        if s & 1:
            odd += 1
        s = s ^ (i & 255)
    return f"{s} {odd}"


print(run(30000000))
