package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"payscore-collector/internal/signer"
)

// roleSigner measures a signer in a process of its own, which is built as the worker is:
// with the tag openssl where that is possible.
const roleSigner = "as-signer"

// signature is what one RSA-2048 signature of a signer costs on this machine.
type signature struct {
	Signer  string
	Version string        // of OpenSSL
	Cost    time.Duration // processor time
}

// measureSignatures measures each signer that the worker can use here.
func (e *env) measureSignatures(ctx context.Context) error {
	e.signatures = nil
	for _, name := range []string{signer.OpenSSL, signer.Go} {
		if name == signer.OpenSSL && !e.openssl {
			continue
		}
		out, err := exec.CommandContext(ctx, e.bench, roleSigner, name).Output()
		if err != nil {
			return fmt.Errorf("measure the signer %s: %w", name, err)
		}
		var s signature
		if err := json.NewDecoder(bytes.NewReader(out)).Decode(&s); err != nil {
			return err
		}
		e.signatures = append(e.signatures, s)
	}
	return nil
}

// measureSigner is the main function of that process.
func measureSigner(name string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	s, err := signer.New(name, key)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("payscore"))
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const n = 1000
	start := cpu()
	for range n {
		if _, err := s.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(signature{name, signer.Version(), (cpu() - start) / n})
}

// ifma reports whether the processor has AVX-512 IFMA, with which OpenSSL signs in a
// third of the time.
func (e *env) ifma() bool {
	info, err := e.proc.CPUInfo()
	return err == nil && len(info) > 0 && slices.Contains(info[0].Flags, "avx512ifma")
}
