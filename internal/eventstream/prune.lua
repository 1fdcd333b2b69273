-- prune: removes members from a consumer group, except those that still hold an
-- event: that event would be lost to the group.
--
-- KEYS[1] outcomes (stream)
-- ARGV[1] the group's name
-- ARGV[2] ms for which a member must have been silent
-- ARGV[3] the only member in question; '' for any
--
-- Returns how many were removed.
local removed = 0
for _, reply in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local c = {}
  for i = 1, #reply, 2 do c[reply[i]] = reply[i + 1] end
  if c.pending == 0 and c.idle >= tonumber(ARGV[2]) and (ARGV[3] == '' or ARGV[3] == c.name) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
    removed = removed + 1
  end
end
return removed
