package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A certificate that has signed itself, and its key, as PEM files.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestRedisTLS(t *testing.T) {
	cert, key := selfSigned(t)
	_, otherKey := selfSigned(t)
	const ca, certFile, keyFile = "REDIS_TLS_CA_FILE", "REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE"
	for name, c := range map[string]struct {
		url     string
		env     map[string]string
		setting string // that is blamed; empty: none
		words   string
	}{
		"an authority":             {"rediss://cache", map[string]string{ca: cert}, "", ""},
		"with Sentinel":            {"rediss-sentinel://cache?master=m", map[string]string{ca: cert, certFile: cert, keyFile: key}, "", ""},
		"with a Cluster":           {"rediss-cluster://cache", map[string]string{certFile: cert, keyFile: key}, "", ""},
		"without TLS":              {"redis://cache", map[string]string{certFile: cert, keyFile: key}, certFile, "write rediss://"},
		"no such file":             {"rediss://cache", map[string]string{ca: "/nowhere/ca.crt"}, ca, "does not exist"},
		"a key for the authority":  {"rediss://cache", map[string]string{ca: key}, ca, "without a certificate in PEM form"},
		"a certificate alone":      {"rediss://cache", map[string]string{certFile: cert}, keyFile, "goes with " + certFile},
		"a key alone":              {"rediss://cache", map[string]string{keyFile: key}, certFile, "goes with " + keyFile},
		"another certificate's":    {"rediss://cache", map[string]string{certFile: cert, keyFile: otherKey}, certFile, "not a certificate and its private key"},
		"the two the wrong way":    {"rediss://cache", map[string]string{certFile: key, keyFile: cert}, certFile, "not a certificate and its private key"},
		"the key itself as a path": {"rediss://cache", map[string]string{certFile: cert, keyFile: "-----BEGIN PRIVATE KEY-----\nhunter2"}, keyFile, ""},
	} {
		env := goodEnv(t)
		env["REDIS_URL"] = c.url
		for k, v := range c.env {
			env[k] = v
		}
		cfg, err := loadWorker(t, env)
		if c.setting == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !slices.Contains(cfg.Settings(), Setting{ca, orNone(c.env[ca])}) || !slices.Contains(cfg.Settings(), Setting{keyFile, orNone(c.env[keyFile])}) {
				t.Errorf("%s: the settings are %v", name, cfg.Settings())
			}
			continue
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Setting != c.setting || !strings.Contains(problems[0].Text, c.words) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: a key is in %v", name, err)
		}
	}
}
