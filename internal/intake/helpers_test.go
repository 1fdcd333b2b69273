package intake

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// readAll reads a file whose format is right.
func readAll(t *testing.T, r io.Reader, format Format) []Row {
	t.Helper()
	in, err := NewReader(r, format)
	if err != nil {
		t.Fatalf("the file is refused: %v", err)
	}
	return rest(t, in)
}

func rest(t *testing.T, in *Reader) []Row {
	t.Helper()
	var rows []Row
	for {
		row, err := in.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatalf("reading failed: %v", err)
		}
		rows = append(rows, row)
	}
}

// show writes a row as the tables do: line, number, other values, and the error behind
// an exclamation mark.
func show(row Row) string {
	s := fmt.Sprint(row.Line)
	for _, v := range []string{row.OutOrderNo, row.MchID, row.AppID, row.ServiceID} {
		if v != "" {
			s += " " + v
		}
	}
	if !row.At.IsZero() {
		s += " at " + row.At.UTC().Format("2006-01-02T15:04:05Z")
	}
	if row.Amount != 0 {
		s += fmt.Sprintf(" %d fen", row.Amount)
	}
	if !row.OwedSince.IsZero() {
		s += " owed since " + row.OwedSince.UTC().Format("2006-01-02T15:04:05Z")
	}
	if row.Err != nil {
		s += " ! " + row.Err.Error()
	}
	return s
}

// wantRows compares rows as show writes them. A wanted row that ends in an ellipsis is
// a prefix.
func wantRows(t *testing.T, rows []Row, want ...string) {
	t.Helper()
	var got []string
	for _, row := range rows {
		got = append(got, show(row))
	}
	same := len(got) == len(want)
	for i := 0; same && i < len(want); i++ {
		start, cut := strings.CutSuffix(want[i], "…")
		same = got[i] == want[i] || cut && strings.HasPrefix(got[i], start)
	}
	if !same {
		t.Errorf("rows\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
