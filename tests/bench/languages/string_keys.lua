local function run(rounds)
    local domains = {}
    for i = 0, 999 do domains[i + 1] = "host" .. i .. ".example.com" end
    local counts = {}
    local hits = 0
    for i = 0, rounds - 1 do
        local domain = domains[(i * 7919) % 1000 + 1]
        if counts[domain] ~= nil then
            counts[domain] = counts[domain] + 1
        else
            counts[domain] = 1
        end
        local other = domains[(i * 104729) % 1000 + 1]
        if counts[other] ~= nil then hits = hits + counts[other] end
        if i % 1000 == 999 then counts[other] = nil end
    end
    local sum, size = 0, 0
    for domain, count in pairs(counts) do
        sum = sum + count * #domain
        size = size + 1
    end
    return hits .. " " .. sum .. " " .. size
end
print(run(12000000))
