-- Hands out what is next in a campaign's queue, to one worker at a time: order would not survive two.
-- KEYS: stream, queue, claims, lease, dead letters. ARGV: milliseconds to keep the keys, worker, milliseconds of the lease,
-- milliseconds after which a claim is handed out again, most deliveries, most entries, those that the worker still works at.
-- Gives nothing when another worker holds the lease; else: the entries of the last argument that are still the worker's,
-- what is handed out (entry, claim, customer, …) in order, the claims parked, how many wait in all.
local keep, worker, lease, idle, cap, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local holder = redis.call('GET', KEYS[4])
if holder and holder ~= worker then return false end
local kept, taken, parked = {}, {}, {}

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[4])
  return { kept, taken, parked, 0 }
end

-- The group is as mortal as all else in Redis.
local group = redis.pcall('XPENDING', KEYS[1], 'workers')
if group.err then redis.call('XGROUP', 'CREATE', KEYS[1], 'workers', '0') end

-- JUSTID: no longer idle, and not counted as a delivery.
if #ARGV > 6 then
  local claim = { 'XCLAIM', KEYS[1], 'workers', 'worker', 0, unpack(ARGV, 7) }
  claim[#claim + 1] = 'JUSTID'
  kept = redis.call(unpack(claim))
end

local function hand(entry)
  taken[#taken + 1] = entry[1]
  taken[#taken + 1] = entry[2][2]
  taken[#taken + 1] = entry[2][4]
end

local function park(entry)
  local claim = entry[2][2]
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', 10000, '*', 'claim', claim, 'customer', entry[2][4])
  redis.call('PEXPIRE', KEYS[5], keep)
  redis.call('XACK', KEYS[1], 'workers', entry[1])
  redis.call('XDEL', KEYS[1], entry[1])
  redis.call('ZREM', KEYS[2], claim)
  redis.call('HDEL', KEYS[3], claim)
  parked[#parked + 1] = claim
end

-- While there is as much as can be worked at, nothing more.
if most > #kept then
  -- Those of dead workers, and those whose decision failed. New ones come along however many there are of these.
  local again = redis.call('XAUTOCLAIM', KEYS[1], 'workers', 'worker', idle, '0-0', 'COUNT', 2 * most)
  for _, entry in ipairs(again[2]) do
    if entry and entry[2] then
      local deliveries = redis.call('XPENDING', KEYS[1], 'workers', entry[1], entry[1], 1)[1][4]
      if deliveries <= cap then hand(entry) else park(entry) end
    end
  end
  local new = redis.call('XREADGROUP', 'GROUP', 'workers', 'worker', 'COUNT', most - #kept, 'STREAMS', KEYS[1], '>')
  if new then
    for _, entry in ipairs(new[1][2]) do hand(entry) end
  end
end

if #kept + #taken > 0 then
  redis.call('SET', KEYS[4], worker, 'PX', lease)
else
  redis.call('DEL', KEYS[4])
end
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], keep) end
return { kept, taken, parked, redis.call('ZCARD', KEYS[2]) }
