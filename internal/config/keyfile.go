package config

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Errors here continue a sentence that begins with the name of a setting: "holds
// a certificate, ...", or "names FILE, which holds ...". They never have anything
// of a key in them.

const (
	// minPrivateBits is what WeChat Pay's certificates for merchants have.
	minPrivateBits = 2048
	// minPublicBits is lower: the key is WeChat Pay's choice, and Go refuses
	// to verify with less than this.
	minPublicBits = 1024
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
func parsePrivateKey(g given) (*rsa.PrivateKey, error) {
	data := keyText([]byte(g.text))
	block, found := pick(data, "PRIVATE KEY", "RSA PRIVATE KEY")
	if block == nil {
		return nil, g.names("%s", found.insteadOfPrivate(g, data))
	}
	if found.encrypted {
		return nil, g.names("is encrypted with a passphrase: %s", decryptHint(g.file()))
	}
	key, err := parseRSAPrivate(block.Bytes)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, g.names("holds a key that is not RSA: WeChat Pay gives merchants RSA keys (apiclient_key.pem)")
	case err != nil:
		return nil, g.names("holds a damaged private key: copy apiclient_key.pem again, whole")
	case key.N.BitLen() < minPrivateBits:
		return nil, g.names("holds an RSA key of %d bits: WeChat Pay's merchant keys have %d or more, have a new certificate made", key.N.BitLen(), minPrivateBits)
	}
	return key, nil
}

var errNotRSA = errors.New("not an RSA key")

// parseRSAPrivate goes by the content: files labelled PRIVATE KEY that hold
// PKCS#1, and the other way round, are about.
func parseRSAPrivate(der []byte) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	if rsaKey, ok := key.(*rsa.PrivateKey); ok {
		return rsaKey, nil
	}
	return nil, errNotRSA
}

// parsePublicKey reads WeChat Pay's RSA public key, PKIX or PKCS#1. See keyText
// for the forms of PEM that it takes.
func parsePublicKey(g given) (*rsa.PublicKey, error) {
	data := keyText([]byte(g.text))
	block, found := pick(data, "PUBLIC KEY", "RSA PUBLIC KEY")
	if block == nil {
		return nil, g.names("%s", found.insteadOfPublic(g, data))
	}
	key, err := parseRSAPublic(block.Bytes)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, g.names("holds a key that is not RSA: WeChat Pay's public key is (pub_key.pem)")
	case err != nil:
		return nil, g.names("holds a damaged public key: download pub_key.pem again")
	case key.N.BitLen() < minPublicBits:
		return nil, g.names("holds an RSA key of %d bits, too short to prove anything: download pub_key.pem again", key.N.BitLen())
	}
	return key, nil
}

func parseRSAPublic(der []byte) (*rsa.PublicKey, error) {
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	if rsaKey, ok := key.(*rsa.PublicKey); ok {
		return rsaKey, nil
	}
	return nil, errNotRSA
}
