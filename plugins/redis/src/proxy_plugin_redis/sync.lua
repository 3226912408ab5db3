-- One exchange of one process with the state that all processes share. Atomic: all or nothing.
--
-- KEYS  1 meta       hash   base, version
--       2 pushed     hash   holder -> "number cursor" of its last push
--       3 heard      zset   holder by the time of its last exchange
--       4 alive      zset   holder by the time from which it counts as dead
--       5 claims     hash   claim -> "holder:want:kept ..." of all holders
--       6 claimed_by zset   "holder claim", all with score 0: a holder's claims form a range
--       7 notes      hash   name -> "expires holder sign" .. value
--       8 note_log   zset   name by the version that last wrote it
--       9 note_keep  zset   name by the time from which it can be deleted
--      10 counts     hash   name -> "expires total"
--      11 count_log, 12 count_keep: the same for counts
--      13 days       zset   days with usage, by ordinal
--      14... usage of the days in this push: hash "row column" -> integer
-- ARGV  holder number seen lives_s clock known fresh, then the sections, each preceded by its length:
--       notes (name expires sign value), counts (name add expires), claims (name want limit used),
--       days (ordinal iso), usage (day's index, field, add)
--
-- Times are the server's, in seconds. `clock` is the holder's clock: the holder's expiry times are shifted
-- by the difference, unless the difference is too small to distinguish from network delay.
-- Versions begin at the microsecond at which the data was created, so a cursor identifies the data it belongs to.

local CHUNK = 1000       -- Lua's stack takes about 8,000 arguments
local PURGE = 500        -- deletions per exchange; the rest waits for the next exchange
local REMEMBER_S = 604800
local SKEW_S = 2

local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_number() return tonumber(take()) end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local holder, number, seen, lives_s = take(), take_number(), take_number(), take_number()
local skew = now - take_number()
if math.abs(skew) < SKEW_S then skew = 0 end
local known, fresh = take(), take() == '1'

local function exact(value) return string.format('%.17g', value) end
local function whole(value) return string.format('%.0f', value) end
local function here(expires)
  if skew == 0 then return expires end
  return exact(tonumber(expires) + skew)
end
local function there(expires)
  if skew == 0 then return expires end
  return exact(tonumber(expires) - skew)
end

-- Call `command key ...` with many arguments, of which every `step` belong together.
local function write(command, key, args, step)
  local chunk = CHUNK * step
  for i = 1, #args, chunk do
    redis.call(command, key, unpack(args, i, math.min(i + chunk - 1, #args)))
  end
end
local function read(command, key, names)
  local values = {}
  for i = 1, #names, CHUNK do
    for j, value in ipairs(redis.call(command, key, unpack(names, i, math.min(i + CHUNK - 1, #names)))) do
      values[i + j - 1] = value
    end
  end
  return values
end

-- --- Is this still the data the holder knows? -------------------------------------------------

local meta = redis.call('HMGET', KEYS[1], 'base', 'version')
local base = meta[1] or whole(tonumber(time[1]) * 1000000 + tonumber(time[2]))
local version = tonumber(meta[2] or base)
local pushed = redis.call('HGET', KEYS[2], holder)
local last, told = string.match(pushed or '', '^(%-?%d+) (%d+)$')
last, told = tonumber(last), tonumber(told)

local lost = known ~= '' and known ~= base
if seen > 0 and (seen < tonumber(base) or seen > version or (told and seen > told)) then lost = true end
if lost then
  if not fresh then return {0} end
  seen = 0
end
local new = not last or number > last
local current = not last or number >= last

-- --- Forget -----------------------------------------------------------------------------------

local function forget(keep, log, values)
  local names = redis.call('ZRANGEBYSCORE', keep, '-inf', exact(now), 'LIMIT', 0, PURGE)
  if #names > 0 then
    redis.call('ZREM', keep, unpack(names))
    redis.call('ZREM', log, unpack(names))
    redis.call('HDEL', values, unpack(names))
  end
end
forget(KEYS[9], KEYS[8], KEYS[7])
forget(KEYS[12], KEYS[11], KEYS[10])

-- A holder that is silent for too long loses its claims, even if it returns later.
local function unclaim(who, most)
  local fields = redis.call('ZRANGEBYLEX', KEYS[6], '[' .. who .. ' ', '(' .. who .. '!', 'LIMIT', 0, most)
  for _, field in ipairs(fields) do
    local name, others = string.sub(field, #who + 2), {}
    for entry in string.gmatch(redis.call('HGET', KEYS[5], name) or '', '%S+') do
      if string.sub(entry, 1, #who + 1) ~= who .. ':' then others[#others + 1] = entry end
    end
    if #others > 0 then
      redis.call('HSET', KEYS[5], name, table.concat(others, ' '))
    else
      redis.call('HDEL', KEYS[5], name)
    end
    redis.call('ZREM', KEYS[6], field)
  end
  return #fields
end

local left = PURGE
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', exact(now), 'LIMIT', 0, PURGE)) do
  if dead == holder then
    unclaim(dead, -1)
  else
    left = left - unclaim(dead, left)
    if left <= 0 then break end
    redis.call('ZREM', KEYS[4], dead)
  end
end
redis.call('ZADD', KEYS[4], exact(now + lives_s), holder)
local alive, holders = {}, 0
for _, who in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. exact(now), '+inf')) do
  alive[who], holders = true, holders + 1
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', exact(now - REMEMBER_S), 'LIMIT', 0, PURGE)) do
  redis.call('ZREM', KEYS[3], gone)
  redis.call('HDEL', KEYS[2], gone)
end

-- --- What the holder sends --------------------------------------------------------------------

local notes = take_number()
local note_names, note_args = {}, {}
for i = 1, notes do
  note_names[i] = take()
  note_args[i] = {here(take()), take(), take()}
end
local counts = take_number()
local count_names, count_args = {}, {}
for i = 1, counts do
  local name, add, expires = take(), take_number(), here(take())
  if tonumber(expires) > now then
    count_names[#count_names + 1] = name
    count_args[#count_args + 1] = {add, expires}
  end
end
local said = notes + counts
counts = #count_names

local next_version = version
if new and notes + counts > 0 then next_version = version + 1 end
local stamp = whole(next_version)

if new and notes > 0 then
  local old = read('HMGET', KEYS[7], note_names)
  local set, log, keep = {}, {}, {}
  for i, name in ipairs(note_names) do
    local expires, sign, value = unpack(note_args[i])
    local until_when = tonumber(expires)
    -- A process that has not received this note may still hold its predecessor: keep this one at least as long.
    if old[i] then
      until_when = math.max(until_when, tonumber(redis.call('ZSCORE', KEYS[9], name) or 0))
    end
    set[2 * i - 1], set[2 * i] = name, expires .. ' ' .. holder .. ' ' .. sign .. value
    log[2 * i - 1], log[2 * i] = stamp, name
    keep[2 * i - 1], keep[2 * i] = exact(until_when), name
  end
  write('HSET', KEYS[7], set, 2)
  write('ZADD', KEYS[8], log, 2)
  write('ZADD', KEYS[9], keep, 2)
end

if new and counts > 0 then
  local old = read('HMGET', KEYS[10], count_names)
  local set, log, keep = {}, {}, {}
  for i, name in ipairs(count_names) do
    local add, expires = unpack(count_args[i])
    if old[i] then
      local before, total = string.match(old[i], '^(%S+) (%S+)$')
      if tonumber(before) > now then
        add = add + tonumber(total)
        if tonumber(before) > tonumber(expires) then expires = before end
      end
    end
    set[2 * i - 1], set[2 * i] = name, expires .. ' ' .. exact(add)
    log[2 * i - 1], log[2 * i] = stamp, name
    keep[2 * i - 1], keep[2 * i] = expires, name
  end
  write('HSET', KEYS[10], set, 2)
  write('ZADD', KEYS[11], log, 2)
  write('ZADD', KEYS[12], keep, 2)
end

-- Returns what is granted, and what counts as held, which is more while the holder still uses more.
-- Leaves the other holders their shares, as described for `SyncResponse.held`.
local function share(want, limit, used, had, others)
  local wanting = want > 0 and 1 or 0
  for _, other in ipairs(others) do
    if other[1] > 0 then wanting = wanting + 1 end
  end
  local fair = wanting > 0 and math.floor(limit / wanting) or 0
  local taken = 0
  for _, other in ipairs(others) do
    taken = taken + math.max(other[2], math.min(other[1], fair))
  end
  local granted = math.max(0, math.min(want, limit - taken))
  return granted, math.max(granted, math.min(used, had))
end

local claims = take_number()
local claim_names, claim_args, held = {}, {}, {}
for i = 1, claims do
  claim_names[i] = take()
  claim_args[i] = {take_number(), take_number(), take_number()}
end
for i, packed in ipairs(read('HMGET', KEYS[5], claim_names)) do
  local name, others, entries, mine, had = claim_names[i], {}, {}, nil, 0
  for entry, who, want, kept in string.gmatch(packed or '', '(([^: ]+):(%d+):(%d+))') do
    if who == holder then
      mine, had = entry, tonumber(kept)
    elseif alive[who] then
      others[#others + 1] = {tonumber(want), tonumber(kept)}
      entries[#entries + 1] = entry
    end
  end
  local want, limit, used = unpack(claim_args[i])
  local granted, kept = share(want, limit, used, had, others)
  if not current then
    granted = had
  elseif want == 0 and kept == 0 then
    if mine then
      redis.call('ZREM', KEYS[6], holder .. ' ' .. name)
      if #entries > 0 then
        redis.call('HSET', KEYS[5], name, table.concat(entries, ' '))
      else
        redis.call('HDEL', KEYS[5], name)
      end
    end
  else
    local entry = holder .. ':' .. whole(want) .. ':' .. whole(kept)
    if entry ~= mine then
      entries[#entries + 1] = entry
      redis.call('HSET', KEYS[5], name, table.concat(entries, ' '))
      if not mine then redis.call('ZADD', KEYS[6], 0, holder .. ' ' .. name) end
    end
  end
  held[i] = granted
end

local days = take_number()
for _ = 1, days do
  local ordinal, iso = take(), take()
  if new then redis.call('ZADD', KEYS[13], ordinal, iso) end
end
local usage = take_number()
for _ = 1, usage do
  local day, field, add = take_number(), take(), take()
  -- pcall: a sum that would exceed 64 bits stays unchanged; an error here would apply only half of a push.
  if new then redis.pcall('HINCRBY', KEYS[13 + day], field, add) end
end

-- --- What the holder receives -----------------------------------------------------------------

local after = '(' .. whole(seen)
local told_notes = {}
local names = redis.call('ZRANGEBYSCORE', KEYS[8], after, '+inf')
for i, packed in ipairs(read('HMGET', KEYS[7], names)) do
  if packed then
    local expires, by, sign, value = string.match(packed, '^(%S+) (%S+) ([+-])(.*)$')
    local lives = sign == '+' and tonumber(expires) > now
    if (seen == 0 and lives) or (seen > 0 and by ~= holder) then
      local n = #told_notes
      told_notes[n + 1], told_notes[n + 2] = names[i], there(expires)
      told_notes[n + 3], told_notes[n + 4] = lives and '+' or '-', lives and value or ''
    end
  end
end

local told_counts = {}
names = redis.call('ZRANGEBYSCORE', KEYS[11], after, '+inf')
for i, packed in ipairs(read('HMGET', KEYS[10], names)) do
  if packed then
    local expires, total = string.match(packed, '^(%S+) (%S+)$')
    if tonumber(expires) > now then
      local n = #told_counts
      told_counts[n + 1], told_counts[n + 2] = names[i], total
    end
  end
end

if meta[2] ~= stamp then redis.call('HSET', KEYS[1], 'base', base, 'version', stamp) end
-- The number is used up only if the holder sent something.
local pushes = whole(new and said + usage > 0 and number or last or -1) .. ' ' .. stamp
if pushed ~= pushes then redis.call('HSET', KEYS[2], holder, pushes) end
redis.call('ZADD', KEYS[3], exact(now), holder)
return {1, base, stamp, holders, told_notes, told_counts, held}
