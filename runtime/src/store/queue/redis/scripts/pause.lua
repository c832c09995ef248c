-- From now on nothing of a queue is delivered, or something is again: QUEUE PAUSED.
local queue, paused = ARGV[1], ARGV[2]
know(queue)
redis.call('HSET', counts_of(queue), 'paused', paused)
ring(queue)
return 1
