local function check(n)
    if n % 3 == 0 then error({ message = "bad number " .. n % 10 }) end
    return n
end
local function middle(n) return check(n) + 1 end
local function run(rounds)
    local sum = 0
    local length = 0
    for i = 0, rounds - 1 do
        local ok, result = pcall(middle, i)
        if ok then
            sum = sum + result
        else
            length = length + #result.message
        end
    end
    return sum .. " " .. length
end
print(run(5000000))
