-- What the reconciler has to know of a campaign.
-- KEYS: meta, issued, reservations. ARGV: milliseconds after which a reservation is overdue, the most of them to name.
-- Gives: loaded (1 or 0), coupons, reservations, and the customers of overdue ones, oldest first.
local time = redis.call('TIME')
local youngest = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1]
local answer = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', youngest, 'LIMIT', 0, ARGV[2])
table.insert(answer, 1, redis.call('HEXISTS', KEYS[1], 'quantity'))
table.insert(answer, 2, redis.call('SCARD', KEYS[2]))
table.insert(answer, 3, redis.call('ZCARD', KEYS[3]))
return answer
