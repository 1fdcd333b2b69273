package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/testkit/redistest"
)

// TestGeneratedClient takes the document of the HTTP API from a worker: a published linter
// accepts it, and a client that a published generator makes of it compiles and makes the
// tour of testdata/client/tour.ts. The versions are those of the package-lock.json there.
// It needs Node.js and a package registry, so it runs where SIM_NODE_CLIENT=1 asks for it.
func TestGeneratedClient(t *testing.T) {
	t.Parallel()
	if os.Getenv("SIM_NODE_CLIENT") != "1" {
		t.Skip("needs node, npm and a package registry; set SIM_NODE_CLIENT=1 to run it")
	}
	redistest.NeedReal(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/client")); err != nil {
		t.Fatal(err)
	}
	must := func(env []string, command ...string) string {
		t.Helper()
		got := run(t, dir, env, command...)
		if got.status != 0 {
			t.Fatalf("%q: exit status %d\n%s\n%s", command, got.status, got.out, got.failed)
		}
		return got.out
	}
	must(os.Environ(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")

	secret, tokens := token(t, "billing")
	s := newSite(t, "API_TOKENS_FILE="+tokens)
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), []byte(s.get("/openapi.json", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without asking its makers for a newer version.
	quiet := append(os.Environ(), "REDOCLY_SUPPRESS_UPDATE_NOTICE=true", "REDOCLY_TELEMETRY=off")
	must(quiet, "node_modules/.bin/redocly", "lint", "openapi.json")
	must(quiet, "node_modules/.bin/openapi-typescript", "openapi.json", "-o", "schema.d.ts")
	must(quiet, "node_modules/.bin/tsc")

	s.platform("TS-1", 1250, "pays")
	s.platform("TS-2", 300, "never")
	type tour struct {
		Enqueued, Listed, Audit []string
		State, Words, Withdrawn string
		Paid, Refused           int
	}
	var got tour
	out := must(append(os.Environ(), "API="+s.api, "TOKEN="+secret, "WECHATPAY_MCHID="+s.mchid), "node", "out/tour.js", "TS-1", "TS-2")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := tour{
		Enqueued: []string{"accepted", "accepted", "invalid"}, State: "paid", Paid: 1250, Words: "paid: the money is in",
		Listed: []string{"TS-1", "TS-2"}, Withdrawn: "withdrawn", Refused: 409,
		Audit: []string{"api:billing withdraw TS-2 paid at the counter"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tour (-want +got):\n%s", diff)
	}
}
