-- audit: the trail of what people have changed. Put before the scripts that do their
-- deeds; see scripts.go.
--
-- A deed d is {by, reason, token}: who changes something, why, and a token that is the
-- deed's own. A script that is repeated with it, because its answer was lost, finds the
-- token and does nothing a second time. An order's actions are in its record, as a JSON
-- array of [ms, by, action, reason, token], oldest first. The merchant's trail, a
-- stream, has all of them, and what concerns no single order.

-- ACTIONS is how many actions a record keeps, the newest.
local ACTIONS = 20

-- audit records a deed in the merchant's trail. detail says to what else it was done.
local function audit(trail, now, action, no, d, detail)
  redis.call('XADD', trail, '*', 'at', string.format('%.0f', now), 'by', d[1], 'action', action, 'no', no,
    'reason', d[2], 'detail', detail or '', 'token', d[3])
end

-- audited reports whether one of the newest deeds of a trail has the token. It is for
-- deeds that no record remembers.
local function audited(trail, token)
  for _, entry in ipairs(redis.call('XREVRANGE', trail, '+', '-', 'COUNT', 100)) do
    local f = entry[2]
    if f[#f] == token then return true end
  end
  return false
end

-- auditonce records a deed, unless the trail has it. d is empty in a call that belongs to a
-- deed which an earlier call has recorded.
local function auditonce(trail, now, action, d, detail)
  if d[1] and not audited(trail, d[3]) then audit(trail, now, action, '', d, detail) end
end

-- acted records a deed to an order, with the order and in the trail. acts is the
-- record's field of that name.
local function acted(order, trail, now, action, no, d, acts)
  local list = acts and cjson.decode(acts) or {}
  list[#list + 1] = { now, d[1], action, d[2], d[3] }
  if #list > ACTIONS then table.remove(list, 1) end
  redis.call('HSET', order, 'acts', cjson.encode(list))
  audit(trail, now, action, no, d)
end

-- did reports whether a record's actions have a deed.
local function did(acts, d)
  for _, act in ipairs(acts and cjson.decode(acts) or {}) do
    if act[5] == d[3] then return true end
  end
  return false
end
