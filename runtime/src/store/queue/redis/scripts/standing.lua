-- How the worker's queues stand: of each NAME PAUSED MESSAGES BYTES, and the head of its first message.
local standing = {}
for _, queue in ipairs(redis.call('SMEMBERS', place)) do
  local counts = redis.call('HMGET', counts_of(queue), 'messages', 'bytes')
  local first = redis.call('ZRANGE', due_of(queue), 0, 0)[1]
  local head = first and redis.call('HGET', message_of(first), 'head')
  local paused = is_paused(queue) and 1 or 0
  standing[#standing + 1] = {queue, paused, tonumber(counts[1] or 0), tonumber(counts[2] or 0), head or false}
end
return standing
