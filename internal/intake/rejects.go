package intake

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Rejects writes refused rows into a file of the format that they came in, so
// that they can be mended there and fed in again: what it adds is passed over
// when read. It adds, as columns or as members, line and reason. A row that
// could not be taken apart stands in a third one, raw, and has nothing in its
// own, so that it is refused again until somebody has mended it; of a row that
// is too long it is the beginning.
//
// The file comes into being with the first row; what it held before is gone
// then. Rejects is not for several goroutines at once.
type Rejects struct {
	path  string
	in    *Reader
	file  io.WriteCloser
	count int64
}

// NewRejects returns a writer of the rows that in yields.
func NewRejects(path string, in *Reader) *Rejects { return &Rejects{path: path, in: in} }

// Count returns how many rows have been written.
func (r *Rejects) Count() int64 { return r.count }

// Check reports whether the file can be written, and leaves everything as it
// was: an impossible path is better noticed before the first row than at the
// first bad one.
func (r *Rejects) Check() error {
	info, err := os.Stat(r.path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // opening a pipe would wait for its reader
	}
	flags := os.O_WRONLY
	absent := errors.Is(err, os.ErrNotExist)
	if absent {
		flags |= os.O_CREATE | os.O_EXCL
	}
	file, err := os.OpenFile(r.path, flags, 0o644)
	if err != nil {
		return fmt.Errorf("write the rejects file: %w", err)
	}
	_ = file.Close() // nothing was written
	if absent {
		_ = os.Remove(r.path)
	}
	return nil
}

// Write adds a row and why it was refused.
func (r *Rejects) Write(row Row, reason string) error {
	if r.file == nil {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if err := r.writeRow(row, reason); err != nil {
		return err
	}
	r.count++
	return nil
}

func (r *Rejects) begin() error {
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the rejects file: %w", err)
	}
	r.file = file
	if r.in.format == CSV {
		return r.writeCSV(r.in.csv.columns, colLine, colReason, colRaw)
	}
	return nil
}

func (r *Rejects) writeRow(row Row, reason string) error {
	if r.in.format == JSONL {
		return r.writeObject(row, reason)
	}
	fields, raw := row.fields, ""
	if fields == nil {
		fields, raw = make([]string, len(r.in.csv.columns)), row.raw
	}
	return r.writeCSV(fields, strconv.FormatInt(row.Line, 10), reason, raw)
}

// writeCSV leaves out the columns of an earlier file of rejects.
func (r *Rejects) writeCSV(fields []string, line, reason, raw string) error {
	var record []string
	for i, name := range r.in.csv.columns {
		if !isRejectsColumn(name) {
			record = append(record, fields[i])
		}
	}
	record = append(record, line, reason, printable(raw))
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(record); err != nil {
		return fmt.Errorf("write the rejects file: %w", err)
	}
	w.Flush()
	return r.write(b.Bytes())
}

func (r *Rejects) writeObject(row Row, reason string) error {
	members, err := objectMembers(row.raw)
	own := []any{colLine, row.Line, colReason, reason}
	if err != nil {
		own = append(own, colRaw, printable(row.raw))
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i := 0; i < len(own); i += 2 {
		if err := appendMember(&b, own[i].(string), own[i+1]); err != nil {
			return err
		}
	}
	for _, m := range members {
		if isRejectsColumn(m.name) {
			continue
		}
		if err := appendMember(&b, m.name, m.value); err != nil {
			return err
		}
	}
	b.WriteString("}\n")
	return r.write(b.Bytes())
}

func appendMember(b *bytes.Buffer, name string, value any) error {
	key, err := json.Marshal(name)
	if err != nil {
		return err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if b.Len() > 1 {
		b.WriteByte(',')
	}
	b.Write(key)
	b.WriteByte(':')
	b.Write(text)
	return nil
}

func (r *Rejects) write(p []byte) error {
	if _, err := r.file.Write(p); err != nil {
		return fmt.Errorf("write the rejects file: %w", err)
	}
	return nil
}

// Close ends the file, if there is one.
func (r *Rejects) Close() error {
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("write the rejects file: %w", err)
	}
	return nil
}

// printable is text that can stand in a file in UTF-8.
func printable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}

// shorten cuts text to some bytes, for messages.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
