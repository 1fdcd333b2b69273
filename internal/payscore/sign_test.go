package payscore_test

import (
	"crypto"
	"errors"
	"io"
	"testing"

	"payscore-collector/internal/payscore"
)

// faultySigner cannot sign.
type faultySigner struct{ crypto.Signer }

func (faultySigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("OpenSSL: error:0200007A:rsa routines::no memory")
}

// A request that cannot be signed certainly never left, and the reply says why.
func TestSignerFails(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	client := p.client(t, func(c *payscore.Config) { c.Signer = faultySigner{c.Signer} })
	r := do(t, client, payscore.CallCollect, p.request("ORDER"))
	if r.Sent || r.Verdict != payscore.Unavailable || r.Message != "generate authorization err:OpenSSL: error:0200007A:rsa routines::no memory" {
		t.Errorf("%+v", r)
	}
	if n := p.Report().Calls; n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}
