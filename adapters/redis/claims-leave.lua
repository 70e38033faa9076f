-- A worker leaves a campaign: the next one need not wait for the lease to end.
-- KEYS: stream, lease. ARGV: worker, milliseconds of the lease, channel, campaign id, entries that are handed out again at once.
-- Gives 1, or 0 when another worker holds the lease.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if #ARGV > 4 then
  local claim = { 'XCLAIM', KEYS[1], 'workers', 'worker', 0, unpack(ARGV, 5) }
  for _, option in ipairs({ 'IDLE', ARGV[2], 'JUSTID' }) do claim[#claim + 1] = option end
  redis.pcall(unpack(claim))
end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
