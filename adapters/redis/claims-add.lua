-- Puts a claim at the end of its campaign's queue, unless it waits already.
-- KEYS: stream, queue, claims, lease. ARGV: milliseconds to keep the keys, claim id, customer id, channel, campaign id.
-- Gives its position, 1 = next. Run again, it finds the claim and changes nothing.
local rank = redis.call('ZRANK', KEYS[2], ARGV[2])
if rank then return rank + 1 end
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local entry = redis.call('XADD', KEYS[1], '*', 'claim', ARGV[2], 'customer', ARGV[3])
redis.call('ZADD', KEYS[2], (last[2] or 0) + 1, ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], entry .. ' ' .. ARGV[3])
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
-- Who holds the lease looks once more before letting go.
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return redis.call('ZCARD', KEYS[2])
