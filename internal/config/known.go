package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A secret is often written where something else is wanted. A value that is certainly
// one is refused, see refuseMisplaced; textsafe decides whether any other value may be
// repeated.

// knownSecret is a secret of this environment, or the part of one that counts.
type knownSecret struct{ setting, value string }

// leastKnown is the least length of a secret that is recognised inside other values.
// A shorter one may be a word or a number that is used for several things.
const leastKnown = 12

// knownSecrets are the secrets that a process was given: in the settings, and in its
// environment, whether or not its command reads them.
func knownSecrets(p Process, settings []*setting) []knownSecret {
	var all []knownSecret
	for _, s := range settings {
		if s.Secret {
			all = addSecret(all, s.name, s.text)
		}
	}
	for _, d := range declared {
		if d.Secret {
			all = addSecret(all, d.Name, p.env(d.Name))
		}
	}
	return all
}

func addSecret(all []knownSecret, name, value string) []knownSecret {
	for _, part := range secretParts(value) {
		if s := (knownSecret{name, part}); len(part) >= leastKnown && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// secretParts are the parts of a value that are secret: the whole of it, of a URL also
// its password and the secret parameters of its query, of a PEM key also each line.
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
		_, password, _ := strings.Cut(rest[:at], ":") // a user alone is not a secret
		parts = append(parts, password)
		if plain, err := url.PathUnescape(password); err == nil {
			parts = append(parts, plain)
		}
	}
	if _, query, ok := strings.Cut(rest, "?"); ok {
		values, _ := url.ParseQuery(query)
		for name, vs := range values {
			if secretParameter.MatchString(name) && !pathParameter.MatchString(name) {
				parts = append(parts, vs...)
			}
		}
	}
	return parts
}

var (
	secretParameter = regexp.MustCompile(`(?i)pass|token|secret|key|sign`)
	pathParameter   = regexp.MustCompile(`^ssl(key|cert|rootcert)$`) // PostgreSQL's: they name files
)

// knownIn returns the setting of a known secret that the value contains or is a piece
// of; empty otherwise. A piece of a URL does not count: other settings may have the same
// host, path or parameters.
func knownIn(value string, known []knownSecret) (setting string) {
	for _, k := range known {
		piece := len(value) >= leastKnown && !strings.Contains(k.value, "://") && strings.Contains(k.value, value)
		if strings.Contains(value, k.value) || piece {
			return k.setting
		}
	}
	return ""
}

// misplaced says what a value is that certainly belongs elsewhere, as the rest of a
// sentence: "holds a private key". It is empty for any other value.
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
