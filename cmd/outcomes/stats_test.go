package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

func TestStats(t *testing.T) {
	s := newStore(t)
	s.settle(mchA, "P1", paid(1230))
	s.settle(mchA, "P2", paid(70))
	s.open(mchA, "Q")
	s.settle(mchB, "R", rejected("订单不存在"))

	t.Run("--json has every merchant and every state", func(t *testing.T) {
		o := s.run("stats", "--json")
		o.wantStatus(t, config.ExitOK)
		want := `{"1900000001":{"queued":1,"awaiting":0,"paid":2,"closed":0,"rejected":0,"withdrawn":0,"exhausted":0,"paid_amount":1300},` +
			`"1900000002":{"queued":0,"awaiting":0,"paid":0,"closed":0,"rejected":1,"withdrawn":0,"exhausted":0,"paid_amount":0}}` + "\n"
		if diff := cmp.Diff(want, o.stdout); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("--mchid keeps to one merchant", func(t *testing.T) {
		o := s.run("stats", "--json", "--mchid", mchB)
		want := `{"1900000002":{"queued":0,"awaiting":0,"paid":0,"closed":0,"rejected":1,"withdrawn":0,"exhausted":0,"paid_amount":0}}` + "\n"
		if diff := cmp.Diff(want, o.stdout); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("an empty Redis", func(t *testing.T) {
		o := newStore(t).run("stats", "--json")
		o.wantStatus(t, config.ExitOK)
		if o.stdout != "{}\n" {
			t.Errorf("got %q", o.stdout)
		}
	})
	t.Run("people read a table", func(t *testing.T) {
		o := s.run("stats")
		o.wantStatus(t, config.ExitOK)
		want := `  MERCHANT  QUEUED  AWAITING  PAID  CLOSED  REJECTED  WITHDRAWN  EXHAUSTED  PAID AMOUNT
1900000001       1         0     2       0         0          0          0       ¥13.00
1900000002       0         0     0       0         1          0          0        ¥0.00
       all       1         0     2       0         1          0          0       ¥13.00

1900000001: nothing is collected: no worker has reported for this merchant
`
		if diff := cmp.Diff(want, o.stdout); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("it says why nothing moves", func(t *testing.T) {
		s := newStore(t)
		s.settle(mchA, "F", ledger.Settlement{
			State: tasks.Queued, Next: ledger.Collect, Due: time.Now().Add(time.Hour), Gate: ledger.GateFault, First: time.Minute,
			Log: []ledger.Entry{{Call: "collect", Verdict: "merchant_fault", HTTPStatus: 401, Code: "SIGN_ERROR", Failed: true}},
		})
		for _, args := range [][]string{{"stats"}, {"get", "F"}} {
			o := s.run(args...)
			o.wantStatus(t, config.ExitOK)
			wantContains(t, "stdout", o.stdout, "calls are stopped since", "because WeChat Pay refuses the merchant's signature", "the next probe is in ", "no worker has reported")
		}
	})
}

// A full Redis is named as such. Workers that cannot report to it do not count as dead.
func TestStats_OfAFullRedis(t *testing.T) {
	server := redistest.StartReal(t)
	s := store{t, server.URL, server.Client}
	s.open(mchA, "A")
	s.beat(mchA)
	s.rdb.HSet(t.Context(), ledger.KeysOf(mchA).Workers(), "seen:w1", "1000 10000 0") // long ago
	if err := s.rdb.ConfigSet(t.Context(), "maxmemory", "500kb").Err(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"stats"}, {"get", "A"}, {"list", "--state", "queued"}} {
		o := s.run(args...)
		o.wantStatus(t, config.ExitOK)
		wantContains(t, "stdout", o.stdout, "Redis cannot serve: its memory is full")
		if strings.Contains(o.stdout, "no worker") {
			t.Errorf("%v takes the workers for dead:\n%s", args, o.stdout)
		}
	}
}
