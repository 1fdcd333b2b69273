package console

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
)

// The API's problems are in English. A page in Chinese says them in Chinese: field, fault
// and remedy. What has no words here is shown with what its status means before it.

// said is a problem as the API words it, and in Chinese.
type said struct {
	english *regexp.Regexp
	chinese string // its verbs are the groups of english, by number
}

// sentences are whole details, and faults of fields, which continue a field's name.
var sentences, faults = []said{
	in(`the token %s has the role %s, and this operation needs %s: use another token`, "token %[1]s 的角色是 %[2]s，该操作需要 %[3]s：请改用其他 token"),
	in(`out_order_no is %s, and the ledger of merchant %s has no such order: check both, or enqueue it first`, "商户 %[2]s 的台账中没有订单 %[1]s：请核对商户号和订单号，或先入队"),
	in(`state is exhausted, and forbids to withdraw the order: reopen it first, and withdraw it then`, "订单状态为 exhausted（已放弃），不能直接撤回：请先重新打开，再撤回"),
	in(`state is %s, and forbids to withdraw the order: nothing was changed`, "订单状态为 %[1]s，不能撤回：未作任何改动"),
	in(`state is %s, and forbids to reopen the order: nothing was changed`, "订单状态为 %[1]s，不能重新打开：未作任何改动"),
	in(`state is %s, and forbids to collect the order: nothing was changed`, "订单状态为 %[1]s，不能立即催收：未作任何改动"),
	in(`state is %s, and forbids to %s the order: nothing was changed`, "订单状态为 %[1]s，不允许该操作 (%[2]s)：未作任何改动"),
	in(`Redis does not serve: %s; the request can be sent again without harm`, "Redis 无法服务（%[1]s）：可安全重试"),
	in(`too many requests are under way on this worker: try again, or send fewer at once`, "该 worker 上的请求过多：请稍后再试"),
	in(`too many wrong tokens came from this address: wait, and check the token`, "该地址提交错误 token 的次数过多：请等一分钟，并检查 token"),
	in(`ADMIN_ADDR is not a loopback address and no token is set: set API_TOKENS_FILE or ADMIN_TOKEN on the worker, or bind ADMIN_ADDR to 127.0.0.1`, "ADMIN_ADDR 不是回环地址，且未设置 token：请在 worker 上设置 API_TOKENS_FILE 或 ADMIN_TOKEN，或将 ADMIN_ADDR 绑定到 127.0.0.1"),
	in(`mchid is %s, for which webhooks have never run: start a worker with BILLING_WEBHOOK_URL first`, "商户 %[1]s 从未启用过 webhook：请先启动设置了 BILLING_WEBHOOK_URL 的 worker"),
	in(`group is %s, and merchant %s has no such reader: GET /v1/readers lists them`, "商户 %[2]s 没有消费组 %[1]s：页面下方列出了现有的消费组"),
	in(`the books of that day are not closed: workers close each day at BOOKS_AT, and outcomes books closes any day that has ended`, "该日尚未对账：worker 每天在 BOOKS_AT 对账，也可用 outcomes books 对任意一个已过去的日期对账"),
	in(`the stored books of that day cannot be read, and workers do not compare the day again: outcomes books --mchid %s --date %s does`, "该日已保存的对账结果无法读取，worker 不会再次对账：请用 outcomes books --mchid %[1]s --date %[2]s 重新对账"),
	in(`a fault of this program; its log has more`, "程序故障，详见日志"),
}, []said{
	in(`is missing; say why, for those who ask later`, "未填写：请说明原因，供日后查询"),
	in(`is missing; name it, or set %s`, "未填写：请填写，或设置 %[1]s"),
	in(`is missing`, "未填写：请填写"),
	in(`is %s characters long; at most %s are allowed`, "有 %[1]s 个字符，超过上限 %[2]s：请缩短"),
	in(`is %s characters long; at most 32 digits are allowed`, "有 %[1]s 个字符，最多 32 位数字：请核对"),
	in(`is %s bytes long; at most 64 are allowed`, "有 %[1]s 个字节，超过上限 64：请缩短"),
	in(`is not valid UTF-8`, "不是有效的 UTF-8：请重新输入"),
	in(`has %s at position %s; only printable characters are allowed`, "第 %[2]s 个字符 %[1]s 不可打印：请删除，不能换行"),
	in(`has %s at position %s; only digits are allowed`, "第 %[2]s 个字符 %[1]s 不是数字：请核对"),
	in(`has %s at position %s; only digits, letters and %s are allowed`, "第 %[2]s 个字符是 %[1]s：只能使用数字、字母和 %[3]s"),
	in(`has %s at position %s; only digits, letters, %s are allowed`, "第 %[2]s 个字符是 %[1]s：只能使用数字、字母、%[3]s"),
	in(`cannot begin an out_order_no, which has %s at position %s; only digits, letters and %s are allowed`, "不可能是订单号的开头：第 %[2]s 个字符是 %[1]s，只能使用数字、字母和 %[3]s"),
	in(`cannot begin an out_order_no, which is %s characters long; at most %s are allowed`, "不可能是订单号的开头：有 %[1]s 个字符，订单号最多 %[2]s 个"),
	in(`is %s, and this Redis has no order and no worker of that merchant: check the number; GET /v1/merchants lists them`, "是 %[1]s，此 Redis 中没有该商户的订单或 worker：请核对商户号，“商户”页列出了现有的商户"),
	in(`is %s, for which the token %s is not: use a token of that merchant (mchids in API_TOKENS_FILE)`, "是 %[1]s，token %[2]s 不适用于该商户：请使用该商户的 token（API_TOKENS_FILE 中的 mchids）"),
	in(`is %s: without a token, call 127.0.0.1 or localhost; or set API_TOKENS_FILE on the worker`, "是 %[1]s：未设置 token 时，请用 127.0.0.1 或 localhost 访问，或在 worker 上设置 API_TOKENS_FILE"),
	in(`is %s: write queued, awaiting, paid, closed, rejected, withdrawn or exhausted`, "是 %[1]s，没有这种状态：请选择 queued、awaiting、paid、closed、rejected、withdrawn 或 exhausted"),
	in(`is %s: write a duration such as 2h, or leave it out`, "是 %[1]s，不是时长：请写成 2h 这样，或留空"),
	in(`is %s; write a time up to %s, or leave it out`, "是 %[1]s，超出范围：最长 %[2]s，或留空"),
	in(`lies in the future; it is when the user paid`, "晚于现在：请填写用户实际付款的时间"),
	in(`lies more than ten years back; it is when the user paid`, "早于十年前：请填写用户实际付款的时间"),
	in(`lies in the future: write the time of the first event that billing must get again`, "晚于现在：请填写需要重新投递的第一个事件的时间"),
	in(`is missing: write the time of the first event that billing must get again`, "未填写：请填写需要重新投递的第一个事件的时间"),
	in(`is missing: write whose webhooks`, "未填写：请选择商户"),
	in(`is not one that a page has returned: leave it out to begin with the first page`, "无效，可能已过期：请从第一页开始"),
	in(`belongs to pages with another filter: repeat the parameters of the first page, or leave it out`, "属于另一个筛选条件：请从第一页开始"),
	in(`leaves more orders to look through than can be counted in %s: narrow it, such as by mchid or state`, "范围过大，%[1]s 内统计不完：请缩小范围，例如指定商户或状态"),
	in(`cannot match an order: this Redis has no ledger of a merchant that it names and the token may use`, "不可能匹配任何订单：此 Redis 中没有该 token 可用的商户台账"),
	in(`and amount_to cannot be negative: write fen, or leave them out`, "不能为负数：请填写金额，或留空"),
	in(`is %s, which is not a time: write %s`, "是 %[1]s，不是有效的日期：请选择日期"),
	in(`is not a day: write it as 2026-01-01`, "不是有效的日期：请选择日期"),
	in(`is after to: from is the first day, and to the last one`, "晚于截止日：请选择不晚于截止日的日期"),
	in(`is unknown: write one of %s`, "没有这个值：只能是 %[1]s 之一"),
}

