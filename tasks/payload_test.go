package tasks_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"payscore-collector/tasks"
)

func TestValidate(t *testing.T) {
	good := tasks.Payload{MchID: "1900000001", OutOrderNo: "A", AppID: "wx1", ServiceID: "500001"}
	with := func(change func(*tasks.Payload)) tasks.Payload {
		p := good
		change(&p)
		return p
	}
	no := func(s string) tasks.Payload { return with(func(p *tasks.Payload) { p.OutOrderNo = s }) }
	for name, tt := range map[string]struct {
		p    tasks.Payload
		want []string // parts of the sentence; none: valid
	}{
		"one character":           {no("a"), nil},
		"every allowed character": {no("09azAZ_|*-"), nil},
		"32 characters":           {no(strings.Repeat("x", 32)), nil},
		"33 characters":           {no(strings.Repeat("x", 33)), []string{"out_order_no", "33", "32"}},
		"none":                    {no(""), []string{"out_order_no", "missing"}},
		"a space at the end":      {no("A "), []string{"out_order_no", `' '`, "position 2"}},
		"a BOM":                   {no("\ufeffA"), []string{"out_order_no", "position 1"}},
		"a slash":                 {no("A/B"), []string{"out_order_no", `'/'`}},
		"Chinese":                 {no("订单1"), []string{"out_order_no", "position 1"}},
		"broken UTF-8":            {no("A\xff"), []string{"out_order_no", "position 2"}},
		"no mchid":                {with(func(p *tasks.Payload) { p.MchID = "" }), []string{"mchid", "WECHATPAY_MCHID"}},
		"mchid with a brace":      {with(func(p *tasks.Payload) { p.MchID = "19}0" }), []string{"mchid", `'}'`}},
		"no appid":                {with(func(p *tasks.Payload) { p.AppID = "" }), []string{"appid", "PAYSCORE_APPID"}},
		"no service_id":           {with(func(p *tasks.Payload) { p.ServiceID = "" }), []string{"service_id", "PAYSCORE_SERVICE_ID"}},
		"appid too long":          {with(func(p *tasks.Payload) { p.AppID = strings.Repeat("w", 33) }), []string{"appid", "33"}},
		"everything at once":      {tasks.Payload{}, []string{"mchid", "out_order_no", "appid", "service_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.p.Validate()
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("%v", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in: %v", part, err)
				}
			}
		})
	}
}

func TestDecodePayload(t *testing.T) {
	p, err := tasks.DecodePayload([]byte(`{"mchid":"1","out_order_no":"A","appid":"wx","service_id":"s","later":1}`))
	if err != nil || p != (tasks.Payload{MchID: "1", OutOrderNo: "A", AppID: "wx", ServiceID: "s"}) {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"", "null garbage", `{"mchid":1}`, `[]`, `{} {}`, `{"mchid":"1"`, "\x00\x01"} {
		if _, err := tasks.DecodePayload([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a payload", bad)
		}
	}
}

// A billing system imports this package and no other one of the project, so it brings
// few with it: no worker, no client of WeChat Pay, no settings.
func TestImports_NothingOfTheWorker(t *testing.T) {
	const project = "payscore-collector/"
	allowed := []string{"internal/ledger", "internal/queue", "internal/owner", "internal/textsafe", "internal/tracing"}
	for _, dir := range append([]string{"tasks"}, allowed...) {
		files, err := filepath.Glob("../" + dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(dir, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				path, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), project)
				if ours && !slices.Contains(allowed, path) {
					t.Errorf("%s imports %s, want only %v", file, path, allowed)
				}
			}
		}
	}
}
