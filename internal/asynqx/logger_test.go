package asynqx

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
)

func TestLogger(t *testing.T) {
	setup := func(t *testing.T) (l *logger, out *bytes.Buffer, serves *bool) {
		t.Helper()
		out, serves = &bytes.Buffer{}, new(true)
		c := NewComplaints(prometheus.NewRegistry(), func() bool { return *serves }, zerolog.New(out))
		return c.Logger("1900000001").(*logger), out, serves
	}
	counted := func(t *testing.T, l *logger, undecodable, other float64) {
		t.Helper()
		if u, o := valueOf(t, l.undecodable), valueOf(t, l.other); u != undecodable || o != other {
			t.Errorf("counted %v undecodable and %v other complaints, want %v and %v", u, o, undecodable, other)
		}
	}

	t.Run("warnings and errors are complaints", func(t *testing.T) {
		l, out, _ := setup(t)
		l.Debug("d")
		l.Info("i")
		l.Warn("recoverer: ", "could not list")
		l.Error("Dequeue error: ", errors.New("cannot decode message"))
		counted(t, l, 1, 1)
		var got []string
		for line := range strings.Lines(out.String()) {
			var fields map[string]string
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			if fields["component"] != "asynq" || fields["mchid"] != "1900000001" {
				t.Errorf("component %q and mchid %q in %s", fields["component"], fields["mchid"], line)
			}
			got = append(got, fields["level"]+" "+fields["event"]+" "+fields["message"])
		}
		want := "debug asynq_note d|debug asynq_note i|warn asynq_complaint recoverer: could not list|error asynq_complaint Dequeue error: cannot decode message"
		if strings.Join(got, "|") != want {
			t.Errorf("got lines\n%s\nwant\n%s", strings.Join(got, "|"), want)
		}
	})

	t.Run("fatal is written before the process ends with 1", func(t *testing.T) {
		l, out, _ := setup(t)
		status, written := -1, ""
		l.exit = func(code int) { status, written = code, out.String() }
		l.Fatal("cannot continue")
		if status != 1 || !strings.Contains(written, `"level":"fatal"`) || !strings.Contains(written, "cannot continue") {
			t.Errorf("status %d after %q, want 1 after the line", status, written)
		}
		counted(t, l, 0, 1)
	})

	t.Run("while Redis does not serve, complaints are counted and not shown", func(t *testing.T) {
		l, out, serves := setup(t)
		*serves = false
		l.Warn("no Redis")
		l.Error("no Redis")
		if got := out.String(); strings.Count(got, `"level":"debug"`) != 2 || strings.Count(got, "\n") != 2 {
			t.Errorf("got %s, want two lines at debug level", got)
		}
		*serves = true
		l.Error("something else")
		if got := out.String(); !strings.Contains(got, `"level":"error"`) {
			t.Errorf("got %s, want a line at error level", got)
		}
		counted(t, l, 0, 3)
	})

	t.Run("a refused channel is logged once, and is no complaint", func(t *testing.T) {
		l, out, _ := setup(t)
		for range 3 {
			l.Error("cannot subscribe to cancelation channel: NOPERM this user has no permissions to access one of the channels used as arguments")
		}
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"event":"redis_channel_refused"`) {
			t.Errorf("got %s, want one line redis_channel_refused", got)
		}
		counted(t, l, 0, 0)
		l.Error("cannot subscribe to cancelation channel: connection refused")
		counted(t, l, 0, 1)
	})
}

func valueOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
