package intake

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestReader_CSV(t *testing.T) {
	long := strings.Repeat("x", MaxRow)
	for _, tc := range []struct {
		name, file string
		want       []string
	}{
		{"columns in any order", "appid,out_order_no,service_id,mchid\nwx1,A1,500,19\n", []string{"2 A1 19 wx1 500"}},
		{"the number alone", "out_order_no\nA1\nA2\n", []string{"2 A1", "3 A2"}},
		{"no line end at the end", "out_order_no\nA1", []string{"2 A1"}},
		{"a header row and nothing else", "out_order_no,appid\n", nil},
		{"CRLF", "out_order_no,appid\r\nA1,wx1\r\nA2,wx2\r\n", []string{"2 A1 wx1", "3 A2 wx2"}},
		{"a byte order mark", "\ufeffout_order_no\nA1\n", []string{"2 A1"}},
		{"a byte order mark and a quoted header", "\ufeff\"out_order_no\"\nA1\n", []string{"2 A1"}},
		{"spaces around values and names", " out_order_no , appid \n A1 ,\twx1\t\n", []string{"2 A1 wx1"}},
		{"spaces before quotes", "out_order_no,appid\n \"A1\",\t \"wx1\"\n", []string{"2 A1 wx1"}},
		{"spaces within quotes", "out_order_no\n\" A1 \"\n", []string{"2 A1"}},
		{"empty lines are skipped, and counted", "\n\nout_order_no\n\nA1\n  \nA2\n", []string{"5 A1", "7 A2"}},
		{"empty values", "out_order_no,appid\n,\n", []string{"2"}},
		{"unknown columns are ignored", "name,out_order_no,price\nx,A1,\"1,20\"\n", []string{"2 A1"}},
		{"unknown columns may share a name", "x,x,out_order_no\n1,2,A1\n", []string{"2 A1"}},
		{"the rejects file's columns are ignored", "out_order_no,line,reason,raw\nA1,7,bad,\n", []string{"2 A1"}},
		{"a comma and a quote within quotes", "note,out_order_no\n\"a \"\"b\"\", c\",A1\n", []string{"2 A1"}},
		{"a quote within an unquoted field", "note,out_order_no\n26\" wheel,A1\n", []string{"2 A1"}},
		{"line breaks within quotes", "note,out_order_no\n\"a\nb\r\nc\",A1\nd,A2\n", []string{"2 A1", "5 A2"}},
		{"an empty line within quotes", "note,out_order_no\n\"a\n\nb\",A1\nd,A2\n", []string{"2 A1", "5 A2"}},
		{"times", "out_order_no,at\nA1,2026-12-24T10:00:00+08:00\nA2,2026-12-24 10:00\nA3,2026-12-24 10:00:30\nA4,\n",
			[]string{"2 A1 at 2026-12-24T02:00:00Z", "3 A2 at 2026-12-24T02:00:00Z", "4 A3 at 2026-12-24T02:00:30Z", "5 A4"}},

		{"too few fields", "out_order_no,appid\nA1\nA2,wx\n", []string{"2 ! has 1 fields where the header row has 2", "3 A2 wx"}},
		{"too many fields", "out_order_no,appid\nA1,wx,y\nA2,wx\n", []string{"2 ! has 3 fields where the header row has 2", "3 A2 wx"}},
		{"a bad time", "out_order_no,at\nA1,tomorrow\nA2,\n", []string{`2 A1 ! at is "tomorrow", which is not a time: …`, "3 A2"}},
		{"invalid UTF-8", "out_order_no,note\nA1,\xb5\xd8\nA2,ok\n", []string{"2 ! is not valid UTF-8, but probably GBK", "3 A2"}},
		{"invalid UTF-8 that is no GBK", "out_order_no,note\nA1,\xff\nA2,ok\n", []string{"2 ! is not valid UTF-8", "3 A2"}},
		{"Excel's line for the separator", "sep=,\r\nout_order_no,appid\r\nA1,wx\r\n", []string{"3 A1 wx"}},
		{"amounts and debts", "out_order_no,amount,owed_since\nA1,1250,2026-12-24 10:00\nA2,0,\nA3,12.50,\nA4,,soon\n",
			[]string{"2 A1 1250 fen owed since 2026-12-24T02:00:00Z", "3 A2", `4 A3 ! amount is "12.50", which looks like yuan: write fen, 1250`, `5 A4 ! owed_since is "soon", which is not a time…`}},
		{"a NUL byte", "out_order_no\nA\x001\nA2\n", []string{"2 ! has a NUL byte in it", "3 A2"}},
		{"spaces behind a closing quote", "\"out_order_no\" ,appid\n\"A1\" ,wx\n \"A2\"\t, \"wx\" \n", []string{"2 A1 wx", "3 A2 wx"}},
		{"text and a comma behind a closing quote", "note,out_order_no\n\"x\"y,\"z\",A1\n\"5\" bike\",A2\nb,A3\n",
			[]string{"2 ! has more behind the closing quote of a field…", "3 ! has more behind the closing quote of a field…", "4 A3"}},
		{"text behind a closing quote", "out_order_no,note\nA1,\"x\"y\nA2,z\n", []string{"2 ! has more behind the closing quote of a field; a quote within quotes is written twice", "3 A2"}},
		{"a quote never closed, in a column of ours", "out_order_no,appid\nA1,\"wx\nA2,wx\n", []string{"2 ! has a quote in column appid that is not closed…", "3 A2 wx"}},
		{"a quote never closed, elsewhere", "out_order_no,note\nA1,\"x\nA2,y\nA3,z\n",
			[]string{"2 ! has a quote in column note that is not closed…", "3 A2", "4 A3"}},
		{"a quote closed by a later row's, among quotes within fields", "note,out_order_no,more\n26\" x,A1,\"y\n26\" x,A2,\"z\"\n",
			[]string{"2 ! has a quote in column more …", "3 A2"}},
		{"a row of several lines with quotes within fields", "a,note,out_order_no\n26\" x,\"y\nz\",A1\n,,A2\n", []string{"2 A1", "4 A2"}},
		{"a quote closed by a later row's", "out_order_no,note\nA1,\"x\nA2,y\nA3,\"z\"\n",
			[]string{"2 ! has a quote in column note that is not closed…", "3 A2", "4 A3"}},
		{"a row that swallowed others has too many fields", "out_order_no,note,appid\nA1,\"x,wx\nA2,y,wx\nA3,\",z,wx\nA4,y,wx\n",
			[]string{"2 ! has a quote in column note …", "3 A2 wx", "4 ! has a quote in column note that is not closed…", "5 A4 wx"}},
		{"two quotes never closed, one behind the other", "out_order_no,note\nA1,\"x\nA2,y\nA3,\"z\nA4,z\n",
			[]string{"2 ! has a quote in column note …", "3 A2", "4 ! has a quote in column note …", "5 A4"}},
		{"a quote over too many lines", "out_order_no,note\nA1,\"x\n" + strings.Repeat("y\n", MaxRowLines) + "\"\nA2,z\n",
			append(append([]string{"2 ! has a quote in column note …"}, bad(3, MaxRowLines, "has 1 fields…")...), "103 ! has a quote in column out_order_no …", "104 A2")},
		{"a quote over too many bytes", "out_order_no,note\nA1,\"x\n" + long[:MaxRow-8] + "\nA2,z\n",
			[]string{"2 ! has a quote in column note …", "3 ! has 1 fields …", "4 A2"}},
		{"a row as long as it may be", "out_order_no,note\nA1," + long[3:] + "\nA2,z\n", []string{"2 A1", "3 A2"}},
		{"a row as long as it may be, CRLF", "out_order_no,note\r\nA1," + long[3:] + "\r\nA2,z\r\n", []string{"2 A1", "3 A2"}},
		{"a row one byte longer", "out_order_no,note\nA1," + long[2:] + "\nA2,z\n", []string{"2 ! is longer than 64 KiB", "3 A2"}},
		{"the last row one byte longer", "out_order_no,note\nA1," + long[2:], []string{"2 ! is longer than 64 KiB"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantRows(t, readAll(t, strings.NewReader(tc.file), CSV), tc.want...)
		})
	}
}

// bad returns n refused rows, from a line on.
func bad(from, n int, why string) []string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf("%d ! %s", from+i, why))
	}
	return rows
}

// The Reader reads what a csv.Writer has written.
func TestReader_RoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", " ", ",", `"`, "\n", "，", "x y", "'", "\t", ";", "{"}
	var file strings.Builder
	w := csv.NewWriter(&file)
	_ = w.Write([]string{"note", "out_order_no", "more"})
	const n = 2000
	for i := range n {
		text := func() string {
			var b strings.Builder
			for range rng.IntN(6) {
				b.WriteString(pieces[rng.IntN(len(pieces))])
			}
			return b.String()
		}
		_ = w.Write([]string{text(), fmt.Sprint("A", i), text()})
	}
	w.Flush()
	rows := readAll(t, strings.NewReader(file.String()), CSV)
	if len(rows) != n {
		t.Fatalf("%d rows, want %d", len(rows), n)
	}
	for i, row := range rows {
		if row.Err != nil || row.OutOrderNo != fmt.Sprint("A", i) {
			t.Fatalf("row %d is %s", i, show(row))
		}
	}
}
