local function run(size, limit)
    local inside = 0
    local steps = 0
    for py = 0, size - 1 do
        local cy = py * 2.5 / size - 1.25
        for px = 0, size - 1 do
            local cx = px * 3.5 / size - 2.5
            local x = 0.0
            local y = 0.0
            local n = 0
            while n < limit do
                local xx = x * x
                local yy = y * y
                if xx + yy > 4.0 then break end
                y = 2.0 * x * y + cy
                x = xx - yy + cx
                n = n + 1
            end
            steps = steps + n
            if n == limit then inside = inside + 1 end
        end
    end
    return inside .. " " .. steps
end
print(run(700, 200))
