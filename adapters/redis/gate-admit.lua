-- Lets customers of one campaign in, in the order given.
-- KEYS: meta, issued, reservations. ARGV: milliseconds to keep the keys, customers.
-- Gives nothing when the campaign is not loaded. Else a number for each customer: the sequence (> 0) of a new reservation,
-- 0 to pass without one, -1 has a coupon, -2 sold out. Run again, it finds its reservations and makes no others.
local meta = redis.call('HMGET', KEYS[1], 'quantity', 'sequence')
if not meta[1] then return false end

local issued = redis.call('SCARD', KEYS[2])
local left = tonumber(meta[1]) - issued
local room = left - redis.call('ZCARD', KEYS[3])
local has = redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 2))
local reserved = redis.call('ZMSCORE', KEYS[3], unpack(ARGV, 2))
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000)
-- It counts; the clock (in microseconds) is only its floor, so that it goes on rising after all was lost.
local sequence = math.max(tonumber(meta[2] or 0), time[1] * 1000000 + time[2])

local answers, new, mine = {}, {}, {}
for i = 1, #ARGV - 1 do
  local customer = ARGV[i + 1]
  if has[i] == 1 then
    answers[i] = -1
  elseif left <= 0 then
    answers[i] = -2
  elseif reserved[i] or mine[customer] or room <= 0 then
    answers[i] = 0
  else
    sequence = sequence + 1
    room = room - 1
    mine[customer] = true
    new[#new + 1] = at
    new[#new + 1] = customer
    answers[i] = sequence
  end
end

if #new > 0 then
  redis.call('ZADD', KEYS[3], unpack(new))
  redis.call('HSET', KEYS[1], 'sequence', string.format('%.0f', sequence))
end
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
return answers
