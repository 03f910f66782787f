local function numbers(count)
    local list = {}
    local seed = 42
    for i = 1, count do
        seed = (seed * 16807) % 2147483647
        list[i] = seed
    end
    return list
end
local list = numbers(400000)
table.sort(list, function(a, b) return a < b end)
local sum = 0
for i = 1, #list, 1000 do sum = (sum * 31 + list[i]) % 1000003 end
local records = {}
for i, n in ipairs(numbers(100000)) do
    records[i] = { score = n, name = "n" .. i - 1 }
end
table.sort(records, function(a, b) return a.score < b.score end)
print(sum .. " " .. records[1].name .. " " .. records[50001].name)
