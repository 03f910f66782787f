local function sieve(size)
    local prime = {}
    for i = 0, size do prime[i + 1] = true end
    local count = 0
    for i = 2, size do
        if prime[i + 1] then
            count = count + 1
            for j = i + i, size, i do prime[j + 1] = false end
        end
    end
    return count
end
local function reversals(size, rounds)
    local list = {}
    for i = 0, size - 1 do list[i + 1] = i end
    for round = 0, rounds - 1 do
        local low = round % 10
        local high = size - 1
        while low < high do
            local held = list[low + 1]
            list[low + 1] = list[high + 1]
            list[high + 1] = held
            low = low + 1
            high = high - 1
        end
    end
    return list[1] * 1000 + list[21]
end
local sum = 0
for i = 0, 4 do sum = sum + sieve(1000000 + i) end
print(sum .. " " .. reversals(10000, 2000))
