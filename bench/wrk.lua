-- Prints what wrk counted as one line of JSON. It defines nothing that would run during the load.
function done(summary, latency, _)
  local errors = summary.errors
  print(string.format(
    'COUNTED {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"failed":%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
