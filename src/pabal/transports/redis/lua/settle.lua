-- End deliveries that are still this member's: those that it was handed, at that count, and nobody has taken over.
--
-- KEYS: the stream, the group's side stream, what is to come later, the entries of that.
-- ARGV: the group, the member, how many acknowledgements of first deliveries from the stream follow, their ids, then
-- for each further ending: 1 or 2 for the stream, the id, the count, what is to be done, milliseconds, failures.
-- What: A acknowledged; T to be tried again after the milliseconds, with the failures; R given back, not an attempt.
-- Answers a 1 for each that was ours, and a 0 for each that was not.
--
-- What comes again is copied into the side stream, or kept apart until its time, and the entry is acknowledged: in one
-- step, or it could be lost or doubled in between.
local group, member = ARGV[1], ARGV[2]
local answers = {}

local function count_of(key, id)
  local pending = redis.call('XPENDING', key, group, id, id, 1, member)
  return pending[1] and pending[1][4]
end

local function acknowledge_first(from, to)
  -- Mostly they stand one after another, and are all that this member has there.
  local count = to - from + 1
  local pending = redis.call('XPENDING', KEYS[1], group, ARGV[from], ARGV[to], count, member)
  local all = #pending == count
  for i = 1, #pending do
    all = all and pending[i][1] == ARGV[from + i - 1] and pending[i][4] == 1
  end
  if all then
    redis.call('XACK', KEYS[1], group, unpack(ARGV, from, to))
    answers[1] = string.rep('1', count)
    return
  end
  -- Else one look may still be enough for most.
  local ours = {}
  if to > from then
    for _, each in ipairs(redis.call('XPENDING', KEYS[1], group, ARGV[from], ARGV[to], 10 * count, member)) do
      ours[each[1]] = each[4]
    end
  end
  local ids = {}
  for i = from, to do
    local id = ARGV[i]
    if (ours[id] or count_of(KEYS[1], id)) == 1 then
      ids[#ids + 1] = id
      answers[#answers + 1] = '1'
    else
      answers[#answers + 1] = '0'
    end
  end
  if #ids > 0 then redis.call('XACK', KEYS[1], group, unpack(ids)) end
end

-- What has more fields than a script can pass on is not copied: it stays where it is, and comes again when its lease
-- is over.
local MOST_WORDS = 7000

local function copied(key, id, delivered, failures)
  local entry = redis.call('XRANGE', key, id, id)[1]
  if not entry or #entry[2] > MOST_WORDS then return nil, entry end
  local fields, state, before = {}, nil, nil
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if name == 'pabal' then
      state = value
    elseif name == 'pabal-errors' then
      before = value
    else
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  local attempts, redrive, origin = string.match(state or '', '^(%d+) (%d+) (%S+)$')
  if origin and (#attempts > 9 or #redrive > 9) then attempts, redrive, origin = nil, nil, nil end
  attempts = (tonumber(attempts) or 0) + delivered
  if not origin or (origin == '-' and key == KEYS[1]) then origin = id end
  fields[#fields + 1] = 'pabal'
  fields[#fields + 1] = string.format('%d %s %s', attempts, redrive or '0', origin)
  if failures ~= '' then before = failures end
  if before then
    fields[#fields + 1] = 'pabal-errors'
    fields[#fields + 1] = before
  end
  return fields
end

local function again(key, id, fields, wait)
  if wait <= 0 then
    redis.call('XADD', KEYS[2], '*', unpack(fields))
    return
  end
  local time = redis.call('TIME')
  local token = (key == KEYS[1] and '1 ' or '2 ') .. id
  redis.call('HSET', KEYS[4], token, cmsgpack.pack(fields))
  redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + wait, token)
end

local function ended(which, id, count, what, wait, failures)
  local key = KEYS[which]
  if count_of(key, id) ~= count then return '0' end
  local answer = '1'
  if what ~= 'A' then
    local fields, stays = copied(key, id, what == 'T' and count or count - 1, failures)
    if stays then return '0' end
    if fields then
      again(key, id, fields, wait)
    else
      answer = '0'
    end
  end
  redis.call('XACK', key, group, id)
  if which == 2 then redis.call('XDEL', key, id) end
  return answer
end

local first = tonumber(ARGV[3])
if first > 0 then acknowledge_first(4, 3 + first) end
for i = 4 + first, #ARGV, 6 do
  answers[#answers + 1] = ended(
    tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5]
  )
end
return table.concat(answers)
