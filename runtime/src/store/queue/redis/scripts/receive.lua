-- Takes messages out that are due, the oldest first: QUEUE NOW MESSAGES BYTES UNTIL. Says under which lease, how many were there of
-- which there is nothing any more, and the messages.
local queue, now, most, bytes, over = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
if is_paused(queue) then return {0, 0, {}} end

local due = redis.call('ZRANGE', due_of(queue), '-inf', now, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local given, sum, gone = {}, 0, 0
for at = 1, #due, 2 do
  local member = due[at]
  sum = sum + bytes_of(member)
  if sum > bytes and #given > 0 then break end
  local message = told(member, due[at + 1])
  if message then
    given[#given + 1] = message
  else
    erase(queue, member)
    gone = gone + 1
  end
end

local lease = #given > 0 and redis.call('INCR', last) or 0
for _, message in ipairs(given) do
  local member, attempts = message[1], message[5] + 1
  message[5] = attempts
  redis.call('ZADD', due_of(queue), over, member)
  redis.call('HSET', message_of(member), 'lease', lease, 'attempts', attempts)
end
write_counts()
return {lease, gone, given}
