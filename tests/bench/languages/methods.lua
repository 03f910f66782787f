local Point = {}
Point.__index = Point
function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
function Point:move(dx, dy)
    self.x = self.x + dx
    self.y = self.y + dy
    return self
end
function Point:norm() return self.x * self.x + self.y * self.y end
local Account = {}
Account.__index = Account
function Account.new(at)
    return setmetatable({ total = 0, count = 0, at = at }, Account)
end
function Account:deposit(amount)
    self.total = self.total + amount
    self.count = self.count + 1
end
function Account:balance() return self.total end
function Account:entries() return self.count end
local function run(rounds)
    local account = Account.new(Point.new(1, 2))
    local sum = 0
    for i = 0, rounds - 1 do
        local point = Point.new(i % 10, 1)
        point:move(1, 2):move(3, 4)
        account:deposit(point:norm())
        account.at:move(1, -1)
        sum = sum + account.at.x - point.y
    end
    return sum .. " " .. account:balance() .. " " .. account:entries()
end
print(run(2800000))
