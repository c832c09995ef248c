-- The lease of a message goes on: QUEUE MEMBER LEASE UNTIL. Whether it was still out.
local queue, member, lease, over = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_held(queue, member, lease) then return 0 end
redis.call('ZADD', due_of(queue), 'XX', 'GT', over, member)
return 1
