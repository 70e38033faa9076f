-- Makes reservations final, or gives them back. A coupon counts with or without a reservation, loaded or not: what is in
-- `issued` is true for ever.
-- KEYS: issued, reservations. ARGV: milliseconds to keep the keys, milliseconds that a reservation must be old to be given
-- back, how many coupons, the customers who got them, those who got none.
local keep, age, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if count > 0 then
  redis.call('SADD', KEYS[1], unpack(ARGV, 4, 3 + count))
  redis.call('ZREM', KEYS[2], unpack(ARGV, 4, 3 + count))
end
local time = redis.call('TIME')
local youngest = time[1] * 1000 + math.floor(time[2] / 1000) - age
for i = 4 + count, #ARGV do
  local since = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if since and tonumber(since) <= youngest then redis.call('ZREM', KEYS[2], ARGV[i]) end
end
for i = 1, 2 do redis.call('PEXPIRE', KEYS[i], keep) end
return 1
