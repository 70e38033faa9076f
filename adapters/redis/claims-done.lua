-- Takes decided claims out of a campaign's queue.
-- KEYS: stream, queue, claims. ARGV: entry, claim, entry, claim, …
-- Gives how many claims left the queue. Run again, it changes nothing.
local left = 0
for i = 1, #ARGV, 2 do
  local entry, claim = ARGV[i], ARGV[i + 1]
  redis.call('XACK', KEYS[1], 'workers', entry)
  redis.call('XDEL', KEYS[1], entry)
  -- After a loss the same claim may wait again, under another entry.
  local known = redis.call('HGET', KEYS[3], claim)
  if known and string.sub(known, 1, #entry + 1) == entry .. ' ' then
    redis.call('ZREM', KEYS[2], claim)
    redis.call('HDEL', KEYS[3], claim)
    left = left + 1
  end
end
return left
