-- Prints what wrk counted as one line of JSON. With the name of a file as its argument, it sends the requests that are in
-- there, one after the other: each line has the fields of one, `NAME: VALUE`, set apart by tabs. Without, no Lua runs
-- while the load does.
function init(args)
  if not args[1] then return end
  local requests = {}
  for line in io.lines(args[1]) do
    local headers = {}
    for name, value in line:gmatch("([^:\t]+): ([^\t]*)") do headers[name] = value end
    requests[#requests + 1] = wrk.format("GET", "/", headers)
  end
  local turn = 0
  -- Global, because that is where wrk looks for it.
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

function done(summary, latency, _requests)
  local errors = summary.errors
  print(string.format(
    'COUNTED {"answers":%d,"microseconds":%d,"p50_us":%d,"p99_us":%d,"bad_answers":%d,"broken_connections":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
