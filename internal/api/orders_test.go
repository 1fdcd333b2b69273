package api_test

import (
	"fmt"
	"slices"
	"testing"

	"payscore-collector/internal/api"
	"payscore-collector/tasks"
)

// State may stand in a query several times, as --state on a command line, with commas
// between, or both.
func TestListOrders_States(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, no := range []string{"A", "B", "C"} {
		f.open(mchA, no)
	}
	for _, no := range []string{"B", "C"} {
		f.post("/v1/orders/"+mchA+"/"+no+"/withdraw", `{"reason":"paid in cash"}`).into(t, &api.OrderView{})
	}
	for query, want := range map[string]string{
		"state=queued":                             "[A]",
		"state=queued,withdrawn":                   "[A B C]",
		"state=queued&state=withdrawn":             "[A B C]",
		"state=paid&state=closed&state=withdrawn":  "[B C]",
		"state=paid,closed&state=queued,withdrawn": "[A B C]",
		"state=paid&state=closed":                  "[]",
		"state=":                                   "[A B C]",
	} {
		var page api.OrderPage
		f.get("/v1/orders?"+query).into(t, &page)
		nos := []string{}
		for _, o := range page.Orders {
			nos = append(nos, o.OutOrderNo)
		}
		if slices.Sort(nos); fmt.Sprint(nos) != want {
			t.Errorf("%s: %v, want %s", query, nos, want)
		}
	}

	// A cursor belongs to all of the states.
	var page api.OrderPage
	f.get("/v1/orders?state=queued&state=withdrawn&limit=1").into(t, &page)
	if page.Next == "" {
		t.Fatalf("%+v", page)
	}
	f.get("/v1/orders?state=queued&state=paid&limit=1&cursor="+page.Next).wants(t, 422, "cursor", "another filter")
	f.get("/v1/orders?state=queued&state=withdrawn&cursor="+page.Next).into(t, &page)
	if last := page.Orders[len(page.Orders)-1]; last.State != tasks.Withdrawn {
		t.Errorf("%+v", page)
	}
}
