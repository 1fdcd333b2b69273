package workertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"payscore-collector/internal/simulator"
)

// Listen makes workers that are started from now on receive notifications, each on a
// port of its own.
func (r *Rig) Listen() { r.Cfg.PublicAddr = "127.0.0.1:0" }

// NotifyURLs returns the URLs of the merchant's notifications, one for each worker that
// listens so far, and waits for the first.
func (r *Rig) NotifyURLs() []string {
	r.t.Helper()
	var urls []string
	r.Until(20*time.Second, "a worker to listen for notifications", func() bool {
		urls = nil
		for _, line := range r.Logs.Events("notifications_listening") {
			urls = append(urls, fmt.Sprintf("http://%s/notify/%s", line["addr"], r.Sim.Merchant().MchID))
		}
		return len(urls) > 0
	})
	return urls
}

// Notify makes the platform notify the worker that was started first of every payment,
// as n says.
func (r *Rig) Notify(n simulator.Notifications) {
	r.t.Helper()
	n.URL = r.NotifyURLs()[0]
	if err := r.Sim.SetNotifications(n); err != nil {
		r.t.Fatal(err)
	}
}

// Post sends a notification to the worker that was started first, and returns
// the status of its answer, or 0 where there was none.
func (r *Rig) Post(n simulator.RawNotification) int {
	r.t.Helper()
	return PostTo(r.NotifyURLs()[0], n)
}

// PostTo sends a notification somewhere, and returns the status of the answer, or
// 0 where there was none.
func PostTo(url string, n simulator.RawNotification) int {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(n.Body))
	if err != nil {
		return 0
	}
	req.Header = n.Header.Clone()
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
