package worker

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisprobe"
	"payscore-collector/internal/testkit/redistest"
)

// A part in the directory that is not written stays there while the process that begins it
// may still write it, and not for ever.
func TestBulks_AbsentPart(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client
	b := newBulks(time.Second, connections{Clients: redisprobe.Clients{Ledger: rdb, Queue: rdb}}, func() bool { return true }, zerolog.Nop(), prometheus.NewRegistry())
	part := ledger.BulkPart{MchID: "1900000001", ID: ledger.NewToken()}
	listed := func() []ledger.BulkPart {
		t.Helper()
		parts, err := ledger.ListedBulks(t.Context(), rdb)
		if err != nil {
			t.Fatal(err)
		}
		return parts
	}
	if err := ledger.ListBulk(t.Context(), rdb, part); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b.enqueue(t.Context(), listed()); len(listed()) != 1 {
			t.Fatal("taken out, although it may still be written")
		}
	}
	b.absent[part] = time.Now().Add(-bulkAbsent - time.Second)
	if b.enqueue(t.Context(), listed()); len(listed()) > 0 || len(b.absent) > 0 {
		t.Errorf("it stays for ever; missed %v", b.absent)
	}
}
