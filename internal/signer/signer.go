// Package signer makes the RSA signatures of a merchant's calls: with Go's crypto/rsa,
// or with OpenSSL, which takes a quarter of the processor time where the processor has
// AVX-512 IFMA. OpenSSL is in builds with the tag openssl (cgo, libcrypto 3).
package signer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// The values of WECHATPAY_SIGNER.
const (
	Auto    = "auto" // OpenSSL where it works, else Go
	Go      = "go"
	OpenSSL = "openssl"
)

// ErrNotBuilt: this program was built without OpenSSL.
var ErrNotBuilt = errors.New("this build has no OpenSSL (it was built without the tag openssl)")

// New returns a signer of the key by PKCS #1 v1.5 with SHA-256, the algorithm of WeChat
// Pay; its signatures are the same bytes whatever makes them. It is safe for concurrent
// use. An OpenSSL signer has proven that it signs as Go verifies. With Auto, a key that
// OpenSSL does not sign with so is signed with by Go; with OpenSSL, that is an error.
func New(want string, key *rsa.PrivateKey) (crypto.Signer, error) {
	if want == Go {
		return inTurn{Signer: key}, nil
	}
	s, err := fast(key)
	if err == nil {
		err = prove(s, &key.PublicKey)
	}
	switch {
	case err == nil:
		return inTurn{Signer: s, givesWay: true}, nil
	case want == OpenSSL:
		return nil, err
	}
	return inTurn{Signer: key}, nil
}

// turns lets no more signatures be made at a time than there are processors. More would
// only take the processors from each other, and from everything else: with as many steps
// as a worker has, a reply of Redis or a request to the API would wait behind dozens of
// signatures.
var turns = make(chan struct{}, runtime.GOMAXPROCS(0))

// inTurn makes each signature when it is its turn.
type inTurn struct {
	crypto.Signer
	// givesWay is for signers outside of Go: a thread of low priority that runs Go code
	// would make Go's garbage collector, and with it every request, wait for it.
	givesWay bool
}

// Sign implements crypto.Signer.
func (s inTurn) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	begun := time.Now()
	turns <- struct{}{}
	defer func() { <-turns }()
	if s.givesWay && givingWay() && time.Since(begun) < patience {
		return signBehind(func() ([]byte, error) { return s.Signer.Sign(rand, digest, opts) })
	}
	return s.Signer.Sign(rand, digest, opts)
}

// Choose returns which implementation signs with the keys, Go or OpenSSL, and with Auto,
// where that is Go, why it is not OpenSSL. One key that OpenSSL fails with decides for
// all.
func Choose(want string, keys ...*rsa.PrivateKey) (name string, why error) {
	if want == Go || len(keys) == 0 {
		return Go, nil
	}
	for _, key := range keys {
		if _, err := New(OpenSSL, key); err != nil {
			return Go, err
		}
	}
	return OpenSSL, nil
}

// prove signs a message and verifies the signature with Go.
func prove(s crypto.Signer, public *rsa.PublicKey) error {
	digest := sha256.Sum256([]byte("payscore-collector tries its signer"))
	signature, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) != nil {
		return fmt.Errorf("%s made a signature that is wrong", Version())
	}
	return nil
}
