local function run(rounds)
    local text = "\"Doe, John\" <john.doe+tag@mail.example.com> (a comment), other@example.org; "
    local length = #text
    local hash = 0
    local quoted = 0
    local words = 0
    for _ = 1, rounds do
        local inside = false
        for i = 1, length do
            local c = text:sub(i, i)
            if c == "\"" then
                inside = not inside
            elseif inside then
                quoted = quoted + 1
            elseif c == " " or c == "," or c == ";" then
                words = words + 1
            end
            hash = (hash * 31 + c:byte()) % 65521
        end
    end
    return hash .. " " .. quoted .. " " .. words
end
print(run(200000))
