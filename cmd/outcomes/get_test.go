package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
)

func TestGet(t *testing.T) {
	s := newStore(t)
	s.settle(mchA, "A|1*", paid(1230))
	s.open(mchA, "BOTH")
	s.open(mchB, "BOTH")

	t.Run("--json is the ledger's order with its log", func(t *testing.T) {
		o := s.run("get", "A|1*", "--json")
		o.wantStatus(t, config.ExitOK)
		var got map[string]any
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
			t.Fatalf("%v in %s", err, o.stdout)
		}
		log := got["log"].([]any)
		if len(log) != 2 || log[0].(map[string]any)["call"] != "collect" {
			t.Errorf("the log is not the two calls, oldest first: %v", log)
		}
		for _, name := range []string{"opened_at", "last_attempt_at", "ended_at"} {
			if _, err := time.Parse(time.RFC3339, got[name].(string)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			delete(got, name)
		}
		delete(got, "log")
		want := map[string]any{
			"mchid": mchA, "out_order_no": "A|1*", "appid": "wxd678efh567hg6787", "service_id": "500001",
			"state": "paid", "order_id": "1000", "transaction_id": "4200001", "paid_type": "NEWTON", "paid_by": "user",
			"total_amount": 1230.0, "paid_amount": 1230.0, "attempts": 1.0, "collect_calls": 1.0, "query_calls": 0.0,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("people read yuan and the story", func(t *testing.T) {
		o := s.run("get", "A|1*")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "¥12.30", "paid: the money is in", "taken; that is no payment yet", "08AB-0")
		lines := strings.Split(o.stdout, "\n")
		var story []string
		for i, line := range lines {
			if strings.HasPrefix(line, "WHEN (UTC+00:00)") {
				for _, line := range lines[i+1 : len(lines)-1] {
					story = append(story, strings.Fields(line[len("2006-01-02 15:04:05  now"):])[0])
				}
			}
		}
		if diff := cmp.Diff([]string{"opened", "collect", "query", "ended"}, story); diff != "" {
			t.Errorf("(-want +got)\n%s\n%s", diff, o.stdout)
		}
	})
	t.Run("no such order is status 4 and a sentence", func(t *testing.T) {
		o := s.run("get", "NOBODY")
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "there is no order NOBODY in any ledger", mchA+", "+mchB)
		o = s.run("get", "A|1*", "--json", "--mchid", mchB)
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "there is no order A|1* in the ledger of merchant "+mchB)
		if o.stdout != "" {
			t.Errorf("stdout has %q", o.stdout)
		}
	})
	t.Run("a number of two merchants is ambiguous until one is named", func(t *testing.T) {
		o := s.run("get", "BOTH")
		o.wantStatus(t, config.ExitUsage)
		wantContains(t, "stderr", o.stderr, "order BOTH is in the ledgers of merchants "+mchA+", "+mchB+": say which with --mchid")
		for _, flag := range []string{"--mchid", "--wechatpay-mchid"} {
			o = s.run("get", "BOTH", flag, mchB)
			o.wantStatus(t, config.ExitOK)
			wantContains(t, "stdout", o.stdout, mchB, "queued: not tried yet")
		}
		o = runWith(t, map[string]string{"REDIS_URL": s.url, "WECHATPAY_MCHID": mchA}, "get", "BOTH")
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, mchA)
	})
	t.Run("no ledger at all", func(t *testing.T) {
		o := newStore(t).run("get", "A1")
		o.wantStatus(t, exitNoOrder)
		wantContains(t, "stderr", o.stderr, "merchants: none")
	})
}
