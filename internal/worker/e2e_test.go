package worker_test

import (
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

func TestEveryFateEndsAsThePlatformKnowsIt(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(c *config.Worker) { c.GiveUpAfter = 15 * time.Second })
	for _, fate := range []struct {
		no, fate string
	}{
		{"PAYS", "pays"}, {"A|B*C-d_1", "pays"}, {"DECLINES", "declines:2"}, {"SPELL", "userpaying:1s"},
		{"BYSELF", "user_pays:2s"}, {"NEVER", "never"}, {"PART", "partial:10"}, {"OPEN", "not_completed"},
		{"NEW", "created"}, {"REV", "revoked"}, {"EXP", "expired"}, {"FREE", "nothing_owed"}, {"WHO", "unknown"},
	} {
		o := simulator.Order{OutOrderNo: fate.no, TotalAmount: 1000, Fate: simulator.Fate(fate.fate)}
		if o.Fate == simulator.FateNothingOwed {
			o.TotalAmount = 0
		}
		r.Add(o)
		r.Enqueue(fate.no)
	}
	r.Work()
	r.AllEnded()
	r.Audit()
	if got := r.Get("PAYS"); got.State != tasks.Paid || got.TransactionID == "" || got.CollectCalls != 1 || got.QueryCalls != 1 || got.Attempts != 1 {
		t.Errorf("PAYS: %+v", got)
	}
	if got := r.Get("DECLINES"); got.Attempts != 3 || got.LastError == nil || got.LastError.Code != "TRADE_ERROR" {
		t.Errorf("DECLINES: %+v", got)
	}
}
