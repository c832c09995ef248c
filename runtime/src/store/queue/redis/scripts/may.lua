-- The first command that the scripts need and that this user may not give, or nothing. One that is refused within a script would leave
-- half of what it does.
local key = place .. ':key'
local needed = {
  {'GET', key}, {'SET', key, ''}, {'DEL', key}, {'INCR', key}, {'INCRBY', key, '1'},
  {'HGET', key, ''}, {'HMGET', key, ''}, {'HSET', key, '', ''}, {'HDEL', key, ''}, {'HINCRBY', key, '', '1'},
  {'SADD', key, ''}, {'SMEMBERS', key},
  {'ZADD', key, '0', ''}, {'ZREM', key, ''}, {'ZRANGE', key, '0', '0'}, {'ZSCORE', key, ''},
  {'PUBLISH', 'eyot.bell', ''},
}
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then return command[1] end
end
return false
