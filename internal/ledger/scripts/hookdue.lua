-- hookdue: selects orders whose webhooks are due. Put before the scripts that move
-- webhooks on; see scripts.go.

-- handout adds to reply out_order_no and round of orders whose delivery is due, at most
-- take, and makes each due again only after grace.
local function handout(reply, hooks, hookdue, now, take, grace)
  if take <= 0 then return reply end
  for _, no in ipairs(redis.call('ZRANGEBYSCORE', hookdue, '-inf', now, 'LIMIT', 0, take)) do
    local token, lease = string.match(redis.call('HGET', hooks, 'lease:' .. no) or '', '^(%S+) (%d+)$')
    local rest, ending = leased(lease, now, now)
    if ending then redis.call('HSET', hooks, 'lease:' .. no, token .. ' ' .. ending) end
    if rest > 0 then
      redis.call('ZADD', hookdue, now + rest, no)
    else
      redis.call('ZADD', hookdue, now + grace, no)
      reply[#reply + 1] = no
      reply[#reply + 1] = redis.call('HINCRBY', hooks, 'round', 1)
    end
  end
  return reply
end
