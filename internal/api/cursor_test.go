package api_test

import (
	"fmt"
	"net/url"
	"testing"
)

// A cursor fits into the header of a request, also between long numbers.
func TestListOrders_LongCursor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const orders = 1200
	for i := range orders {
		f.open(mchA, fmt.Sprintf("A-NUMBER-OF-THIRTY-TWO-LETTERS-%d", i)[:27]+fmt.Sprintf("%05d", i))
	}
	seen, cursor := 0, ""
	for pages := 0; pages == 0 || cursor != ""; pages++ {
		var page struct {
			Orders []struct{}
			Next   string
		}
		f.get("/v1/orders?limit=700&cursor="+url.QueryEscape(cursor)).into(t, &page)
		seen, cursor = seen+len(page.Orders), page.Next
		if len(cursor) > 12<<10 {
			t.Errorf("a cursor of %d bytes", len(cursor))
		}
	}
	if seen != orders {
		t.Errorf("%d orders, want %d", seen, orders)
	}
}
