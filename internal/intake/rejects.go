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

// Rejects writes refused rows into a file of the format that they came in, so that
// they can be corrected there and read again. It adds, as columns or as members, line
// and reason, which a Reader ignores. A row that could not be split stands in a third
// one, raw, and its own columns are empty, so that it is refused again until it is
// corrected; of a row that is too long, raw is the beginning.
//
// The first row creates the file, or empties it. Rejects is not safe for concurrent
// use.
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

// Check reports whether the file can be written, and changes nothing: an impossible
// path is better noticed before the first row than at the first bad one.
func (r *Rejects) Check() error {
	info, err := os.Stat(r.path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // opening a pipe waits for its reader
	}
	flags := os.O_WRONLY
	absent := errors.Is(err, os.ErrNotExist)
	if absent {
		flags |= os.O_CREATE | os.O_EXCL
	}
	file, err := os.OpenFile(r.path, flags, 0o644)
	if err != nil {
		return writing(err)
	}
	_ = file.Close() // nothing was written
	if absent {
		_ = os.Remove(r.path)
	}
	return nil
}

// Write adds a row and why it was refused.
func (r *Rejects) Write(row Row, reason string) error {
	err := r.write(row, reason)
	if err == nil {
		r.count++
	}
	return writing(err)
}

// Close closes the file, if there is one.
func (r *Rejects) Close() error {
	if r.file == nil {
		return nil
	}
	return writing(r.file.Close())
}

func writing(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write the rejects file: %w", err)
}

func (r *Rejects) write(row Row, reason string) error {
	var b bytes.Buffer
	if r.file == nil {
		file, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		r.file = file
		if r.in.format == CSV {
			r.record(&b, r.in.columns, rejectsColumns...)
		}
	}
	if r.in.format == JSONL {
		object(&b, row, reason)
	} else {
		fields, raw := row.fields, ""
		if fields == nil {
			fields, raw = make([]string, len(r.in.columns)), printable(row.raw)
		}
		r.record(&b, fields, strconv.FormatInt(row.Line, 10), reason, raw)
	}
	_, err := r.file.Write(b.Bytes())
	return err
}

// record writes a CSV row without the columns of an earlier file of rejects.
func (r *Rejects) record(b *bytes.Buffer, fields []string, added ...string) {
	var record []string
	for i, name := range r.in.columns {
		if !isRejectsColumn(name) {
			record = append(record, fields[i])
		}
	}
	w := csv.NewWriter(b)
	_ = w.Write(append(record, added...)) // a buffer takes it
	w.Flush()
}

// object writes a JSONL row with its own members behind the added ones, in their order.
func object(b *bytes.Buffer, row Row, reason string) {
	text, _ := json.Marshal(reason) // a string always has its JSON
	fmt.Fprintf(b, `{"%s":%d,"%s":%s`, colLine, row.Line, colReason, text)
	members, err := objectMembers(row.raw)
	if err != nil {
		text, _ = json.Marshal(printable(row.raw))
		members = []member{{colRaw, string(text)}}
	}
	for _, m := range members {
		if err == nil && isRejectsColumn(m.name) {
			continue
		}
		name, _ := json.Marshal(m.name)
		fmt.Fprintf(b, ",%s:%s", name, m.value)
	}
	b.WriteString("}\n")
}

// printable is text that can stand in a file in UTF-8.
func printable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, string(utf8.RuneError)), "\x00", string(utf8.RuneError))
}
