package textsafe

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A secret is often written where something else is wanted: a key's text in a path's
// place, a token in the wrong variable. So errors must not repeat a value only because
// its setting is not a secret. Repeatable decides; in doubt the value is not repeated.

// NotRepeated stands for a value in a sentence that may be a secret.
const NotRepeated = "(a value that may be a secret, not repeated here)"

// mostRepeated is the greatest length of a value that is repeated. A path may be that
// long.
const mostRepeated = 200

// Repeatable reports whether a value that was given to this program may appear in an
// error, a log line or a list of settings. A value in the form of a key, a token or a
// password may not, and neither may a URL with more than scheme and host.
func Repeatable(value string) bool {
	if len(value) > mostRepeated || !utf8.ValidString(value) || strings.Contains(value, "-----") {
		return false
	}
	if strings.IndexFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return false
	}
	if _, rest, ok := strings.Cut(value, "://"); ok {
		host, tail, _ := strings.Cut(rest, "/")
		if strings.ContainsAny(rest, "@?#") || tail != "" {
			return false
		}
		value = host
	}
	if isBase64(value) {
		return false
	}
	for _, run := range alphanumeric.FindAllString(value, -1) {
		if random(run) && !isPublicForm(value, run) {
			return false
		}
	}
	return true
}

// isBase64 recognises base64. Paths have its letters too, but begin with a slash or have
// a dot, a dash or an underscore.
func isBase64(value string) bool {
	_, err := base64.StdEncoding.DecodeString(value)
	return err == nil && len(value) >= 24 && value[0] != '/' &&
		strings.IndexFunc(value, unicode.IsUpper) >= 0 && strings.IndexFunc(value, unicode.IsLower) >= 0 && strings.IndexFunc(value, unicode.IsDigit) >= 0
}

var (
	alphanumeric = regexp.MustCompile(`[0-9A-Za-z+=]{12,}`)
	digits       = regexp.MustCompile(`[0-9]+`)

	// The public identifiers of WeChat Pay: an appid, a certificate's serial number. The
	// ID of its public key has a prefix.
	publicAppID  = regexp.MustCompile(`^wx[0-9a-z]{16}$`)
	publicSerial = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

func isPublicForm(value, run string) bool {
	return publicAppID.MatchString(run) || publicSerial.MatchString(run) || strings.HasPrefix(value, "PUB_KEY_ID_")
}

// apiV3KeySize is in bytes; it is an AES-256 key.
const apiV3KeySize = 32

// random reports whether letters and digits are mixed as people do not write them. An
// APIv3 key has 32 of any kind.
func random(run string) bool {
	numbers := len(digits.FindAllString(run, -1))
	switch n := len(run); {
	case n == apiV3KeySize, n >= 48:
		return true
	case n >= 16:
		return numbers >= 2 && strings.IndexFunc(run, unicode.IsLetter) >= 0
	default:
		return numbers >= 3
	}
}

var inQuotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// ScrubQuoted removes quoted parts that may not be repeated from a sentence.
func ScrubQuoted(sentence string) string {
	return inQuotes.ReplaceAllStringFunc(sentence, func(quoted string) string {
		value, err := strconv.Unquote(quoted)
		if err != nil || !Repeatable(value) {
			return NotRepeated
		}
		return quoted
	})
}

// ScrubWords removes every word that may not be repeated from another program's text,
// whose form is unknown.
func ScrubWords(s string) string {
	return word.ReplaceAllStringFunc(s, func(w string) string {
		if !Repeatable(w) {
			return NotRepeated
		}
		return w
	})
}

var word = regexp.MustCompile("[^\\s\"'`]+")
