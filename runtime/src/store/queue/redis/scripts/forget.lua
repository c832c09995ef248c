-- Removes dead letters that came before: QUEUE BEFORE MESSAGES. Says how many it was.
local queue, before, most = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('ZRANGE', since_of(queue), '-inf', '(' .. before, 'BYSCORE', 'LIMIT', 0, most)
for _, member in ipairs(found) do erase(queue, member) end
write_counts()
return #found
