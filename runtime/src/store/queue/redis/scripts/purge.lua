-- Removes messages of a queue, whether they are out or not: QUEUE MESSAGES. Says how many it was.
local queue, most = ARGV[1], tonumber(ARGV[2])
local found = redis.call('ZRANGE', due_of(queue), 0, most - 1)
for _, member in ipairs(found) do erase(queue, member) end
write_counts()
return #found
