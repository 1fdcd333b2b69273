package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// refused makes an order whose webhook billing has refused.
func (s store) refused(mchid, no string) {
	s.t.Helper()
	s.open(mchid, no)
	res, err := tasks.NewProducer(s.rdb).Withdraw(s.t.Context(), tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "waived"})
	if err != nil || res.Status != tasks.Accepted {
		s.t.Fatalf("%+v %v", res, err)
	}
	l := ledger.New(s.rdb, mchid)
	if _, err := l.RelayHooks(s.t.Context(), ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 100, Grace: time.Minute}); err != nil {
		s.t.Fatal(err)
	}
	c, err := l.ClaimHook(s.t.Context(), no, "mine", 1<<40, time.Minute)
	if err != nil || c.Code != ledger.Granted {
		s.t.Fatalf("%+v %v", c, err)
	}
	if _, err := l.SettleHook(s.t.Context(), ledger.HookSettlement{
		OutOrderNo: no, Token: "mine", EntryID: c.EntryID, Failed: true, Wait: time.Hour, Status: 401, Why: "it answered 401",
	}); err != nil {
		s.t.Fatal(err)
	}
}

func TestWebhooks(t *testing.T) {
	s := newStore(t)
	o := s.run("webhooks")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "billing has accepted every webhook")
	s.refused(mchA, "A1")
	s.refused(mchA, "A2")
	s.refused(mchB, "B1")

	t.Run("list", func(t *testing.T) {
		for _, args := range [][]string{{"webhooks"}, {"webhooks", "list"}} {
			o := s.run(args...)
			o.wantStatus(t, config.ExitOK)
			wantContains(t, "stdout", o.stdout, "LAST FAILURE", "A1", "A2", "B1", mchB, "it answered 401")
		}
		o := s.run("webhooks", "--limit", "1")
		if strings.Count(o.stdout, "\n") != 2 || !strings.Contains(o.stdout, "A1") {
			t.Errorf("with a limit:\n%s", o.stdout)
		}
		wantContains(t, "stdout", s.run("webhooks", "--lang", "zh", "--mchid", mchA).stdout, "最近失败")
		var w ledger.HookWait
		o = s.run("webhooks", "list", "--json", "--mchid", mchB)
		if err := json.Unmarshal([]byte(o.stdout), &w); err != nil || w.MchID != mchB || w.OutOrderNo != "B1" ||
			w.Failures != 1 || w.Last == nil || w.Last.Status != 401 || w.Since.IsZero() || w.Next.IsZero() {
			t.Errorf("%v: %s", err, o.stdout)
		}
	})
	t.Run("retry", func(t *testing.T) {
		o := s.run("webhooks", "retry")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "say which merchant with --mchid", mchA, mchB)
		o = s.run("webhooks", "retry", "--mchid", "1900000404")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "--mchid is 1900000404", "check the number")
		o = s.run("webhooks", "retry", "--mchid", mchA, "A B")
		o.wantStatus(t, config.ExitUsage)
		o = s.run("webhooks", "retry", "--mchid", mchA, "A1", "A9")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "A9: no webhook of this order waits", mchA+": orders whose webhooks are delivered now: 1")
		w, err := ledger.New(s.rdb, mchA).HookWaitOf(t.Context(), "A1")
		if err != nil || time.Until(w.Next) > time.Minute {
			t.Errorf("%+v %v", w, err)
		}
		o = s.run("webhooks", "retry", "--mchid", mchA, "--json")
		if strings.TrimSpace(o.stdout) != `{"mchid":"`+mchA+`","retried":1}` {
			t.Errorf("all: %s", o.stdout)
		}
	})
	t.Run("replay", func(t *testing.T) {
		for _, since := range []string{"soon", "2090-01-01"} {
			o := s.run("webhooks", "replay", "--mchid", mchA, "--since", since)
			o.wantStatus(t, config.ExitUsage)
			wantContains(t, "stderr", o.stderr, "--since")
		}
		o := s.run("webhooks", "replay", "--mchid", mchA, "--since", "1h")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "delivered again, with the same ids")
		var r ledger.HookReplay
		o = s.run("webhooks", "replay", "--mchid", mchA, "--since", "1h", "--json")
		if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || r.MchID != mchA {
			t.Errorf("%v: %s", err, o.stdout)
		}
		s.open("1900000003", "C1")
		o = s.run("webhooks", "replay", "--mchid", "1900000003", "--since", "0s")
		o.wantStatus(t, exitFailed)
		wantContains(t, "stderr", o.stderr, "BILLING_WEBHOOK_URL", "add --begin")
		o = s.run("webhooks", "replay", "--mchid", "1900000003", "--since", "0s", "--begin")
		o.wantStatus(t, config.ExitOK)
	})
}

func TestReaders(t *testing.T) {
	s := newStore(t)
	o := s.run("readers")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "no readers")
	s.refused(mchA, "A1")
	key := ledger.KeysOf(mchA).Outcomes()
	if err := s.rdb.XGroupCreate(t.Context(), key, "old-dashboard", "0").Err(); err != nil {
		t.Fatal(err)
	}
	o = s.run("readers")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "OLDEST UNFINISHED", "old-dashboard", "webhooks", mchA)
	seen := map[string]eventstream.Standing{}
	o = s.run("readers", "list", "--json")
	for line := range strings.Lines(o.stdout) {
		var r eventstream.Standing
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err, line)
		}
		seen[r.Group] = r
	}
	if len(seen) != 2 || seen["old-dashboard"].Oldest.IsZero() || seen["webhooks"].Pending != 1 {
		t.Errorf("%s", o.stdout)
	}

	o = s.run("readers", "destroy", "old-dashboard", "--reason", strings.Repeat("x", 201))
	o.wantStatus(t, config.ExitUsage)
	wantContains(t, "stderr", o.stderr, "--reason")
	o = s.run("readers", "destroy", "new-dashboard", "--reason", "unused")
	o.wantStatus(t, exitFailed)
	wantContains(t, "stderr", o.stderr, "there is no such reader")
	o = s.run("readers", "destroy", "old-dashboard")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, "reader old-dashboard is destroyed")
	o = s.run("readers", "destroy", "webhooks", "--reason", "unused", "--json")
	o.wantStatus(t, config.ExitOK)
	wantContains(t, "stdout", o.stdout, `"group":"webhooks"`)
	if groups := s.rdb.XInfoGroups(t.Context(), key).Val(); len(groups) != 0 {
		t.Errorf("%+v", groups)
	}
	wantContains(t, "stdout", s.run("readers", "--lang", "zh").stdout, "没有消费组")
}
