-- fill: counts finished orders that ended before the counters of the recovery existed, or
-- that a previous release has ended. One that is counted as it stands is left out; one that a
-- previous release has reopened and ended again is counted as it was before, and is recounted.
-- If its record was compact then, its tally is lost, and it counts twice. What those orders
-- do not tell counts as not known: the first cause, and whose doing a payment through
-- PayScore was.
--
-- KEYS[1] recovery (hash)   KEYS[2] words (hash)
-- KEYS[3], KEYS[4], … of each order the record (hash)
-- ARGV[1] JSON {
--   place   the field fill when the page was read, '' for none
--   next    its new value
-- }
--
-- Returns the field fill as it is now. If it differed from place, another worker has done
-- the page.
local a = cjson.decode(ARGV[1])
local now = clock()
local place = redis.call('HGET', KEYS[1], 'fill') or ''
if place ~= a.place then return place end
for i = 3, #KEYS do
  local r = FIELDS(KEYS[i], TALLY, k)
  if r.state and not OPEN[r.state] then filled(KEYS[i], r, KEYS[2]) end
  if r.state and not OPEN[r.state] and r.tally ~= tallytext(r) then
    local unknown = num(r.attempts) > 0 and not r.cause
    if unknown then r.cause = '_' end
    local write = {}
    recounted(KEYS[1], r, now, write)
    -- For a payment that comes later.
    if unknown and #write > 0 then
      write[#write + 1] = 'cause'
      write[#write + 1] = r.cause
    end
    if #write > 0 then redis.call('HSET', KEYS[i], unpack(write)) end
  end
end
redis.call('HSET', KEYS[1], 'fill', a.next)
return a.next
