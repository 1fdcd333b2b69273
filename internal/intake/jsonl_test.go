package intake

import (
	"strings"
	"testing"
)

func TestReader_JSONL(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		want       []string
	}{
		{"an object a line", `{"out_order_no":"A1"}` + "\n" + `{"mchid":"19","out_order_no":"A2","appid":"wx","service_id":"5"}` + "\n", []string{"1 A1", "2 A2 19 wx 5"}},
		{"no line end at the end", `{"out_order_no":"A1"}`, []string{"1 A1"}},
		{"CRLF", "{\"out_order_no\":\"A1\"}\r\n{\"out_order_no\":\"A2\"}\r\n", []string{"1 A1", "2 A2"}},
		{"a byte order mark", "\ufeff{\"out_order_no\":\"A1\"}\n", []string{"1 A1"}},
		{"empty lines are skipped, and counted", "\n{\"out_order_no\":\"A1\"}\n\n \n{\"out_order_no\":\"A2\"}\n", []string{"2 A1", "5 A2"}},
		{"nothing", "", nil},
		{"unknown members are ignored", `{"x":{"out_order_no":["Z"]},"out_order_no":"A1","line":7,"reason":"x"}`, []string{"1 A1"}},
		{"names are exact", `{"OUT_ORDER_NO":"A1"}`, []string{"1"}},
		{"null is nothing", `{"out_order_no":"A1","appid":null,"at":null}`, []string{"1 A1"}},
		{"a time", `{"out_order_no":"A1","at":"2026-12-24 10:00"}`, []string{"1 A1 at 2026-12-24T02:00:00Z"}},
		{"escapes", `{"out_order_no":"\u0041\u0031"}`, []string{"1 A1"}},
		{"spaces in a value are part of it", `{"out_order_no":" A1"}`, []string{"1  A1"}},

		{"amounts", `{"out_order_no":"A1","amount":1250}` + "\n" + `{"out_order_no":"A2","amount":"7","owed_since":"2026-12-24 10:00"}`, []string{"1 A1 1250 fen", "2 A2 7 fen owed since 2026-12-24T02:00:00Z"}},
		{"amounts that are not in fen", `{"out_order_no":"A1","amount":12.5}` + "\n" + `{"out_order_no":"A2","amount":1e3}` + "\n" + `{"out_order_no":"A3","amount":-1}`,
			[]string{`1 A1 ! amount is "12.5", which looks like yuan: write fen, 1250`, `2 A2 ! amount is "1e3"; write fen as a whole number, …`, `3 A3 ! amount is "-1"; it must not be below 0`}},
		{"a number as order number", `{"out_order_no":42}`, []string{"1 ! out_order_no is a number; write it in quotes, because numbers lose leading zeros"}},
		{"a number as merchant", `{"out_order_no":"A1","mchid":19}`, []string{"1 A1 ! mchid is a number; …"}},
		{"an object as order number", `{"out_order_no":{}}`, []string{"1 ! out_order_no is not a string; …"}},
		{"a bad time", `{"out_order_no":"A1","at":"now"}`, []string{"1 A1 ! at is \"now\", …"}},
		{"a name twice", `{"out_order_no":"A1","out_order_no":"A2"}`, []string{"1 A1 ! has out_order_no twice"}},
		{"an array in between", "{\"out_order_no\":\"A1\"}\n[1]\n{\"out_order_no\":\"A2\"}", []string{"1 A1", "2 ! is not a JSON object", "3 A2"}},
		{"half an object", "{\"out_order_no\":\"A1\"\n{\"out_order_no\":\"A2\"}", []string{"1 ! is not a whole JSON object: it ends too early", "2 A2"}},
		{"half a name", `{"out_ord`, []string{"1 ! is not a whole JSON object…"}},
		{"two objects on a line", `{"out_order_no":"A1"}{"out_order_no":"A2"}`, []string{"1 ! has more behind its JSON object"}},
		{"no JSON", "out_order_no=A1\n", []string{"1 ! is not a JSON object…"}},
		{"invalid UTF-8", "{\"out_order_no\":\"A\xff\"}\n{\"out_order_no\":\"A2\"}", []string{"1 ! is not valid UTF-8…", "2 A2"}},
		{"too long", `{"x":"` + strings.Repeat("x", MaxRow) + "\"}\n" + `{"out_order_no":"A2"}`, []string{"1 ! is longer than 64 KiB", "2 A2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantRows(t, readAll(t, strings.NewReader(tc.file), JSONL), tc.want...)
		})
	}
}
