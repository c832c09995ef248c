-- Messages as they stand in a queue, the oldest first: QUEUE MESSAGES.
local queue, most = ARGV[1], ARGV[2]
local found = redis.call('ZRANGE', due_of(queue), '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local messages = {}
for at = 1, #found, 2 do
  -- Nothing is put where there is no message any more.
  messages[#messages + 1] = told(found[at], found[at + 1])
end
return messages
