-- record: records a deed in the merchant's trail that no other script does.
--
-- KEYS[1] audit (stream)
-- ARGV[1] action   ARGV[2] out_order_no, or ''   ARGV[3] detail
-- ARGV[4] by   ARGV[5] reason   ARGV[6] token
--
-- Returns 1 if it was recorded now, 0 if the trail has it already.
if audited(KEYS[1], ARGV[6]) then return 0 end
audit(KEYS[1], (clock()), ARGV[1], ARGV[2], { ARGV[4], ARGV[5], ARGV[6] }, ARGV[3])
return 1
