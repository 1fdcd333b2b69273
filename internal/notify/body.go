package notify

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// Bounds of what bodies that have not come whole may hold in memory: 512 small
// ones and 16 large ones are 12 MiB.
const (
	// maxBody is of a request. A real one is a few kilobytes.
	maxBody = 256 << 10
	// smallBody is what is read of any request.
	smallBody = 16 << 10
	// maxBodies and maxLarge are how many requests may be read at once: all, and
	// those whose bodies are larger than smallBody.
	maxBodies = 512
	maxLarge  = 16
)

// bodies reads the bodies of requests.
type bodies struct{ all, large chan struct{} }

func newBodies() bodies {
	return bodies{all: make(chan struct{}, maxBodies), large: make(chan struct{}, maxLarge)}
}

// enter takes a place that the caller frees by receiving.
func enter(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// read returns a request's body, or the outcome of one that cannot be read.
func (b bodies) read(w http.ResponseWriter, req *http.Request) ([]byte, Outcome) {
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
		var rest bytes.Buffer
		if _, err = rest.ReadFrom(from); err == nil {
			body = append(body, rest.Bytes()...)
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, TooLarge
	case err != nil:
		return nil, Incomplete
	}
	return body, ""
}
