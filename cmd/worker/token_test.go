package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"payscore-collector/internal/config"
	"payscore-collector/internal/testkit"
)

// worker token needs no setting; its first line is the token, its second one what
// API_TOKENS_FILE takes.
func TestToken(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (string, string, error) {
		cmd := testkit.Command([]string{"COLLECT_RATE=wrong"}, append([]string{"token"}, args...)...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		return string(out), stderr.String(), err
	}
	out, _, err := run("billing-php", "--role", "billing", "--mchid", "1900000001", "--mchid", "1900000002")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != 3 {
		t.Fatalf("%v %q", err, out)
	}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(file, []byte(lines[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, _, err := config.ReadAPITokens(file)
	if err != nil || len(tokens) != 1 || tokens[0].Role != config.Billing || len(tokens[0].MchIDs) != 2 {
		t.Errorf("%+v %v", tokens, err)
	}
	for _, args := range [][]string{{"a b", "--role", "billing"}, {"a", "--role", "king"}, {"a"}, {"--role", "viewer"}, {"a", "--role", "viewer", "--mchid", "x"}} {
		if out, stderr, err := run(args...); err == nil || out != "" || stderr == "" {
			t.Errorf("%v: %q %q %v", args, out, stderr, err)
		}
	}
}
