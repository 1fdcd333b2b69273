package worker

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
)

// Idle connections of other clients do not keep a health probe waiting.
func TestIdleConnectionsDoNotSilenceHealth(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	cfg := config.Worker{Work: config.Work{AdminAddr: "127.0.0.1:0", AdminAddrSet: true}}
	a, err := serveAdmin(cfg, reg, newRedisWatch(cfg, zerolog.Nop(), reg), nil, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for range adminConnections {
		c, err := net.Dial("tcp", a.address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 10 {
		resp, err := client.Get("http://" + a.address() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s", resp.Status)
		}
	}
}
