package intake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reject writes all rows of a file into a file of rejects, and returns its content.
func reject(t *testing.T, file string, format Format) string {
	t.Helper()
	in, err := NewReader(strings.NewReader(file), format)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rejects")
	if err := os.WriteFile(path, []byte("from an earlier run, and longer than the new content\n"+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	w := NewRejects(path, in)
	rows := rest(t, in)
	for _, row := range rows {
		reason := "ended, paid"
		if row.Err != nil {
			reason = row.Err.Error()
		}
		if err := w.Write(row, reason); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Count() != int64(len(rows)) {
		t.Errorf("count %d, want %d", w.Count(), len(rows))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRejects_CSV(t *testing.T) {
	const file = "name,out_order_no,appid\n" +
		"\"Li, \"\"Lei\"\"\",A1,wx\n" +
		"A2,wx\n" +
		"x,\"A3,wx\n" +
		"Han,A4,\n"
	got := reject(t, file, CSV)
	const want = "name,out_order_no,appid,line,reason,raw\n" +
		"\"Li, \"\"Lei\"\"\",A1,wx,2,\"ended, paid\",\n" +
		",,,3,has 2 fields where the header row has 3,\"A2,wx\"\n" +
		",,,4,has a quote in column out_order_no that is not closed,\"x,\"\"A3,wx\"\n" +
		"Han,A4,,5,\"ended, paid\",\n"
	if got != want {
		t.Errorf("rejects\n%s\nwant\n%s", got, want)
	}

	t.Run("read again, split rows are the same", func(t *testing.T) {
		wantRows(t, readAll(t, strings.NewReader(got), CSV), "2 A1 wx", "3", "4", "5 A4")
	})
	t.Run("refused again, no column is doubled", func(t *testing.T) {
		again := reject(t, got, CSV)
		if head, _, _ := strings.Cut(again, "\n"); head != "name,out_order_no,appid,line,reason,raw" {
			t.Errorf("header row %s", head)
		}
	})
}

func TestRejects_JSONL(t *testing.T) {
	const file = `{"out_order_no":"A1","name":"Li","n":1.50}` + "\n" +
		`{"out_order_no":42}` + "\n" +
		`{"out_order_no":"A3"` + "\n" +
		`{}` + "\n"
	got := reject(t, file, JSONL)
	const want = `{"line":1,"reason":"ended, paid","out_order_no":"A1","name":"Li","n":1.50}` + "\n" +
		`{"line":2,"reason":"out_order_no is a number; write it in quotes, because numbers lose leading zeros","out_order_no":42}` + "\n" +
		`{"line":3,"reason":"is not a whole JSON object: it ends too early","raw":"{\"out_order_no\":\"A3\""}` + "\n" +
		`{"line":4,"reason":"ended, paid"}` + "\n"
	if got != want {
		t.Errorf("rejects\n%s\nwant\n%s", got, want)
	}
	wantRows(t, readAll(t, strings.NewReader(got), JSONL), "1 A1", "2 ! out_order_no is a number…", "3", "4")
	if again := reject(t, got, JSONL); strings.Count(again, `"line"`) != 4 || strings.Count(again, `"reason"`) != 4 {
		t.Errorf("refused again\n%s", again)
	}
}

func TestRejects_TextThatIsNoText(t *testing.T) {
	for _, format := range []Format{CSV, JSONL} {
		file := "out_order_no\nA\xff\x00\n" + strings.Repeat("汉", MaxRow) + "\n"
		if format == JSONL {
			file = strings.TrimPrefix(file, "out_order_no\n")
		}
		got := reject(t, file, format)
		rows := readAll(t, strings.NewReader(got), format)
		for _, row := range rows {
			if row.Err != nil {
				t.Errorf("%s: the file of rejects cannot be read: %v", format, row.Err)
			}
		}
		if len(rows) != 2 || len(got) > 2*MaxShown {
			t.Errorf("%s: %d rows in %d bytes, want 2 in little more than %d", format, len(rows), len(got), MaxShown)
		}
	}
}

func TestRejects_File(t *testing.T) {
	in, err := NewReader(strings.NewReader("out_order_no\nA1\n"), CSV)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "rejects")
	wantAbsent := func(t *testing.T) {
		t.Helper()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat: %v, want no file", err)
		}
	}
	t.Run("without rows there is no file", func(t *testing.T) {
		if err := NewRejects(path, in).Close(); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t)
	})
	t.Run("Check leaves no trace", func(t *testing.T) {
		w := NewRejects(path, in)
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		wantAbsent(t)
		const before = "from an earlier run"
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != before {
			t.Errorf("the file holds %q (%v), want %q", text, err, before)
		}
	})
	t.Run("Check does not wait for a pipe's reader", func(t *testing.T) {
		pipe := filepath.Join(dir, "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := NewRejects(pipe, in).Check(); err != nil {
			t.Error(err)
		}
	})
	for name, path := range map[string]string{"a directory": dir, "no directory": filepath.Join(dir, "no", "such", "file")} {
		t.Run(name+" cannot be written", func(t *testing.T) {
			w := NewRejects(path, in)
			if err := w.Check(); err == nil {
				t.Error("Check finds nothing")
			}
			if err := w.Write(Row{Line: 2, fields: []string{"A1"}}, "x"); err == nil || w.Count() != 0 {
				t.Errorf("Write returns %v and counts %d, want an error and 0", err, w.Count())
			}
		})
	}
}
