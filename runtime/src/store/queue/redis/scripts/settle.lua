-- Does with messages that are out what became of them: QUEUE NOW, and of each MEMBER LEASE WHAT WHERE REASON. One whose lease is over is
-- somebody else's by now, and stays as it is; says how many those are.
local queue, now = ARGV[1], ARGV[2]
local late, rung = 0, {}
for at = 3, #ARGV, 5 do
  local member, lease, what, where, reason = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if not is_held(queue, member, lease) then
    late = late + 1
  elseif what == 'done' then
    erase(queue, member)
  elseif what == 'again' then
    redis.call('ZADD', due_of(queue), where, member)
    redis.call('HDEL', message_of(member), 'lease')
    redis.call('HSET', message_of(member), 'reason', reason)
    rung[queue] = true
  else
    know(where)
    move(queue, where, member, now, reason)
    rung[where] = true
  end
end
write_counts()
for name in pairs(rung) do ring(name) end
return late
