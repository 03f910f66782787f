local blocked_order = { "bad.example", "worse.example", "spam.test" }
local blocked = { ["bad.example"] = true, ["worse.example"] = true, ["spam.test"] = "policy" }
local relays = { "192.0.2.", "198.51.100.", "203.0.113." }
local senders = { "alice@example.com", "Bob.Smith@Example.ORG", "news+42@bad.example", "", "mallory@sub.spam.test", "carol@example.net" }
local recipients = { "postmaster@here.example", "sales@here.example", "nobody@elsewhere.example", "info+tag@here.example" }
local here = { ["here.example"] = { postmaster = 1, sales = 5, info = 3 } }
local rates, rated = {}, 0
local verdicts = { accept = 0, reject = 0, defer = 0 }
local texts = 0
for i = 0, 899999 do
    local ip = relays[i % 3 + 1] .. i % 254
    local sender = senders[i % 6 + 1]:lower()
    local recipient = recipients[i % 4 + 1]
    local score = 0
    local reason = ""
    local domain = sender:match(".*@(.*)$") or ""
    if domain == "" then
        score = score + 1
    elseif blocked[domain] then
        score = score + 10
        reason = "domain " .. domain .. " is blocked"
    else
        for _, name in ipairs(blocked_order) do
            if domain:sub(-#name - 1) == "." .. name then
                score = score + 7
                reason = "subdomain of " .. name
                break
            end
        end
    end
    local user, host = recipient:match("^(.*)@(.*)$")
    local plus = user:find("+", 1, true)
    if plus then user = user:sub(1, plus - 1) end
    if not here[host] then
        score = score + 20
        reason = "relaying denied for <" .. recipient .. ">"
    elseif here[host][user] then
        score = score - here[host][user]
    end
    local key = ip .. "/" .. domain
    if not rates[key] then rated = rated + 1 end
    rates[key] = (rates[key] or 0) + 1
    local verdict
    if rates[key] > 300 and score < 5 then
        verdict = "defer"
    elseif score >= 5 then
        verdict = "reject"
    else
        verdict = "accept"
    end
    verdicts[verdict] = verdicts[verdict] + 1
    if verdict ~= "accept" then
        local code = verdict == "reject" and 550 or 451
        local text = code .. " 5.7.1 " .. (reason == "" and "try later" or reason) .. " (score " .. score .. ")"
        texts = texts + #text
    end
end
print(verdicts.accept .. " " .. verdicts.reject .. " " .. verdicts.defer .. " " .. texts .. " " .. rated)
