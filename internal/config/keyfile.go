package config

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Errors here continue a sentence that begins with the name of a setting: "holds
// a certificate, ...", or "names FILE, which holds ...". They never contain anything
// of a key.

const (
	// minPrivateBits is what WeChat Pay's certificates for merchants have.
	minPrivateBits = 2048
	// minPublicBits is lower: the key is WeChat Pay's choice, and Go refuses
	// to verify with less than this.
	minPublicBits = 1024
)

// keyKind is one of the two keys that settings hold.
type keyKind struct {
	label   string // of its PEM block; PKCS#1 has RSA in front
	what    string // as contents calls it
	wanted  string // in a sentence about what is there instead
	remedy  string
	convert string // the command that makes PEM of DER in the file %s
}

var (
	privateKind = keyKind{
		label: "PRIVATE KEY", what: "a private key", wanted: "the merchant's private key",
		remedy:  "give apiclient_key.pem as WeChat Pay's certificate tool made it",
		convert: "openssl pkey -inform DER -in %s -out key.pem",
	}
	publicKind = keyKind{
		label: "PUBLIC KEY", what: "a public key", wanted: "WeChat Pay's public key",
		remedy:  "give pub_key.pem from WeChat Pay's merchant platform",
		convert: "openssl pkey -pubin -inform DER -in %s -out pub_key.pem",
	}
)

// readableByAll warns of a private key's file that every user may read. It is
// empty for any other, and for a key that is not in a file.
func readableByAll(path string) (warning string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		return fmt.Sprintf("names %q, which every user of this machine can read: chmod 600 it, or 640 with a group of its own", path)
	}
	return ""
}

// parsePrivateKey reads an RSA key, PKCS#8 or PKCS#1, not encrypted. See keyText
// for the forms of PEM that it takes.
func parsePrivateKey(t Text) (*rsa.PrivateKey, error) {
	der, err := privateKind.find(t)
	if err != nil {
		return nil, err
	}
	key, err := parseRSAPrivate(der)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, t.names("holds a key that is not RSA: WeChat Pay gives merchants RSA keys (apiclient_key.pem)")
	case err != nil:
		return nil, t.names("holds a damaged private key: copy apiclient_key.pem again, whole")
	case key.N.BitLen() < minPrivateBits:
		return nil, t.names("holds an RSA key of %d bits: WeChat Pay's merchant keys have %d or more, request a new certificate", key.N.BitLen(), minPrivateBits)
	}
	return key, nil
}

var errNotRSA = errors.New("not an RSA key")

func parseRSAPrivate(der []byte) (*rsa.PrivateKey, error) {
	return parseRSA(der, x509.ParsePKCS1PrivateKey, x509.ParsePKCS8PrivateKey)
}

func parseRSAPublic(der []byte) (*rsa.PublicKey, error) {
	return parseRSA(der, x509.ParsePKCS1PublicKey, x509.ParsePKIXPublicKey)
}

// parseRSA goes by the content: some files labelled PRIVATE KEY hold PKCS#1, and the
// other way round.
func parseRSA[K any](der []byte, pkcs1 func([]byte) (*K, error), anyKind func([]byte) (any, error)) (*K, error) {
	if key, err := pkcs1(der); err == nil {
		return key, nil
	}
	key, err := anyKind(der)
	if err != nil {
		return nil, err
	}
	if rsaKey, ok := key.(*K); ok {
		return rsaKey, nil
	}
	return nil, errNotRSA
}

// parsePublicKey reads WeChat Pay's RSA public key, PKIX or PKCS#1. See keyText
// for the forms of PEM that it takes.
func parsePublicKey(t Text) (*rsa.PublicKey, error) {
	der, err := publicKind.find(t)
	if err != nil {
		return nil, err
	}
	key, err := parseRSAPublic(der)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, t.names("holds a key that is not RSA: WeChat Pay's public key is (pub_key.pem)")
	case err != nil:
		return nil, t.names("holds a damaged public key: download pub_key.pem again")
	case key.N.BitLen() < minPublicBits:
		return nil, t.names("holds an RSA key of %d bits, which is too short: download pub_key.pem again", key.N.BitLen())
	}
	return key, nil
}

