package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Keys are made once; making them is what takes time.
var (
	merchantKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	platformKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return der
}

func publicDER(key any) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return der
}

func ecKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func certificate() []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "1900000001"},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, merchantKey().Public(), merchantKey())
	if err != nil {
		panic(err)
	}
	return der
}

// writeFile makes a file that only its owner can read.
func writeFile(t *testing.T, dir, name string, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	testSerial   = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
	testPubKeyID = "PUB_KEY_ID_0119000000012026010100000000000001"
	testAPIKey   = "0123456789abcdef0123456789abcdef"

	testWebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAECAwQFBgc="
)

// goodEnv is an environment in which everything is right, with key files.
func goodEnv(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	return map[string]string{
		"REDIS_URL":                  "redis://:hunter2@127.0.0.1:6379/1",
		"WECHATPAY_MCHID":            "1900000001",
		"WECHATPAY_SERIAL_NO":        testSerial,
		"WECHATPAY_PRIVATE_KEY_FILE": writeFile(t, dir, "apiclient_key.pem", pemOf("PRIVATE KEY", pkcs8(merchantKey()))),
		"WECHATPAY_PUBLIC_KEY_ID":    testPubKeyID,
		"WECHATPAY_PUBLIC_KEY_FILE":  writeFile(t, dir, "pub_key.pem", pemOf("PUBLIC KEY", publicDER(platformKey().Public()))),
		"PAYSCORE_APPID":             "wxd678efh567hg6787",
		"PAYSCORE_SERVICE_ID":        "500001",
	}
}

// without returns env less some names.
func without(env map[string]string, names ...string) map[string]string {
	for _, name := range names {
		delete(env, name)
	}
	return env
}

// run is one start of a program.
type run struct {
	status         int
	ok             bool
	stdout, stderr string
	found          *Collector
}

// processOf is the worker with an environment of its own.
func processOf(env map[string]string, args ...string) Process {
	return Process{
		Name: "worker", Args: args,
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Environ: func() (all []string) {
			for name, value := range env {
				all = append(all, name+"="+value)
			}
			return all
		},
	}
}

func parse(t *testing.T, grammar any, env map[string]string, args ...string) run {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := processOf(env, args...)
	p.Stdout, p.Stderr = &stdout, &stderr
	parsed, status, ok := Parse(p, "Collects.", grammar)
	r := run{status: status, ok: ok, stdout: stdout.String(), stderr: stderr.String()}
	if ok {
		r.found = parsed.Collector
	}
	return r
}

// loadWorker is what the worker's main does.
func loadWorker(t *testing.T, env map[string]string, args ...string) (Worker, error) {
	t.Helper()
	var s struct{ WorkerSettings }
	r := parse(t, &s, env, args...)
	if !r.ok {
		t.Fatalf("the command line is refused: %s", r.stderr)
	}
	return s.Load(r.found)
}

// wantProblems checks that the error has exactly these problems, in this order;
// of each the given part must be there, which begins with the setting's name.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	got := []string{}
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i := range want {
		setting, _, _ := strings.Cut(want[i], " ")
		if !strings.HasPrefix(got[i], setting+" ") || !strings.Contains(got[i], want[i]) {
			t.Errorf("problem %d is\n\t%s\nwant in it\n\t%s", i+1, got[i], want[i])
		}
	}
}
