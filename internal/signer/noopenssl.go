//go:build !openssl || !cgo

package signer

import (
	"crypto"
	"crypto/rsa"
)

// fast makes the faster signer of a key. Tests replace it.
var fast = func(*rsa.PrivateKey) (crypto.Signer, error) { return nil, ErrNotBuilt }

// Version returns which OpenSSL this program uses, as OpenSSL says it; "" for none.
func Version() string { return "" }
