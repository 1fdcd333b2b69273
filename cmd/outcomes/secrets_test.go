package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"payscore-collector/internal/testkit/configtest"
)

func TestNoSecretIsRepeated(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end() // what is accepted need not run
	configtest.FeedSecrets(t, configtest.Command{
		Grammar: &commandLine{},
		Env:     map[string]string{"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "postgres://127.0.0.1:1/db"},
		Args: map[string][]string{
			"get": {"A-1"}, "list": {"--state", "paid"}, "stats": nil, "audit": nil, "books": nil, "follow": nil, "sink postgres": nil,
			"webhooks list": nil, "webhooks retry": {"A-1"}, "webhooks replay": {"--since", "1h"},
			"bulk withdraw": {"--reason", "unpaid"}, "bulk reopen": {"--reason", "unpaid"}, "bulk collect-now": {"--reason", "unpaid"}, "bulk show": {"1"},
			"readers list": nil, "readers destroy": {"old", "--reason", "unused"},
		},
		Run: func(_ *testing.T, env map[string]string, args []string) string {
			var out bytes.Buffer
			p := program{Process: configtest.Process("outcomes", env, args, &out), now: time.Now, zone: time.UTC, patience: time.Millisecond}
			p.run(ended)
			return out.String()
		},
	})
}
