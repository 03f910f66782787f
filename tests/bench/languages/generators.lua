local function count(to)
    return coroutine.wrap(function()
        for i = 0, to - 1 do coroutine.yield(i) end
    end)
end
local function odd(source)
    return coroutine.wrap(function()
        for value in source do
            if value % 2 == 1 then coroutine.yield(value, value * 3) end
        end
    end)
end
local function run(rounds)
    local sum = 0
    for _ = 1, rounds do
        for key, value in odd(count(1000)) do sum = sum + key + value end
        for value in count(10) do sum = sum + value end
    end
    return sum
end
print(run(13000))
