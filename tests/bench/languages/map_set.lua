local function size(t)
    local count = 0
    for _ in pairs(t) do count = count + 1 end
    return count
end
local function run(rounds)
    local map, names, set = {}, {}, {}
    local sum = 0
    for i = 0, rounds - 1 do
        local key = (i * 7919) % 5003
        if map[key] ~= nil then
            map[key] = map[key] + 1
        else
            map[key] = 1
        end
        set[i % 4001] = true
        if i % 3 == 0 then set[(i * 31) % 4001] = nil end
        if set[key] then sum = sum + 1 end
        if i % 8 == 0 then names["n" .. key] = i end
    end
    for key, count in pairs(map) do sum = sum + key * count end
    for key in pairs(set) do sum = sum + key end
    return sum .. " " .. size(map) .. " " .. size(set) .. " " .. size(names)
end
print(run(8000000))
