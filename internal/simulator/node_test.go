package simulator

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A published client of another language, with its own signing and verifying
// code, takes the simulator for the platform, in what it answers and in what
// it notifies. It needs Node.js and a package registry, so it runs where
// SIM_NODE_CLIENT=1 asks for it.
func TestNodeClient(t *testing.T) {
	if os.Getenv("SIM_NODE_CLIENT") != "1" {
		t.Skip("needs node, npm and a package registry; set SIM_NODE_CLIENT=1 to run it")
	}
	const no = "A|B*1"
	b := setup(t, Order{OutOrderNo: no, TotalAmount: 1000}, Order{OutOrderNo: "DECLINED", Fate: FateNever},
		Order{OutOrderNo: "WRONG", Fate: FateNever, Replies: []ScriptedReply{{Kind: KindOKWrongSignature}}},
		Order{OutOrderNo: "UNSIGNED", Fate: FateNever, Replies: []ScriptedReply{{Kind: KindOKUnsigned}}})
	settings := safeDir(t)
	if err := b.sim.WriteMerchantDir(settings, b.url); err != nil {
		t.Fatal(err)
	}
	env, err := readEnvironment(filepath.Join(settings, FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/nodeclient")); err != nil {
		t.Fatal(err)
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	type result struct {
		Data   *Entity
		Error  string
		Status int
	}
	run := func(call, about, stdin string) result {
		t.Helper()
		node := exec.CommandContext(t.Context(), "node", "client.js", call, about)
		node.Stdin = strings.NewReader(stdin)
		node.Dir = dir
		node.Env = os.Environ()
		for name, value := range env {
			node.Env = append(node.Env, name+"="+value)
		}
		var stderr strings.Builder
		node.Stderr = &stderr
		out, err := node.Output()
		var r result
		if err == nil {
			err = json.Unmarshal(out, &r)
		}
		if err != nil {
			t.Fatalf("node client.js %s %s: %v\n%s\n%s", call, about, err, out, stderr.String())
		}
		return r
	}

	if r := run("collect", no, ""); r.Data == nil || r.Data.OutOrderNo != no || r.Data.OrderID == "" {
		t.Errorf("collect: %+v", r)
	}
	if r := run("query", no, ""); r.Data == nil || r.Data.State != StateDone || r.Data.Collection.PaidAmount != 1000 {
		t.Errorf("query: %+v", r)
	}
	if r := run("collect", "DECLINED", ""); r.Error != "TRADE_ERROR" || r.Status != 403 {
		t.Errorf("a declined collect: %+v", r)
	}
	if r := run("query", "WRONG", ""); r.Error != "EV3_RES_HEADER_SIGNATURE_DIGEST" {
		t.Errorf("a wrongly signed reply: %+v; the client must refuse it", r)
	}
	if r := run("query", "UNSIGNED", ""); r.Error != "EV3_RES_HEADERS_INCOMPLATE" { // its own spelling
		t.Errorf("an unsigned reply: %+v; the client must refuse it", r)
	}
	notification := func(opts NotificationOptions) result {
		t.Helper()
		n, err := b.sim.Notification(no, opts)
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{}
		for name := range n.Header {
			headers[name] = n.Header.Get(name)
		}
		stdin, err := json.Marshal(map[string]any{"headers": headers, "body": string(n.Body)})
		if err != nil {
			t.Fatal(err)
		}
		return run("notification", EventUserPaid, string(stdin))
	}
	if r := notification(NotificationOptions{}); r.Data == nil || r.Data.OutOrderNo != no || r.Data.Collection.PaidAmount != 1000 {
		t.Errorf("a notification: %+v", r)
	}
	if r := notification(NotificationOptions{WrongSignature: true}); r.Error != "SIGNATURE" {
		t.Errorf("a wrongly signed notification: %+v; the client must refuse it", r)
	}
	if r := notification(NotificationOptions{Tamper: func(b []byte) []byte { return append(b, ' ') }}); r.Error != "SIGNATURE" {
		t.Errorf("a notification tampered with: %+v; the client must refuse it", r)
	}
	if got := b.sim.Report().RejectedSignatures; got != 0 {
		t.Errorf("the simulator rejected %d of the client's signatures", got)
	}
}
