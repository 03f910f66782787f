local function run(rounds)
    local line = "Received, from , mail.Example.ORG ,by, mx1.example.com, with ,ESMTPS, id,4QxYzA, for , <Someone@example.com>,"
    local total = 0
    local joined
    for i = 0, rounds - 1 do
        local kept, count = {}, 0
        for part in (line .. i .. ","):gmatch("([^,]*),") do
            part = part:match("^%s*(.-)%s*$")
            if part ~= "" then
                count = count + 1
                kept[count] = part:lower()
            end
        end
        joined = table.concat(kept, "; ")
        local replaced = joined:gsub("example", "test")
        total = total + #replaced + count
    end
    return total .. " " .. joined
end
print(run(550000))
