package config

import "encoding/json"

// Secret is a value that no log, error or dump may show. Only Reveal returns it, so that
// a search for that word finds every use. The zero value is unset.
type Secret struct {
	// A pointer, because fmt does not call String on a Secret in an
	// unexported field; it prints the address then, and not the value.
	value *string
}

const redacted = "[redacted]"

// NewSecret wraps s. An empty s is the unset Secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{value: &s}
}

// Reveal returns the value itself, empty if unset.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != nil }

// String keeps the value out of %v and %s, GoString out of %#v, and
// MarshalText and MarshalJSON out of encoders, zerolog's Any and Interface
// among them.
func (s Secret) String() string { return redacted }

// GoString is described at String.
func (s Secret) GoString() string { return redacted }

// MarshalText is described at String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is described at String.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
