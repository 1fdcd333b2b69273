package metrics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"payscore-collector/internal/metrics"
)

// Every combination of known values has its zero from the start, and labels whose
// values are open have none.
func TestIntroduce(t *testing.T) {
	reg := prometheus.NewRegistry()
	set := metrics.New(reg)
	set.Counter("plain", "h")
	set.Gauge("two", "h", metrics.Known("a", "x", "y"), metrics.Known("b", "1", "2"))
	set.Histogram("spread", "h", 0.1, 2, 3)
	set.Counter("unknown", "h", metrics.Known("a", "x"), metrics.Open("b"))
	set.Introduce("1900000001")

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			got = append(got, fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ",")))
		}
	}
	const mchid = "mchid=1900000001"
	want := []string{
		"plain{" + mchid + "}", "spread{" + mchid + "}",
		"two{a=x,b=1," + mchid + "}", "two{a=x,b=2," + mchid + "}", "two{a=y,b=1," + mchid + "}", "two{a=y,b=2," + mchid + "}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got series %q, want %q", got, want)
	}
}
