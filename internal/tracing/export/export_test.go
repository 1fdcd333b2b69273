package export

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/testkit"
	"payscore-collector/internal/tracing"
)

func TestWanted(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want bool
	}{
		"nothing":          {nil, false},
		"an endpoint":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, true},
		"one for traces":   {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, true},
		"switched off":     {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, false},
		"no traces":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, false},
		"only another one": {map[string]string{"OTEL_SERVICE_NAME": "billing"}, false},
	} {
		if got := Wanted(func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestStart_Off(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	before := runtime.NumGoroutine()
	stop, err := Start(t.Context(), "payscore-worker", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if after := runtime.NumGoroutine(); tracing.On() || after > before {
		t.Errorf("it is on: %t, and %d goroutines became %d", tracing.On(), before, after)
	}
	h := http.NewServeMux()
	if Handler(h, "api") != http.Handler(h) {
		t.Error("the handler is wrapped")
	}
}

// collector receives spans.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	bodies bytes.Buffer
}

func newCollector(t *testing.T, status int) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bodies.WriteString(r.URL.Path + " ")
		c.bodies.Write(body)
		w.WriteHeader(status)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) got() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bodies.String()
}

// What is left is sent at the end. A stream through the traced handler still controls its
// connection.
func TestStart_On(t *testing.T) {
	c := newCollector(t, http.StatusOK)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
	logs := &testkit.LogBuffer{}
	stop, err := Start(t.Context(), "payscore-worker", zerolog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		for _, err := range []error{control.EnableFullDuplex(), control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Now().Add(time.Minute)), control.Flush()} {
			if err != nil {
				t.Error(err)
			}
		}
		if tracing.Traceparent(r.Context()) == "" {
			t.Error("the request has no span")
		}
	}), "payscore api"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, served.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer hunter2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	served.Close() // the handler has ended
	_, span := tracing.Start(t.Context(), "payscore step")
	span.End()
	stop()
	for _, want := range []string{"/v1/traces ", "payscore-worker", "payscore step", "payscore api", "deployment.environment"} {
		if !strings.Contains(c.got(), want) {
			t.Errorf("the collector did not get %q", want)
		}
	}
	if strings.Contains(c.got(), "hunter2") {
		t.Error("a token is in a span")
	}
	if tracing.On() || !strings.Contains(logs.String(), `"event":"traces_enabled"`) {
		t.Errorf("after the end it is on: %t\n%s", tracing.On(), logs.String())
	}
}

// A collector that does not take the spans costs nothing but them.
func TestStart_Refused(t *testing.T) {
	c := newCollector(t, http.StatusForbidden)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", strings.Replace(c.URL, "http://", "http://user:hunter2@", 1))
	logs := &testkit.LogBuffer{}
	stop, err := Start(t.Context(), "payscore-worker", zerolog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Start(t.Context(), "payscore step")
	span.End()
	began := time.Now()
	stop()
	if took := time.Since(began); took > flushWithin+10*time.Second {
		t.Errorf("the end took %s", took)
	}
	if !strings.Contains(logs.String(), `"event":"traces_not_sent"`) || strings.Contains(logs.String(), "hunter2") {
		t.Errorf("%s", logs.String())
	}
}
