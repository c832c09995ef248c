-- Prints what wrk counted as one line of JSON. Only `done` is defined, so that no Lua runs while the load does.
function done(summary, latency, _requests)
  local errors = summary.errors
  print(string.format(
    'COUNTED {"answers":%d,"microseconds":%d,"p50_us":%d,"p99_us":%d,"bad_answers":%d,"broken_connections":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