// in makes a said of a format, whose verbs stand for any text.
func in(format, chinese string) said {
	parts := strings.Split(format, "%s")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return said{regexp.MustCompile(`^(?s)` + strings.Join(parts, `(.*?)`) + `$`), chinese}
}

// fields are the names of fields as forms have them; others stand as they are.
var fields = map[string]string{
	"reason": "原因", "filter.reason": "筛选条件“原因”", "mchid": "商户号", "out_order_no": "订单号", "paid_at": "付款时间", "for": "暂停时长", "since": "起始时间",
	"state": "状态", "q": "订单号开头", "cursor": "页码", "filter": "筛选条件", "opened_from": "入队起始日", "opened_to": "入队截止日", "from": "入队起始日", "to": "入队截止日", "service_id": "服务ID",
	"code": "错误码", "amount_from": "金额", "amount_to": "金额", "action": "操作",
}

func translate(list []said, english string) (string, bool) {
	for _, s := range list {
		if m := s.english.FindStringSubmatch(english); m != nil {
			if len(m) == 1 {
				return s.chinese, true
			}
			args := make([]any, len(m)-1)
			for i, text := range m[1:] {
				args[i] = text
			}
			return fmt.Sprintf(s.chinese, args...), true
		}
	}
	return "", false
}

// Detail is what a problem says, in the language of the page.
func (v *view) Detail(p *api.Problem) string {
	if v.Lang != explain.Chinese || strings.ContainsFunc(p.Detail, func(r rune) bool { return unicode.Is(unicode.Han, r) }) && len(p.Errors) == 0 {
		return explain.Printable(p.Detail) // the console's own words are in the right language
	}
	if text, ok := translate(sentences, p.Detail); ok {
		return explain.Printable(text)
	}
	var parts []string
	for _, e := range p.Errors {
		text, ok := translate(faults, e.Detail)
		if !ok {
			parts = nil
			break
		}
		name, _, _ := strings.Cut(e.Field, "[") // one of a list
		label := cmp.Or(fields[name], fields[strings.TrimPrefix(name, "filter.")], name)
		parts = append(parts, label+"："+text)
	}
	if len(parts) > 0 {
		return explain.Printable(strings.Join(parts, "；"))
	}
	return explain.Printable(v.word("problem.status."+statusClass(p.Status), p.Detail))
}

// statusClass is the kind of a status that has no words of its own.
func statusClass(status int) string {
	switch {
	case status == http.StatusNotFound:
		return "absent"
	case status == http.StatusConflict:
		return "conflict"
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return "forbidden"
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return "later"
	}
	return "wrong"
}
