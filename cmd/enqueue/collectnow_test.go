package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestCollectNow(t *testing.T) {
	server := redistest.Start(t)
	pr := programOn(server.URL)
	run := func(args ...string) ran {
		return pr.run(t.Context(), append([]string{"collect-now", "--reason=用户已充值"}, args...)...)
	}
	pr.run(t.Context(), "order", "A1", "A3")
	pr.run(t.Context(), "order", "A2", "--at", "24h")
	endOrder(t, server, "A3", tasks.Paid, "")
	wantRun(t, run("A1", "A2", "A3", "A9", "A 4"), 3, []string{
		"A1 duplicate", // it is due now
		"A2 accepted",
		"A3 ended paid",
		"A9 invalid there is no such order in the ledger of merchant 1900000001; --mchid names another merchant",
		`"A 4" invalid out_order_no has ' ' at position 2; only digits, letters and _ | * - are allowed`,
	})
	wantRun(t, run("A2"), 0, []string{"A2 duplicate"})
	o := order(t, server, "A2")
	if time.Until(o.NextDueAt) > 0 || len(o.Actions) != 1 || o.Actions[0].Action != ledger.ActCollectNow || !strings.HasPrefix(o.Actions[0].By, "cli:") || o.Actions[0].Reason != "用户已充值" {
		t.Errorf("%+v", o)
	}
	if n := server.Client.LLen(t.Context(), "asynq:{collect:1900000001}:pending").Val(); n != 3 {
		t.Errorf("%d tasks, want those of A1, A3 and A2", n)
	}

	// What a worker has published is kept to.
	if err := ledger.New(server.Client, mchid).Beat(t.Context(), "w", time.Second, ledger.Settings{MinGap: "1h", CollectWindow: "always", Timezone: "UTC"}, false); err != nil {
		t.Fatal(err)
	}
	pr.run(t.Context(), "order", "A5")
	l := ledger.New(server.Client, mchid)
	c, err := l.Claim(t.Context(), "A5", ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1000, Horizon: time.Second, Most: time.Second})
	if err != nil || c.Code != ledger.Granted {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := l.Settle(t.Context(), c, ledger.Settlement{
		State: tasks.Awaiting, Next: ledger.Recheck, Due: c.Now.Add(24 * time.Hour), Collected: c.Now, Log: []ledger.Entry{{Call: "collect", Verdict: "declined"}},
	}); err != nil {
		t.Fatal(err)
	}
	wantRun(t, run("A5"), 0, []string{"A5 accepted"})
	if due := order(t, server, "A5").NextDueAt; !due.Equal(c.Now.Add(time.Hour).UTC()) {
		t.Errorf("due %s, want MIN_GAP after the last collect call, %s", due, c.Now)
	}
	if got := pr.run(t.Context(), "collect-now", "A1", "--reason", " "); got.status != 2 || !strings.Contains(got.stderr, "--reason is missing") {
		t.Errorf("%+v", got)
	}
}
