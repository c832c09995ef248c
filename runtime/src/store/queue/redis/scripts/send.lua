-- Puts messages into a queue, all of them or none: QUEUE NOW MESSAGES BYTES REMEMBERED, and of each message ID DUE KEY HEAD BODY.
-- Says how many messages the queue has, of how many bytes, and how the new ones are called: none of them if it is full.
local queue, now, remembered = ARGV[1], ARGV[2], ARGV[5]
local function key_of(key) return place .. ':key:' .. queue .. ':' .. key end

local names, fresh, bytes, keyed = {}, {}, 0, {}
for at = 6, #ARGV, 5 do
  local id, key, body = ARGV[at], ARGV[at + 2], ARGV[at + 4]
  -- Twice in one call under one key is once, too.
  local before = key ~= '' and (keyed[key] or redis.call('GET', key_of(key)))
  names[#names + 1] = before or id
  if not before then
    keyed[key] = id
    fresh[#fresh + 1] = at
    bytes = bytes + #body + EACH
  end
end

local has = redis.call('HMGET', counts_of(queue), 'messages', 'bytes')
local has_messages, has_bytes = tonumber(has[1] or 0), tonumber(has[2] or 0)
if #fresh == 0 then return {has_messages, has_bytes, names} end
if has_messages + #fresh > tonumber(ARGV[3]) or has_bytes + bytes > tonumber(ARGV[4]) then
  return {has_messages, has_bytes, {}}
end

know(queue)
local number = redis.call('INCRBY', last, #fresh) - #fresh
for _, at in ipairs(fresh) do
  number = number + 1
  local id, due, key, head, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local member = string.format('%016d:%d', number, #body)
  redis.call('HSET', message_of(member), 'head', head, 'body', body)
  enter(queue, member, now, due)
  if key ~= '' then redis.call('SET', key_of(key), id, 'EX', remembered) end
end
write_counts()
ring(queue)
return {has_messages + #fresh, has_bytes + bytes, names}
