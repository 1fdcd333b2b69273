package intake

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// asText keeps Excel from taking numbers for quantities.
const asText = "format the column as text and export again"

// scientific is how Excel writes a long number in a column that is not formatted
// as text. No order number has a point or a plus.
var scientific = regexp.MustCompile(`^-?\d([.,]\d+)?E\+\d{1,3}$`)

// excelTrace names what a spreadsheet has left in a number or a name. The error
// continues where the field's name ends.
func excelTrace(value string) error {
	shown := shorten(value, 40)
	switch {
	case value == "":
		return nil
	case scientific.MatchString(strings.ToUpper(value)):
		return fmt.Errorf("is %q: Excel has turned the number into this, and its last digits are lost; %s", shown, asText)
	case value[0] == '#':
		return fmt.Errorf("is %q, which Excel writes where it cannot show a value; correct the cell, %s", shown, asText)
	case strings.HasPrefix(value, `="`):
		return fmt.Errorf("is %q, a formula; write the value alone", shown)
	case value[0] == '\'' || strings.HasPrefix(value, "‘") || strings.HasPrefix(value, "’"):
		return fmt.Errorf("is %q, with an apostrophe before it, which marks text in Excel; remove the apostrophe", shown)
	case value[0] == '`':
		return fmt.Errorf("is %q, with a backtick before it, as in WeChat Pay's bills; remove the backtick", shown)
	}
	for _, r := range value {
		switch {
		case r >= '！' && r <= '～': // the wide forms of ! to ~
			return fmt.Errorf("is %q, with the full-width %q in it; write %q", shown, r, r-'！'+'!')
		case r == '\u3000':
			return fmt.Errorf("is %q, with a full-width space in it; remove it", shown)
		case strings.ContainsRune("\u200b\u200c\u200d\u2060\ufeff\u00a0", r):
			return fmt.Errorf("is %q, with a character in it that cannot be seen; remove it", shown)
		}
	}
	return nil
}

// errGBK is the error of a line in the encoding of a Chinese Windows. The remedy,
// toUTF8, concerns the whole file and is said once.
var errGBK = errors.New("is not valid UTF-8, but probably GBK")

const toUTF8 = `save the file as "CSV UTF-8", or convert it by "iconv -f GB18030 -t UTF-8"`

// looksLikeGBK reports whether all of the text that is not ASCII has the form of
// GBK: pairs of bytes, the second of which can be an ASCII letter.
func looksLikeGBK(text string) bool {
	pairs := 0
	for i := 0; i < len(text); i++ {
		if text[i] < 0x80 {
			continue
		}
		if text[i] < 0x81 || text[i] > 0xfe || i+1 == len(text) {
			return false
		}
		if i++; text[i] < 0x40 || text[i] == 0x7f || text[i] > 0xfe {
			return false
		}
		pairs++
	}
	return pairs > 0
}

// signs are what only many rows together show.
type signs struct {
	gbk        int64 // rows
	long       int64 // order numbers of more digits than Excel keeps, and nothing else
	rounded    int64 // those of them that end in zeros where Excel stops
	zeros      int64 // how many zeros these end in
	far        int64 // rows that start far ahead
	farLine    int64 // the first of them
	farWarning string
	ignored    []string // names in JSONL that mean nothing here, each once
}

// mostIgnored is how many names are kept: an export of billing's may have many fields, and
// the misspelt one is among them.
const mostIgnored = 50

func (s *signs) ignoredName(name string) {
	if len(s.ignored) < mostIgnored && !isRejectsColumn(name) {
		if name = shorten(name, 40); !slices.Contains(s.ignored, name) {
			s.ignored = append(s.ignored, name)
		}
	}
}

// excelDigits is how many digits of a number Excel keeps; the others become 0.
const excelDigits = 15

func (s *signs) see(row Row, format Format, now time.Time) {
	if errors.Is(row.Err, errGBK) {
		s.gbk++
	}
	if no := row.OutOrderNo; format == CSV && len(no) > excelDigits && strings.Trim(no, "0123456789") == "" {
		s.long++
		if rest := no[excelDigits:]; strings.Trim(rest, "0") == "" {
			s.rounded++
			s.zeros += int64(len(rest))
		}
	}
	if w := FarAhead(row.At, now); w != "" {
		if s.far++; s.far == 1 {
			s.farLine, s.farWarning = row.Line, w
		}
	}
}

// enoughZeros makes chance improbable: one file in a thousand with correct numbers
// would have as many.
const enoughZeros = 3

func (s *signs) warnings() []string {
	var all []string
	if s.gbk > 0 {
		all = append(all, fmt.Sprintf("%d rows are probably in GBK and were left out: %s, and run the command again", s.gbk, toUTF8))
	}
	if s.rounded == s.long && s.zeros >= enoughZeros {
		all = append(all, fmt.Sprintf("all %d order numbers of more than %d digits end in zeros from digit %d on, as Excel rounds them: compare them with their source; if they are rounded, %s", s.long, excelDigits, excelDigits+1, asText))
	}
	if s.far > 0 {
		all = append(all, fmt.Sprintf("%d rows start in the far future, the first in line %d: %s", s.far, s.farLine, s.farWarning))
	}
	if len(s.ignored) > 0 {
		all = append(all, fmt.Sprintf("fields that mean nothing here were ignored: %s; the fields are %s", strings.Join(s.ignored, ", "), strings.Join(orderColumns, ", ")))
	}
	return all
}
