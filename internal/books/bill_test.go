package books_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/books"
	"payscore-collector/internal/testkit"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func read(r io.Reader) (rows []books.Row, sum books.Summary, err error) {
	sum, err = books.Read(r, func(r books.Row) error { rows = append(rows, r); return nil })
	return rows, sum, err
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	moment, err := time.ParseInLocation(time.DateTime, s, books.China)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// The rows of testdata/all.csv as they must be read.
func allRows(t testing.TB) []books.Row {
	row := func(line int, when, tx, no, kind, status, attach string, amount int64) books.Row {
		return books.Row{
			Line: line, At: at(t, "2026-11-26 "+when), MchID: "1230000109", SubMchID: "0", TransactionID: tx, OutTradeNo: no,
			Type: kind, Status: status, Attach: attach, Amount: amount, RefundID: "0",
		}
	}
	refund := row(7, "13:00:00", "4200001234202611250000000009", "wxzff202611250000009", "AUTH", "REFUND", "wxzff|15646546545165651600|RENT-0900", 0)
	refund.Refund, refund.RefundID, refund.RefundType = 300, "50300806962026112600000000001", "ORIGINAL"
	revoked := row(8, "14:00:00", "4200001234202611260000000006", "POS-88124", "MICROPAY", "REVOKED", "", 0)
	revoked.Refund, revoked.RefundID, revoked.RefundType = 700, "50300806962026112600000000002", "ORIGINAL"
	return []books.Row{
		row(2, "00:00:07", "4200001234202611260000000001", "wxzff202611260000001", "AUTH", "SUCCESS", "wxzff|15646546545165651651|RENT-0001", 1234),
		row(3, "09:12:44", "4200001234202611260000000002", "wxzff202611260000002", "AUTH", "SUCCESS", "wxzff|15646546545165651652|RENT|00*2_x", 1000),
		row(4, "10:33:12", "4200001234202611260000000003", "RENT-0003", "JSAPI", "SUCCESS", "", 560),
		row(5, "11:00:00", "4200001234202611260000000004", "SHOP20261126A", "JSAPI", "SUCCESS", "shop|17", 19900),
		row(6, "12:05:59", "4200001234202611260000000005", "POS-88123", "NATIVE", "SUCCESS", "", 1),
		refund,
		revoked,
		row(9, "15:30:00", "4200001234202611260000000007", "wxzff202611260000007", "AUTH", "SUCCESS", "wxzff|15646546545165651657|RENT-0007", 100),
		row(10, "23:59:59", "4200001234202611260000000008", "SHOP20261126B", "APP", "SUCCESS", "", 0),
	}
}

func TestRead(t *testing.T) {
	all := allRows(t)
	var success []books.Row
	for _, r := range all {
		if r.Status == books.StatusSuccess {
			r.Line, r.RefundID = len(success)+2, ""
			success = append(success, r)
		}
	}
	// Without 订单金额, a coupon's part is known only beside what is settled.
	old := allRows(t)
	old[1].Amount, old[1].Coupon = 800, 200
	old[7].Amount, old[7].Coupon = 0, 100
	for name, want := range map[string][]books.Row{
		"all.csv": all, "all.csv.gz": all, "success.csv": success, "success.csv.gz": success, "old.csv": old, "oldest.csv": old, "none.csv": nil,
	} {
		t.Run(name, func(t *testing.T) {
			text := file(t, name)
			rows, sum, err := read(iotest.OneByteReader(bytes.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Error("the rows differ (-want +got):\n" + diff)
			}
			plain := text
			if strings.HasSuffix(name, ".gz") {
				z, err := gzip.NewReader(bytes.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				if plain, err = io.ReadAll(z); err != nil {
					t.Fatal(err)
				}
			}
			digest := sha1.Sum(plain)
			if want := (books.Summary{Rows: int64(len(want)), SHA1: hex.EncodeToString(digest[:])}); sum != want {
				t.Errorf("the summary is %+v, not %+v", sum, want)
			}
		})
	}
}

func TestRead_ServiceProvider(t *testing.T) {
	rows, _, err := read(bytes.NewReader(file(t, "provider.csv")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		got = append(got, r.MchID+" "+r.SubMchID)
	}
	if diff := cmp.Diff([]string{"1900000100 1900000109", "1900000100 1900000110", "1900000100 1900000109"}, got); diff != "" {
		t.Error(diff)
	}
}

// Columns are found by their names, wherever they stand and whatever else stands there.
func TestRead_ColumnsInAnyOrder(t *testing.T) {
	lines := strings.Split(string(file(t, "success.csv")), "\n")
	for i, line := range lines[:8] {
		fields := strings.Split(line, ",")
		if len(fields) < 20 {
			continue
		}
		fields[0], fields[18] = fields[18], fields[0]
		extra := "新的一列"
		if i > 0 {
			extra = "`?"
		}
		lines[i] = strings.Join(append([]string{extra}, fields...), ",")
	}
	want, _, err := read(bytes.NewReader(file(t, "success.csv")))
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := read(strings.NewReader(strings.Join(lines, "\n")))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestRow_PayScore(t *testing.T) {
	for _, tt := range []struct {
		kind, attach, orderID, no string
		ok                        bool
	}{
		{"AUTH", "wxzff|156|A-1", "156", "A-1", true},
		{"AUTH", "wxzff|156|A|1|*", "156", "A|1|*", true},
		{"AUTH", "wxzff|156", "156", "", true},
		{"AUTH", "wxzffA|156|A-1", "", "", false},
		{"AUTH", "parking|156|A-1", "", "", false},
		{"JSAPI", "wxzff|156|A-1", "", "", false},
	} {
		orderID, no, ok := books.Row{Type: tt.kind, Attach: tt.attach}.PayScore()
		if orderID != tt.orderID || no != tt.no || ok != tt.ok {
			t.Errorf("%s %s: %q, %q, %v", tt.kind, tt.attach, orderID, no, ok)
		}
	}
}

// Whatever is wrong with a bill, it is refused with the line and the reason.
func TestRead_Refused(t *testing.T) {
	all := strings.ReplaceAll(string(file(t, "all.csv")), "\r\n", "\n")
	lines := strings.Split(all, "\n")
	replace := func(old, with string) string {
		if !strings.Contains(all, old) {
			t.Fatalf("the bill has no %q", old)
		}
		return strings.Replace(all, old, with, 1)
	}
	without := func(line int) string {
		return strings.Join(append(append([]string{}, lines[:line-1]...), lines[line:]...), "\n")
	}
	zipped := file(t, "all.csv.gz")
	damaged := bytes.Clone(zipped)
	damaged[len(damaged)-6] ^= 1
	for _, tt := range []struct {
		name, text string
		line       int
		reason     string
	}{
		{"empty", "", 0, "it is empty"},
		{"only a line end", "\r\n", 0, "it is empty"},
		{"a ZIP archive", "PK\x03\x04", 0, "ZIP archive"},
		{"UTF-16", "\xff\xfe\x00", 0, "UTF-16"},
		{"a broken gzip header", "\x1f\x8b\x00", 0, "ends too early"},
		{"half a gzip", string(zipped[:len(zipped)/2]), 0, "ends too early"},
		{"a damaged gzip", string(damaged), 0, "damaged"},
		{"an error of WeChat Pay", `{"code":"INVALID_REQUEST"}`, 1, "layout is unknown"},
		{"no header", without(1), 1, "names of the columns is missing"},
		{"GBK", "\xbd\xbb\xd2\xd7\xca\xb1\xbc\xe4,x\n", 1, "not UTF-8"},
		{"a renamed column", replace("微信订单号", "微信单号"), 1, "no column 微信订单号"},
		{"no amount", strings.NewReplacer("应结订单金额", "甲", "订单金额", "乙").Replace(all), 1, "no column 订单金额"},
		{"a column twice", replace("费率备注", "费率"), 1, `two columns "费率"`},
		{"a bill of refunds", replace("付款银行", "退款申请时间"), 1, "bill of refunds"},
		{"a field too few", replace("`SHOP20261126A,", ""), 5, "the row has 26 fields, and there are 27 columns"},
		{"a field too many", replace("`SHOP20261126A", "`SHOP2026,`1126A"), 5, "more fields than the 27 columns"},
		{"a comma in a field", replace("SHOP20261126A", "SHOP,20261126A"), 5, "field 8 does not begin with a backtick"},
		{"an invalid time", replace("11:00:00", "25:00:00"), 5, "must be a time"},
		{"an unknown status", replace("`REVOKED", "`DONE"), 8, `交易状态 is "DONE"`},
		{"no transaction_id", replace("`4200001234202611260000000005", "`"), 6, "微信订单号 is empty"},
		{"a fraction of a fen", replace("`10.00", "`10.001"), 3, "at most two decimals"},
		{"a negative amount", replace("`10.00", "`-10.00"), 3, "at most two decimals"},
		{"an amount in words", replace("`0.07404", "`seven"), 2, `手续费 is "seven"`},
		{"a fee off in its fifth decimal", replace("`0.07404", "`0.07405"), 12, "手续费总金额 is 1.33164, and the rows come to 1.33165"},
		{"a row missing", without(5), 11, "总交易单数 is \"9\", and the bill has 8 rows"},
		{"an amount off", strings.Replace(all, "`5.60,`0.00,`\n", "`5.50,`0.00,`\n", 1), 12, "订单总金额 is 227.95, and the rows come to 227.85"},
		{"no summary", strings.Join(lines[:10], "\n"), 10, "without its summary"},
		{"half a summary", strings.Join(lines[:11], "\n"), 11, "before the values of its summary"},
		{"a line behind the summary", all + "`1\n", 13, "behind the summary"},
		{"no count in the summary", replace("总交易单数", "总单数"), 11, "neither a row"},
		{"a summary with a field too few", replace("`9,", ""), 12, "fields"},
		{"a long line", all[:len(all)/2] + strings.Repeat("x", 70<<10), 0, "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, sum, err := read(strings.NewReader(tt.text))
			var refused *books.Error
			if !errors.As(err, &refused) {
				t.Fatalf("the error is %v", err)
			}
			if sum != (books.Summary{}) {
				t.Errorf("a refused bill has the summary %+v", sum)
			}
			if tt.line > 0 && refused.Line != tt.line || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("line %d: %v\nwant line %d: …%s…", refused.Line, err, tt.line, tt.reason)
			}
			if strings.Contains(err.Error(), "oUpF8u") {
				t.Errorf("the error names an openid: %v", err)
			}
		})
	}
}

// Each total of the summary is compared with its column.
func TestRead_SummaryDisagrees(t *testing.T) {
	for _, name := range []string{"all.csv", "success.csv", "old.csv", "oldest.csv", "provider.csv", "refunds.csv"} {
		lines := strings.Split(strings.TrimRight(string(file(t, name)), "\r\n"), "\n")
		last := len(lines) - 1
		totals := strings.Split(lines[last-1], ",")
		for i := range totals {
			values := strings.Split(strings.TrimRight(lines[last], "\r"), ",")
			values[i] = "`1" + values[i][1:]
			text := strings.Join(append(append([]string{}, lines[:last]...), strings.Join(values, ",")), "\n")
			_, _, err := read(strings.NewReader(text))
			if total := strings.TrimSpace(totals[i]); err == nil || !strings.Contains(err.Error(), total+" is ") {
				t.Errorf("%s, %s off: %v", name, total, err)
			}
		}
	}
}

func TestRead_ErrorsOfOthers(t *testing.T) {
	broken := errors.New("the disk is on fire")
	if _, _, err := read(io.MultiReader(bytes.NewReader(file(t, "all.csv")[:2000]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("of the reader: %v", err)
	}
	_, err := books.Read(bytes.NewReader(file(t, "all.csv")), func(books.Row) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("of each: %v", err)
	}
}

// bigBill writes a bill of n rows while it is read.
func bigBill(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		var b bytes.Buffer
		b.WriteString(allHeader + "\n")
		for i := range n {
			fmt.Fprintf(&b, "`2026-11-26 10:33:12,`wxd678efh567hg6787,`1230000109,`0,`,`42000012342026112%011d,`wxzff%012d,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`AUTH,`SUCCESS,`OTHERS,`CNY,`1.00,`0.00,`0,`0,`0.00,`0.00,`,`,`rental,`wxzff|1%019d|RENT-%d,`0.00600,`0.60%%,`1.00,`0.00,`\n", i, i, i, i)
			if b.Len() > 32<<10 {
				if _, err := b.WriteTo(w); err != nil {
					return
				}
			}
		}
		fmt.Fprintf(&b, "总交易单数,订单总金额,手续费总金额\n`%d,`%d.00,`%d.%05d\n", n, n, n*600/100000, n*600%100000)
		_, err := b.WriteTo(w)
		w.CloseWithError(err)
	}()
	return r
}

const allHeader = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"

// The memory of reading a bill does not grow with it.
func TestRead_MemoryIsFlat(t *testing.T) {
	rows := testkit.Form(300_000, 50_000) // as in TestCompare_Memory
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	n := 0
	sum, err := books.Read(bigBill(rows), func(books.Row) error {
		if n++; n%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		return nil
	})
	if err != nil || sum.Rows != int64(rows) || n != rows {
		t.Fatalf("%d rows read, summary %+v: %v", n, sum, err)
	}
	if grown := int64(most) - int64(before); grown > 1<<20 {
		t.Errorf("while %d rows are read, %d KiB more are in use", rows, grown>>10)
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, err := books.Read(bigBill(1_000_000), func(books.Row) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzRead: no file makes the parser panic or read without end; what it accepts has the
// rows that it says, and every refusal has a reason. A gzip of the same text is read alike.
func FuzzRead(f *testing.F) {
	names, err := filepath.Glob("testdata/*.csv*")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		f.Add(file(f, filepath.Base(name)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, sum, err := read(bytes.NewReader(text))
		if err != nil {
			var refused *books.Error
			if !errors.As(err, &refused) || refused.Reason == "" {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if int64(len(rows)) != sum.Rows {
			t.Fatalf("%d rows, and the summary says %d", len(rows), sum.Rows)
		}
		if bytes.HasPrefix(text, []byte("\x1f\x8b")) {
			return
		}
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		again, sumAgain, err := read(&z)
		if err != nil || sumAgain != sum {
			t.Fatalf("as gzip: %+v, %v; plain: %+v", sumAgain, err, sum)
		}
		if diff := cmp.Diff(rows, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
