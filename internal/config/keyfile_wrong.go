package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
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

// insteadOfPrivate goes on after "which": what the file holds, and the remedy.
func (f contents) insteadOfPrivate(path string, data []byte) string {
	switch {
	case f.encrypted:
		return "is encrypted with a passphrase: " + decryptHint(path)
	case f.has("EC PRIVATE KEY"):
		return "holds an EC key: WeChat Pay gives merchants RSA keys (apiclient_key.pem)"
	case f.has("CERTIFICATE"):
		return "holds a certificate, where a private key is wanted: give apiclient_key.pem, from the same archive"
	case f.has("PUBLIC KEY"):
		return "holds a public key, where the merchant's private key is wanted: give apiclient_key.pem"
	case len(f.types) > 0:
		return fmt.Sprintf("holds %q, where a PRIVATE KEY is wanted: give apiclient_key.pem", f.types[0])
	}
	switch derKind(data) {
	case derPrivate:
		return fmt.Sprintf(`holds the key in DER, where PEM is wanted: convert it with "openssl pkey -inform DER -in %s -out key.pem"`, path)
	case derCertificate, derPublic:
		return "holds a certificate or a public key in DER, where a private key in PEM is wanted: give apiclient_key.pem"
	case derOther:
		return fmt.Sprintf(`is binary, where PEM is wanted: if it is a .p12 archive, take the key out with "openssl pkcs12 -in %s -nocerts -nodes -out key.pem"`, path)
	}
	return "is not a PEM file (-----BEGIN PRIVATE KEY-----): give apiclient_key.pem as WeChat Pay's certificate tool made it"
}

// insteadOfPublic is the same for the public key.
func (f contents) insteadOfPublic(path string, data []byte) string {
	const want = "give pub_key.pem from WeChat Pay's merchant platform"
	switch {
	case f.has("PRIVATE KEY"):
		return "holds a private key, where WeChat Pay's public key is wanted: " + want
	case f.has("CERTIFICATE"):
		return "holds a certificate, where WeChat Pay's public key is wanted: " + want + ", or set the APIv3 key instead of the public key to work with platform certificates"
	case len(f.types) > 0:
		return fmt.Sprintf("holds %q, where a PUBLIC KEY is wanted: %s", f.types[0], want)
	}
	switch derKind(data) {
	case derPublic:
		return fmt.Sprintf(`holds the key in DER, where PEM is wanted: convert it with "openssl pkey -pubin -inform DER -in %s -out pub_key.pem"`, path)
	case derPrivate:
		return "holds a private key, where WeChat Pay's public key is wanted: " + want
	case derCertificate:
		return "holds a certificate, where WeChat Pay's public key is wanted: " + want
	case derOther:
		return "is binary, where PEM is wanted: " + want
	}
	return "is not a PEM file (-----BEGIN PUBLIC KEY-----): " + want
}

func decryptHint(path string) string {
	return fmt.Sprintf(`write it without one, with "openssl pkcs8 -topk8 -nocrypt -in %s -out key.pem", and protect the new file by its mode`, path)
}

type der int

const (
	derNot der = iota
	derPrivate
	derPublic
	derCertificate
	derOther
)

func derKind(data []byte) der {
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
