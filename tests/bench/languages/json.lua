-- Lua brings no JSON: this is what a program without libraries has to do. Objects keep the order of their keys in a
-- list, so that all languages write the same text.
local null = {}
local function object(...)
    local o = { keys = {}, values = {} }
    local args = { ... }
    for i = 1, #args, 2 do
        o.keys[#o.keys + 1] = args[i]
        o.values[args[i]] = args[i + 1]
    end
    return o
end
local escapes = { ["\""] = "\\\"", ["\\"] = "\\\\" }
local function quote(s) return "\"" .. s:gsub("[\"\\]", escapes) .. "\"" end
local function encode(value, out)
    local kind = type(value)
    if value == null then
        out[#out + 1] = "null"
    elseif kind == "string" then
        out[#out + 1] = quote(value)
    elseif kind == "table" and value.keys then
        out[#out + 1] = "{"
        for i, key in ipairs(value.keys) do
            if i > 1 then out[#out + 1] = "," end
            out[#out + 1] = quote(key)
            out[#out + 1] = ":"
            encode(value.values[key], out)
        end
        out[#out + 1] = "}"
    elseif kind == "table" then
        out[#out + 1] = "["
        for i, item in ipairs(value) do
            if i > 1 then out[#out + 1] = "," end
            encode(item, out)
        end
        out[#out + 1] = "]"
    else
        out[#out + 1] = tostring(value)
    end
end
local decode
local function decode_string(text, at)
    local stop = text:find("[\"\\]", at)
    local plain = text:sub(at, stop - 1)
    while text:sub(stop, stop) == "\\" do
        plain = plain .. text:sub(stop + 1, stop + 1)
        local next_stop = text:find("[\"\\]", stop + 2)
        plain = plain .. text:sub(stop + 2, next_stop - 1)
        stop = next_stop
    end
    return plain, stop + 1
end
function decode(text, at)
    local c = text:byte(at)
    if c == 34 then
        return decode_string(text, at + 1)
    elseif c == 123 then
        local o = { keys = {}, values = {} }
        at = at + 1
        while text:byte(at) ~= 125 do
            local key, value
            key, at = decode_string(text, at + 1)
            value, at = decode(text, at + 1)
            o.keys[#o.keys + 1] = key
            o.values[key] = value
            if text:byte(at) == 44 then at = at + 1 end
        end
        return o, at + 1
    elseif c == 91 then
        local list = {}
        at = at + 1
        while text:byte(at) ~= 93 do
            list[#list + 1], at = decode(text, at)
            if text:byte(at) == 44 then at = at + 1 end
        end
        return list, at + 1
    elseif c == 116 then
        return true, at + 4
    elseif c == 102 then
        return false, at + 5
    elseif c == 110 then
        return null, at + 4
    end
    local _, stop = text:find("^[%d.eE+-]+", at)
    local digits = text:sub(at, stop)
    return math.tointeger(tonumber(digits)) or tonumber(digits), stop + 1
end
local function run(rounds)
    local message = object("id", "4QxYzA", "sender", object("localpart", "john.doe", "domain", "mail.example.com"),
        "recipients", {}, "size", 48213, "score", 7.25, "tls", true, "reason", null, "subject",
        "Re: \"Your invoice\" \\ overdue")
    for i = 0, 9 do
        local recipient = object("localpart", "user" .. i, "domain", "example.org", "tags", { "a", "b", i })
        message.values.recipients[i + 1] = recipient
    end
    local size, sum = 0, 0
    for i = 0, rounds - 1 do
        message.values.size = i
        local out = {}
        encode(message, out)
        local text = table.concat(out)
        size = size + #text
        local copy = decode(text, 1)
        sum = sum + copy.values.size + copy.values.recipients[i % 10 + 1].values.tags[3]
    end
    return size .. " " .. sum
end
print(run(100000))
