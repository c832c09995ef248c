-- What all scripts begin with: the keys of one worker's queues, which a cluster keeps in one slot.
--
-- A message is known by the number by which it came and by the bytes of its body, `0000000000000042:1024`: those that are due at the
-- same time are in the order in which they came, and what they take is known without looking at them.

-- The names of the worker's queues stand in this one.
local place = KEYS[1]

-- The number that was given last, to a message or to a lease.
local last = place .. ':last'

-- What a message counts besides its body.
local EACH = 256

-- The messages of a queue by when they may be delivered, and by when they came into it.
local function due_of(queue) return place .. ':due:' .. queue end
local function since_of(queue) return place .. ':since:' .. queue end

-- How many messages it has, of how many bytes, and whether it is paused.
local function counts_of(queue) return place .. ':queue:' .. queue end

-- `head`, `body`, `attempts`, `lease` and `reason`.
local function message_of(member) return place .. ':message:' .. member end

local function bytes_of(member) return tonumber(string.sub(member, 18)) end

local function is_paused(queue) return redis.call('HGET', counts_of(queue), 'paused') == '1' end

-- A message as it is told, or nothing if there is none.
local function told(member, due)
  local found = redis.call('HMGET', message_of(member), 'head', 'body', 'attempts', 'reason')
  if not (found[1] and found[2]) then return nil end
  return {member, due, found[1], found[2], tonumber(found[3] or 0), found[4]}
end

-- What has left queues and what has come into them, until it is written down.
local changes = {}
local function count(queue, messages, bytes)
  local sum = changes[queue] or {0, 0}
  changes[queue] = {sum[1] + messages, sum[2] + bytes}
end
local function write_counts()
  for queue, sum in pairs(changes) do
    redis.call('HINCRBY', counts_of(queue), 'messages', sum[1])
    redis.call('HINCRBY', counts_of(queue), 'bytes', sum[2])
  end
end

local function enter(queue, member, now, due)
  redis.call('ZADD', due_of(queue), due, member)
  redis.call('ZADD', since_of(queue), now, member)
  count(queue, 1, bytes_of(member) + EACH)
end

local function leave(queue, member)
  redis.call('ZREM', due_of(queue), member)
  redis.call('ZREM', since_of(queue), member)
  count(queue, -1, -bytes_of(member) - EACH)
end

local function erase(queue, member)
  redis.call('DEL', message_of(member))
  leave(queue, member)
end

-- Into another queue, its deliveries counted anew, and why.
local function move(from, into, member, now, reason)
  leave(from, member)
  enter(into, member, now, now)
  redis.call('HDEL', message_of(member), 'lease', 'attempts', 'reason')
  if reason then redis.call('HSET', message_of(member), 'reason', reason) end
end

-- Whether whoever has this lease still has the message.
local function is_held(queue, member, lease)
  return redis.call('HGET', message_of(member), 'lease') == lease and redis.call('ZSCORE', due_of(queue), member)
end

local function know(queue) redis.call('SADD', place, queue) end

-- Whoever waits for it, on any node, looks at it. The place is `{eyot:WORKER}`.
local function ring(queue) redis.call('PUBLISH', 'eyot.bell', string.sub(place, 7, -2) .. '/' .. queue) end
