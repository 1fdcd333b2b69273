package intake

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// line is one line of a file without its line end.
type line struct {
	no   int64 // from 1
	text string
	over bool // longer than MaxRow; text is its beginning
}

// lines cuts a file into lines. It holds one line, and those that are put back.
type lines struct {
	r       *bufio.Reader
	back    []line // to be read again, before what is in r
	no      int64  // of the last line from r
	offset  int64  // bytes read from r
	failure error  // how r ended; nil: it has not
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, MaxRow+len("\r\n"))}
}

// next returns the next line, or how the file ended: io.EOF, or the error of
// reading. Before such an error a line without its end is dropped: the first half of
// an order number may be another order's number.
func (l *lines) next() (line, error) {
	if len(l.back) > 0 {
		ln := l.back[0]
		l.back = l.back[1:]
		return ln, nil
	}
	if l.failure != nil {
		return line{}, l.failure
	}
	chunk, err := l.r.ReadSlice('\n')
	l.offset += int64(len(chunk))
	text := strings.TrimSuffix(strings.TrimSuffix(string(chunk), "\n"), "\r")
	ln := line{no: l.no + 1, text: text, over: len(text) > MaxRow}
	for errors.Is(err, bufio.ErrBufferFull) {
		chunk, err = l.r.ReadSlice('\n')
		l.offset += int64(len(chunk))
		ln.over = true
	}
	if ln.over {
		ln.text = strings.Clone(text[:MaxShown])
	}
	l.failure = err
	if err != nil && (!errors.Is(err, io.EOF) || text == "") {
		return line{}, err
	}
	l.no++
	return ln, nil
}

// putBack makes next return these lines again.
func (l *lines) putBack(again ...line) { l.back = append(again, l.back...) }

// nextFilled is next without blank lines.
func (l *lines) nextFilled() (line, error) {
	for {
		ln, err := l.next()
		if err != nil || ln.over || strings.TrimSpace(ln.text) != "" {
			return ln, err
		}
	}
}
