//go:build openssl && cgo

package signer

/*
#cgo LDFLAGS: -lcrypto
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "the tag openssl takes OpenSSL 3"
#endif

// failed returns the first error of this thread's queue and empties it. The queue is
// read in the C function that filled it: between two calls of C a goroutine can move to
// another thread.
static unsigned long failed(void) {
	unsigned long code = ERR_get_error();
	ERR_clear_error();
	return code != 0 ? code : ERR_PACK(ERR_LIB_EVP, 0, ERR_R_INTERNAL_ERROR);
}

// signer_new makes the context of a key, of which each signature uses a copy.
static unsigned long signer_new(const unsigned char *der, long size, EVP_PKEY_CTX **signer) {
	ERR_clear_error();
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, size);
	EVP_PKEY_CTX *ctx = key == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	EVP_PKEY_free(key); // the context keeps it
	if (ctx == NULL || EVP_PKEY_sign_init(ctx) <= 0 ||
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) <= 0 ||
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) <= 0) {
		unsigned long code = failed();
		EVP_PKEY_CTX_free(ctx);
		return code;
	}
	*signer = ctx;
	return 0;
}

static unsigned long signer_sign(EVP_PKEY_CTX *signer, const unsigned char *digest, size_t digest_size, unsigned char *signature, size_t *size) {
	ERR_clear_error();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_dup(signer);
	unsigned long code = 0;
	if (ctx == NULL || EVP_PKEY_sign(ctx, signature, size, digest, digest_size) <= 0) {
		code = failed();
	}
	EVP_PKEY_CTX_free(ctx);
	return code;
}
*/
import "C"

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// fast makes the faster signer of a key. Tests replace it.
var fast = newOpenSSL

// Version returns which OpenSSL this program uses, as OpenSSL says it; "" for none.
func Version() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// openSSL is a signer with libcrypto, which has a copy of the key outside of Go's memory.
// It is freed when no reference to the signer is left.
type openSSL struct {
	public *rsa.PublicKey
	ctx    *C.EVP_PKEY_CTX
}

func newOpenSSL(key *rsa.PrivateKey) (crypto.Signer, error) {
	der := x509.MarshalPKCS1PrivateKey(key)
	defer clear(der)
	s := &openSSL{public: &key.PublicKey}
	if err := failure(C.signer_new((*C.uchar)(&der[0]), C.long(len(der)), &s.ctx)); err != nil {
		return nil, err
	}
	runtime.AddCleanup(s, func(ctx *C.EVP_PKEY_CTX) { C.EVP_PKEY_CTX_free(ctx) }, s.ctx)
	return s, nil
}

// Public implements crypto.Signer.
func (s *openSSL) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer. OpenSSL has a source of random numbers of its own.
func (s *openSSL) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, errors.New("this signer signs SHA-256 by PKCS #1 v1.5 and nothing else")
	}
	signature := make([]byte, s.public.Size())
	size := C.size_t(len(signature))
	err := failure(C.signer_sign(s.ctx, (*C.uchar)(&digest[0]), C.size_t(len(digest)), (*C.uchar)(&signature[0]), &size))
	runtime.KeepAlive(s)
	if err != nil {
		return nil, err
	}
	return signature[:size], nil
}

// failure returns the error of a code of OpenSSL. Its text names the library and the
// reason, and nothing of the data.
func failure(code C.ulong) error {
	if code == 0 {
		return nil
	}
	var text [256]C.char
	C.ERR_error_string_n(code, &text[0], C.size_t(len(text)))
	return fmt.Errorf("OpenSSL: %s", C.GoString(&text[0]))
}
