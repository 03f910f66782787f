local message = "Received: from mail.example.org (mail.example.org [192.0.2.25])\r\n\tby mx1.example.com with ESMTPS id 4QxYzA;\r\n\tMon, 14 Oct 2024 08:15:42 +0200\r\n"
    .. "From: \"Doe, John\" <john.doe@mail.example.com>\r\nTo: sales@here.example,\r\n info@here.example\r\nSubject: Your invoice\r\n"
    .. "X-Originating-IP: [198.51.100.7]\r\nX-Spam-Flag: NO\r\nMessage-ID: <4QxYzA@mail.example.org>\r\nMIME-Version: 1.0\r\n"
    .. "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes; x-note=this-line-is-long\r\n"
local drop = { ["x-originating-ip"] = true, ["x-spam-flag"] = true }
local function strip(s) return s:match("^%s*(.-)%s*$") end
local size, kept = 0, 0
for i = 0, 119999 do
    local headers = {}
    for line in message:gmatch("(.-)\r\n") do
        if line ~= "" then
            local first = line:sub(1, 1)
            if first == " " or first == "\t" then
                local last = headers[#headers]
                last.value = last.value .. " " .. strip(line)
            else
                local colon = line:find(":", 1, true)
                headers[#headers + 1] = { name = line:sub(1, colon - 1), value = strip(line:sub(colon + 1)) }
            end
        end
    end
    local out = {}
    for _, header in ipairs(headers) do
        local name = header.name:lower()
        if not drop[name] then
            local value = header.value
            if name == "subject" and i % 2 == 0 then value = "[EXTERNAL] " .. value end
            if name == "from" then value = value:gsub("mail%.example%.com", "example.com") end
            local line = { header.name, ": " }
            local column = #header.name + 2
            local first = true
            for word in (value .. " "):gmatch("([^ ]*) ") do
                if not first then
                    if column + #word + 1 > 78 then
                        line[#line + 1] = "\r\n\t"
                        column = 8
                    else
                        line[#line + 1] = " "
                        column = column + 1
                    end
                end
                first = false
                line[#line + 1] = word
                column = column + #word
            end
            line[#line + 1] = "\r\n"
            out[#out + 1] = table.concat(line)
            kept = kept + 1
        end
    end
    out[#out + 1] = "X-Processed: message " .. i .. "\r\n"
    size = size + #table.concat(out)
end
print(size .. " " .. kept)
