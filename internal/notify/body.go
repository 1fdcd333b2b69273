package notify

import (
	"errors"
	"io"
	"net/http"
)

// Bounds of the memory for bodies that have not arrived whole: 512 small ones and 16
// large ones are 12 MiB.
const (
	maxBody   = 256 << 10 // of a request; a real notification has a few kilobytes
	smallBody = 16 << 10  // what is read of every request
	maxBodies = 512       // requests that are read at once
	maxLarge  = 16        // those among them with bodies larger than smallBody
)

// bodies reads the bodies of requests.
type bodies struct{ all, large chan struct{} }

func newBodies() bodies {
	return bodies{all: make(chan struct{}, maxBodies), large: make(chan struct{}, maxLarge)}
}

// enter takes a place, which the caller frees by receiving, and reports whether one
// was free.
func enter(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// read returns a request's body, or the result of one that cannot be read.
func (b bodies) read(w http.ResponseWriter, req *http.Request) ([]byte, Result) {
	if !enter(b.all) {
		return nil, Busy
	}
	defer func() { <-b.all }()
	from := http.MaxBytesReader(w, req.Body, maxBody)
	body, err := io.ReadAll(io.LimitReader(from, smallBody))
	if err == nil && len(body) == smallBody {
		if !enter(b.large) {
			return nil, Busy
		}
		defer func() { <-b.large }()
		var rest []byte
		rest, err = io.ReadAll(from)
		body = append(body, rest...)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, TooLarge
	}
	if err != nil {
		return nil, Incomplete
	}
	return body, ""
}
