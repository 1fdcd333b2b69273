package control_test

import (
	"fmt"
	"testing"
	"time"

	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// An order with a schedule of its own is brought forward as far as that allows, and not as
// far as the merchant's settings would.
func TestCollectNow_BySchedule(t *testing.T) {
	t.Parallel()
	const mchid = "1900000001"
	rdb := redistest.Start(t).Client
	l := ledger.New(rdb, mchid)
	at := func(d time.Duration) string {
		u := time.Now().UTC().Add(d)
		return fmt.Sprintf("%02d:%02d", u.Hour(), u.Minute())
	}
	if err := l.Beat(t.Context(), "w1", time.Minute, ledger.Settings{
		CollectWindow: "always", Timezone: "UTC", MinGap: "0s",
		Schedules: []ledger.NamedSchedule{{Name: "later", CollectSchedule: "1h", CollectWindow: at(3*time.Hour) + "-" + at(5*time.Hour), MinGap: "0s", GiveUpAfter: "720h"}},
		Defaults:  []ledger.DefaultSchedule{{ServiceID: "s2", Schedule: "later"}},
	}, false); err != nil {
		t.Fatal(err)
	}
	for no, p := range map[string]tasks.Payload{"NAMED": {ServiceID: "s1", Schedule: "later"}, "DEFAULT": {ServiceID: "s2"}, "OTHER": {ServiceID: "s1"}} {
		p.MchID, p.OutOrderNo, p.AppID = mchid, no, "wx1"
		res, err := tasks.NewProducer(rdb).Enqueue(t.Context(), tasks.Order{Payload: p, At: time.Now().Add(20 * time.Hour)})
		if err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	h, err := control.NewHastener(t.Context(), rdb, mchid)
	if err != nil {
		t.Fatal(err)
	}
	for no, least := range map[string]time.Duration{"NAMED": 2 * time.Hour, "DEFAULT": 2 * time.Hour, "OTHER": -time.Hour} {
		res, err := h.CollectNow(t.Context(), no, ledger.Deed{By: "cli:test", Reason: "a test"})
		if in := time.Until(res.Due); err != nil || res.Status != tasks.Accepted || in < least || in > least+2*time.Hour {
			t.Errorf("%s: %+v in %s, %v", no, res, in, err)
		}
	}
	if res, err := h.CollectNow(t.Context(), "NONE", ledger.Deed{By: "cli:test", Reason: "a test"}); err != nil || res.Status != tasks.Absent {
		t.Errorf("%+v %v", res, err)
	}
}
