package docs

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/internal/testkit/pgtest"
)

// step is how a command of the runbook is run, and what comes of it.
type step struct {
	command string // as the runbook has it
	no      string // the order that NO stands for
	status  int    // with which it exits
	said    string // what stands in its standard output
	// settings: it is run with the worker's settings, else only with those that the
	// runbook names at its beginning.
	settings bool
	before   func(b *book)
	// signal ends a command that runs until then.
	signal syscall.Signal
	// waits: the command is repeated until the world is as it presupposes.
	waits bool
	// mention: the runbook names it, and does not say to run it like that.
	mention bool
}

// The orders, each in a state that sections of the runbook are about.
const (
	paid      = "RB-PAID"      // and billing does not accept its webhook
	exhausted = "RB-EXHAUSTED" // given up
	declined  = "RB-DECLINED"  // open
)

// runbook has every command of docs/runbook.md, in the order in which the test runs them.
var runbook = []step{
	{command: "enqueue --wait", mention: true},
	{command: "outcomes get", mention: true},
	{command: "outcomes bulk", mention: true},
	{command: "worker check", settings: true, said: "\nok "},
	{command: "outcomes stats", said: "¥12.50"},
	{command: "outcomes list --state queued --state awaiting", said: declined},
	{command: "outcomes bulk withdraw --state queued,awaiting --reason TEXT --dry-run", said: "orders that match: 1, "},
	{command: "outcomes get NO", no: paid, said: "billing's receiver has not accepted"},
	{command: "outcomes get NO --json", no: paid, said: `"out_order_no":"` + paid + `"`},
	{command: "enqueue order NO --reopen", no: exhausted, said: exhausted + " accepted"},
	{command: "enqueue withdraw NO --reason … --paid-at …", no: declined, said: declined + " accepted"},
	{command: `worker pause --mchid "$WECHATPAY_MCHID" --reason TEXT`, said: "no collect call for merchant"},
	{command: `worker resume --mchid "$WECHATPAY_MCHID" --reason TEXT`, said: "resumed: merchant", before: func(b *book) {
		b.must("worker pause --reason 'wrong amounts'")
	}},
	{command: "outcomes audit", said: "wrong amounts"},
	{command: "outcomes webhooks", said: "it answered 500"},
	{command: `outcomes webhooks replay --since "2006-01-02 15:04"`, said: "are delivered again"},
	{command: "outcomes webhooks retry", said: "order", before: func(b *book) { b.accepts.Store(true) }},
	{command: "outcomes readers", said: "old-dashboard"},
	{command: "outcomes readers destroy GROUP --reason …", said: "old-dashboard", waits: true}, // until it counts as stopped
	{command: "outcomes follow", said: `"` + paid + `"`, signal: syscall.SIGINT},
	{command: "outcomes sink postgres", signal: syscall.SIGTERM},
	{command: "outcomes sink postgres --once"},
	// Of a day before the orders were handed over.
	{command: "outcomes books --date …", settings: true, said: "0 exceptions"},
	{command: "outcomes books --date … --file …", settings: true, said: "0 exceptions"},
}

// placeholders are what a reader fills in, but for NO.
var placeholders = strings.NewReplacer(
	"--paid-at …", "--paid-at 2026-01-02T10:00:00+08:00", "--reason …", "--reason 'a trial'", "TEXT", "'a trial'", "GROUP", "old-dashboard")

// book is the world of the runbook's reader.
type book struct {
	*site
	accepts atomic.Bool // billing accepts webhooks
	env     []string
}

// do runs a line of shell.
func (b *book) do(env []string, line string) ran {
	b.Helper()
	return run(b.T, b.TempDir(), env, "sh", "-c", line)
}

func (b *book) must(line string) {
	b.Helper()
	if got := b.do(b.env, line); got.status != 0 {
		b.Fatalf("%s: %+v", line, got)
	}
}

