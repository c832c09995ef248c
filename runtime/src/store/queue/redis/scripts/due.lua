-- What of a queue could be delivered now: QUEUE NOW MESSAGES. Says how many messages, of how many bytes, and when the first of all is
-- due. Of one that is paused, nothing ever.
local queue, now, most = ARGV[1], ARGV[2], ARGV[3]
if is_paused(queue) then return {0, 0, false} end
local due = redis.call('ZRANGE', due_of(queue), '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
local bytes = 0
for _, member in ipairs(due) do bytes = bytes + bytes_of(member) end
local first = redis.call('ZRANGE', due_of(queue), 0, 0, 'WITHSCORES')
return {#due, bytes, first[2] or false}
