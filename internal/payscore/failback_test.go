package payscore

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// hosts is a network of two hosts.
type hosts struct {
	dead  map[string]bool
	calls map[string]int
}

func (h *hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	h.calls[r.URL.Host]++
	if h.dead[r.URL.Host] {
		return nil, errors.New("dead")
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil))}, nil
}

// A primary that is back is found by one call after a minute; while it is
// still dead, that one call is all that it costs.
func TestBackToThePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hosts{dead: map[string]bool{"primary": true}, calls: map[string]int{}}
		w := newWire(&url.URL{Scheme: "http", Host: "primary"}, &url.URL{Scheme: "http", Host: "backup"}, 1)
		w.base = h
		call := func(want string) {
			t.Helper()
			h.calls = map[string]int{}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiHost+"/v3", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.RoundTrip(req)
			if len(h.calls) != 1 || h.calls[want] != 1 {
				t.Fatalf("the call went to %v, want %s once", h.calls, want)
			}
			if (err != nil) != h.dead[want] {
				t.Fatalf("%s: %v", want, err)
			}
		}
		for range primaryFailures {
			call("primary")
		}
		call("backup")
		time.Sleep(primaryRetry - time.Second)
		call("backup")

		time.Sleep(2 * time.Second) // past primaryRetry
		call("primary")             // the probe: still dead
		call("backup")

		h.dead["primary"] = false
		call("backup")
		time.Sleep(primaryRetry + time.Second)
		call("primary")
		call("primary")

		// One good call in between, and failures are not in a row.
		for range 2 {
			h.dead["primary"] = true
			call("primary")
			call("primary")
			h.dead["primary"] = false
			call("primary")
		}
	})
}
