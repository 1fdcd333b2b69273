package config

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A secret is often written where something else is wanted: a key's text in a
// path's place, a token in the wrong variable. So no error repeats a value only
// because its setting is not a secret one. Repeatable decides; where it is in
// doubt the value is named and not repeated.

// notRepeated stands for a value in a sentence.
const notRepeated = "(a value that may be a secret, not repeated here)"

// mostRepeated is the length from which on a value is no slip of the pen. A path
// may be that long.
const mostRepeated = 200

// Repeatable reports whether a value that was given to this program may appear
// in an error, a log line or a list of settings. It refuses what has the form of
// a key, a token or a password, and URLs with more than scheme and host.
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

// isBase64 tells base64 from paths, which have its letters too, but begin with a
// slash or have a dot, a dash or an underscore.
func isBase64(value string) bool {
	_, err := base64.StdEncoding.DecodeString(value)
	return err == nil && len(value) >= 24 && value[0] != '/' &&
		strings.IndexFunc(value, unicode.IsUpper) >= 0 && strings.IndexFunc(value, unicode.IsLower) >= 0 && strings.IndexFunc(value, unicode.IsDigit) >= 0
}

var (
	alphanumeric = regexp.MustCompile(`[0-9A-Za-z+=]{12,}`)
	digits       = regexp.MustCompile(`[0-9]+`)

	// What WeChat Pay gives out to be seen: an appid, a certificate's serial
	// number, the ID of its public key.
	publicAppID  = regexp.MustCompile(`^wx[0-9a-z]{16}$`)
	publicSerial = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

func isPublicForm(value, run string) bool {
	return publicAppID.MatchString(run) || publicSerial.MatchString(run) || strings.HasPrefix(value, "PUB_KEY_ID_")
}

// apiV3KeySize is in bytes; it is an AES-256 key.
const apiV3KeySize = 32

// random reports whether letters and digits stand together as people do not write
// them. An APIv3 key has 32, whichever.
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

// Quote is the value as it may stand in a sentence: in quotes, which show what is
// invisible, or words in its place.
func Quote(value string) string {
	if !Repeatable(value) {
		return notRepeated
	}
	return strconv.Quote(value)
}

var inQuotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// scrub takes out of a sentence what is quoted in it and may not be repeated.
func scrub(sentence string) string {
	return inQuotes.ReplaceAllStringFunc(sentence, func(quoted string) string {
		value, err := strconv.Unquote(quoted)
		if err != nil || !Repeatable(value) {
			return notRepeated
		}
		return quoted
	})
}

// knownSecret is a secret of this environment, or the part of one that counts.
type knownSecret struct{ setting, value string }

// leastKnown is the length from which on a secret is recognised inside other
// values. What is shorter may be a word or a number that is used for several
// things.
const leastKnown = 12

// knownSecrets are the secrets that a process was given: in its environment,
// whether or not its command reads them, and in the values of flags, by the names
// of the settings.
func knownSecrets(p Process, values map[string]string) []knownSecret {
	var all []knownSecret
	for _, d := range AllDeclared() {
		if !d.Secret() {
			continue
		}
		for _, value := range []string{values[d.Name], p.env(d.Name)} {
			for _, part := range secretParts(value) {
				if s := (knownSecret{d.Name, part}); len(part) >= leastKnown && !slices.Contains(all, s) {
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// secretParts is what counts of a secret value: of a URL the password and what
// stands in a query as one, and the whole of it; of a PEM key its lines too.
func secretParts(value string) []string {
	value = strings.TrimSpace(value)
	parts := []string{value}
	if strings.Contains(value, pemBegin) {
		return append(parts, strings.Fields(string(keyText([]byte(value))))...)
	}
	_, rest, isURL := strings.Cut(value, "://")
	if !isURL {
		return append(parts, strings.TrimPrefix(value, webhookPrefix))
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, password, has := strings.Cut(rest[:at], ":")
		if !has {
			password = user
		}
		parts = append(parts, password)
		if plain, err := url.PathUnescape(password); err == nil {
			parts = append(parts, plain)
		}
	}
	if _, query, ok := strings.Cut(rest, "?"); ok {
		values, _ := url.ParseQuery(query)
		for name, vs := range values {
			if secretParameter.MatchString(name) {
				parts = append(parts, vs...)
			}
		}
	}
	return parts
}

var secretParameter = regexp.MustCompile(`(?i)pass|token|secret|key|sign`)

// knownIn returns the setting of a known secret that stands in the value, or that
// the value is a piece of; empty where there is none.
func knownIn(value string, known []knownSecret) (setting string) {
	for _, k := range known {
		if strings.Contains(value, k.value) || len(value) >= leastKnown && strings.Contains(k.value, value) {
			return k.setting
		}
	}
	return ""
}

// misplaced says what a value certainly is that cannot be meant where it stands,
// as the rest of a sentence: "holds a private key". It is empty where the value
// may be meant.
func misplaced(value string, known []knownSecret) string {
	if setting := knownIn(value, known); setting != "" {
		return "holds the value of " + setting + " or a part of it"
	}
	text := string(keyText([]byte(value)))
	if label := regexp.MustCompile(`-----BEGIN ([0-9A-Z ]*)`).FindStringSubmatch(text); label != nil {
		switch {
		case strings.HasSuffix(label[1], "PRIVATE KEY"):
			return "holds a private key"
		case strings.HasSuffix(label[1], "PUBLIC KEY"):
			return "holds a public key"
		case strings.HasSuffix(label[1], "CERTIFICATE"):
			return "holds a certificate"
		}
		return "holds PEM text"
	}
	switch {
	case strings.ContainsAny(value, "\r\n"):
		return "holds several lines"
	case strings.IndexFunc(value, unicode.IsControl) >= 0:
		return "holds a control character"
	}
	return ""
}
