package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestNewReader_FilesThatHoldNoOrders(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		format     Format
		want       string // in the error
	}{
		{"nothing at all", "", "", `is empty: no header row; begin the file with a row of column names, such as "out_order_no,at"`},
		{"nothing at all, CSV", "", CSV, "is empty: no header row"},
		{"empty lines only", "\r\n \n", CSV, "is empty: no header row"},
		{"a byte order mark only", "\ufeff", CSV, "is empty: no header row"},
		{"no column of order numbers", "order,appid\nA1,wx\n", CSV, `has no column out_order_no: its header row is "order,appid"; begin the file with a row of column names, such as "out_order_no,at"`},
		{"a name in capitals", "OUT_ORDER_NO\nA1\n", CSV, `its header row is "OUT_ORDER_NO"`},
		{"semicolons", "out_order_no;appid\nA1;wx\n", CSV, "its columns are separated by semicolons: save it again with commas"},
		{"tabs", "out_order_no\tappid\nA1\twx\n", CSV, "its columns are separated by tabs: save it again with commas"},
		{"Excel's line for another separator", "sep=;\nout_order_no;appid\n", CSV, `begins with the line "sep=;": save it again with commas`},
		{"Excel's line and nothing else", "sep=,\n", CSV, "has no header row behind its line sep=,"},
		{"a column of ours twice", "out_order_no,appid,appid\n", CSV, "has the column appid twice"},
		{"UTF-16", "\xff\xfeo\x00u\x00", CSV, "is in UTF-16"},
		{"UTF-16, big-endian", "\xfe\xff\x00o\x00u", "", "is in UTF-16"},
		{"UTF-16 without a mark", "o\x00u\x00t\x00", CSV, "is in UTF-16"},
		{"UTF-16 without a mark, big-endian", "\x00o\x00u\x00t", CSV, "is in UTF-16"},
		{"a NUL byte", "out_order_no,\x00\n", CSV, "its header row has a NUL byte"},
		{"GBK", "out_order_no,\xb5\xd8\nA1,x\n", CSV, `is not in UTF-8, but probably in GBK: save the file as "CSV UTF-8", or convert it by "iconv -f GB18030 -t UTF-8"`},
		{"no text", "out_order_no,\xff\nA1,x\n", CSV, "its header row is not valid UTF-8"},
		{"gzip", "\x1f\x8b\x08\x00", "", "is compressed"},
		{"a workbook", "PK\x03\x04...", CSV, "save the sheet as CSV"},
		{"CR alone", "out_order_no\rA1\rA2\r", CSV, "end in CR alone"},
		{"an endless header row", strings.Repeat("x,", MaxRow), CSV, "its first line is longer than 64 KiB"},
		{"endless blanks", strings.Repeat(" ", MaxRow*2), "", "its first line is longer than 64 KiB"},
		{"a quote in the header row", "out_order_no,\"x\nA1,y\n", CSV, "its header row has a quote in field 2 that is not closed"},
		{"a JSON array", `[{"out_order_no":"A1"}]`, "", "is a JSON array"},
		{"a JSON array as JSONL", "\n [\n", JSONL, "is a JSON array"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewReader(strings.NewReader(tc.file), tc.format)
			var wrong *FormatError
			if !errors.As(err, &wrong) {
				t.Fatalf("error %v, want a FormatError", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q, want in it %q", err, tc.want)
			}
		})
	}
}

func TestNewReader_GuessesTheFormat(t *testing.T) {
	for _, tc := range []struct {
		file string
		want Format
	}{
		{"out_order_no\nA1\n", CSV},
		{`{"out_order_no":"A1"}`, JSONL},
		{"\ufeff\n\n  {\"out_order_no\":\"A1\"}", JSONL},
	} {
		in, err := NewReader(strings.NewReader(tc.file), "")
		if err != nil {
			t.Fatal(err)
		}
		if rows := rest(t, in); in.format != tc.want || len(rows) != 1 || rows[0].OutOrderNo != "A1" {
			t.Errorf("%q is taken for %s with rows %v", tc.file, in.format, rows)
		}
	}
}

func TestReader_Columns(t *testing.T) {
	in, err := NewReader(strings.NewReader("price,out_order_no,appid,line,name\n"), CSV)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := in.Ignored(), []string{"price", "name"}; !slices.Equal(got, want) {
		t.Errorf("ignored %q, want %q", got, want)
	}
	for name, want := range map[string]bool{"appid": true, "service_id": false} {
		if got := in.Has(name); got != want {
			t.Errorf("Has(%q) = %v, want %v", name, got, want)
		}
	}
}

