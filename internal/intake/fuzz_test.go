package intake

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzReader checks that any file is read to its end, with line numbers that rise and
// exist, and without rows above the limit.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"out_order_no,appid\nA1,wx\n",
		"\ufeffout_order_no,note\r\nA1,\"x\r\ny\"\r\n",
		"out_order_no,note\nA1,\"x\nA2,y\nA3,\"z\"\n",
		"{\"out_order_no\":\"A1\"}\n{\"out_order_no\":2}\n{",
		"out_order_no\n\"\n\"\"\n\"",
		"out_order_no,at\n,2026-12-24 10:00\n\x00\xff\n",
	} {
		f.Add(seed, byte(0))
		f.Add(seed, byte(1))
		f.Add(seed, byte(2))
	}
	f.Fuzz(func(t *testing.T, file string, which byte) {
		format := []Format{"", CSV, JSONL}[which%3]
		in, err := NewReader(strings.NewReader(file), format)
		if err != nil {
			var wrong *FormatError
			if !errors.As(err, &wrong) {
				t.Fatalf("error %v, want none or a FormatError", err)
			}
			return
		}
		rejects := NewRejects("", in)
		rejects.file = discard{}
		newest := int64(0)
		for {
			row, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("error %v, want none or a FormatError", err)
			}
			if row.Line <= newest {
				t.Fatalf("line %d follows line %d", row.Line, newest)
			}
			newest = row.Line
			size := len(row.raw)
			for _, field := range row.fields {
				size += len(field)
			}
			if size > MaxRow {
				t.Fatalf("a row of %d bytes", size)
			}
			if len(in.lines.back) > MaxRowLines {
				t.Fatalf("%d lines are held", len(in.lines.back))
			}
			if err := rejects.Write(row, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if lines := int64(strings.Count(file, "\n") + 1); newest > lines {
			t.Fatalf("line %d of %d", newest, lines)
		}
		if in.Offset() != int64(len(file)) {
			t.Fatalf("%d bytes of %d were read", in.Offset(), len(file))
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
