local function map(f, list)
    local out = {}
    for i = 1, #list do out[i] = f(list[i]) end
    return out
end
local function filter(f, list)
    local out = {}
    for i = 1, #list do
        if f(list[i]) then out[#out + 1] = list[i] end
    end
    return out
end
local function reduce(f, list, carry)
    for i = 1, #list do carry = f(carry, list[i]) end
    return carry
end
local function run(rounds)
    local list = {}
    for i = 0, 999 do list[i + 1] = i end
    local sum = 0
    local calls = 0
    for round = 0, rounds - 1 do
        local scaled = map(function(x) return x * 3 + round end, list)
        local kept = filter(function(x) return x % 2 == 0 end, scaled)
        sum = sum + reduce(function(carry, x) return (carry + x) % 1000003 end, kept, 0)
        local count = function(by)
            calls = calls + by
            return calls
        end
        for i = 0, 499 do count(i) end
    end
    return sum .. " " .. calls
end
print(run(6600))
