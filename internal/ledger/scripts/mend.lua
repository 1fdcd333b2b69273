-- mend: moves back due times that were written before Redis's clock went back, one page
-- of the due index at a time, the earliest first. Times that billing has asked for
-- stay. An order that is moved too far is only tried too early: claims keep the gap, the
-- window and the rate.
--
-- After the queue was lost, no clock has gone back: ms is 0, and mend only takes back the
-- grace that sweeps leave to tasks, of orders that are due now or soon.
--
-- KEYS[1] due (zset)   KEYS[2] sweep (hash)
-- KEYS[3], KEYS[4], … of each order the record (hash) and the log (list)
-- ARGV[1] JSON {
--   mend    the field mend when the page was read: "<ms> due <score> <n>": the page
--           begins after n members of the index with that score
--   nos     out_order_no of each order of the page
--   scores  their scores
--   last    true where the index has no more pages
-- }
--
-- Returns {the new value of the field mend; how many orders were moved}. The next page
-- is that of the field; after the last page it is hookmend's turn, or '' if no clock has
-- gone back. If the field differs
-- from mend, another worker has done the page.
local a = cjson.decode(ARGV[1])
local now = clock()
local mend = redis.call('HGET', KEYS[2], 'mend') or ''
if mend ~= a.mend then return { mend, 0 } end
local by, from, passed = string.match(mend, '^(%d+) due (%S+) (%d+)$')
by, passed = num(by), num(passed)

-- written returns when an entry of a log was written; see stamped.
local function written(entry)
  local first = string.byte(entry, 1)
  if first < 128 then return num(string.match(entry, '^(%d+)')) end
  local t = 0
  for i = 2, 6 do t = t * 256 + string.byte(entry, i) end
  return t + 1577836800000
end

-- settled returns the latest time of the newest entries of a log, or nil if it has none.
-- Notifications put entries before the entry of the call that set the due time.
local function settled(log)
  local latest = nil
  for _, entry in ipairs(redis.call('LRANGE', log, 0, 4)) do latest = math.max(latest or 0, written(entry)) end
  return latest
end

-- ours reports whether a due time that has not come was written by the clock that was
-- ahead: when the order was postponed, when its last call was settled, or when it was
-- opened. wish is the time that billing has asked for.
local function ours(r, log)
  local past = r.past and cjson.decode(r.past) or {}
  local reopened = past[#past] and past[#past].reopened
  local since = num(r.since)
  local made = since == num(r.opened) or since == num(reopened) or r.sync == 'pending'
  local wish = made and 0 or since
  local at = settled(log)
  if not at then return made or num(r.due) ~= since, wish end
  return r.off or at > now or (made and since > now), wish
end

local moved, stayed, edge = 0, 0, nil
for i, no in ipairs(a.nos) do
  local key, score = KEYS[2 * i + 1], num(a.scores[i])
  local to = score
  if num(redis.call('ZSCORE', KEYS[1], no)) == score then
    local r = FIELDS(key, due, since, opened, past, lease, sync, off, collected)
    if r.lease and num(r.lease) > now + LONGEST_LEASE then
      -- Its call may be under way, and by may be more than the clock has gone back
      -- since the claim: use the longest possible lease, as in leased.
      to = now + LONGEST_LEASE
      -- It was due when it was claimed.
      redis.call('HSET', key, 'lease', to, 'due', math.min(num(r.due), to))
      if num(r.collected) > now + LONGEST_LEASE then recollected(key, r.collected, to) end
    elseif num(r.due) > now then
      to = num(r.due)
      local mine, wish = false, 0
      if by > 0 then mine, wish = ours(r, KEYS[2 * i + 2]) end
      if mine then
        to = math.max(to - by, wish)
        redis.call('HSET', key, 'due', to)
      end
    else
      to = math.max(num(r.lease), now)
    end
    -- A sweep enqueues it when it is due, and not a grace later: its task may have been
    -- claimed while the order seemed to be due later.
    if to < score then
      redis.call('ZADD', KEYS[1], to, no)
      moved = moved + 1
    end
  end
  -- The members of the page's last score that are still there are skipped.
  if a.scores[i] ~= edge then edge, stayed = a.scores[i], a.scores[i] == from and passed or 0 end
  if to >= score then stayed = stayed + 1 end
end
mend = by .. ' due ' .. (edge or from) .. ' ' .. stayed
if a.last and by == 0 then
  redis.call('HDEL', KEYS[2], 'mend')
  return { '', moved }
end
if a.last then mend = by .. ' hookdue ' .. now .. ' 0' end
redis.call('HSET', KEYS[2], 'mend', mend)
return { mend, moved }
