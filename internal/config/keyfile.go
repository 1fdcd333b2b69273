package config

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Errors here go on where the name of a setting ends: "names FILE, which ...".
// They never hold anything of the file's content.

// maxKeyFile bounds the reading of a path that was mistyped into something
// large or endless.
const maxKeyFile = 1 << 20

const (
	// minPrivateBits is what WeChat Pay's certificates for merchants have.
	minPrivateBits = 2048
	// minPublicBits is lower: the key is WeChat Pay's choice, and Go refuses
	// to verify with less than this.
	minPublicBits = 1024
)

// readKeyFile reads a file that must not be empty.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("names %s, which does not exist: check the path, and in a container whether the file is mounted", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("names %s, which this user may not read: change its owner with chown, or its group and mode", path)
	case err != nil:
		return nil, fmt.Errorf("names %s, which cannot be opened: %w", path, errors.Unwrap(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("names %s, which is a directory: give the path of the file itself", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("names %s, which cannot be read: %w", path, errors.Unwrap(err))
	case len(data) > maxKeyFile:
		return nil, fmt.Errorf("names %s, which is far too large for a key: check the path", path)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some editors' byte order mark
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("names %s, which is empty: copy the key into it again", path)
	}
	return data, nil
}

// readPrivateKey reads an RSA key in PEM, PKCS#8 or PKCS#1, not encrypted. The
// warning, where not empty, is worded like the errors.
func readPrivateKey(path string) (key *rsa.PrivateKey, warning string, err error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, "", err
	}
	key, err = parsePrivateKey(path, data)
	if err != nil {
		return nil, "", err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		warning = fmt.Sprintf("names %s, which every user of this machine can read: chmod 600 it, or 640 with a group of its own", path)
	}
	return key, warning, nil
}

func parsePrivateKey(path string, data []byte) (*rsa.PrivateKey, error) {
	block, found := pick(data, "PRIVATE KEY", "RSA PRIVATE KEY")
	if block == nil {
		return nil, fmt.Errorf("names %s, which %s", path, found.insteadOfPrivate(path, data))
	}
	if found.encrypted {
		return nil, fmt.Errorf("names %s, whose key is encrypted with a passphrase: %s", path, decryptHint(path))
	}
	key, err := parseRSAPrivate(block.Bytes)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, fmt.Errorf("names %s, which holds a key that is not RSA: WeChat Pay gives merchants RSA keys (apiclient_key.pem)", path)
	case err != nil:
		return nil, fmt.Errorf("names %s, which holds a damaged private key: copy apiclient_key.pem again, whole", path)
	case key.N.BitLen() < minPrivateBits:
		return nil, fmt.Errorf("names %s, which holds an RSA key of %d bits: WeChat Pay's merchant keys have %d or more, have a new certificate made", path, key.N.BitLen(), minPrivateBits)
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

// readPublicKey reads WeChat Pay's RSA public key in PEM, PKIX or PKCS#1.
func readPublicKey(path string) (*rsa.PublicKey, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	block, found := pick(data, "PUBLIC KEY", "RSA PUBLIC KEY")
	if block == nil {
		return nil, fmt.Errorf("names %s, which %s", path, found.insteadOfPublic(path, data))
	}
	key, err := parseRSAPublic(block.Bytes)
	switch {
	case errors.Is(err, errNotRSA):
		return nil, fmt.Errorf("names %s, which holds a key that is not RSA: WeChat Pay's public key is (pub_key.pem)", path)
	case err != nil:
		return nil, fmt.Errorf("names %s, which holds a damaged public key: download pub_key.pem again", path)
	case key.N.BitLen() < minPublicBits:
		return nil, fmt.Errorf("names %s, which holds an RSA key of %d bits, too short to prove anything: download pub_key.pem again", path, key.N.BitLen())
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
