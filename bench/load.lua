-- What wrk sends: `wrk … -s load.lua URL -- CASE SEED`. Every request is ready before the first leaves, but for `unique`.

local agents = {
  "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1 Version/17.5",
  "Mozilla/5.0 (X11; CrOS x86_64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
}

-- 0x6b29 and so on: a session that looks like one and is the same for the same number.
local function session(number)
  return string.format("%08x%08x%08x", number * 2654435761 % 4294967296, number * 40503 % 4294967296, number)
end

local function head(path, client, closing)
  return "GET " .. path .. " HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: " .. agents[client % #agents + 1]
    .. "\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5"
    .. "\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=" .. session(client) .. "; theme=dark"
    .. (closing and "\r\nConnection: close" or "") .. "\r\n\r\n"
end

-- Returns a function that draws 1 … count, the n-th with a probability as 1/n.
local function zipf(count)
  local sums, sum = {}, 0
  for n = 1, count do
    sum = sum + 1 / n
    sums[n] = sum
  end
  return function()
    local wanted, low, high = math.random() * sum, 1, count
    while low < high do
      local middle = math.floor((low + high) / 2)
      if sums[middle] < wanted then low = middle + 1 else high = middle end
    end
    return low
  end
end

local function path_of(number)
  return string.format("/shop/category-%d/item-%04d?page=%d", number % 37, number, number % 5 + 1)
end

local function constant(text)
  return function() return text end
end

local cases = {}

function cases.same()
  return constant(head(path_of(42), 7))
end

-- 1 000 paths x 200 clients, both zipf-distributed; the same 60 000 draws in every run.
function cases.zipf()
  math.randomseed(1)
  local path, client, requests, at = zipf(1000), zipf(200), {}, 0
  for n = 1, 60000 do requests[n] = head(path_of(path()), client()) end
  return function()
    at = at % 60000 + 1
    return requests[at]
  end
end

-- A path and a cookie that were never sent before: SEED is another one in each run.
function cases.unique(seed)
  local number = seed * 1000000
  return function()
    number = number + 1
    return head(string.format("/shop/item-%d?page=1", number), number)
  end
end

cases["new-connections"] = function()
  return constant(head(path_of(42), 7, true))
end

function cases.download()
  return constant(head("/1MiB", 7))
end

function init(args)
  request = cases[args[1]](tonumber(args[2]))
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "bytes": %d, "us": %d, "bad_status": %d, "errors": %d}\n',
    summary.requests, summary.bytes, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
