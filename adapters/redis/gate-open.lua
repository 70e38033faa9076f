-- Opens a campaign, once its coupons are in `issued`.
-- KEYS: meta, issued, the guard of the load. ARGV: milliseconds to keep the keys, quantity, how many coupons there were.
-- Gives 1; 0 when some of what was loaded has been lost meanwhile, and it must be loaded again.
redis.call('DEL', KEYS[3])
if redis.call('SCARD', KEYS[2]) < tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'quantity', ARGV[2])
for i = 1, 2 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
return 1
