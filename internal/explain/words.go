package explain

import (
	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// states says what each state means for the merchant who is owed money.
var states = map[tasks.State]text{
	tasks.Queued:    {"not tried yet", "尚未催收"},
	tasks.Awaiting:  {"tried; the money is not in", "已催收，款未到账"},
	tasks.Paid:      {"the money is in", "款已到账"},
	tasks.Closed:    {"ended at WeChat Pay without payment", "订单在微信支付已终止，未付款"},
	tasks.Rejected:  {"there is nothing to collect", "没有可收的款"},
	tasks.Withdrawn: {"stopped by billing", "计费系统已撤回"},
	tasks.Exhausted: {"given up; still owed", "已放弃催收，款仍未付"},
}

// reasons explains the reasons of final states, and why WeChat Pay need not be told of
// a withdrawn order. Any other reason is a code of WeChat Pay's.
var reasons = map[string]text{
	payscore.ReasonRevoked:      {"the merchant cancelled it", "商户已取消订单"},
	payscore.ReasonExpired:      {"the user never confirmed it", "用户一直未确认，订单已失效"},
	payscore.ReasonNotConfirmed: {"the user has not confirmed it", "用户尚未确认订单"},
	payscore.ReasonNotCompleted: {"the merchant has not completed it", "商户尚未完结订单"},
	payscore.ReasonNothingOwed:  {"it is finished, and nothing was owed", "订单已完成，没有需要支付的金额"},
	payscore.ReasonWrongService: {"it exists under another appid or service_id", "订单属于另一个 appid 或服务ID (service_id)"},
	collect.ReasonGaveUp:        {"GIVE_UP_AFTER has passed", "已超过期限 (GIVE_UP_AFTER)"},
	collect.ReasonPaid:          {"the user paid through WeChat Pay", "用户已通过微信支付付款"},
}

// plans says what the next step of each plan does.
var plans = map[ledger.Plan]text{
	ledger.Collect:  {"collect", "催收扣款"},
	ledger.Recheck:  {"query, and collect if it is still owed", "查询订单，仍待支付则催收扣款"},
	ledger.Confirm:  {"query whether the money is in", "查询款是否已到账"},
	ledger.Resolve:  {"query what the last call did", "查询上一次请求的结果"},
	ledger.Inspect:  {"query why it was refused", "查询被拒绝的原因"},
	ledger.Final:    {"query for the last time", "最后一次查询"},
	ledger.TellPaid: {"tell WeChat Pay that the user paid elsewhere", "同步给微信支付：用户已通过其他方式付款"},
}

// syncPlans is plans for a withdrawn order of which WeChat Pay must be told.
var syncPlans = map[ledger.Plan]text{
	ledger.Recheck: {"query, and tell WeChat Pay if it is still owed there", "查询订单，仍待支付则同步给微信支付"},
	ledger.Confirm: {"query whether WeChat Pay knows", "查询微信支付是否已获知"},
}

// plansDue says why an order with such a plan is not due sooner.
var plansDue = map[ledger.Plan]text{
	ledger.Collect:  {"the collect call was postponed to that time", "催收扣款推迟到该时间"},
	ledger.Recheck:  {"COLLECT_SCHEDULE says so", "按 COLLECT_SCHEDULE 的安排"},
	ledger.Confirm:  {"WeChat Pay needs time for the deduction (CONFIRM_SCHEDULE)", "微信支付扣款需要时间 (CONFIRM_SCHEDULE)"},
	ledger.Resolve:  {"the last call failed, and the next one waits", "上一次请求失败，等待重试"},
	ledger.Inspect:  {"WeChat Pay has just refused the order", "微信支付刚拒绝了该订单"},
	ledger.Final:    {"GIVE_UP_AFTER ends then", "届时达到期限 (GIVE_UP_AFTER)"},
	ledger.TellPaid: {"the sync call was postponed to that time", "同步推迟到该时间"},
}

var syncs = map[ledger.SyncState]text{
	ledger.SyncPending: {"WeChat Pay must still be told that the user paid elsewhere", "用户已通过其他方式付款，待同步给微信支付"},
	ledger.SyncDone:    {"WeChat Pay knows that the user paid elsewhere, and deducts no more", "微信支付已获知用户通过其他方式付款，不再扣款"},
	ledger.SyncFailed:  {"WeChat Pay could not be told, and may still deduct", "同步失败，微信支付仍可能扣款"},
	ledger.SyncNoNeed:  {"WeChat Pay need not be told", "无需同步给微信支付"},
}

// holds says why a merchant's calls are stopped.
var holds = map[ledger.HoldKind]text{
	ledger.HoldFault:     {"WeChat Pay refuses the merchant's signature", "微信支付拒绝该商户的签名"},
	ledger.HoldDown:      {"WeChat Pay does not answer properly", "微信支付应答异常"},
	ledger.HoldThrottled: {"WeChat Pay throttles every call", "微信支付对所有请求限频"},
}

// calls has the names of calls. Programs and logs use the English ones.
var calls = map[payscore.Call]text{
	payscore.CallCollect:      {"collect", "催收扣款"},
	payscore.CallQuery:        {"query", "查询"},
	payscore.CallSync:         {"sync", "同步"},
	payscore.CallNotification: {"notification", "回调通知"},
}

// anyCall has the words of a verdict after each call that is not named beside it.
const anyCall payscore.Call = ""

// verdicts says what a call came to, where no code says it better.
var verdicts = map[payscore.Verdict]map[payscore.Call]text{
	payscore.Accepted: {
		anyCall:           {"taken; that is no payment yet", "已受理，尚不代表已付款"},
		payscore.CallSync: {"taken; a query must show that WeChat Pay knows", "已受理，待查询确认微信支付已获知"},
	},
	payscore.InProgress: {
		anyCall:                   {"a deduction is running", "扣款处理中"},
		payscore.CallQuery:        {"changing, or paid in part", "处理中，或已部分支付"},
		payscore.CallNotification: {"WeChat Pay reports a payment in part", "微信支付通知：已部分支付"},
	},
	payscore.Declined: {anyCall: {"the deduction failed", "扣款失败"}},
	payscore.Owed: {
		anyCall:                   {"still owed", "仍待支付"},
		payscore.CallNotification: {"WeChat Pay reports a payment in part", "微信支付通知：已部分支付"},
	},
	payscore.Paid: {
		anyCall:                   {"paid", "已支付"},
		payscore.CallNotification: {"WeChat Pay reports that all is paid", "微信支付通知：已全部支付"},
	},
	payscore.Closed:         {anyCall: {"cancelled by the merchant, or never confirmed", "商户已取消，或用户一直未确认"}},
	payscore.NotCollectable: {anyCall: {"cannot be collected as it is", "订单当前状态不能催收"}},
	payscore.NotFound:       {anyCall: {"WeChat Pay knows no such order", "微信支付查不到该订单"}},
	payscore.BadRequest:     {anyCall: {"the order's data are malformed", "订单数据格式有误"}},
	payscore.Throttled:      {anyCall: {"too fast; not the order's fault", "请求过快，与订单无关"}},
	payscore.MerchantFault:  {anyCall: {"the merchant's set-up is refused; not the order's fault", "商户配置被拒绝，与订单无关"}},
	payscore.Unavailable: {
		anyCall:            {"WeChat Pay is in trouble; it may have taken effect", "微信支付系统异常，请求可能已生效"},
		payscore.CallQuery: {"WeChat Pay is in trouble", "微信支付系统异常"},
	},
	payscore.Unknown: {
		anyCall:            {"no answer to rely on; it may have taken effect", "没有可靠的应答，请求可能已生效"},
		payscore.CallQuery: {"no answer to rely on", "没有可靠的应答"},
	},
}

// codes explains WeChat Pay's codes and, where they are known, its detail codes, which
// say more.
var codes = map[string]text{
	"271316574": {"the deduction failed: balance, card or risk control", "扣款失败：余额、银行卡或风控"},
	"271300099": {"WeChat Pay's risk control refuses the user", "未通过微信支付的风险评估"},
	"271299627": {"the user has other overdue orders", "用户有其他逾期未支付的订单"},
	"268560785": {"the user's WeChat is in teen mode", "用户的微信处于青少年模式"},
	"271316656": {"refused: the amount is above the risk amount", "被拒绝：金额超过风险金额"},
	"271316598": {"refused: WeChat Pay has this number with other parameters", "被拒绝：同一单号的请求参数不一致"},
	"271316657": {"refused: it does not wait for payment", "被拒绝：订单不是待支付状态"},
	"271316754": {"a deduction is running", "扣款处理中"},
	"271302262": {"refused: its state does not allow it", "被拒绝：订单状态不允许"},
	"271302332": {"refused: still to be confirmed or completed", "被拒绝：订单尚未确认或尚未完结"},
	"271302333": {"refused: it is cancelled", "被拒绝：订单已取消"},
	"271317510": {"WeChat Pay knows no such order", "微信支付查不到该订单"},
	"268435472": {"too fast; not the order's fault", "请求过快，与订单无关"},
	"268503786": {"no permission for this appid and service_id; not the order's fault", "该 appid 和服务ID 没有权限，与订单无关"},
	"270924332": {"the signature is refused; not the order's fault", "签名被拒绝，与订单无关"},
	"271302144": {"the mchid is not known; not the order's fault", "商户号不存在，与订单无关"},
	"271302149": {"mchid and appid are not bound together; not the order's fault", "商户号与 appid 未绑定，与订单无关"},
	"268435464": {"a parameter is out of range", "参数超出范围"},

	"PARAM_ERROR":         {"the order's data are malformed", "订单数据格式有误"},
	"INVALID_REQUEST":     {"refused: against one of WeChat Pay's rules", "被拒绝：不符合微信支付的业务规则"},
	"INVALID_ORDER_STATE": {"refused: its state does not allow it", "被拒绝：订单状态不允许"},
	"ORDER_DONE":          {"refused: it is finished, says an error", "被拒绝：错误应答称订单已完成"},
	"ORDER_CANCELED":      {"refused: it is cancelled, says an error", "被拒绝：错误应答称订单已取消"},
	"SIGN_ERROR":          {"the signature is refused: key, serial number or clock; not the order's fault", "签名被拒绝：请检查私钥、证书序列号和时钟，与订单无关"},
	"NO_AUTH":             {"mchid, appid and service_id are not bound together, or PayScore is not open; not the order's fault", "商户号、appid 与服务ID 未绑定，或未开通支付分，与订单无关"},
	"TRADE_ERROR":         {"the deduction failed: balance, card or risk control", "扣款失败：余额、银行卡或风控"},
	"ORDER_NOT_EXIST":     {"WeChat Pay knows no such order", "微信支付查不到该订单"},
	"FREQUENCY_LIMITED":   {"too fast; not the order's fault", "请求过快，与订单无关"},
	"RATELIMIT_EXCEEDED":  {"too fast; not the order's fault", "请求过快，与订单无关"},
	"SYSTEM_ERROR":        {"WeChat Pay is in trouble; it may have taken effect", "微信支付系统异常，请求可能已生效"},
}
