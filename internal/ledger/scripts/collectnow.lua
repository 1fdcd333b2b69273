-- collectnow: brings the next collect of an open order forward, as far as the gap and the
-- windows allow. It uses up no step of the schedule. The claim checks the rate, the hold
-- and the pause.
--
-- KEYS[1] order (hash)   KEYS[2] due (zset)   KEYS[3] audit (stream)
-- KEYS[4] sweep (hash)
-- ARGV[1] JSON {
--   no       out_order_no
--   deed     [by, reason, token]; see audit.lua
--   gap, windows  as in claim
--   grace    ms to leave an order that is due now to the task that the caller enqueues
-- }
--
-- Returns {code, state, round, due, appid, service_id}:
--   'accepted'   it is due at the time that follows; or this very deed has done it before
--   'duplicate'  it is due as soon as it may be already, or a worker has it now; nothing
--                changed
--   'ended'      it is in a final state; nothing changed
--   'absent'     there is no such order
local a = cjson.decode(ARGV[1])
local now = clock()
local r = FIELDS(KEYS[1], state, next, due, since, lease, collected, round, appid, svc, acts)
local function reply(code) return { code, r.state, num(r.round), num(r.due), r.appid or '', r.svc or '' } end -- a compact record has other fields

if not r.state then return { 'absent', '', 0, 0, '', '' } end
if did(r.acts, a.deed) then return reply('accepted') end
if not OPEN[r.state] then return reply('ended') end
if r.lease and leased(r.lease, now, now) > 0 then return reply('duplicate') end

-- A query whose turn it is comes first: what the last call did is not known, or why it was
-- refused. Any other plan becomes recheck: query, and collect if it is still owed.
local plan, at = r.next, now
if plan == 'confirm' or plan == 'final' then plan = 'recheck' end
if plan == 'recheck' or plan == 'collect' then
  at = earliest(now, collectedat(KEYS[1], r.collected, now), a.gap, a.windows)
end
local due = math.min(at, num(r.due))
if plan == r.next and due == num(r.due) then return reply('duplicate') end

local write = { 'next', plan, 'due', due, 'off', 1 }
-- Billing has asked for a later time; the order's age counts from now.
if num(r.since) > now then write[7], write[8] = 'since', now end
if due <= now then
  -- A new round, so that no task that waits in the queue delays it.
  r.round = num(r.round) + 1
  write[#write + 1] = 'round'
  write[#write + 1] = r.round
end
reached(KEYS[4], now)
redis.call('HSET', KEYS[1], unpack(write))
redis.call('ZADD', KEYS[2], due <= now and now + a.grace or due, a.no)
acted(KEYS[1], KEYS[3], now, 'collect-now', a.no, a.deed, r.acts)
r.due = due
return reply('accepted')
