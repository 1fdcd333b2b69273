package worker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/status"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
)

// admin is what a worker serves on ADMIN_ADDR.
func admin(t *testing.T, r *workertest.Rig, path string) string {
	resp, err := http.Get("http://" + r.Cfg.AdminAddr + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

func onAdminAddr(t *testing.T) func(*config.Worker) {
	return func(c *config.Worker) {
		c.AdminAddr, c.AdminAddrSet = testkit.FreeAddr(t), true
	}
}

// causesLogged are the events of one cause in the log, in order.
func causesLogged(r *workertest.Rig, cause explain.Code) (events []string) {
	for line := range strings.Lines(r.Logs.String()) {
		var l struct{ Event, Cause string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Cause == string(cause) {
			events = append(events, l.Event)
		}
	}
	return events
}

// A queue that is paused shows in readiness, the metrics and the log, there once when it
// begins and once when it ends; and so does it in what other commands read.
func TestPausedQueueIsShown(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	mchid := r.Sim.Merchant().MchID
	r.Add(simulator.Order{OutOrderNo: "PAUSED", TotalAmount: 100, Fate: "pays"})
	key := "asynq:{collect:" + mchid + "}:paused"
	if err := r.Redis.Client.Set(t.Context(), key, time.Now().Unix(), 0).Err(); err != nil {
		t.Fatal(err)
	}
	r.Enqueue("PAUSED")
	r.Work()
	r.Eventually("readiness to name the pause", func() bool {
		return strings.HasPrefix(admin(t, r, "/readyz"), "200 ok\n"+mchid+": nothing is collected: the queue has been paused since ")
	})
	for _, want := range []string{
		`payscore_collecting_stopped{cause="queue_paused",mchid="` + mchid + `"} 1`,
		`payscore_collecting_stopped{cause="outside_window",mchid="` + mchid + `"} 0`,
		`payscore_window_open{mchid="` + mchid + `"} 1`,
		`payscore_rate_limit{mchid="` + mchid + `"} 500`,
		`payscore_rate_now{mchid="` + mchid + `"} 500`,
	} {
		if got := admin(t, r, "/metrics"); !strings.Contains(got, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if err := r.Redis.Client.Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	r.AllEnded()
	r.Eventually("readiness to be as usual", func() bool { return admin(t, r, "/readyz") == "200 ok\n" })
	want := []string{"collecting_stopped", "collecting_resumed"}
	if diff := cmp.Diff(want, causesLogged(r, explain.QueuePaused)); diff != "" {
		t.Errorf("the log has (-want +got)\n%s", diff)
	}
}

// Outside its window a worker logs once that it waits. What it publishes shows other
// commands when the window opens, and, once it has stopped, that no worker runs.
func TestClosedWindowIsShown(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	r := workertest.New(t, onAdminAddr(t), func(c *config.Worker) {
		from := time.Duration(now.Hour()+2)%24*time.Hour + time.Duration(now.Minute())*time.Minute
		c.Window = config.Window{From: from, To: (from + time.Hour) % (24 * time.Hour)}
	})
	r.Add(simulator.Order{OutOrderNo: "NIGHT", TotalAmount: 100, Fate: "pays"})
	r.Enqueue("NIGHT")
	stop := r.Work()
	situation := func() explain.Situation {
		t.Helper()
		s, err := status.Read(t.Context(), r.Redis.Client, r.Ledger, explain.Memory{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whyNot := func() (codes []explain.Code) {
		for _, c := range (explain.Teller{Zone: time.UTC}).WhyOrder(situation(), r.Get("NIGHT")) {
			codes = append(codes, c.Code)
		}
		return codes
	}
	r.Eventually("the order to wait for the window", func() bool {
		return cmp.Equal(whyNot(), []explain.Code{explain.OutsideWindow})
	})
	r.Eventually("the log to say so", func() bool {
		return cmp.Equal(causesLogged(r, explain.OutsideWindow), []string{"collecting_stopped"})
	})
	metric := `payscore_window_open{mchid="` + r.Sim.Merchant().MchID + `"} 0`
	if !strings.Contains(admin(t, r, "/metrics"), metric+"\n") {
		t.Errorf("the metrics lack %s", metric)
	}
	stop()
	if diff := cmp.Diff([]explain.Code{explain.NoWorker, explain.OutsideWindow}, whyNot()); diff != "" {
		t.Errorf("without a worker: (-want +got)\n%s", diff)
	}
}
