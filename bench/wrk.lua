-- What wrk sends: the heads of a file that heads.py wrote, one after another. At the end, one line of JSON.
-- wrk -s wrk.lua URL -- FILE

local heads, at = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   while true do
      local length = file:read(4) -- least byte first, as every machine has it that LuaJIT is likely to run on
      if not length then break end
      local a, b, c, d = length:byte(1, 4)
      heads[#heads + 1] = file:read(a + 256 * (b + 256 * (c + 256 * d)))
   end
   file:close()
end

function request()
   at = at % #heads + 1
   return heads[at]
end

function done(summary)
   local wrong = summary.errors
   print(string.format('{"requests": %d, "bytes": %d, "seconds": %.6f, "bad": %d, "errors": %d}',
      summary.requests, summary.bytes, summary.duration / 1e6, wrong.status,
      wrong.connect + wrong.read + wrong.write + wrong.timeout))
end
