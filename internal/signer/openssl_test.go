//go:build openssl && cgo

package signer

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"payscore-collector/internal/testkit"
)

func TestOpenSSLIsChosen(t *testing.T) {
	key := newKey(t, 2048)
	if name, why := Choose(Auto, key); name != OpenSSL || why != nil {
		t.Errorf("%s, %v", name, why)
	}
	for _, want := range []string{Auto, OpenSSL} {
		s, err := New(want, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, is := s.(inTurn).Signer.(*openSSL); !is {
			t.Errorf("%s is %T", want, s)
		}
	}
	if !strings.HasPrefix(Version(), "OpenSSL 3") {
		t.Errorf("the version is %q", Version())
	}
}

// FuzzSameAsGo: the signatures of both are the same bytes, which PKCS #1 v1.5
// determines.
func FuzzSameAsGo(f *testing.F) {
	f.Add([]byte{})
	for range testkit.Form(20, 200) { // go test alone tries these
		random := make([]byte, 300)
		_, _ = rand.Read(random)
		f.Add(random)
	}
	f.Add([]byte("POST\n/v3/payscore/serviceorder/1/pay\n1554208460\n593BEC0C930BF1AFEB40B4A08C8FB242\n{}\n"))
	type pair struct{ ours, theirs crypto.Signer }
	var pairs []pair
	for _, bits := range []int{2048, 2056, 3072, 4096} { // 2056: the modulus fills no whole words
		key := newKey(f, bits)
		s, err := New(OpenSSL, key)
		if err != nil {
			f.Fatal(err)
		}
		pairs = append(pairs, pair{s, key})
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		digest := sha256.Sum256(message)
		p := pairs[int(digest[0])%len(pairs)]
		ours, err := p.ours.Sign(rand.Reader, digest[:], crypto.SHA256)
		theirs, goErr := p.theirs.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || goErr != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("of %x: OpenSSL %x, %v; Go %x, %v", digest, ours, err, theirs, goErr)
		}
	})
}

// Errors have OpenSSL's words and nothing of the key, on whichever thread they occur;
// what is not PKCS #1 v1.5 with SHA-256 is refused.
func TestOpenSSLErrors(t *testing.T) {
	key := newKey(t, 2048)
	s, err := New(OpenSSL, key)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	for name, sign := range map[string]func() ([]byte, error){
		"PSS":            func() ([]byte, error) { return s.Sign(rand.Reader, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256}) },
		"another hash":   func() ([]byte, error) { return s.Sign(rand.Reader, digest[:], crypto.SHA512_256) },
		"a short digest": func() ([]byte, error) { return s.Sign(rand.Reader, digest[:31], crypto.SHA256) },
		"no digest":      func() ([]byte, error) { return s.Sign(rand.Reader, nil, crypto.SHA256) },
	} {
		if signature, err := sign(); signature != nil || err == nil {
			t.Errorf("%s: %x, %v", name, signature, err)
		}
	}
	t.Run("a signature that does not fit", func(t *testing.T) {
		small := *s.(inTurn).Signer.(*openSSL)
		small.public = &rsa.PublicKey{N: big.NewInt(1 << 40), E: 65537} // so Sign has room for 6 bytes
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := small.Sign(rand.Reader, digest[:], crypto.SHA256); err == nil || !strings.HasPrefix(err.Error(), "OpenSSL: error:") || strings.Contains(err.Error(), "internal error") {
					t.Errorf("the error is %v", err)
				}
				if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					t.Errorf("the next signature: %v", err)
				}
			})
		}
		all.Wait()
	})
}

// residentKiB is the memory of the process, what C has included.
func residentKiB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("there is no /proc here: %v", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// TestOpenSSLLeaksNothing makes 100,000 signatures in 64 goroutines, and signers. The
// second half of them takes no memory: the first has started the threads and filled what
// OpenSSL, Go and the race detector keep. A leak of 160 bytes for a signature, or of 8 kB
// for a signer, would be 8 MB. A thread that starts later takes more than that under the
// race detector, but only once: two more halves must then grow as well.
func TestOpenSSLLeaksNothing(t *testing.T) {
	signatures, signers := testkit.Form(10_000, 100_000), testkit.Form(500, 2_000)
	key := newKey(t, 2048)
	want, err := New(OpenSSL, key)
	if err != nil {
		t.Fatal(err)
	}
	work := func(n int) {
		var all sync.WaitGroup
		for g := range 64 {
			all.Go(func() {
				for i := range n / 64 {
					var message [16]byte
					binary.LittleEndian.PutUint64(message[:], uint64(g))
					binary.LittleEndian.PutUint64(message[8:], uint64(i))
					digest := sha256.Sum256(message[:])
					signature, err := want.Sign(rand.Reader, digest[:], crypto.SHA256)
					if err != nil {
						t.Error(err)
						return
					}
					if i%100 == 0 && rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature) != nil {
						t.Errorf("goroutine %d, signature %d is wrong", g, i)
					}
				}
			})
		}
		all.Wait()
	}
	load := func(n int) {
		for i := range n {
			if _, err := newOpenSSL(key); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				runtime.GC() // which frees what is not referenced
			}
		}
		runtime.GC()
	}
	half := func() int {
		work(signatures / 2)
		load(signers / 2)
		debug.FreeOSMemory()
		return residentKiB(t)
	}
	resident := []int{half()} // KiB
	for range 3 {
		before := resident[len(resident)-1]
		resident = append(resident, half())
		if resident[len(resident)-1]-before <= 6<<10 {
			t.Logf("halves of %d signatures and %d signers: %v KiB", signatures, signers, resident)
			return
		}
	}
	t.Errorf("each half of %d signatures and %d signers takes memory: %v KiB", signatures, signers, resident)
}
