package notify

import (
	"net"
	"net/http"
	"time"

	"payscore-collector/internal/connlimit"
)

// NewServer returns a server for a Receiver, with a time-out for every phase: any
// client can reach it, and a proxy in front is advice, not certain.
// It speaks HTTP/1.1, and HTTP/2 without TLS for the proxies of a service mesh.
func NewServer(r *Receiver) *http.Server {
	s := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 5 * time.Second,
		// Headers and body: a notification is a few kilobytes, and WeChat Pay waits
		// no longer than that for its answer.
		ReadTimeout: 5 * time.Second,
		// From the end of the headers on, so that a slow body still gets its answer.
		WriteTimeout: 15 * time.Second,
		// Longer than proxies keep connections that they reuse (nginx: 60 s), so that no
		// notification meets one that is just being closed.
		IdleTimeout:    75 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ConnContext:    connlimit.Context,
		Protocols:      new(http.Protocols),
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: 64, MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// maxConnections is how many may be open.
const maxConnections = 512

// Limit bounds the connections that l accepts. A connection on which no whole
// notification has arrived makes room for a new one.
func Limit(l net.Listener) net.Listener { return connlimit.Limit(l, maxConnections) }
