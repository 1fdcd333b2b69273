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
	Cert, Key string // the client certificate with its key, where Redis asks for one
}

// IsZero reports whether no file is named.
func (f TLSFiles) IsZero() bool { return f == TLSFiles{} }

// ErrNoTLS says that TLS files were given and the URL is one without TLS.
var ErrNoTLS = errors.New("REDIS_URL is one without TLS: write rediss:// (rediss-sentinel://, rediss-cluster://)")

// FileError is what is wrong with one of the files.
type FileError struct {
	Setting string // REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE
	Problem string
}

func (e *FileError) Error() string { return e.Setting + " " + e.Problem }

// WithTLS returns o with the files' certificates. The client certificate is read
// again for every connection, so that a renewed one needs no restart. The error
// is ErrNoTLS or a *FileError, whose text holds nothing of a file's content.
func (o Options) WithTLS(f TLSFiles) (Options, error) {
	if f.IsZero() {
		return o, nil
	}
	cfg := o.tlsConfig()
	if cfg == nil {
		return o, ErrNoTLS
	}
	cfg = cfg.Clone()
	if f.CA != "" {
		const setting = "REDIS_TLS_CA_FILE"
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return o, &FileError{setting, "cannot be read: " + cause(err)}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return o, &FileError{setting, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"}
		}
	}
	switch {
	case f.Cert == "" && f.Key != "":
		return o, &FileError{"REDIS_TLS_CERT_FILE", "is missing: a client certificate needs it beside REDIS_TLS_KEY_FILE"}
	case f.Cert != "" && f.Key == "":
		return o, &FileError{"REDIS_TLS_KEY_FILE", "is missing: a client certificate needs it beside REDIS_TLS_CERT_FILE"}
	case f.Cert != "":
		for setting, file := range map[string]string{"REDIS_TLS_CERT_FILE": f.Cert, "REDIS_TLS_KEY_FILE": f.Key} {
			if _, err := os.ReadFile(file); err != nil {
				return o, &FileError{setting, "cannot be read: " + cause(err)}
			}
		}
		first, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return o, &FileError{"REDIS_TLS_CERT_FILE", "and REDIS_TLS_KEY_FILE are not a certificate and its key, both in PEM form"}
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if pair, err := tls.LoadX509KeyPair(f.Cert, f.Key); err == nil {
				return &pair, nil
			}
			return &first, nil // in the middle of a renewal
		}
	}
	return o.withTLSConfig(cfg), nil
}

// cause is why a file cannot be read, without its name: the name may be
// something else that was put into the wrong setting.
func cause(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return "unknown error"
}

func (o Options) tlsConfig() *tls.Config {
	switch {
	case o.cluster != nil:
		return o.cluster.TLSConfig
	case o.sentinel != nil:
		return o.sentinel.TLSConfig
	case o.single != nil:
		return o.single.TLSConfig
	}
	return nil
}

func (o Options) withTLSConfig(cfg *tls.Config) Options {
	switch {
	case o.cluster != nil:
		c := *o.cluster
		c.TLSConfig, o.cluster = cfg, &c
	case o.sentinel != nil:
		c := *o.sentinel
		c.TLSConfig, o.sentinel = cfg, &c
	case o.single != nil:
		c := *o.single
		c.TLSConfig, o.single = cfg, &c
	}
	return o
}

// addr is the first address that is dialled; "" for a unix socket.
func (o Options) addr() string {
	switch {
	case o.cluster != nil:
		return o.cluster.Addrs[0]
	case o.sentinel != nil:
		return o.sentinel.SentinelAddrs[0]
	case o.single != nil && o.single.Network != "unix":
		return o.single.Addr
	}
	return ""
}

// What the two ends may disagree about.
var (
	tlsPort   = Refusal{Kind: TLS, Problem: "this port speaks TLS, and REDIS_URL does not", Remedy: "write it with a second s: rediss://, rediss-sentinel://, rediss-cluster://"}
	plainPort = Refusal{Kind: TLS, Problem: "this port does not speak TLS, and REDIS_URL does", Remedy: "write it without the second s: redis://, redis-sentinel://, redis-cluster://"}
)

// askTLS is how long wrongTLS waits for the address.
const askTLS = 2 * time.Second

// wrongTLS asks the address in the other way than REDIS_URL's, and returns nil
// where it does not answer to that either.
func (o Options) wrongTLS(ctx context.Context) *Refusal {
	addr := o.addr()
	if addr == "" || o.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTLS)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if o.tlsConfig() != nil {
		if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
			return nil
		}
		first := make([]byte, 1)
		if _, err := conn.Read(first); err == nil && (first[0] == '+' || first[0] == '-') {
			r := plainPort
			return &r
		}
		return nil
	}
	// Nothing is sent over this connection, so nothing need be verified.
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	var alert tls.AlertError
	if err == nil || errors.As(err, &alert) {
		r := tlsPort
		return &r
	}
	return nil
}
