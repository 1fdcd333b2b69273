package intake

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/tasks"
)

func TestExcelTrace(t *testing.T) {
	for value, want := range map[string]string{
		"1.23457E+17":     "Excel has turned the number into this, and its last digits are lost; format the column as text and export again",
		"1,23457E+17":     "Excel has turned the number into this",
		"1.23457e+17":     "Excel has turned the number into this",
		"2E+19":           "Excel has turned the number into this",
		"-1.2E+05":        "Excel has turned the number into this",
		"########":        "Excel writes where it cannot show a value",
		"#NAME?":          "Excel writes where it cannot show a value",
		`="20260101"`:     "a formula; write the value alone",
		"'20260101":       "an apostrophe before it, which marks text in Excel; remove the apostrophe",
		"’20260101":       "an apostrophe before it",
		"`20260101":       "a backtick before it, as in WeChat Pay's bills; remove the backtick",
		"２０２６":            "with the full-width '２' in it; write '2'",
		"BIKE－1":          "with the full-width '－' in it; write '-'",
		"A1\u3000":        "with a full-width space in it",
		"A1\u200b":        "with a character in it that cannot be seen",
		"A\u00a01":        "with a character in it that cannot be seen",
		"":                "",
		"1E17":            "", // a valid order number
		"2026010112345E1": "",
		"A|1*_-":          "",
		"订单1":             "", // the order number's own rule refuses it
	} {
		err := excelTrace(value)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", value, err, want)
		}
		if err != nil && tasks.ValidateOutOrderNo(value) == nil {
			t.Errorf("%q can be an order number, and is refused: %v", value, err)
		}
	}
}

func TestReader_ExcelTracesCostOneRow(t *testing.T) {
	wantRows(t, readAll(t, strings.NewReader("mchid,out_order_no\n1.9E+09,A1\n19,1.23457E+17\n19,A3\n"), CSV),
		`2 A1 ! mchid is "1.9E+09": Excel has turned…`, `3 19 ! out_order_no is "1.23457E+17": Excel has turned…`, "4 A3 19")
}

func TestReader_Warnings(t *testing.T) {
	const head = "out_order_no,at,note\n"
	for name, tt := range map[string]struct{ file, want string }{
		"nothing": {head + "A1,,\n", ""},
		"rounded": {head + "20260101123456700000,,\n20260101123456800000,,\n", "all 2 order numbers of more than 15 digits end in zeros from digit 16 on, as Excel rounds them"},
		"rounded, short numbers and names beside": {head + "20260101123456700000,,\n7,,\nBIKE-20260101123456789,,\n", "all 1 order numbers of more than 15 digits"},
		"one is not":                               {head + "20260101123456700000,,\n20260101123456789012,,\n", ""},
		"fifteen digits":                           {head + "202601011234000,,\n202601011235000,,\n", ""},
		"zeros by chance":                          {head + "2026010112345670,,\n", ""},
		"three times is hardly chance":             {head + strings.Repeat("2026010112345670,,\n", 3), "all 3 order numbers"},
		"JSONL does not come from Excel":           {`{"out_order_no":"20260101123456700000"}`, ""},
		"GBK in some rows":                         {head + "A1,,\xb5\xd8\xd6\xb7\nA2,,ok\nA3,,\xb5\xd8\n", `2 rows are probably in GBK and were left out: save the file as "CSV UTF-8"`},
		"a start in the far future":                {head + "A1,2026-12-24 10:00,\nA2,2126-12-24 10:00,\nA3,2126-12-25 10:00,\n", "2 rows start in the far future, the first in line 3: 2126-12-24 10:00 is more than ten years from now: check the year"},
		"names that mean nothing, JSONL":           {`{"out_order_no":"A1","app_id":"wx","line":7,"reason":"x","raw":""}` + "\n" + `{"out_order_no":"A2","app_id":"wx","x":1}`, "fields that mean nothing here were ignored: app_id, x; the fields are mchid, out_order_no, appid,"},
		"names that a rejects file adds, JSONL":    {`{"out_order_no":"A1","line":7,"reason":"x","raw":""}`, ""},
		"a start in the far future, JSONL as well": {`{"out_order_no":"A1","at":"2126-12-24 10:00"}`, "1 rows start in the far future"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := NewReader(strings.NewReader(tt.file), "")
			if err != nil {
				t.Fatal(err)
			}
			rest(t, in)
			got := strings.Join(in.Warnings(), "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("warnings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFarAhead(t *testing.T) {
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]bool{
		{}: false, now: false, now.AddDate(9, 11, 0): false, now.AddDate(11, 0, 0): true, now.AddDate(100, 0, 0): true,
		// Beyond what a time.Duration can hold.
		now.AddDate(5000, 0, 0): true,
	} {
		if got := FarAhead(at, now) != ""; got != want {
			t.Errorf("%v: %v, want %v", at, got, want)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "1": 1, "1250": 1250, "9223372036854775807": 1<<63 - 1} {
		if got, err := ParseAmount(s); err != nil || got != want {
			t.Errorf("ParseAmount(%q) = %v, %v; want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"12.50":                "looks like yuan: write fen, 1250",
		"12.5":                 "looks like yuan: write fen, 1250",
		"1,234.56":             "looks like yuan: write fen, 123456",
		"¥12.50":               "looks like yuan: write fen, 1250",
		"0.05":                 "looks like yuan: write fen, 5",
		"0.00":                 "looks like yuan: write fen, 0",
		"-1":                   "must not be below 0",
		"99999999999999999999": "write fen as a whole number",
		"":                     "write fen as a whole number",
		"0050":                 "write fen as a whole number",
		"+5":                   "write fen as a whole number",
		"-0":                   "write fen as a whole number",
		"1e3":                  "write fen as a whole number",
		"1,250":                "write fen as a whole number",
		"12.505":               "write fen as a whole number",
		"twelve":               "such as 1250 for 12.50 yuan",
	} {
		if got, err := ParseAmount(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAmount(%q) = %v, %v; want an error with %q", s, got, err, want)
		}
	}
}
