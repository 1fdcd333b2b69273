package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/configtest"
)

// Errors of Redis and its client about a refused password reach standard error.
func TestNoPasswordIsRepeated(t *testing.T) {
	const password = "t9Wq4Zs7Lk2Np6"
	pr, server := newProgram(t)
	if err := server.Client.ConfigSet(t.Context(), "requirepass", "another").Err(); err != nil {
		t.Skip("this Redis asks for no password: ", err)
	}
	at := server.Client.Options().Addr
	for _, url := range []string{
		"redis://:" + password + "@" + at, "redis://user:" + password + "@" + at, "rediss://:" + password + "@" + at,
		"redis-cluster://:" + password + "@" + at, "redis-sentinel://:" + password + "@" + at + "?master=m&sentinel_password=" + password,
		"redis://:" + password + "@127.0.0.1:1", "redis://:" + password + "@nowhere.invalid",
	} {
		pr.env["REDIS_URL"], pr.env["LOG_LEVEL"], pr.patience.start = url, "trace", time.Second
		got := pr.run(t.Context(), "order", "A-1")
		if got.status != exitFailed || strings.Contains(got.stdout+got.stderr, password[:12]) {
			t.Errorf("%s: exit status %d, standard output %q, standard error %q", url, got.status, got.stdout, got.stderr)
		}
	}
}

func TestNoSecretIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end() // accepted settings need not run
	t.Chdir(t.TempDir())
	orders := filepath.Join(t.TempDir(), "orders.csv")
	if err := os.WriteFile(orders, []byte("out_order_no\nA-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	configtest.FeedSecrets(t, configtest.Command{
		Grammar: &commandLine{},
		Env:     programOn("redis://127.0.0.1:1/0").env,
		Args: map[string][]string{
			"order": {"A-1"}, "file": {orders}, "withdraw": {"A-1", "--reason", "paid at the counter"},
			"collect-now": {"A-1", "--reason", "the user has topped up"},
		},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out testkit.LogBuffer
			run(ended, process{
				Process:  configtest.Process("enqueue", env, args, &out),
				Stdin:    strings.NewReader(""),
				patience: patience{start: time.Millisecond, retry: time.Millisecond, grace: time.Millisecond},
			})
			return out.String()
		},
	})
}
