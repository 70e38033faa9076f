-- Frees the lock if it is still this token's, and wakes those who wait.
-- KEYS: the lock, its mark that somebody waits. ARGV: token, channel, name.
-- Gives 1 when somebody was woken, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('DEL', KEYS[2]) == 0 then return 0 end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
