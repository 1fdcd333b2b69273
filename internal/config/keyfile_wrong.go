package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
)

// What people give instead of the key, and what to tell them.

// contents is what the PEM blocks of a file are.
type contents struct {
	types     []string // of all blocks, in their order
	encrypted bool     // the picked block, or for want of one any private key
}

// pick returns the first block of one of the given types, or nil, and what the
// file holds at all. A file may hold more than the key: openssl writes
// certificate and key into one.
func pick(data []byte, types ...string) (*pem.Block, contents) {
	var picked *pem.Block
	var found contents
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return picked, found
		}
		data = rest
		found.types = append(found.types, block.Type)
		for _, t := range types {
			if picked == nil && block.Type == t {
				picked = block
				found.encrypted = strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
			}
		}
		if picked == nil && block.Type == "ENCRYPTED PRIVATE KEY" {
			found.encrypted = true
		}
	}
}

func (f contents) has(suffix string) bool {
	for _, t := range f.types {
		if strings.HasSuffix(t, suffix) {
			return true
		}
	}
	return false
}

// insteadOfPrivate says what the text holds, and the remedy. It continues a
// sentence, as the errors of parsePrivateKey do.
func (f contents) insteadOfPrivate(g given, data []byte) string {
	switch {
	case f.encrypted:
		return "is encrypted with a passphrase: " + decryptHint(g.file())
	case f.has("EC PRIVATE KEY"):
		return "holds an EC key: WeChat Pay gives merchants RSA keys (apiclient_key.pem)"
	case f.has("CERTIFICATE"):
		return "holds a certificate, where a private key is wanted: give apiclient_key.pem, from the same archive"
	case f.has("PUBLIC KEY"):
		return "holds a public key, where the merchant's private key is wanted: give apiclient_key.pem"
	case len(f.types) > 0:
		return fmt.Sprintf("holds %q, where a PRIVATE KEY is wanted: give apiclient_key.pem", f.types[0])
	}
	switch kindOf(data) {
	case derPrivate:
		return fmt.Sprintf(`holds the key in DER, where PEM is wanted: convert it with "openssl pkey -inform DER -in %s -out key.pem"`, g.file())
	case derCertificate, derPublic:
		return "holds a certificate or a public key in DER, where a private key in PEM is wanted: give apiclient_key.pem"
	case derOther:
		return fmt.Sprintf(`is binary, where PEM is wanted: if it is a .p12 archive, take the key out with "openssl pkcs12 -in %s -nocerts -nodes -out key.pem"`, g.file())
	}
	return noPEM(data, "PRIVATE KEY", "give apiclient_key.pem as WeChat Pay's certificate tool made it")
}

// insteadOfPublic is the same for the public key.
func (f contents) insteadOfPublic(g given, data []byte) string {
	const want = "give pub_key.pem from WeChat Pay's merchant platform"
	switch {
	case f.has("PRIVATE KEY"):
		return "holds a private key, where WeChat Pay's public key is wanted: " + want
	case f.has("CERTIFICATE"):
		return "holds a certificate, where WeChat Pay's public key is wanted: " + want + ", or set the APIv3 key instead of the public key to work with platform certificates"
	case len(f.types) > 0:
		return fmt.Sprintf("holds %q, where a PUBLIC KEY is wanted: %s", f.types[0], want)
	}
	switch kindOf(data) {
	case derPublic:
		return fmt.Sprintf(`holds the key in DER, where PEM is wanted: convert it with "openssl pkey -pubin -inform DER -in %s -out pub_key.pem"`, g.file())
	case derPrivate:
		return "holds a private key, where WeChat Pay's public key is wanted: " + want
	case derCertificate:
		return "holds a certificate, where WeChat Pay's public key is wanted: " + want
	case derOther:
		return "is binary, where PEM is wanted: " + want
	}
	return noPEM(data, "PUBLIC KEY", want)
}

// noPEM says what keeps a text from being PEM.
func noPEM(data []byte, label, want string) string {
	text := strings.TrimSpace(string(data))
	begin := regexp.MustCompile(`-----BEGIN [0-9A-Z ]+-----`).FindString(text)
	switch {
	case begin != "" && !strings.Contains(text, strings.Replace(begin, "BEGIN", "END", 1)):
		return fmt.Sprintf("has the line %s and no %s: it was cut off; %s", begin, strings.Replace(begin, "BEGIN", "END", 1), want)
	case begin != "":
		return fmt.Sprintf("has the line %s, but what follows is not base64: it was altered on its way; %s", begin, want)
	case strings.Contains(text, pemBegin):
		return fmt.Sprintf("begins with %s, but that line is not whole (-----BEGIN %s-----): %s", pemBegin, label, want)
	case looksLikePath(text):
		return fmt.Sprintf("is not PEM text (-----BEGIN %s-----), but perhaps the path of a file: that belongs into the setting whose name ends in _FILE", label)
	}
	return fmt.Sprintf("is not PEM (-----BEGIN %s-----): %s", label, want)
}

// looksLikePath reports whether a text could be a path, written where a key's
// text is wanted.
func looksLikePath(text string) bool {
	return !strings.ContainsAny(text, "\n ") && len(text) < 256 &&
		(strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".pem") || strings.HasSuffix(text, ".key"))
}

func decryptHint(path string) string {
	return fmt.Sprintf(`write it without one, with "openssl pkcs8 -topk8 -nocrypt -in %s -out key.pem", and protect the new file by its mode`, path)
}

type derKind int

const (
	derNot derKind = iota
	derPrivate
	derPublic
	derCertificate
	derOther
)

func kindOf(data []byte) derKind {
	// Every structure in question is an ASN.1 SEQUENCE.
	if len(data) == 0 || data[0] != 0x30 {
		return derNot
	}
	if _, err := parseRSAPrivate(data); err == nil {
		return derPrivate
	}
	if _, err := parseRSAPublic(data); err == nil {
		return derPublic
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return derCertificate
	}
	// A text file may begin with the same byte, the digit 0.
	for _, b := range data {
		if b < 0x20 && b != '\n' && b != '\r' && b != '\t' || b >= 0x80 {
			return derOther
		}
	}
	return derNot
}
