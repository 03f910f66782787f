local function run(rounds)
    local s = 1
    local odd = 0
    for i = 0, rounds - 1 do
        s = (s * 7 + i) % 1000003
        if s & 1 ~= 0 then odd = odd + 1 end
        s = s ~ (i & 255)
    end
    return s .. " " .. odd
end
print(run(30000000))
