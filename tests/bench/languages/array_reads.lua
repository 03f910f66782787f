local function run(rounds)
    local list = {}
    for i = 0, 1999 do list[i + 1] = (i * 7919) % 2000 end
    local sum = 0
    local at = 0
    for _ = 1, rounds do
        for i = 0, 1999 do
            at = list[at + 1]
            sum = sum + list[i + 1] + list[2000 - i] - at
            if at == i then at = list[1] + 1 end
        end
        for _, value in ipairs(list) do sum = sum + value end
    end
    return sum
end
print(run(12000))
