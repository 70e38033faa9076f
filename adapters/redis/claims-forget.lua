-- Takes a campaign off the list of those with a queue, unless claims were added since.
-- KEYS: the list. ARGV: campaign id, additions counted so far.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
