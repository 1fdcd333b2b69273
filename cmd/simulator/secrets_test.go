package main

import (
	"bytes"
	"context"
	"testing"

	"payscore-collector/internal/testkit/configtest"
)

func TestNoSecretIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end() // what is accepted need not run
	dir := tempDir(t)
	configtest.FeedSecrets(t, configtest.Command{
		Grammar: &cli{},
		Env:     map[string]string{},
		Args:    map[string][]string{"": {"--dir", dir, "--addr", "127.0.0.1:0"}},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out bytes.Buffer
			start(ended, configtest.Process("simulator", env, args, &out))
			return out.String()
		},
	})
}
