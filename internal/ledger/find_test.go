package ledger_test

import (
	"slices"
	"testing"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

func TestFind(t *testing.T) {
	s := newSetup(t)
	other := ledger.New(s.redis.Client, "1900000002")
	for _, o := range []tasks.Payload{
		{MchID: mchid, OutOrderNo: "ONE"}, {MchID: mchid, OutOrderNo: "BOTH"}, {MchID: other.MchID(), OutOrderNo: "BOTH"},
	} {
		o.AppID, o.ServiceID = "wx1", "500"
		if res, err := s.producer.Enqueue(t.Context(), tasks.Order{Payload: o}); err != nil || res.Status != tasks.Accepted {
			t.Fatalf("%s: %s, %v", o.OutOrderNo, res.Status, err)
		}
	}
	for no, want := range map[string][]string{"ONE": {mchid}, "BOTH": {mchid, other.MchID()}, "NONE": nil} {
		found, err := ledger.Find(t.Context(), []*ledger.Ledger{s.ledger, other}, no)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			if f.Ledger.MchID() != f.Order.MchID || f.Order.OutOrderNo != no {
				t.Errorf("%s: ledger of %s with order %s of %s", no, f.Ledger.MchID(), f.Order.OutOrderNo, f.Order.MchID)
			}
			got = append(got, f.Order.MchID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is found with merchants %q, want %q", no, got, want)
		}
	}
	s.redis.Client.Close()
	if _, err := ledger.Find(t.Context(), []*ledger.Ledger{s.ledger}, "ONE"); err == nil {
		t.Error("no error without Redis")
	}
}
