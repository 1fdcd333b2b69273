package signer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"payscore-collector/internal/testkit"
)

// niceSigner signs with a key, and records the priority of the thread that it signs on.
type niceSigner struct {
	*rsa.PrivateKey
	mu    sync.Mutex
	nices map[int]int // signatures by priority
}

func (s *niceSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	priority, err := syscall.Getpriority(syscall.PRIO_PROCESS, syscall.Gettid())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.nices[20-priority]++ // the system call returns 20 - nice
	s.mu.Unlock()
	return s.PrivateKey.Sign(rand, digest, opts)
}

// Signatures give way for as long as GiveWay says: they are made on threads of lower
// priority, and are the same. Afterwards they are made as before, and no thread is left.
func TestGiveWay(t *testing.T) {
	usually := patience
	t.Cleanup(func() {
		giveWayUntil.Store(0) // for tests with another clock
		patience = usually
	})
	patience = time.Hour // the machine may be slow
	key := newKey(t, 2048)
	usual, err := syscall.Getpriority(syscall.PRIO_PROCESS, syscall.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	const low = lowNice
	if 20-usual >= low {
		t.Skipf("the tests run at priority %d themselves", 20-usual)
	}
	recorder := &niceSigner{PrivateKey: key, nices: map[int]int{}}
	s := inTurn{Signer: recorder, givesWay: true}
	sign := func(n int) map[int]int {
		clear(recorder.nices)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				digest := sha256.Sum256([]byte{byte(i)})
				signature, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err == nil {
					err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		return recorder.nices
	}
	const n = 40
	if got := sign(n); got[20-usual] != n {
		t.Errorf("without GiveWay, signatures by priority: %v", got)
	}
	giveWayUntil.Store(int64(time.Since(started) + time.Hour))
	if got := sign(n); got[low] != n {
		t.Errorf("giving way, signatures by priority: %v", got)
	}
	patience = 0
	if got := sign(1); got[20-usual] != 1 {
		t.Errorf("after too long a wait, signatures by priority: %v", got)
	}
	before := time.Since(started)
	if GiveWay(); giveWayUntil.Load() < int64(before+wayTime) {
		t.Errorf("GiveWay at %v is until %v", before, time.Duration(giveWayUntil.Load()))
	}
	time.Sleep(wayTime)
	if got := sign(n); got[20-usual] != n {
		t.Errorf("after %v, signatures by priority: %v", wayTime, got)
	}
	testkit.Eventually(t, "the threads to end", func() bool { return goleak.Find() == nil })
}
