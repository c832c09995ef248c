-- Moves messages that are not out, the oldest first: FROM INTO NOW MESSAGES. Says how many it was.
local from, into, now, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local free, rank = {}, 0
repeat
  local found = redis.call('ZRANGE', due_of(from), rank, rank + most - 1, 'WITHSCORES')
  for at = 1, #found, 2 do
    local member, is_due = found[at], tonumber(found[at + 1]) <= tonumber(now)
    if #free < most and (is_due or not redis.call('HGET', message_of(member), 'lease')) then
      free[#free + 1] = member
    end
  end
  rank = rank + most
until #found == 0 or #free == most
if #free > 0 then
  know(into)
  for _, member in ipairs(free) do move(from, into, member, now) end
  write_counts()
  ring(into)
end
return #free
