-- Tables are references: what has to stay as it was is copied.
local function bump(list, at)
    list = table.move(list, 1, #list, 1, {})
    list[at + 1] = list[at + 1] + 1
    return list
end
local function total(list)
    local sum = 0
    for i = 1, 5 do sum = sum + list[i] end
    return sum
end
local function run(size, rounds)
    local list = {}
    for i = 1, size do list[i] = i - 1 end
    local kept = list
    local sum = 0
    for i = 0, rounds - 1 do
        list = bump(list, i % size)
        sum = sum + total(list)
        if i % 1000 == 0 then kept = list end
    end
    return sum .. " " .. list[8] .. " " .. kept[8] .. " " .. kept[size]
end
print(run(200, 2500000))
