package notify

import (
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// NewServer returns a server for a Receiver, with a time-out for every phase: it
// stands where anybody can reach it, and a proxy in front is advice, not certain.
func NewServer(r *Receiver) *http.Server {
	return &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 5 * time.Second,
		// Headers and body: a notification is a few kilobytes.
		ReadTimeout: 10 * time.Second,
		// From the end of the headers on, so that a slow body still gets its answer.
		WriteTimeout: 15 * time.Second,
		// Longer than proxies keep connections that they reuse (nginx: 60 s). Were
		// it shorter, a notification could meet one that is just being closed.
		IdleTimeout:    75 * time.Second,
		MaxHeaderBytes: 16 << 10,
	}
}

// maxConnections is how many may be open; further ones wait to be accepted.
// Without a bound a flood could use up the process's files, and so the calls to
// WeChat Pay and to Redis as well.
const maxConnections = 512

// Limit bounds the connections that l accepts.
func Limit(l net.Listener) net.Listener { return netutil.LimitListener(l, maxConnections) }
