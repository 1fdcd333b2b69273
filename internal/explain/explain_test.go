package explain

import (
	"math"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
)

func TestCause(t *testing.T) {
	for name, c := range map[string]struct {
		entry ledger.Entry
		want  string
	}{
		"the detail code says it best": {
			ledger.Entry{Call: "collect", Verdict: "not_collectable", HTTPStatus: 400, Code: "INVALID_REQUEST", DetailCode: "271316657", Message: "单据状态错误"},
			"refused: it does not wait for payment"},
		"then the code": {
			ledger.Entry{Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "1", Message: "扣款失败"},
			"the deduction failed: balance, card or risk control"},
		"an unknown code, with WeChat Pay's words": {
			ledger.Entry{Call: "collect", Verdict: "not_collectable", HTTPStatus: 400, Code: "NEW", DetailCode: "2", Message: "新的\x1b[31m错误"},
			"cannot be collected as it is: 新的?[31m错误"},
		"behind a 5xx a code decides nothing": {
			ledger.Entry{Call: "collect", Verdict: "unavailable", HTTPStatus: 500, Code: "TRADE_ERROR", DetailCode: "271316574", Message: "系统异常"},
			"WeChat Pay is in trouble; it may have taken effect"},
		"no answer to a collect": {
			ledger.Entry{Call: "collect", Verdict: "unknown", Message: "no answer within 15s"},
			"no answer to rely on; it may have taken effect: no answer within 15s"},
		"no answer to a query, which has no effect": {
			ledger.Entry{Call: "query", Verdict: "unknown", Message: "no answer within 15s"},
			"no answer to rely on: no answer within 15s"},
		"a part": {ledger.Entry{Call: "notification", Verdict: "in_progress"}, "WeChat Pay reports a payment in part"},
		"told":   {ledger.Entry{Call: "sync", Verdict: "accepted", HTTPStatus: 200}, "taken; a query must show that WeChat Pay knows"},
		"a verdict of a later release": {
			ledger.Entry{Call: "query", Verdict: "wonderful"}, "wonderful"},
		"a long message is cut": {
			ledger.Entry{Call: "query", Verdict: "unavailable", HTTPStatus: 502, Message: strings.Repeat("长", 100)},
			"WeChat Pay is in trouble: " + strings.Repeat("长", 29) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Teller{}).Cause(c.entry); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"", 5, ""}, {"12345", 5, "12345"}, {"123456", 5, "1234…"},
		{"订单号", 6, "订单号"}, {"订单号", 5, "订单…"}, {"订单号", 4, "订…"}, {"a订单号", 4, "a订…"},
		{"👨‍👩‍👧‍👦👨‍👩‍👧‍👦", 3, "👨‍👩‍👧‍👦…"}, // one character of two columns, each
	} {
		if got := Fit(c.text, c.n); got != c.want || Width(got) > c.n {
			t.Errorf("Fit(%q, %d) is %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

func TestYuan(t *testing.T) {
	for fen, want := range map[int64]string{
		0: "¥0.00", 5: "¥0.05", 99: "¥0.99", 100: "¥1.00", 1230: "¥12.30", 123456789: "¥1234567.89",
		-1: "-¥0.01", -1230: "-¥12.30", math.MinInt64: "-¥92233720368547758.08",
	} {
		if got := Yuan(fen); got != want {
			t.Errorf("Yuan(%d) is %s, want %s", fen, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	c := Teller{Now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Zone: time.UTC}
	for _, tt := range []struct {
		ago  time.Duration
		want string
	}{
		{0, "now"},
		{500 * time.Millisecond, "now"},
		{time.Second, "1 second ago"},
		{119 * time.Second, "119 seconds ago"},
		{2 * time.Minute, "2 minutes ago"},
		{119*time.Minute + 59*time.Second, "119 minutes ago"},
		{47 * time.Hour, "47 hours ago"},
		{48 * time.Hour, "2 days ago"},
		{-10 * time.Minute, "in 10 minutes"},
		{-75 * time.Hour, "in 3 days"},
	} {
		if got := c.Age(c.Now.Add(-tt.ago)); got != tt.want {
			t.Errorf("%s ago is %q, want %q", tt.ago, got, tt.want)
		}
	}
	for ago, want := range map[time.Duration]string{
		-time.Hour: "2026-11-20 13:00:00 (in 60 minutes)", 0: "2026-11-20 12:00:00 (now)", 5 * time.Minute: "2026-11-20 11:55:00 (due for 5 minutes)",
	} {
		if got := c.Due(c.Now.Add(-ago)); got != want {
			t.Errorf("due %s ago is %q, want %q", ago, got, want)
		}
	}
}
