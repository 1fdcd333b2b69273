package console

// The words of the pages that package explain does not have, by language. Every key stands
// in both.

var english = map[string]string{
	"brand": "PayScore collector", "nav": "Pages", "skip": "Skip to the content", "foot": "Times are of Asia/Shanghai; this page is of %s.",
	"nav.overview": "Overview", "nav.orders": "Orders", "nav.merchants": "Merchants", "nav.webhooks": "Webhooks and readers", "nav.trail": "Trail",
	"find.label": "Order number", "find.do": "Find",
	"role.viewer": "(viewer)", "role.billing": "(billing)", "role.operator": "(operator)", "role.needs": "This needs a token with a higher role: %s.",
	"signout": "Sign out", "reason": "Reason, for those who ask later", "pages": "Pages of the list", "pages.first": "First page", "pages.next": "Next page",
	"yes": "yes", "no": "no", "since": "since", "due.now": "due now", "rate": "%s a second", "rate.less": "%s a second, of %s",

	"signin.title": "Sign in", "signin.token": "Token", "signin.do": "Sign in",
	"signin.note":  "ADMIN_TOKEN, or a token of API_TOKENS_FILE. The sign-in ends after 12 hours, or when you sign out.",
	"signin.wrong": "This token is not valid here. Check it, or make one with: worker token NAME --role ROLE", "signin.too_many": "Too many wrong tokens came from this address. Wait a minute, and check the token.",

	"problem.title": "This did not work", "problem.note": "HTTP status %d. Nothing else was changed; your browser's Back leads to the form.",
	"problem.nothing_here": "There is no such page.", "problem.unavailable": "Redis does not serve, or did not answer in time. Try again in a few seconds.",
	"problem.other_merchant": "Your token is not for merchant %s.", "problem.moment": "The date and time are missing or incomplete.",
	"problem.too_many_live": "Too many pages are live on this worker.",

	"state.queued": "queued", "state.awaiting": "awaiting", "state.paid": "paid", "state.closed": "closed", "state.rejected": "rejected", "state.withdrawn": "withdrawn", "state.exhausted": "exhausted",
	"hold.none": "no hold", "hold.fault": "WeChat Pay refuses every call", "hold.down": "WeChat Pay does not answer properly", "hold.throttled": "WeChat Pay throttles every call",

	"th.state": "State", "th.orders": "Orders", "th.age": "Age", "th.owed": "Still owed", "th.cause": "Cause", "th.merchant": "Merchant", "th.now": "What stops or slows it", "th.due": "Due now", "th.oldest": "Oldest due for",
	"th.rate": "Rate of calls", "th.workers": "Workers", "th.worker": "Worker", "th.seen": "Last seen", "th.alive": "Alive", "th.order": "Order", "th.total": "Total", "th.paid": "Paid", "th.opened": "Opened", "th.then": "Next, or ended", "th.words": "Last error, or why",
	"th.events": "Events", "th.oldest_event": "Oldest", "th.failures": "Failures", "th.next_try": "Next try", "th.last_failure": "Last failure",
	"th.reader": "Reader", "th.unread": "Unread", "th.pending": "Pending", "th.unfinished": "Oldest unfinished", "th.members": "Members",

	"overview.attention": "Needs attention", "overview.webhooks": "Webhooks of merchant %s", "overview.webhooks_wait": "%s orders have final states that billing has not accepted; the oldest waits since %s.",
	"overview.others": "And %d more orders.", "overview.calm": "No order needs attention: none was paid after its end, has amounts that differ, or a failed sync.",
	"overview.attention_note": "Orders that were paid after their end, whose amounts differ, or whose sync failed; and webhooks that wait for more than a minute.",
	"overview.more_ended":     "Of each final state but paid, the newest 2,000 orders of a merchant are looked at.",
	"overview.owed":           "Still owed", "overview.owed_note": "%s open orders", "overview.unknown": "(of %s no amount is known)",
	"overview.today": "Came in today", "overview.week": "Came in, 7 days", "overview.month": "Came in, 30 days", "overview.orders": "%s orders became paid",
	"overview.rate": "Recovery rate", "overview.rate_note": "%s paid of %s orders that have ended",
	"overview.counting": "The amounts are being counted …", "overview.as_of": "Amounts were counted %s; days begin at midnight in Shanghai, and today is one of them.",
	"overview.more_open": "There are more open orders than were read: amounts and ages are those of %s.", "overview.more_paid": "There are more paid orders in these 30 days than were read: what came in is at least this.",
	"overview.states": "Orders by state", "overview.states_note": "Orders that are in the ledger now; finished ones leave it after RETENTION.",
	"overview.ages": "Still owed, by age", "overview.to_day": "up to 1 day", "overview.to_days": "up to %d days", "overview.older": "more than %d days",
	"overview.ages_note": "Open orders, since billing's owed_since or else since they were enqueued. The amount is WeChat Pay's total, or billing's, less what was paid.",
	"overview.causes":    "Causes of the last failures", "overview.unanswered": "no answer to rely on", "overview.no_causes": "No open order has a failed call among its last ones.",

	"filter.q": "Number begins with", "filter.any": "any", "filter.reason": "Reason, exactly", "filter.from": "Opened from", "filter.to": "Opened to", "filter.do": "Show", "filter.clear": "Clear",
	"orders.exact": "With exactly this number", "orders.caption": "%d orders on this page.", "orders.more": "There may be more.", "orders.none_yet": "None found so far: the next page continues the search.",
	"orders.note": "Merchant by merchant: open orders first, in no order, then those of each final state, newest first.",
	"orders.next": "next", "orders.ended": "ended", "orders.csv": "All as CSV", "orders.excel": "All for Excel", "orders.csv_note": "Every order of the filter, not only this page.",

	"order.absent": "There is no order %s in the ledger of merchant %s.", "order.facts": "What is known", "order.story": "What has happened", "order.actions": "What you can do",
	"order.copy": "Copy Request-ID", "order.copied": "Copied",
	"order.collect": "Collect now", "order.collect_note": "Brings the next attempt forward as far as MIN_GAP, the collection window, the rate, holds and a pause allow. It uses up no step of the schedule.",
	"order.withdraw": "Withdraw", "order.tell": "WeChat Pay", "order.tell_no": "Do not tell it. The collector stops; WeChat Pay continues to deduct by itself.",
	"order.tell_yes": "Tell it that the user paid elsewhere. WeChat Pay stops deducting; this cannot be undone.", "order.paid_at": "When the user paid (Asia/Shanghai)",
	"order.reopen": "Reopen", "order.reopen_note": "The order is collected again. It is queried first, so that nothing is collected that was paid.",
	"done.withdraw": "The order is withdrawn.", "done.reopen": "The order is open again.", "done.collect-now": "The next attempt was brought forward as far as possible; below stands when it comes.",
	"done.pause": "Collecting is paused. Queries, notifications, withdrawals and syncs continue.", "done.resume": "Collecting is resumed. Orders that the pause put off are due now.",
	"done.retry": "The deliveries are due now.", "done.replay": "The final states since that time are delivered again, with the same ids.", "done.destroy": "The reader is forgotten.",

	"merchant.title": "Merchant %s", "merchant.absent": "There is no merchant %s in the ledger.", "merchant.fine": "Nothing stops or slows it.", "merchant.none": "No merchant has a ledger yet: enqueue an order.", "merchant.more": "%d more merchants are not shown.",
	"merchant.hold": "Hold", "merchant.probe": "Next probe", "merchant.service_held": "Service held", "merchant.paused": "Paused", "merchant.until_resumed": "until it is resumed", "merchant.until": "until",
	"merchant.window": "Collection window", "merchant.window_open": "open", "merchant.window_closed": "closed", "merchant.changes": "changes", "merchant.hooks": "Orders with webhooks that wait",
	"merchant.pause": "Pause collecting", "merchant.pause_again": "Replace the pause", "merchant.pause_note": "No collect call is made for the merchant. Queries, notifications, withdrawals and syncs continue, and orders keep their attempts.",
	"merchant.for": "For how long", "merchant.for_m": "%d minutes", "merchant.for_h": "%d hours",
	"merchant.resume": "Resume collecting", "merchant.resume_note": "Orders that the pause has put off are due at once; the rate spaces their calls.",
	"merchant.settings": "Settings in force", "merchant.settings_note": "Of the worker that reported last. Secrets are not among them.", "merchant.no_settings": "No worker has reported in the last day.", "merchant.no_workers": "No worker has reported in the last day.", "merchant.stopped": "stopped",

	"hooks.waiting": "Orders whose webhooks wait", "hooks.retry": "Retry", "hooks.retry_one": "Retry the webhooks of %s", "hooks.actions": "Retry all, or replay", "hooks.retry_all": "Retry all that wait",
	"hooks.retry_note": "Every webhook that waits is delivered now, instead of at its next try.", "hooks.replay": "Replay", "hooks.replay_note": "Final states since a time are delivered once more, with the ids that they had. A receiver that has kept them ignores those.", "hooks.since": "Since (Asia/Shanghai)",
	"hooks.readers": "Readers of the events", "readers.destroy": "Destroy", "readers.destroy_note": "Forgets the reader's place, so that events that only it has not read can leave Redis. A reader that runs is not destroyed.",
	"trail.note": "What people and programs have changed, newest first.",
}

