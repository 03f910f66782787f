local function round(x)
    return string.format("%d", math.floor(x + 0.5))
end
local function simulate(count, rounds)
    local bodies = {}
    for i = 0, count - 1 do
        bodies[i + 1] = { x = i, y = i * 2, vx = 0, vy = 0 }
    end
    for _ = 1, rounds do
        for i = 1, count do
            for j = 1, count do
                bodies[i].vx = bodies[i].vx + (bodies[j].x - bodies[i].x) / 1024
                bodies[i].vy = bodies[i].vy - (bodies[i].y - bodies[j].y) / 1024
            end
        end
        for i = 1, count do
            bodies[i].x = bodies[i].x + bodies[i].vx / 64
            bodies[i].y = bodies[i].y + bodies[i].vy / 64
        end
    end
    return round(bodies[2].x * 1000000) .. " " .. round(bodies[3].vy * 1000000)
end
local function matrix(size, rounds)
    local m = {}
    for i = 1, size do m[i] = {} end
    for round = 0, rounds - 1 do
        for i = 0, size - 1 do
            for j = 0, size - 1 do m[i + 1][j + 1] = i * j + round end
        end
    end
    return m[4][5] + m[size][size]
end
print(simulate(20, 9000) .. " " .. matrix(100, 1800))
