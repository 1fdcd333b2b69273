package redisconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/redistest"
)

// authority signs certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// writePEM writes one PEM file and returns its path.
func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newAuthority(t *testing.T) (a authority, file string) {
	t.Helper()
	a.dir = t.TempDir()
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true}
	der := a.sign(t, a.cert, nil)
	a.cert, _ = x509.ParseCertificate(der)
	return a, writePEM(t, filepath.Join(a.dir, "ca.crt"), "CERTIFICATE", der)
}

// sign completes template and signs it, with a.key as its own where it is an
// authority's.
func (a *authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	if key == nil {
		var err error
		if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		key = a.key
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue writes a certificate and its key.
func (a *authority) issue(t *testing.T, name string, ips ...net.IP) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(a.dir, name)
	return writePEM(t, base+".crt", "CERTIFICATE", der), writePEM(t, base+".key", "PRIVATE KEY", keyDER)
}

// startTLS starts a redis-server that speaks TLS, or skips the test.
func startTLS(t *testing.T, ca, cert, key string, args ...string) (addr string) {
	t.Helper()
	redistest.NeedReal(t)
	port := fmt.Sprint(testkit.FreePort(t))
	cmd := exec.Command("redis-server", append([]string{"--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca}, args...)...)
	out := &strings.Builder{}
	cmd.Stdout = out
	runServer(t, cmd)
	addr = "127.0.0.1:" + port
	testkit.Eventually(t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}

// A TLS error names the setting that is its remedy.
func TestTLS(t *testing.T) {
	t.Parallel()
	a, ca := newAuthority(t)
	stranger, strangersCA := newAuthority(t)
	cert, key := a.issue(t, "redis", net.IPv4(127, 0, 0, 1))
	elsewhere, elsewhereKey := a.issue(t, "elsewhere", net.IPv4(10, 0, 0, 1))
	client, clientKey := a.issue(t, "client")
	strange, strangeKey := stranger.issue(t, "stranger")
	open := startTLS(t, ca, cert, key, "--tls-auth-clients", "no")
	closed := startTLS(t, ca, cert, key, "--tls-auth-clients", "yes")
	misnamed := startTLS(t, ca, elsewhere, elsewhereKey, "--tls-auth-clients", "no")
	plain := redistest.StartReal(t).Client.Options().Addr
	for name, c := range map[string]struct {
		url   string
		files TLSFiles
		want  string // empty: it works
	}{
		"an own authority":                 {"rediss://" + open, TLSFiles{CA: ca}, ""},
		"a client certificate":             {"rediss://" + closed, TLSFiles{CA: ca, Cert: client, Key: clientKey}, ""},
		"an unknown authority":             {"rediss://" + open, TLSFiles{}, "let REDIS_TLS_CA_FILE name"},
		"another authority":                {"rediss://" + open, TLSFiles{CA: strangersCA}, "let REDIS_TLS_CA_FILE name"},
		"no client certificate":            {"rediss://" + closed, TLSFiles{CA: ca}, "let REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE name"},
		"a strange client certificate":     {"rediss://" + closed, TLSFiles{CA: ca, Cert: strange, Key: strangeKey}, "let REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE name"},
		"a certificate for another host":   {"rediss://" + misnamed, TLSFiles{CA: ca}, "as the certificate has it"},
		"a TLS port without TLS":           {"redis://" + open, TLSFiles{}, "rediss://"},
		"a TLS port that asks for one":     {"redis://" + closed, TLSFiles{}, "rediss://"},
		"a plain port with TLS":            {"rediss://" + plain, TLSFiles{CA: ca}, "without the second s: redis://"},
		"a cluster's plain port with TLS":  {"rediss-cluster://" + plain, TLSFiles{CA: ca}, "redis-cluster://"},
		"a sentinel's TLS port without it": {"redis-sentinel://" + open + "?master=m", TLSFiles{}, "rediss-sentinel://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			if o, err = o.WithTLS(c.files); err != nil {
				t.Fatal(err)
			}
			rdb := o.Open(Pool{})
			defer rdb.Close()
			var said testkit.LogBuffer
			testkit.Eventually(t, "an answer, or the explanation", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				err := rdb.Ping(ctx).Err()
				r := o.Explain(t.Context(), err) // it asks the server, and does not wait long for it
				fmt.Fprintf(&said, "%v is explained as %v\n", err, r)
				if c.want == "" {
					return err == nil
				}
				return r != nil && r.Kind == TLS && strings.Contains(r.Error(), c.want)
			}, &said)
		})
	}
}

// A client certificate that was renewed is used without a restart, and a half
// written one does no harm.
func TestOptions_WithTLS_renewal(t *testing.T) {
	t.Parallel()
	a, ca := newAuthority(t)
	cert, key := a.issue(t, "client")
	for _, url := range []string{"rediss://cache", "rediss-sentinel://cache?master=m", "rediss-cluster://cache"} {
		o, err := Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		if o, err = o.WithTLS(TLSFiles{CA: ca, Cert: cert, Key: key}); err != nil {
			t.Fatal(err)
		}
		serial := func() string {
			t.Helper()
			pair, err := o.redis.TLSConfig.GetClientCertificate(&tls.CertificateRequestInfo{})
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(pair.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			return leaf.SerialNumber.String()
		}
		first := serial()
		a.issue(t, "client")
		if second := serial(); second == first {
			t.Errorf("%s: the old certificate is still used", url)
		}
		if err := os.WriteFile(cert, []byte("-----BEGIN CERT"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := serial(); got != first {
			t.Errorf("%s: with half a file the certificate is %s", url, got)
		}
		a.issue(t, "client")
	}
}

func TestOptions_WithTLS_errors(t *testing.T) {
	a, ca := newAuthority(t)
	cert, key := a.issue(t, "client")
	_, other := a.issue(t, "other")
	for _, c := range []struct {
		url   string
		files TLSFiles
		is    error
	}{
		{"redis://cache", TLSFiles{CA: ca}, ErrNoTLS},
		{"unix:///run/redis.sock", TLSFiles{CA: ca}, ErrNoTLS},
		{"rediss://cache", TLSFiles{CA: key}, ErrCA},
		{"rediss://cache", TLSFiles{Cert: cert, Key: other}, nil},
		{"rediss://cache", TLSFiles{Cert: key, Key: cert}, nil},
	} {
		o, err := Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = o.WithTLS(c.files); err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s with %v: %v", c.url, c.files, err)
		}
	}
}
