package api_test

import (
	"fmt"
	"strings"
	"testing"

	"payscore-collector/internal/ledger"
)

// A record that Redis refuses fails the rows of its call of the script, and keeps no other
// row of the page out.
func TestEnqueue_OneRecordIsBroken(t *testing.T) {
	f := newFixture(t)
	if err := f.redis.Client.Set(t.Context(), ledger.KeysOf(mchA).Order("N-0"), "another client's", 0).Err(); err != nil {
		t.Fatal(err)
	}
	const rows, together = 1200, 50
	page := make([]string, rows)
	for i := range page {
		page[i] = fmt.Sprintf(`{"out_order_no":"N-%d"}`, i)
	}
	a := f.post("/v1/orders", `{"orders":[`+strings.Join(page, ",")+`]}`)
	failed, accepted := strings.Count(a.Body, `"result":"failed"`), strings.Count(a.Body, `"result":"accepted"`)
	if a.Status != 200 || failed != together || accepted != rows-together {
		t.Errorf("status %d: %d rows failed and %d were accepted, want %d and %d", a.Status, failed, accepted, together, rows-together)
	}
}
