package worker

import (
	"testing"

	"payscore-collector/internal/version"
)

func TestBuildInfo(t *testing.T) {
	families, err := newRegistry(version.Info{Version: "v0.2.0", Revision: "0b883cd", Go: "go1.26.0"}).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "payscore_build_info" {
			continue
		}
		labels := map[string]string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if f.GetMetric()[0].GetGauge().GetValue() != 1 || labels["version"] != "v0.2.0" || labels["revision"] != "0b883cd" || labels["goversion"] != "go1.26.0" {
			t.Errorf("the metric is %v", f)
		}
		return
	}
	t.Error("there is no payscore_build_info")
}
