package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

func TestEvidenceAudit(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*evidence)
		want  string
	}{
		"a right ledger": {func(*evidence) {}, "\naudit: 2 of 2 agree\n"},
		"a missing order": {func(e *evidence) {
			delete(e.recorded, "A")
			e.stats.Orders[tasks.Closed]--
		}, "\nDIFFERENCE: A is not in the ledger\naudit: 1 of 2 agree\n"},
		"a wrong state": {func(e *evidence) {
			o := e.recorded["B"]
			o.State = tasks.Closed
			e.recorded["B"] = o
			e.stats.Orders = map[tasks.State]int64{tasks.Closed: 2}
		}, "\nDIFFERENCE: B is recorded as closed, and the platform says NOT_EXIST\naudit: 1 of 2 agree\n"},
		"collects too close together": {func(e *evidence) {
			gap := int64(1199)
			e.platform.Orders[0].LeastGapMS = &gap
		}, "\nDIFFERENCE: A was collected again after 1199 ms, and MIN_GAP is 1.2s\naudit: 1 of 2 agree\n"},
		"a wrong counter": {func(e *evidence) { e.stats.Orders[tasks.Closed]++ },
			"\nDIFFERENCE: the ledger counts 2 closed orders, and has 1\naudit: 2 of 2 agree\n"},
		"a wrong signature of ours": {func(e *evidence) { e.platform.RejectedSignatures = 2 },
			"\nDIFFERENCE: the platform refused 2 of our signatures for good reason\naudit: 2 of 2 agree\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := evidence{
				recorded: map[string]ledger.Order{"A": {OutOrderNo: "A", State: tasks.Closed}, "B": {OutOrderNo: "B", State: tasks.Rejected}},
				stats:    ledger.Stats{Orders: map[tasks.State]int64{tasks.Closed: 1, tasks.Rejected: 1}},
				platform: simulator.Report{Orders: []simulator.OrderReport{
					{OutOrderNo: "A", State: simulator.StateRevoked}, {OutOrderNo: "B", State: simulator.StateNotExist},
				}},
				minGap: 1200 * time.Millisecond,
			}
			c.spoil(&e)
			var b bytes.Buffer
			agrees := e.audit(&b)
			if b.String() != c.want {
				t.Errorf("the audit says\n%q, want\n%q", b.String(), c.want)
			}
			if want := !strings.Contains(c.want, "DIFFERENCE"); agrees != want {
				t.Errorf("agrees is %v, want %v", agrees, want)
			}
		})
	}
}