// TestRunbook runs every command of the runbook, as it can be pasted, in a shell, against a
// worker, a redis-server, a PostgreSQL and a platform.
func TestRunbook(t *testing.T) {
	t.Parallel()
	commands := map[string][]string{}
	for _, name := range []string{"docs/runbook.md", "docs/zh-CN/runbook.md"} {
		commands[name] = commandsOf(t, name)
	}
	for _, c := range commands["docs/runbook.md"] {
		if !slices.ContainsFunc(runbook, func(s step) bool { return s.command == c }) {
			t.Errorf("docs/runbook.md has the command %q, and the table of this test no row: add one with its exit status", c)
		}
	}
	for _, s := range runbook {
		for name, list := range commands {
			if !slices.Contains(list, s.command) {
				t.Errorf("%s does not have %q", name, s.command)
			}
		}
	}
	if zh := commands["docs/zh-CN/runbook.md"]; len(zh) != len(commands["docs/runbook.md"]) {
		t.Errorf("docs/zh-CN/runbook.md has other commands: %q", zh)
	}

	b := newBook(t)
	for _, s := range runbook {
		if s.mention {
			continue
		}
		if s.before != nil {
			s.before(b)
		}
		env := b.env
		if s.settings {
			env = b.site.env
		}
		line := strings.NewReplacer(
			" NO", " "+s.no,
			"--date …", "--date "+time.Now().Add(-48*time.Hour).Format(time.DateOnly),
			"--file …", "--file "+filepath.Join(root(t), "internal/books/testdata/none.csv"),
		).Replace(s.command)
		line = placeholders.Replace(line)
		var got ran
		switch {
		case s.signal != 0:
			got = b.until(env, line, s)
		case s.waits:
			b.eventually(line, func() bool { got = b.do(env, line); return got.status == s.status }, b.worker)
		default:
			got = b.do(env, line)
		}
		if got.status != s.status || !strings.Contains(got.out, s.said) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s\n%s", line, got.status, s.status, s.said, got.out, got.failed)
		}
	}
	b.eventually("billing to accept what was retried", func() bool {
		return !strings.Contains(b.do(b.env, "outcomes webhooks").out, "RB-")
	}, b.worker)
}

// commandsOf returns the commands in a document, each once.
func commandsOf(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, span := range regexp.MustCompile("`((?:bin/)?(?:worker|enqueue|outcomes|simulator|redis-cli) [^`\n]+)`").FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(list, span[1]) {
			list = append(list, span[1])
		}
	}
	if len(list) < 10 || strings.Contains(string(text), "\n```") {
		t.Fatalf("%s has %d commands, or blocks, which this test does not read", name, len(list))
	}
	return list
}

func newBook(t *testing.T) *book {
	t.Helper()
	b := &book{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !b.accepts.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(hook.Close)
	schedules := testkit.WriteFile(t, "schedules.yaml", "schedules: {short: {collect_schedule: 500ms, min_gap: 500ms, give_up_after: 1s}}\n")
	b.site = newSite(t, "COLLECT_SCHEDULE=1h", "BILLING_WEBHOOK_URL="+hook.URL, "BILLING_WEBHOOK_SECRET="+hooktest.Secret, "SCHEDULES_FILE="+schedules)
	home := t.TempDir()
	b.env = []string{"PATH=" + b.bin + ":" + os.Getenv("PATH"), "HOME=" + home, "REDIS_URL=" + b.redis, "DATABASE_URL=" + pgtest.Shared(t).Database(t, "runbook")}

	for _, v := range b.site.env {
		if name, _, _ := strings.Cut(v, "="); slices.Contains([]string{"WECHATPAY_MCHID", "PAYSCORE_APPID", "PAYSCORE_SERVICE_ID"}, name) {
			b.env = append(b.env, v)
		}
	}

	b.platform(paid, 1250, "pays")
	b.platform(declined, 300, "never")
	b.platform(exhausted, 300, "never")
	b.must("enqueue order " + paid + " " + declined)
	b.must("enqueue order " + exhausted + " --schedule short")
	b.untilState(paid, "paid", "")
	b.untilState(declined, "awaiting", "")
	b.untilState(exhausted, "exhausted", "")
	b.eventually("a webhook to be refused", func() bool { return strings.Contains(b.do(b.env, "outcomes webhooks").out, "it answered 500") }, b.worker)
	b.until(b.env, "outcomes follow --group old-dashboard", step{signal: syscall.SIGINT, said: paid})
	return b
}

// until runs a command until it has said what it must, or, if that is nothing, until it has
// read what there is, and sends the signal.
func (b *book) until(env []string, line string, s step) ran {
	b.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Dir, cmd.Env = b.TempDir(), env
	out := &testkit.LogBuffer{}
	cmd.Stdout = out
	p := testkit.StartProcess(b, cmd)
	b.eventually(line, func() bool {
		if s.said != "" {
			return out.Has(s.said)
		}
		return strings.Contains(b.do(env, "outcomes readers").out, "postgres")
	}, p)
	return ran{p.Stop(s.signal), out.String(), p.Log.String()}
}
