package api_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
)

// An order may name a schedule that the worker has; the rows beside one that names another
// go in. One that the worker does not have any more is an alarm of the order.
func TestSchedules(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "schedules.yaml")
	if err := os.WriteFile(path, []byte("schedules:\n  gentle: {min_gap: 12h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config.Collector{}
	schedules := config.SchedulesFlags{SchedulesFile: path}.Resolve(c)
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(o *api.Options) { o.Schedules = func() config.Schedules { return schedules } })
	row := func(no, schedule string) string {
		return `{"mchid":"` + mchA + `","out_order_no":"` + no + `","appid":"wx1","service_id":"500001","schedule":"` + schedule + `"}`
	}
	var reply struct {
		Results []api.RowResult `json:"results"`
	}
	f.post("/v1/orders", `{"orders":[`+row("A", "gentle")+","+row("B", "gone")+","+row("C", "")+"]}").into(t, &reply)
	if r := reply.Results; len(r) != 3 || r[0].Result != "accepted" || r[1].Result != "invalid" || r[2].Result != "accepted" ||
		r[1].Detail != `schedule "gone" is not a schedule: SCHEDULES_FILE has gentle` {
		t.Errorf("%+v", r)
	}
	lines := f.post("/v1/orders/import", row("D", "gentle")+"\n"+row("E", "gone")+"\n", "Content-Type: application/x-ndjson").Body
	if !strings.Contains(lines, `{"line":2,"out_order_no":"E","result":"invalid","detail":"schedule \"gone\" is not a schedule`) || !strings.Contains(lines, `{"summary":{"accepted":1,"conflict":0,"duplicate":0,"ended":0,"failed":0,"invalid":1}}`) {
		t.Error(lines)
	}
	for _, no := range []string{"A", "D"} {
		if a := f.get("/v1/orders/" + mchA + "/" + no); !strings.Contains(a.Body, `"schedule":"gentle"`) || strings.Contains(a.Body, "SCHEDULE UNKNOWN") {
			t.Errorf("%s: %s", no, a.Body)
		}
	}
	// A worker that reports, and has no schedules.
	if err := ledger.New(f.redis.Client, mchA).Beat(t.Context(), "w1", time.Minute, ledger.Settings{CollectWindow: "always", Timezone: "Asia/Shanghai"}, false); err != nil {
		t.Fatal(err)
	}
	if a := f.get("/v1/orders/" + mchA + "/A"); !strings.Contains(a.Body, "SCHEDULE UNKNOWN: the order names the schedule gentle") {
		t.Error(a.Body)
	}
}
