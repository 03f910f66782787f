local function run(rounds)
    -- Appending to a string copies it: in Lua the parts are collected and joined.
    local parts, count, size = {}, 0, 0
    local total = 0
    local line
    for i = 0, rounds - 1 do
        local user = "user" .. i % 1000
        line = "<" .. user .. "@example.com> " .. i .. " ok"
        parts[count + 1] = line
        parts[count + 2] = "\n"
        count = count + 2
        size = size + #line + 1
        if size > 100000 then
            total = total + #table.concat(parts)
            parts, count, size = {}, 0, 0
        end
    end
    return total + #table.concat(parts) .. " " .. line
end
print(run(5000000))
