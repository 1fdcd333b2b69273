package console

import (
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
)

// A page in Chinese says in Chinese why something was refused: which field, its fault and
// the remedy.
func TestProblems_InChinese(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	f.world()
	f.client = browserOf(t)
	f.post("/signin", []string{"token", "operator"}).wants(t, 200)
	f.get("/language?to=zh")
	order := "/orders/" + mchA + "/"
	future := time.Now().Add(48 * time.Hour).Format("2006-01-02T15:04")
	for _, c := range []struct {
		path   string
		form   []string
		status int
		want   string
	}{
		{order + "BIKE-QUEUED/withdraw", []string{"reason", " "}, 422, "原因：未填写：请说明原因，供日后查询"},
		{order + "BIKE-QUEUED/withdraw", []string{"reason", strings.Repeat("长", 201)}, 422, "原因：有 201 个字符，超过上限 200：请缩短"},
		{order + "BIKE-QUEUED/withdraw", []string{"reason", "a\tb"}, 422, "原因：第 2 个字符 '\\t' 不可打印"},
		{order + "BIKE-QUEUED/withdraw", []string{"reason", "x", "tell", "yes", "paid_at", future}, 422, "付款时间：晚于现在"},
		{order + "BIKE-QUEUED/withdraw", []string{"reason", "x", "tell", "yes", "paid_at", "2001-01-01T00:00"}, 422, "付款时间：早于十年前"},
		{order + "BIKE-QUEUED/reopen", []string{"reason", ""}, 422, "原因：未填写"},
		{order + "BIKE-PAID-1/withdraw", []string{"reason", "x"}, 409, "订单状态为 paid，不能撤回：未作任何改动"},
		{order + "BIKE-PAID-1/reopen", []string{"reason", "x"}, 409, "订单状态为 paid，不能重新打开：未作任何改动"},
		{order + "BIKE-PAID-1/collect-now", []string{"reason", "x"}, 409, "订单状态为 paid，不能立即催收"},
		{order + "BIKE-GAVEUP/withdraw", []string{"reason", "x"}, 409, "请先重新打开，再撤回"},
		{order + "NONE/withdraw", []string{"reason", "x"}, 404, "商户 " + mchA + " 的台账中没有订单 NONE"},
		{"/merchants/" + mchA + "/pause", []string{"reason", "x", "for", "soon"}, 422, "暂停时长：是 \"soon\"，不是时长"},
		{"/merchants/" + mchA + "/pause", []string{"reason", "x", "for", "99999h"}, 422, "暂停时长：是 99999h0m0s，超出范围"},
		{"/merchants/x/pause", []string{"reason", "x"}, 422, "商户号：第 1 个字符 'x' 不是数字"},
		{"/merchants/1900000404/pause", []string{"reason", "x"}, 404, "商户号：是 1900000404，此 Redis 中没有该商户的订单或 worker"},
		{"/webhooks/replay", []string{"mchid", mchA, "since", future}, 422, "起始时间：晚于现在"},
		{"/webhooks/replay", []string{"mchid", mchB, "since", "2026-01-02T10:00"}, 409, "商户 " + mchB + " 从未启用过 webhook"},
		{"/webhooks/retry", []string{"mchid", ""}, 422, "商户号：未填写：请选择商户"},
		{"/readers/" + mchA + "/nobody/destroy", []string{"reason", "x"}, 404, "没有消费组 nobody"},
		{"/bulk/preview", []string{"action", "withdraw", "why", "", "which", "all"}, 422, "原因：未填写"},
		{"/bulk/preview", []string{"action", "withdraw", "why", "x", "which", "all", "q", "a/b"}, 422, "订单号开头：不可能是订单号的开头"},
		{"/acknowledge", []string{"mchid", mchA, "matter", "webhooks", "reason", ""}, 422, "原因：未填写"},
		{"/orders?state=nonsense", nil, 422, "状态：没有这个值"},
		{"/orders?from=yesterday", nil, 422, "入队起始日：是 \"yesterday\"，不是有效的日期"},
		{"/orders?cursor=x", nil, 422, "页码：无效"},
		{"/orders?service=" + strings.Repeat("x", 65), nil, 422, "服务ID：有 65 个字节"},
		{"/orders?q=" + strings.Repeat("x", 65), nil, 422, "订单号开头：不可能是订单号的开头"},
	} {
		var p page
		if c.form == nil {
			p = f.get(c.path)
		} else {
			p = f.post(c.path, c.form)
		}
		_, alarm, _ := strings.Cut(p.Body, `role="alert">`)
		alarm, _, _ = strings.Cut(alarm, "</p>")
		alarm = html.UnescapeString(alarm)
		if p.Status != c.status || !strings.Contains(alarm, c.want) || strings.Contains(alarm, "原文") {
			t.Errorf("%s %q: status %d: %s; want %q", c.path, c.form, p.Status, alarm, c.want)
		}
	}
	// What has no words in Chinese yet says at least what it means.
	v := &view{Lang: explain.Chinese}
	if got := v.Detail(&api.Problem{Status: 409, Detail: "a new refusal"}); got != "当前状态不允许该操作，未作任何改动。原文：a new refusal" {
		t.Error(got)
	}
	if got := (&view{Lang: explain.English}).Detail(&api.Problem{Status: 409, Detail: "a new refusal"}); got != "a new refusal" {
		t.Error(got)
	}
}

// Every fault of a reason and of a number that package tasks finds has words in Chinese.
func TestProblems_OfTasks(t *testing.T) {
	verb := regexp.MustCompile(`%[a-z]`)
	found := 0
	for _, name := range []string{"deed.go", "withdraw.go"} {
		path := filepath.Join("..", "..", "tasks", name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || len(lit.Elts) != 2 {
				return true
			}
			if id, ok := lit.Type.(*ast.Ident); !ok || id.Name != "FieldError" {
				return true
			}
			ast.Inspect(lit.Elts[1], func(n ast.Node) bool {
				if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
					words, _ := strconv.Unquote(s.Value)
					found++
					if got, ok := translate(faults, verb.ReplaceAllString(words, "X")); !ok || !strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(unicode.Han, r) }) || strings.Contains(got, "%!") {
						t.Errorf("%s has no words in Chinese in problems.go: %q", words, got)
					}
				}
				return true
			})
			return true
		})
	}
	if found < 6 {
		t.Errorf("%d faults were found: does this test still find them?", found)
	}
}
