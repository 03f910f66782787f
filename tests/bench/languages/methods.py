class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def move(self, dx, dy):
        self.x += dx
        self.y += dy
        return self

    def norm(self):
        return self.x * self.x + self.y * self.y


class Account:
    def __init__(self, at):
        self._balance = 0
        self._entries = 0
        self.at = at

    def deposit(self, amount):
        self._balance += amount
        self._entries += 1

    def balance(self):
        return self._balance

    def entries(self):
        return self._entries


def run(rounds):
    account = Account(Point(1, 2))
    total = 0
    for i in range(rounds):
        point = Point(i % 10, 1)
        point.move(1, 2).move(3, 4)
        account.deposit(point.norm())
        account.at.move(1, -1)
        total += account.at.x - point.y
    return f"{total} {account.balance()} {account.entries()}"


print(run(2800000))
