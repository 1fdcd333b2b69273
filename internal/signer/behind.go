package signer

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// wayTime is how long signatures give way after a request: longer than an answer
	// takes, shorter than an operator's next look.
	wayTime = 50 * time.Millisecond
	// idleTime is how long a thread of low priority is kept for the next signature.
	idleTime = 100 * time.Millisecond
)

// patience is how long a signature that gives way waits for its turn at most. One that
// has waited longer is made like others: programs that keep the processors busy must not
// stop the collection where the API is asked all the time. Tests change it.
var patience = 100 * time.Millisecond

var giveWayUntil atomic.Int64 // nanoseconds since started; 0: not yet

var started = time.Now()

// GiveWay makes OpenSSL's signatures of the next 50 ms run at a lower priority than the rest
// of the process, and than others of the same machine or container. A worker calls it when
// a request reaches its API: at full load, signatures keep every processor busy, and the
// request, Redis and the reply would each wait for their turn. It is safe for concurrent
// use.
func GiveWay() { giveWayUntil.Store(int64(time.Since(started) + wayTime)) }

func givingWay() bool {
	until := giveWayUntil.Load()
	return until != 0 && int64(time.Since(started)) < until
}

// behind takes signatures to the threads of low priority that are idle.
var behind = make(chan func())

// signBehind makes a signature on a thread of low priority.
func signBehind(sign func() ([]byte, error)) (signature []byte, err error) {
	done := make(chan struct{})
	do := func() {
		defer close(done)
		signature, err = sign()
	}
	select {
	case behind <- do:
	default:
		go workBehind(do)
	}
	<-done
	return signature, err
}

// workBehind makes signatures on a thread of its own. The thread ends with the goroutine,
// which never unlocks it: a process may lower a thread's priority, but not raise it again.
func workBehind(do func()) {
	runtime.LockOSThread()
	lowerPriority()
	do()
	for idle := time.NewTimer(idleTime); ; idle.Reset(idleTime) {
		select {
		case do := <-behind:
			do()
		case <-idle.C:
			return
		}
	}
}
