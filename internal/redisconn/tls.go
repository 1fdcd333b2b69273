package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLSFiles are the PEM files of a TLS connection to Redis; each may be empty.
type TLSFiles struct {
	CA        string // certificates of the authorities that may have signed Redis's, instead of the system's
	Cert, Key string // the client certificate with its key, if Redis asks for one
}

// Errors of WithTLS.
var (
	ErrNoTLS = errors.New("TLS files are given, and REDIS_URL is one without TLS")
	ErrCA    = errors.New("the file holds no certificate of an authority")
)

// WithTLS returns o with the files' certificates. The client certificate is read
// again for every connection, so that a renewed one needs no restart. The error
// is ErrNoTLS, ErrCA or one of the client certificate; none contains anything of a
// file.
func (o Options) WithTLS(f TLSFiles) (Options, error) {
	if f == (TLSFiles{}) {
		return o, nil
	}
	if o.redis.TLSConfig == nil {
		return o, ErrNoTLS
	}
	cfg := o.redis.TLSConfig.Clone()
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		cfg.RootCAs = x509.NewCertPool()
		if err != nil || !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return o, ErrCA
		}
	}
	if f.Cert != "" {
		first, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return o, err
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if pair, err := tls.LoadX509KeyPair(f.Cert, f.Key); err == nil {
				return &pair, nil
			}
			return &first, nil // in the middle of a renewal
		}
	}
	u := *o.redis
	u.TLSConfig = cfg
	o.redis, o.files = &u, f
	return o, nil
}

// TLSFiles are those that WithTLS was given.
func (o Options) TLSFiles() TLSFiles { return o.files }

// The two ends disagree about TLS.
var (
	tlsPort   = Refusal{Kind: TLS, Problem: "this port speaks TLS, but REDIS_URL does not", Remedy: "write it with a second s: rediss://, rediss-sentinel://, rediss-cluster://"}
	plainPort = Refusal{Kind: TLS, Problem: "this port does not speak TLS, but REDIS_URL does", Remedy: "write it without the second s: redis://, redis-sentinel://, redis-cluster://"}
)

// askTLS is how long wrongTLS waits for the address, each time.
const askTLS = time.Second

// wrongTLS connects to the address the other way than REDIS_URL says, and then the same
// way, because the first answer may have been lost: Redis refuses a client certificate
// after the client's handshake has succeeded. It returns nil if TLS is not the cause.
func (o Options) wrongTLS(ctx context.Context) *Refusal {
	if len(o.hosts) == 0 { // a unix socket
		return nil
	}
	addr, cfg := o.redis.Addrs[0], o.redis.TLSConfig
	if cfg == nil {
		// Nothing is sent over this connection, so there is nothing to verify.
		err := ask(ctx, addr, func(ctx context.Context, conn net.Conn) error {
			return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
		})
		if _, alerted := errors.AsType[tls.AlertError](err); err == nil || alerted {
			r := tlsPort
			return &r
		}
		return nil
	}
	first := make([]byte, 1)
	err := ask(ctx, addr, func(_ context.Context, conn net.Conn) error {
		if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
			return err
		}
		_, err := conn.Read(first)
		return err
	})
	if err == nil && (first[0] == '+' || first[0] == '-') {
		r := plainPort
		return &r
	}
	err = ask(ctx, addr, func(ctx context.Context, conn net.Conn) error {
		cfg := cfg.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		_, err := tls.Client(conn, cfg).Read(first) // unasked, Redis only sends a refusal
		return err
	})
	if err == nil {
		return nil
	}
	if r := unreachable(err); r.Kind == TLS {
		return r
	}
	return nil
}

// ask connects to addr and runs question.
func ask(ctx context.Context, addr string, question func(context.Context, net.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTLS)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	return question(ctx, conn)
}