// A failure of reading ends the file. A line that it cuts is dropped, because half an
// order number can be another order's number.
func TestReader_Failure(t *testing.T) {
	broken := errors.New("the disk is gone")
	for name, tc := range map[string]struct {
		file string
		want []string
	}{
		"within a line":                    {"out_order_no\nA1\nA2", []string{"2 A1"}},
		"behind a quote that never closes": {"out_order_no,note\nA1,\"x\nA2,y\nA3", []string{"2 ! has a quote in column note …", "3 A2"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := NewReader(io.MultiReader(strings.NewReader(tc.file), iotest.ErrReader(broken)), CSV)
			if err != nil {
				t.Fatal(err)
			}
			var rows []Row
			row, err := in.Next()
			for ; err == nil; row, err = in.Next() {
				rows = append(rows, row)
			}
			wantRows(t, rows, tc.want...)
			if _, again := in.Next(); !errors.Is(err, broken) || !errors.Is(again, broken) {
				t.Errorf("ended with %v, then %v; want %v twice", err, again, broken)
			}
		})
	}
}

func TestReader_OffsetReachesTheSize(t *testing.T) {
	file := "\ufeffout_order_no\r\nA1\r\n" + strings.Repeat("x", 3*MaxRow) + "\n\nA2"
	in, err := NewReader(strings.NewReader(file), CSV)
	if err != nil {
		t.Fatal(err)
	}
	rest(t, in)
	if in.Offset() != int64(len(file)) {
		t.Errorf("offset %d, want %d", in.Offset(), len(file))
	}
}

// One bad line among many costs one order, whatever is bad about it.
func TestReader_BadLineAmongMany(t *testing.T) {
	const rows, badLine = 20_000, 14_001
	for _, tc := range []struct{ name, note, line, why string }{
		{"a quote in a column of ours", "plain", `A14001,"wx,x`, "has a quote in column appid that is not closed"},
		{"a quote in another column", "plain", `A14001,wx,"x`, "has a quote in column note that is not closed"},
		{"a quote in another column among quoted ones", `"quoted"`, `A14001,wx,"x`, "has a quote in column note that is not closed"},
		{"invalid UTF-8", "plain", "A14001,wx,\xff", "is not valid UTF-8"},
		{"a field too many", "plain", "A14001,wx,x,y", "has 4 fields"},
		{"10 MB", "plain", "A14001,wx," + strings.Repeat("x", 10<<20), "is longer than 64 KiB"},
		{"10 MB of quotes", `"quoted"`, strings.Repeat(`"`, 10<<20), "is longer than 64 KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var file bytes.Buffer
			file.WriteString("out_order_no,appid,note\n")
			for i := 2; i <= rows; i++ {
				if i == badLine {
					file.WriteString(tc.line + "\n")
				} else {
					fmt.Fprintf(&file, "A%d,wx,%s\n", i, tc.note)
				}
			}
			in, err := NewReader(&file, CSV)
			if err != nil {
				t.Fatal(err)
			}
			for i, row := range rest(t, in) {
				line := int64(i + 2)
				switch {
				case line == badLine:
					if row.Line != line || row.Err == nil || !strings.Contains(row.Err.Error(), tc.why) {
						t.Errorf("the bad line is %s, want %q", show(row), tc.why)
					}
				case row.Line != line || row.Err != nil || row.OutOrderNo != fmt.Sprint("A", line):
					t.Fatalf("row %s, want A%d", show(row), line)
				}
			}
			if in.lines.no != rows {
				t.Errorf("%d lines read, want %d", in.lines.no, rows)
			}
		})
	}
}

// nothingBut repeats one byte without end.
type nothingBut byte

func (b nothingBut) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestReader_LongLinesAreNotHeld(t *testing.T) {
	const size = 16 << 20
	for _, format := range []Format{CSV, JSONL} {
		first := "out_order_no\n"
		second := "\nA2\n"
		if format == JSONL {
			first, second = "", "\n{\"out_order_no\":\"A2\"}\n"
		}
		in, err := NewReader(io.MultiReader(strings.NewReader(first+"\nA"), io.LimitReader(nothingBut('x'), size), strings.NewReader(second)), format)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rows := rest(t, in)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%s: %d bytes were allocated for a line of %d", format, got, size)
		}
		if len(rows) != 2 || rows[0].Err != errTooLong || len(rows[0].raw) != MaxShown || rows[1].OutOrderNo != "A2" {
			t.Errorf("%s: rows %v", format, rows)
		}
	}
}

func TestParseTime(t *testing.T) {
	want := time.Date(2026, 12, 24, 2, 0, 0, 0, time.UTC)
	for _, s := range []string{"2026-12-24T02:00:00Z", "2026-12-24T10:00:00+08:00", "2026-12-24 10:00", "2026-12-24 10:00:00"} {
		if got, err := ParseTime(s); err != nil || !got.Equal(want) {
			t.Errorf("ParseTime(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "now", "2026-12-24", "2026-02-30 10:00", "24.12.2026 10:00", "1766541600"} {
		if got, err := ParseTime(s); err == nil {
			t.Errorf("ParseTime(%q) = %v, want an error", s, got)
		}
	}
}
