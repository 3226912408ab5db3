-- Keeps a value for its owner, and deletes what has expired and what is too much. Atomic.
--
-- KEYS  1 values  hash  name -> value
--       2 expiry  zset  name by the time of its expiry
-- ARGV  name value expires now most most_bytes

local values, expiry = KEYS[1], KEYS[2]
local name, value, expires, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])

redis.call('HSET', values, name, value)
redis.call('ZADD', expiry, ARGV[3], name)

-- All values of an owner live equally long, so the last one to expire is the newest.
local bytes = 0
for place, other in ipairs(redis.call('ZREVRANGE', expiry, 0, -1)) do
  bytes = bytes + redis.call('HSTRLEN', values, other)
  if place > most or bytes > most_bytes or tonumber(redis.call('ZSCORE', expiry, other)) <= now then
    redis.call('HDEL', values, other)
    redis.call('ZREM', expiry, other)
  end
end

local lives_s = math.ceil(expires - now)
redis.call('EXPIRE', values, lives_s)
redis.call('EXPIRE', expiry, lives_s)
