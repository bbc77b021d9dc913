-- Take over deliveries whose owners have given no sign of life for as long as their lease lasts, and ours.
--
-- KEYS: the stream, the group's side stream. ARGV: the group, the member, milliseconds of its lease (0: whatever the
-- owners' are), how many at most, what begins the names of members, before their leases, milliseconds after which a
-- silent member with nothing is forgotten.
-- Answers for each 1 or 2 for the stream, its id, how often it was delivered with this one, and its fields.
local PAGE = 1000
local group, member, lease, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local ours = #ARGV[5]
local taken = {}

local function lease_of(owner)
  if lease == 0 or string.sub(owner, 1, ours) ~= ARGV[5] then return lease end
  return tonumber(string.match(owner, '^(%d+)-', ours + 1) or lease)
end

local function take_over(which, key)
  local from = '-'
  while true do
    local page = redis.call('XPENDING', key, group, 'IDLE', lease, from, '+', PAGE)
    for _, pending in ipairs(page) do
      if #taken >= most then return end
      if pending[3] >= lease_of(pending[2]) then
        local entry = redis.call('XCLAIM', key, group, member, lease, pending[1])[1]
        if entry then taken[#taken + 1] = {which, entry[1], pending[4] + 1, entry[2]} end
      end
      from = '(' .. pending[1]
    end
    if #page < PAGE then return end
  end
end

for which, key in ipairs(KEYS) do
  take_over(which, key)
  for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', key, group)) do
    -- name, its name, pending, how many, idle, milliseconds
    if found[4] == 0 and found[6] > tonumber(ARGV[6]) and string.sub(found[2], 1, ours) == ARGV[5] then
      redis.call('XGROUP', 'DELCONSUMER', key, group, found[2])
    end
  end
end
return taken
