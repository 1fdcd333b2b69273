package config

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"regexp"
	"strings"
	"unicode/utf16"
)

// keyText returns the PEM that a key's text was before it went through an environment
// file, a YAML block, a secret store or a Windows shell, if that is certain: UTF-16;
// literal \n for line ends; quotes around it; indented; on one line, with blanks or
// nothing between; base64 without its frame; base64 of the whole. Any other text is
// returned unchanged.
func keyText(data []byte) []byte {
	data = fromUTF16(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	text := strings.TrimSpace(string(data))
	text = strings.TrimSpace(unquoted(text))
	text = strings.NewReplacer(`\\n`, "\n", `\r\n`, "\n", `\n`, "\n").Replace(text)
	if strings.Contains(text, pemBegin) {
		return []byte(frame.ReplaceAllStringFunc(text, reframe))
	}
	der, ok := unbase64(text)
	if !ok {
		return data
	}
	if bytes.Contains(der, []byte(pemBegin)) {
		return keyText(der)
	}
	label := map[string]string{privateKind.what: privateKind.label, publicKind.what: publicKind.label, "a certificate": "CERTIFICATE"}[contents(der, nil)]
	if label == "" {
		return data
	}
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

const pemBegin = "-----BEGIN"

// frame is a block of PEM with anything between its two lines.
var frame = regexp.MustCompile(`(?s)-----BEGIN ([0-9A-Z ]+)-----(.*?)-----END [0-9A-Z ]+-----`)

// reframe writes a block with its lines where PEM has them. It does not change a block
// with headers: only line ends separate the headers from the body.
func reframe(block string) string {
	parts := frame.FindStringSubmatch(block)
	der, ok := unbase64(parts[2])
	if !ok {
		return block
	}
	return "\n" + string(pem.EncodeToMemory(&pem.Block{Type: parts[1], Bytes: der}))
}

// unbase64 decodes standard base64 with blanks and line ends anywhere in it.
func unbase64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	return b, err == nil && len(b) > 0
}

// unquoted removes quotes around the whole.
func unquoted(s string) string {
	for _, q := range []string{`"`, `'`} {
		if len(s) >= 2 && strings.HasPrefix(s, q) && strings.HasSuffix(s, q) {
			return s[1 : len(s)-1]
		}
	}
	return s
}

// fromUTF16 returns UTF-8 for a text that begins with UTF-16's byte order mark,
// as PowerShell writes files.
func fromUTF16(data []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return data
	}
	units := make([]uint16, 0, len(data)/2)
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(units)))
}
