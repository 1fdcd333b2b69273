package worker_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/status"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// SCHEDULES_FILE is read again while the worker runs: orders keep the names of their
// schedules, the API and other commands know the new ones, and a faulty file changes nothing.
func TestSchedulesFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "schedules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
	}
	write("gentle: {collect_schedule: 100h}\n")
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) {
		c.CollectSchedule, c.GiveUpAfter = config.Schedule{10 * time.Hour}, 5000*time.Hour
	})
	settings := workerSettings(t, "", "SCHEDULES_FILE="+path)
	r.Cfg.Schedules, r.Cfg.SchedulesFile = settings.Schedules, settings.SchedulesFile
	r.Work()
	r.Eventually("the worker", func() bool { return strings.HasPrefix(admin(t, r, "/readyz"), "200") })

	// enqueue tells what the API says of an order with a schedule.
	enqueue := func(no, schedule string) string {
		t.Helper()
		o := r.Order(no)
		body := fmt.Sprintf(`{"orders":[{"mchid":%q,"out_order_no":%q,"appid":%q,"service_id":%q,"schedule":%q}]}`, o.MchID, no, o.AppID, o.ServiceID, schedule)
		resp, err := http.Post("http://"+r.Cfg.AdminAddr+"/v1/orders", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	collected := func(no, schedule string, wait time.Duration) {
		t.Helper()
		r.Add(simulator.Order{OutOrderNo: no, TotalAmount: 100, Fate: "declines:9"})
		if text := enqueue(no, schedule); !strings.Contains(text, `"accepted"`) {
			t.Fatal(text)
		}
		r.Eventually("an attempt at "+no, func() bool { return r.Get(no).Attempts > 0 })
		if got := time.Until(r.Get(no).NextDueAt); got < wait*85/100 || got > wait*115/100 {
			t.Errorf("%s is due in %s, want %s", no, got, wait)
		}
	}
	collected("FIRST", "gentle", 100*time.Hour)
	if text := enqueue("LATER", "patient"); !strings.Contains(text, `"invalid"`) || !strings.Contains(text, "has gentle") {
		t.Errorf("a name that the file does not have: %s", text)
	}

	// A file with a fault changes nothing, even if other entries are right.
	write("gentle: {collect_schedule: 200h}\npatient: {window: never}\n")
	r.Eventually("the refusal", func() bool { return r.Logs.HasEvent("schedules_file_refused") })
	if text := fmt.Sprint(r.Logs.Events("schedules_file_refused")[0]["message"]); !strings.Contains(text, "line 2: window of schedule patient") || !strings.Contains(text, "stay as they were") {
		t.Error(text)
	}
	r.Eventually("the metric", func() bool { return gauge(t, r, "payscore_schedules_file_faulty") == 1 })
	collected("SECOND", "gentle", 100*time.Hour)

	write("gentle: {collect_schedule: 1000h}\npatient: {min_gap: 1h}\n")
	r.Eventually("the new schedules", func() bool { return r.Logs.HasEvent("schedules_changed") })
	r.Eventually("the metric", func() bool { return gauge(t, r, "payscore_schedules_file_faulty") == 0 })
	collected("LATER", "patient", r.Cfg.CollectSchedule[0])
	collected("THIRD", "gentle", 1000*time.Hour)
	// An order keeps its name, not what stood behind it when it was enqueued.
	if res, err := r.Producer.Withdraw(t.Context(), tasks.Withdrawal{MchID: r.Sim.Merchant().MchID, OutOrderNo: "FIRST", Reason: "x"}); err != nil || res.Status != tasks.Accepted {
		t.Fatal(res, err)
	}
	again := r.Order("FIRST")
	again.Reopen = true
	if res, err := r.Producer.Enqueue(t.Context(), again); err != nil || res.Status != tasks.Accepted {
		t.Fatal(res, err)
	}
	r.Eventually("its next attempt", func() bool { return r.Get("FIRST").Attempts == 2 })
	if got := time.Until(r.Get("FIRST").NextDueAt); got < 850*time.Hour {
		t.Errorf("it is due in %s", got)
	}
	r.Eventually("the schedules to be published", func() bool {
		s, err := status.Read(t.Context(), r.Redis.Client, r.Ledger, explain.Memory{})
		return err == nil && s.Schedules != nil && len(s.Schedules.Named) == 2 && s.Schedules.Named["gentle"].Schedule[0] == 1000*time.Hour
	})
}
