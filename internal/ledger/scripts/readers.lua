-- readers: how far the readers of the stream of outcomes are. Put before the scripts that
-- wait for them; see scripts.go.

-- readers calls each(group, entries that it was given and has not acknowledged, ms of the
-- oldest event that it has not finished or nil) for each reader of the stream. The relay
-- of webhooks has its own cursor, and the name 'webhooks'.
local function readers(stream, hooks, each)
  if redis.call('EXISTS', stream) == 0 then return end
  local function ms(id) return num(string.match(id, '^(%d+)')) end
  local function reader(name, pending, first, read)
    -- The oldest of what it was given and what it was not: a group that was set back
    -- (XGROUP SETID) has unread events before its pending ones.
    local oldest = first
    local unread = redis.call('XRANGE', stream, '(' .. read, '+', 'COUNT', 1)
    if unread[1] and (not oldest or ms(unread[1][1]) < ms(oldest)) then oldest = unread[1][1] end
    each(name, pending, oldest and ms(oldest))
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local g = {}
    for i = 1, #group, 2 do g[group[i]] = group[i + 1] end
    local pending, first = num(g.pending), nil
    if pending > 0 then first = redis.call('XPENDING', stream, g.name)[2] end
    reader(g.name, pending, first, g['last-delivered-id'])
  end
  local cursor = redis.call('HGET', hooks, 'cursor')
  if cursor then reader('webhooks', 0, nil, cursor) end
end
