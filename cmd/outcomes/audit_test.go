package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestAudit(t *testing.T) {
	s := newStore(t)
	s.open(mchA, "A1")
	w := tasks.Withdrawal{MchID: mchA, OutOrderNo: "A1", Reason: "paid \x1b[31m in cash", By: "api:billing"}
	if res, _ := tasks.NewProducer(s.rdb).Withdraw(t.Context(), w); res.Status != tasks.Invalid {
		t.Fatalf("a reason with an escape sequence: %+v", res)
	}
	w.Reason = "paid in cash"
	if res, err := tasks.NewProducer(s.rdb).Withdraw(t.Context(), w); err != nil || res.Status != tasks.Accepted {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := ledger.New(s.rdb, mchB).Record(t.Context(), ledger.Deed{By: "cli:anna", Reason: "gone for good"}, "reader-destroy", "", "archive"); err != nil {
		t.Fatal(err)
	}
	t.Run("--json is an object a line, of all merchants", func(t *testing.T) {
		s.open(mchB, "B1") // so that mchB is in the directory
		o := s.run("audit", "--json")
		o.wantStatus(t, config.ExitOK)
		var got []string
		for line := range strings.Lines(o.stdout) {
			var e ledger.Audited
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintln(e.MchID, e.OutOrderNo, e.Action.Action, e.By, e.Reason, e.Detail, time.Since(e.At).Abs() < time.Hour))
		}
		slices.Sort(got) // both can be of one millisecond
		want := []string{mchA + " A1 withdraw api:billing paid in cash  true\n", mchB + "  reader-destroy cli:anna gone for good archive true\n"}
		if strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("people read a table", func(t *testing.T) {
		o := s.run("audit")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "WHEN (UTC+00:00)", "withdrawn", "A1", "api:billing", "paid in cash", "reader-destroy", "archive")
		o = s.run("audit", "--lang", "zh", "--mchid", mchA)
		wantContains(t, "stdout", o.stdout, "操作人", "撤回")
		if strings.Contains(o.stdout, mchB) {
			t.Errorf("another merchant's trail is in %s", o.stdout)
		}
	})
	t.Run("--limit", func(t *testing.T) {
		for limit, want := range map[string]int{"0": 2, "1": 1, "2": 2, "9": 2} {
			if o := s.run("audit", "--json", "--limit", limit); strings.Count(o.stdout, "\n") != want || o.stderr != "" {
				t.Errorf("--limit %s: %q, %q", limit, o.stdout, o.stderr)
			}
		}
		o := s.run("audit", "--limit=-1")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "--limit is -1")
	})
	t.Run("more than a page, and more than are shown", func(t *testing.T) {
		l := ledger.New(s.rdb, mchB)
		for i := range 2*auditPage + 1 {
			if err := l.Record(t.Context(), ledger.Deed{By: "cli:anna", Reason: fmt.Sprint(i)}, "pause", "", ""); err != nil {
				t.Fatal(err)
			}
		}
		o := s.run("audit", "--json", "--limit", "0", "--mchid", mchB)
		if n := strings.Count(o.stdout, "\n"); n != 2*auditPage+2 {
			t.Errorf("%d actions, want %d", n, 2*auditPage+2)
		}
		o = s.run("audit")
		if n := strings.Count(o.stdout, "\n"); n != 1+limitForPeople {
			t.Errorf("%d lines", n)
		}
		wantContains(t, "stderr", o.stderr, "more than these 100")
	})
	t.Run("an empty Redis", func(t *testing.T) {
		o := newStore(t).run("audit")
		o.wantStatus(t, config.ExitOK)
		if o.stdout != "no actions found\n" {
			t.Errorf("got %q", o.stdout)
		}
	})
	t.Run("get shows who did it", func(t *testing.T) {
		o := s.run("get", "A1", "--json")
		wantContains(t, "stdout", o.stdout, `"actions":[{"at":"`, `"by":"api:billing","action":"withdraw","reason":"paid in cash"}]`)
		wantContains(t, "stdout", s.run("get", "A1").stdout, `by api:billing: "paid in cash"`)
	})
}
