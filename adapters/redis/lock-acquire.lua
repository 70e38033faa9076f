-- Takes the lock if it is free.
-- KEYS: the lock, its last fence, its mark that somebody waits. ARGV: token, lease in milliseconds.
-- Gives the fence (> 0), or minus the milliseconds that are left of the holder's lease.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  -- A counter that may never be forgotten would leave a key per name for ever. This one follows Redis's clock (in
  -- microseconds), so it goes on rising after its key has expired, and after everything was lost.
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', KEYS[2]) or 0)
  local fence = math.max(time[1] * 1000000 + time[2], last + 1)
  redis.call('SET', KEYS[2], string.format('%.0f', fence), 'PX', 60000)
  return fence
end
redis.call('SET', KEYS[3], 1, 'PX', ARGV[2])
return -math.max(redis.call('PTTL', KEYS[1]), 1)