// find returns the first block of the kind. A text may hold more than the key:
// openssl writes certificate and key into one file.
func (k keyKind) find(t Text) ([]byte, error) {
	data := keyText([]byte(t.Reveal()))
	var types []string
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil:
			return nil, t.names("%s", k.instead(t, data, types))
		case k == privateKind && (block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")):
			return nil, t.names(`is encrypted with a passphrase: write it without one, with "openssl pkcs8 -topk8 -nocrypt -in %s -out key.pem", and protect the new file by its mode`, t.file())
		case block.Type == k.label || block.Type == "RSA "+k.label:
			return block.Bytes, nil
		}
		types = append(types, block.Type)
	}
}

// instead says what the text holds instead of the key, and the remedy.
func (k keyKind) instead(t Text, data []byte, types []string) string {
	what := contents(data, types)
	isDER := what != "" && len(types) == 0
	switch {
	case isDER && what == k.what:
		return fmt.Sprintf(`holds the key in DER, where PEM is wanted: convert it with "`+k.convert+`"`, t.file())
	case what == binaryData && k == privateKind:
		return fmt.Sprintf(`is binary, where PEM is wanted: if it is a .p12 archive, take the key out with "openssl pkcs12 -in %s -nocerts -nodes -out key.pem"`, t.file())
	case what == binaryData:
		return "is binary, where PEM is wanted: " + k.remedy
	case what == "a certificate" && k == publicKind:
		return "holds a certificate, where WeChat Pay's public key is wanted: " + k.remedy + ", or set the APIv3 key instead of the public key to work with platform certificates"
	case what != "":
		return fmt.Sprintf("holds %s, where %s is wanted: %s", what, k.wanted, k.remedy)
	}
	return k.notPEM(strings.TrimSpace(string(data)))
}

// notPEM says what keeps a text from being PEM.
func (k keyKind) notPEM(text string) string {
	begin := regexp.MustCompile(`-----BEGIN [0-9A-Z ]+-----`).FindString(text)
	end := strings.Replace(begin, "BEGIN", "END", 1)
	isPath := !strings.ContainsAny(text, "\n ") && len(text) < 256 &&
		(strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || strings.HasSuffix(text, ".pem") || strings.HasSuffix(text, ".key"))
	switch {
	case begin != "" && !strings.Contains(text, end):
		return fmt.Sprintf("has the line %s and no %s: it was cut off; %s", begin, end, k.remedy)
	case begin != "":
		return fmt.Sprintf("has the line %s, but what follows is not base64: it was altered on its way; %s", begin, k.remedy)
	case strings.Contains(text, pemBegin):
		return fmt.Sprintf("begins with %s, but that line is not whole (-----BEGIN %s-----): %s", pemBegin, k.label, k.remedy)
	case isPath:
		return fmt.Sprintf("is not PEM text (-----BEGIN %s-----), but perhaps the path of a file: that belongs in the setting whose name ends in _FILE", k.label)
	}
	return fmt.Sprintf("is not PEM (-----BEGIN %s-----): %s", k.label, k.remedy)
}

const binaryData = "binary data"

// contents names what PEM blocks of these types, or DER, are; it is empty for other
// text.
func contents(data []byte, types []string) string {
	for _, kind := range []struct{ suffix, what string }{
		{"EC PRIVATE KEY", "an EC key"}, {"CERTIFICATE", "a certificate"}, {"PUBLIC KEY", "a public key"},
		{"ENCRYPTED PRIVATE KEY", "a private key"}, {"RSA PRIVATE KEY", "a private key"},
	} {
		if slices.ContainsFunc(types, func(t string) bool {
			return strings.HasSuffix(t, kind.suffix) || t == "PRIVATE KEY" && kind.what == "a private key"
		}) {
			return kind.what
		}
	}
	if len(types) > 0 {
		return fmt.Sprintf("%q", types[0])
	}
	// Every structure in question is an ASN.1 SEQUENCE.
	if len(data) == 0 || data[0] != 0x30 {
		return ""
	}
	if _, err := parseRSAPrivate(data); err == nil {
		return "a private key"
	}
	if _, err := parseRSAPublic(data); err == nil {
		return "a public key"
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "a certificate"
	}
	// A text file may begin with the same byte, the digit 0.
	for _, b := range data {
		if b < 0x20 && b != '\n' && b != '\r' && b != '\t' || b >= 0x80 {
			return binaryData
		}
	}
	return ""
}
