package api_test

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// What an operator does is done, and stands in the trail with who did it.
func TestControl(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t)).as("operator")
	f.settle(mchA, "A", ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now().Add(time.Hour)})

	var m []struct {
		Paused *struct {
			Reason, By   string
			Since, Until time.Time
		}
	}
	f.as("billing").post("/v1/merchants/"+mchA+"/pause", `{"reason":"x"}`).wants(t, 403, "operator")
	if a := f.post("/v1/merchants/"+mchA+"/pause", `{"reason":"wrong amounts","for":"2h"}`); a.Status != 200 {
		t.Fatal(a.Body)
	}
	f.get("/v1/merchants").into(t, &m)
	if len(m) != 1 || m[0].Paused == nil || m[0].Paused.Reason != "wrong amounts" || m[0].Paused.By != "api:operator" || m[0].Paused.Until.Sub(m[0].Paused.Since).Round(time.Second) != 2*time.Hour {
		t.Errorf("%+v", m)
	}
	if a := f.post("/v1/merchants/"+mchA+"/resume", `{"reason":"corrected"}`); a.Status != 200 || !strings.Contains(a.Body, `"paused":null`) {
		t.Errorf("%d %s", a.Status, a.Body)
	}

	var o ledger.Order
	f.post("/v1/orders/"+mchA+"/A/collect-now", `{"reason":"topped up"}`).into(t, &o)
	if time.Until(o.NextDueAt) > time.Minute || len(o.Actions) != 1 || o.Actions[0].By != "api:operator" || o.Actions[0].Reason != "topped up" {
		t.Errorf("due %v, actions %+v", o.NextDueAt, o.Actions)
	}
	f.as("billing").post("/v1/orders/"+mchA+"/A/withdraw", `{"reason":"paid in cash"}`).into(t, &o)
	f.as("billing").post("/v1/orders/"+mchA+"/A/reopen", `{"reason":"bounced"}`).into(t, &o)

	var page struct{ Actions []ledger.Audited }
	f.get("/v1/audit?mchid="+mchA).into(t, &page)
	var got []string
	for _, a := range page.Actions {
		got = append(got, a.By+" "+a.Action.Action+" "+a.Reason)
	}
	want := "api:billing reopen bounced, api:billing withdraw paid in cash, api:operator collect-now topped up, api:operator resume corrected, api:operator pause wrong amounts"
	if strings.Join(got, ", ") != want {
		t.Errorf("the trail is %s", strings.Join(got, ", "))
	}
}

// A mistyped number is refused, and makes no merchant; one of a merchant that only a worker
// serves is right.
func TestControl_OfAMerchantThatNothingKnows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A")
	for _, action := range []string{"pause", "resume"} {
		f.post("/v1/merchants/"+mchB+"/"+action, `{"reason":"x"}`).wants(t, 404, "mchid is "+mchB, "check the number", "GET /v1/merchants")
	}
	f.post("/v1/webhooks/retry", `{"mchid":"`+mchB+`"}`).wants(t, 404, "mchid is "+mchB, "check the number")
	if n, err := f.redis.Client.Exists(t.Context(), ledger.KeysOf(mchB).Hold(), ledger.KeysOf(mchB).Audit()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys were made, %v", n, err)
	}
	if all, err := ledger.Merchants(t.Context(), f.redis.Client); err != nil || len(all) != 1 {
		t.Errorf("the merchants are %v, %v", all, err)
	}
	if a := f.get("/v1/merchants?mchid=" + mchB); a.Status != 200 || strings.TrimSpace(a.Body) != "[]" {
		t.Errorf("the list has it: %d %s", a.Status, a.Body)
	}
	if err := ledger.New(f.redis.Client, mchB).Beat(t.Context(), "w", time.Minute, ledger.Settings{}, false); err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"pause", "resume"} {
		if a := f.post("/v1/merchants/"+mchB+"/"+action, `{"reason":"x"}`); a.Status != 200 {
			t.Errorf("%s: %d %s", action, a.Status, a.Body)
		}
	}
}
