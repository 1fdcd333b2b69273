package signer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func newKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// broken is a signer that returns what it holds.
type broken struct {
	crypto.Signer
	signature []byte
	err       error
}

func (b broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return b.signature, b.err
}

// replaceFast makes f the faster implementation for the test.
func replaceFast(t *testing.T, f func(*rsa.PrivateKey) (crypto.Signer, error)) {
	t.Helper()
	was := fast
	fast = f
	t.Cleanup(func() { fast = was })
}

// What does not sign as Go verifies is never used: auto falls back to Go and says why,
// and openssl is refused.
func TestOnlyAProvenSignerSigns(t *testing.T) {
	key, other := newKey(t, 2048), newKey(t, 2048)
	good, bad := errors.New("has no such algorithm"), errors.New("memory is full")
	for name, tc := range map[string]struct {
		made crypto.Signer
		err  error
		want string
	}{
		"it is missing":                 {nil, ErrNotBuilt, "this build has no OpenSSL"},
		"it cannot load the key":        {nil, good, good.Error()},
		"it cannot sign":                {broken{err: bad}, nil, bad.Error()},
		"it signs nothing":              {broken{}, nil, "made a signature that is wrong"},
		"it signs with garbage":         {broken{signature: make([]byte, 256)}, nil, "made a signature that is wrong"},
		"it signs with a different key": {other, nil, "made a signature that is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			replaceFast(t, func(*rsa.PrivateKey) (crypto.Signer, error) { return tc.made, tc.err })
			if s, err := New(Auto, key); s != crypto.Signer(inTurn{Signer: key}) || err != nil {
				t.Errorf("auto is %T, %v", s, err)
			}
			if s, err := New(OpenSSL, key); s != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("openssl is %T, %v, want an error with %q", s, err, tc.want)
			}
			if name, why := Choose(Auto, key); name != Go || why == nil || !strings.Contains(why.Error(), tc.want) {
				t.Errorf("chosen is %s, %v", name, why)
			}
		})
	}
	t.Run("one of two keys", func(t *testing.T) {
		replaceFast(t, func(k *rsa.PrivateKey) (crypto.Signer, error) { return key, nil })
		if name, why := Choose(Auto, key); name != OpenSSL || why != nil {
			t.Errorf("for its own key: %s, %v", name, why)
		}
		if name, why := Choose(Auto, key, other); name != Go || why == nil {
			t.Errorf("for both: %s, %v", name, why)
		}
	})
}

func TestGoIsGo(t *testing.T) {
	key := newKey(t, 2048)
	replaceFast(t, func(*rsa.PrivateKey) (crypto.Signer, error) {
		t.Error("the other implementation was asked")
		return nil, ErrNotBuilt
	})
	if s, err := New(Go, key); s != crypto.Signer(inTurn{Signer: key}) || err != nil {
		t.Errorf("go is %T, %v", s, err)
	}
	if name, why := Choose(Go, key); name != Go || why != nil {
		t.Errorf("chosen is %s, %v", name, why)
	}
}

// Whatever signs, no more signatures are under way than turns has room for, and the next
// one begins when one has ended.
func TestSignaturesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		was := turns
		turns = make(chan struct{}, 2)
		defer func() { turns = was }()
		const all = 10
		s := slow{end: make(chan struct{})}
		for range all {
			go func() { _, _ = inTurn{Signer: &s}.Sign(rand.Reader, nil, crypto.SHA256) }()
		}
		for ended := range all {
			synctest.Wait()
			if want := min(2, all-ended); s.underWay.Load() != int64(want) {
				t.Errorf("after %d signatures, %d are under way, want %d", ended, s.underWay.Load(), want)
			}
			s.end <- struct{}{}
		}
		synctest.Wait()
	})
}

// slow is a signer each of whose signatures ends when end is sent to.
type slow struct {
	crypto.Signer
	end      chan struct{}
	underWay atomic.Int64
}

func (s *slow) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	s.underWay.Add(1)
	defer s.underWay.Add(-1)
	<-s.end
	return nil, nil
}

// BenchmarkSign is the time of a signature by each implementation of this build.
func BenchmarkSign(b *testing.B) {
	key := newKey(b, 2048)
	digest := sha256.Sum256([]byte("payscore"))
	for _, want := range []string{Go, OpenSSL} {
		s, err := New(want, key)
		if err != nil {
			b.Logf("%s: %v", want, err)
			continue
		}
		b.Run(want, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