var chinese = map[string]string{
	"brand": "支付分催收", "nav": "页面", "skip": "跳到正文", "foot": "时间均为 Asia/Shanghai，本页生成于 %s。",
	"nav.overview": "概览", "nav.orders": "订单", "nav.merchants": "商户", "nav.webhooks": "webhook 与消费组", "nav.trail": "操作记录",
	"find.label": "商户服务订单号", "find.do": "查找",
	"role.viewer": "（viewer）", "role.billing": "（billing）", "role.operator": "（operator）", "role.needs": "需要更高角色的 token：%s。",
	"signout": "退出登录", "reason": "原因（供日后查询）", "pages": "列表分页", "pages.first": "第一页", "pages.next": "下一页",
	"yes": "是", "no": "否", "since": "自", "due.now": "已到期", "rate": "每秒 %s 次", "rate.less": "每秒 %s 次，上限 %s",

	"signin.title": "登录", "signin.token": "token", "signin.do": "登录",
	"signin.note":  "使用 ADMIN_TOKEN，或 API_TOKENS_FILE 中的 token。登录 12 小时后失效，也可随时退出。",
	"signin.wrong": "此 token 无效。请检查，或生成新的：worker token NAME --role ROLE", "signin.too_many": "该地址提交错误 token 的次数过多。请等一分钟，并检查 token。",

	"problem.title": "操作未成功", "problem.note": "HTTP 状态码 %d。没有其他改动，可用浏览器的“后退”回到表单。",
	"problem.nothing_here": "没有这个页面。", "problem.unavailable": "Redis 无法服务，或未及时应答。请几秒后再试。",
	"problem.other_merchant": "您的 token 不适用于商户 %s。", "problem.moment": "日期和时间缺失或不完整。",
	"problem.too_many_live": "该 worker 上实时更新的页面过多。",

	"state.queued": "queued 待催收", "state.awaiting": "awaiting 待付款", "state.paid": "paid 已支付", "state.closed": "closed 已关闭", "state.rejected": "rejected 无款可收", "state.withdrawn": "withdrawn 已撤回", "state.exhausted": "exhausted 已放弃",
	"hold.none": "无", "hold.fault": "微信支付拒绝所有请求", "hold.down": "微信支付应答异常", "hold.throttled": "微信支付对所有请求限频",

	"th.state": "状态", "th.orders": "订单数", "th.age": "账龄", "th.owed": "未付金额", "th.cause": "原因", "th.merchant": "商户号", "th.now": "停止或放慢的原因", "th.due": "已到期订单", "th.oldest": "最久已到期",
	"th.rate": "请求速率", "th.workers": "worker", "th.worker": "worker", "th.seen": "最近出现", "th.alive": "运行中", "th.order": "商户服务订单号", "th.total": "总金额", "th.paid": "已付", "th.opened": "入队", "th.then": "下一步或终态", "th.words": "最近错误或原因",
	"th.events": "事件数", "th.oldest_event": "最早事件", "th.failures": "连续失败", "th.next_try": "下次重试", "th.last_failure": "最近失败",
	"th.reader": "消费组", "th.unread": "未读", "th.pending": "未确认", "th.unfinished": "最早未完成", "th.members": "成员数",

	"overview.attention": "需要处理", "overview.webhooks": "商户 %s 的 webhook", "overview.webhooks_wait": "%s 笔订单的终态计费系统尚未接收，最早的自 %s。",
	"overview.others": "另有 %d 笔订单。", "overview.calm": "没有需要处理的订单：没有终态之后又付款、金额矛盾或同步失败的订单。",
	"overview.attention_note": "终态之后又付款、金额矛盾或同步失败的订单，以及等待超过一分钟的 webhook。",
	"overview.more_ended":     "除 paid 外，每个商户每种终态只检查最近 2,000 笔订单。",
	"overview.owed":           "未付金额", "overview.owed_note": "%s 笔未结束的订单", "overview.unknown": "（其中 %s 笔金额未知）",
	"overview.today": "今日到账", "overview.week": "近 7 天到账", "overview.month": "近 30 天到账", "overview.orders": "%s 笔订单转为 paid",
	"overview.rate": "回收率", "overview.rate_note": "已结束的订单中，已支付 %s 笔，共 %s 笔",
	"overview.counting": "金额统计中……", "overview.as_of": "金额统计于 %s；每天从上海时间零点开始，含今日。",
	"overview.more_open": "未结束的订单多于读取的数量：金额和账龄只统计了 %s 笔。", "overview.more_paid": "近 30 天已支付的订单多于读取的数量：实际到账不少于此数。",
	"overview.states": "各状态订单数", "overview.states_note": "台账中现存的订单；已结束的订单在 RETENTION 之后移出台账。",
	"overview.ages": "未付金额（按账龄）", "overview.to_day": "1 天以内", "overview.to_days": "%d 天以内", "overview.older": "超过 %d 天",
	"overview.ages_note": "未结束的订单；账龄从计费系统填写的 owed_since 起算，未填写则从入队起算。金额为微信支付的总金额（没有则取计费系统的金额）减去已付。",
	"overview.causes":    "最近失败的原因", "overview.unanswered": "没有可靠的应答", "overview.no_causes": "未结束的订单最近没有失败的请求。",

	"filter.q": "订单号开头", "filter.any": "不限", "filter.reason": "原因（完全一致）", "filter.from": "入队起始日", "filter.to": "入队截止日", "filter.do": "查询", "filter.clear": "清除",
	"orders.exact": "订单号完全一致", "orders.caption": "本页 %d 笔订单。", "orders.more": "可能还有更多。", "orders.none_yet": "尚未找到：下一页继续查找。",
	"orders.note": "按商户排列：先是未结束的订单（无特定顺序），再是各终态的订单，最近的在前。",
	"orders.next": "下一步", "orders.ended": "终态", "orders.csv": "全部导出 CSV", "orders.excel": "全部导出到 Excel", "orders.csv_note": "导出符合条件的全部订单，不限本页。",

	"order.absent": "没有订单 %s，商户 %s 的台账中查不到。", "order.facts": "订单信息", "order.story": "经过", "order.actions": "可执行的操作",
	"order.copy": "复制 Request-ID", "order.copied": "已复制",
	"order.collect": "立即催收", "order.collect_note": "在 MIN_GAP、催收时段、速率、停止和暂停允许的范围内，将下一次催收提前。不消耗催收计划的步骤。",
	"order.withdraw": "撤回", "order.tell": "是否同步给微信支付", "order.tell_no": "不同步。本系统停止催收，微信支付会继续自行扣款。",
	"order.tell_yes": "同步：用户已通过其他方式付款。微信支付停止扣款，不可撤销。", "order.paid_at": "用户付款时间（Asia/Shanghai）",
	"order.reopen": "重新打开", "order.reopen_note": "重新催收该订单。先查询订单，已付款的不会再次催收。",
	"done.withdraw": "订单已撤回。", "done.reopen": "订单已重新打开。", "done.collect-now": "下一次催收已尽可能提前，时间见下方。",
	"done.pause": "催收已暂停。查询、通知、撤回和同步照常。", "done.resume": "催收已恢复。因暂停而推迟的订单现在到期。",
	"done.retry": "已安排立即投递。", "done.replay": "该时间以来的终态将以相同 id 重新投递。", "done.destroy": "消费组已删除。",

	"merchant.title": "商户 %s", "merchant.absent": "台账中没有商户 %s。", "merchant.fine": "催收正常，没有停止或放慢。", "merchant.none": "还没有商户的台账：请先入队订单。", "merchant.more": "另有 %d 个商户未显示。",
	"merchant.hold": "停止请求", "merchant.probe": "下次探测", "merchant.service_held": "停止的服务", "merchant.paused": "暂停", "merchant.until_resumed": "直到恢复", "merchant.until": "直到",
	"merchant.window": "催收时段", "merchant.window_open": "时段内", "merchant.window_closed": "时段外", "merchant.changes": "变化时间", "merchant.hooks": "webhook 等待中的订单数",
	"merchant.pause": "暂停催收", "merchant.pause_again": "更改暂停", "merchant.pause_note": "不再为该商户发起催收扣款。查询、通知、撤回和同步照常，订单的催收次数不变。",
	"merchant.for": "暂停多久", "merchant.for_m": "%d 分钟", "merchant.for_h": "%d 小时",
	"merchant.resume": "恢复催收", "merchant.resume_note": "因暂停而推迟的订单立即到期，请求按速率依次发出。",
	"merchant.settings": "当前设置", "merchant.settings_note": "来自最近报到的 worker，不含密钥。", "merchant.no_settings": "最近一天没有 worker 报到。", "merchant.no_workers": "最近一天没有 worker 报到。", "merchant.stopped": "已停止",

	"hooks.waiting": "webhook 等待中的订单", "hooks.retry": "重试", "hooks.retry_one": "重试 %s 的 webhook", "hooks.actions": "全部重试或重放", "hooks.retry_all": "全部重试",
	"hooks.retry_note": "等待中的 webhook 立即投递，不等下次重试。", "hooks.replay": "重放", "hooks.replay_note": "将某个时间以来的终态以原有 id 再投递一次，保存过的接收方会忽略。", "hooks.since": "起始时间（Asia/Shanghai）",
	"hooks.readers": "事件的消费组", "readers.destroy": "删除", "readers.destroy_note": "删除该消费组的读取位置，只有它未读的事件即可移出 Redis。正在运行的消费组不会被删除。",
	"trail.note": "人员和程序做过的改动，最近的在前。",
}
