package main

import (
	"bytes"
	"context"
	"testing"

	"payscore-collector/internal/testkit/configtest"
)

func TestNoSecretIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end() // accepted settings need not run
	configtest.FeedSecrets(t, configtest.Command{
		Grammar: &commandLine{},
		Env:     map[string]string{},
		Args:    map[string][]string{"": nil},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out bytes.Buffer
			run(ended, configtest.Process("demo", env, args, &out))
			return out.String()
		},
	})
}
