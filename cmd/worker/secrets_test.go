package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"payscore-collector/internal/testkit/configtest"
)

func TestNoSecretOfAMerchantsFileIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	c := configtest.Command{
		Env:  map[string]string{"REDIS_URL": "redis://127.0.0.1:1/0", "ADMIN_ADDR": "", "LOG_LEVEL": "trace"},
		Args: map[string][]string{"": {"check"}},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out bytes.Buffer
			run(ended, configtest.Process("worker", env, args, &out))
			return out.String()
		},
	}
	// The fields are those that the worker names itself.
	path := filepath.Join(t.TempDir(), "merchants.yaml")
	if err := os.WriteFile(path, []byte("- color: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Env["MERCHANTS_FILE"] = path
	_, names, _ := strings.Cut(c.Run(t, c.Env, c.Args[""]), "the keys are ")
	names, _, _ = strings.Cut(names, "\n")
	fields := strings.Split(names, ", ")
	if len(fields) < 13 {
		t.Fatalf("the worker names %q", fields)
	}
	configtest.FeedMerchantsFile(t, c, fields)
}

func TestNoSecretIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end() // what is accepted need not run
	env := configtest.MerchantEnv(t)
	maps.Copy(env, map[string]string{"REDIS_URL": "redis://127.0.0.1:1/0", "ADMIN_ADDR": "", "LOG_LEVEL": "trace"})
	configtest.FeedSecrets(t, configtest.Command{
		Grammar: &commandLine{},
		Env:     env,
		Args:    map[string][]string{"run": nil, "check": nil, "pause": {"--reason", "a test"}, "resume": {"--reason", "a test"}, "token": {"billing", "--role", "billing"}},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out bytes.Buffer
			run(ended, configtest.Process("worker", env, args, &out))
			return out.String()
		},
	})
}
