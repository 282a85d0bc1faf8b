-- Takes units from one quota of one identity, if they are there.
--
-- KEYS  1  the identity's counts, a hash: the number of a bucket -> units
--       2  the state of all counts, a hash: epoch, grants, lost
-- ARGV  1  limit        2  window in seconds    3  cost
--       4  the limit that holds for a window after counts were lost
--       5  the epoch    6  the grants that the caller knows; 0 where it knows none
--
-- Answers with: allowed, remaining, microseconds until the same call is allowed, microseconds
-- until all units are back, epoch, grants, whether this call noticed that counts were lost.
--
-- Time is this server's, in microseconds since 1970; all of it stays far below 2^53.

local BUCKETS = 60
local ROUNDING = 1000 -- so that no rounding makes a caller come back too early

local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2]) * 1000000
local cost = tonumber(ARGV[3])
local lowered = tonumber(ARGV[4])
local known_epoch, known_grants = tonumber(ARGV[5]), tonumber(ARGV[6])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- Were counts lost? Epochs only grow, and grants only grow within one: a server that is behind
-- what a caller saw of it was emptied, or began again from an older copy.
local state = redis.call('HMGET', KEYS[2], 'epoch', 'grants', 'lost')
local epoch, grants = tonumber(state[1] or 0), tonumber(state[2] or 0)
local lost, noticed = state[3] == '1', false
local is_behind = epoch < known_epoch or (epoch == known_epoch and grants < known_grants)
if epoch == 0 or is_behind then
  epoch, grants = math.max(now, known_epoch + 1), 0
  lost = is_behind
  noticed = lost
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'grants', 0, 'lost', lost and 1 or 0)
elseif 0 < known_epoch and known_epoch < epoch and not lost then
  -- somebody who knew nothing began the epoch after the loss
  lost, noticed = true, true
  redis.call('HSET', KEYS[2], 'lost', 1)
end
-- an epoch ahead of the clock (which was set back, or wrong) lowers limits for a window at most
local full_limit_in = lost and math.min(math.max(epoch + window - now, 0), window) or 0
local present_limit = full_limit_in > 0 and lowered or limit

-- What counts is the present bucket with the 60 before it.
local length = math.ceil(window / BUCKETS)
local bucket = math.floor(now / length)
local counts, used, newest, stale = {}, 0, bucket, {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local number, units = tonumber(fields[i]), tonumber(fields[i + 1])
  if number < bucket - BUCKETS then
    stale[#stale + 1] = fields[i]
  else
    counts[number] = units
    used = used + units
    newest = math.max(newest, number)
  end
end

local function keep()
  local milliseconds = ((newest + BUCKETS + 1) * length - now) / 1000
  redis.call('PEXPIRE', KEYS[1], math.ceil(milliseconds) + 1000)
end

if newest > bucket + 1 then
  -- The clock was set back: put everything one bucket ahead, so that nothing looks older than it
  -- is, and nobody is kept out for longer than a window and two buckets.
  newest = bucket + 1
  counts = {[newest] = used}
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], newest, used)
  keep()
  stale = {}
end

local allowed = used + cost <= present_limit
if allowed then
  redis.call('HINCRBY', KEYS[1], bucket, ARGV[3])
  grants = redis.call('HINCRBY', KEYS[2], 'grants', 1)
  if #stale > 0 then
    redis.call('HDEL', KEYS[1], unpack(stale))
  end
  keep()
  counts[bucket] = (counts[bucket] or 0) + cost
  used = used + cost
end

-- Returns the time until so many units have come back, oldest first.
local function wait(units)
  local back, number = 0, bucket - BUCKETS - 1
  while back < units do
    number = number + 1
    back = back + (counts[number] or 0)
  end
  return back > 0 and (number + BUCKETS + 1) * length - now + ROUNDING or 0
end

local retry_in = 0
if not allowed then
  retry_in = window
  if cost <= limit then
    retry_in = math.max(wait(used + cost - limit), full_limit_in + ROUNDING)
  end
  if cost <= present_limit then
    retry_in = math.min(retry_in, wait(used + cost - present_limit))
  end
end

return {
  allowed and 1 or 0,
  math.max(present_limit - used, 0),
  retry_in,
  math.max(wait(used), full_limit_in),
  epoch,
  grants,
  noticed and 1 or 0,
}
