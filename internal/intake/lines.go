package intake

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// line is one line of a file without its end.
type line struct {
	no   int64 // from 1
	text string
	over bool // longer than MaxRow; text is its beginning
}

// lines cuts a file into lines, of which it keeps no more than it is asked to
// put back.
type lines struct {
	r       *bufio.Reader
	back    []line // to be read again, before what is in r
	no      int64  // of the line read last from r
	offset  int64  // bytes read from r
	failure error  // how r ended; nil: it has not
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, MaxRow+len("\r\n"))}
}

// next returns the next line, or how the file ended: io.EOF, or the error of
// reading. What stood before an error other than io.EOF without a line's end is
// dropped: the first half of an order number is somebody else's order number.
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
	ln := line{no: l.no + 1}
	if errors.Is(err, bufio.ErrBufferFull) {
		ln.over = true
		ln.text = string(chunk[:MaxShown])
		for errors.Is(err, bufio.ErrBufferFull) {
			chunk, err = l.r.ReadSlice('\n')
			l.offset += int64(len(chunk))
		}
	} else {
		text := strings.TrimSuffix(string(chunk), "\n")
		ln.text = strings.TrimSuffix(text, "\r")
		if len(ln.text) > MaxRow {
			ln.over = true
			ln.text = strings.Clone(ln.text[:MaxShown])
		}
	}
	l.failure = err
	if err != nil && (!errors.Is(err, io.EOF) || ln.text == "") {
		return line{}, err
	}
	l.no++
	return ln, nil
}

// putBack has lines read again, the next time.
func (l *lines) putBack(again ...line) {
	l.back = append(again, l.back...)
}

// nextFilled is next but for lines with nothing on them.
func (l *lines) nextFilled() (line, error) {
	for {
		ln, err := l.next()
		if err != nil || ln.over || strings.TrimSpace(ln.text) != "" {
			return ln, err
		}
	}
}
