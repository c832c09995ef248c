-- Makes dead letters of messages that came before: QUEUE DEAD NOW BEFORE REASON SKIPPED MESSAGES. What is out or waits is passed over.
-- Says how many were looked at, and how many of them it was.
local queue, dead, now, before, reason, skipped, most = unpack(ARGV)
local found = redis.call('ZRANGE', since_of(queue), '-inf', '(' .. before, 'BYSCORE', 'LIMIT', skipped, most)
local buried = 0
for _, member in ipairs(found) do
  local due = redis.call('ZSCORE', due_of(queue), member)
  if due and tonumber(due) <= tonumber(now) then
    move(queue, dead, member, now, reason)
    buried = buried + 1
  end
end
if buried > 0 then
  know(dead)
  write_counts()
  ring(dead)
end
return {#found, buried}
