-- Lua's patterns have no alternatives, no word boundaries and no counts: what they lack is written out.
local days = { Mon = true, Tue = true, Wed = true, Thu = true, Fri = true, Sat = true, Sun = true }
local function run(rounds)
    local lines = {
        "Received: from mail.example.org (mail.example.org [192.0.2.25]) by mx1.example.com with ESMTPS id 4QxYzA",
        "From: \"Doe, John\" <john.doe+news@mail.example.com>",
        "To: undisclosed-recipients:;",
        "Subject: Re: [SPAM?] Your invoice No. 2024-00817 is overdue",
        "Date: Mon, 14 Oct 2024 08:15:42 +0200",
        "Message-ID: <20241014081542.4QxYzA@mail.example.org>",
        "X-Spam-Score: 7.5 (required 5.0) BAYES_99,HTML_MESSAGE",
        "Content-Type: multipart/alternative; boundary=\"=_b1_9f3c\"",
    }
    local names, size, dates, spam = 0, 0, 0, 0
    for _ = 1, rounds do
        for _, line in ipairs(lines) do
            local name, value = line:match("^([A-Za-z-]+):%s*(.*)$")
            if name then
                names = names + #name
                size = size + #value
            end
            local day = line:match("%f[%w](%a%a%a), %d%d? [A-Z][a-z][a-z] %d%d%d%d%f[%W]")
            if day and days[day] then dates = dates + 1 end
            if line:lower():find("^x%-spam%-score:%s*[5-9]%.") then spam = spam + 1 end
            local found
            for _, domain in line:gmatch("<([^<>@%s]+)@([^<>@%s]+)>") do found = found or domain end
            if found then size = size + #found end
            local replaced = line:gsub("%d+", "#")
            size = size + #replaced
        end
    end
    return names .. " " .. size .. " " .. dates .. " " .. spam
end
print(run(150000))
