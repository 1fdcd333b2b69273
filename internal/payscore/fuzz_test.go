package payscore

import (
	"errors"
	"testing"

	"payscore-collector/internal/owner"
)

// FuzzJudgeNotification: whatever is behind the signature and the encryption,
// an order is paid only by all three fields and the amounts, and a notification
// says what a query with the same words would say.
func FuzzJudgeNotification(f *testing.F) {
	const mchid = "1900000109"
	for _, seed := range []string{
		`{"mchid":"1900000109","out_order_no":"A","state":"DONE","collection":{"state":"USER_PAID","total_amount":9,"paid_amount":9}}`,
		`{"mchid":"1900000109","out_order_no":"A","state":"DONE","total_amount":9,"collection":{"state":"USER_PAID"}}`,
		`{"mchid":"1900000109","out_order_no":"A","state":"DONE","collection":{"state":"USER_PAID","total_amount":9,"details":[{"amount":4},{"amount":5}]}}`,
		`{"mchid":"1900000109","out_order_no":"A","state":"DOING","state_description":"MCH_COMPLETE","collection":{"state":"USER_PAYING","total_amount":9,"paying_amount":5,"paid_amount":4}}`,
		`{"mchid":"1900000109","out_order_no":"A","state":"DONE","collection":{"state":"USER_PAID","total_amount":9,"paying_amount":1,"paid_amount":8}}`,
		`{"mchid":"1900000108","out_order_no":"A","state":"DONE"}`,
		`{"mchid":"1900000109","state":"REVOKED"}`,
		`{"mchid":"1900000109","out_order_no":"A","collection":null,"collection":{"details":[null]}}`,
		`null`, `[]`, `{"mchid":7}`, `{"MCHID":"1900000109","Out_Order_No":"A","STATE":"DONE"}`, ``, "\xff",
	} {
		f.Add(EventUserPaid, []byte(seed))
	}
	f.Add("PAYSCORE.USER_CONFIRM", []byte(`{"mchid":"1900000109"}`))
	f.Add("REFUND.SUCCESS", []byte(`{"mchid":"1900000108"}`))
	c := &Client{endpoint: direct{mchid}}
	f.Fuzz(func(t *testing.T, kind string, plain []byte) {
		n, err := c.judgeNotification(Notification{EventType: kind}, plain)
		if err != nil {
			if !errors.Is(err, Unreadable) && !errors.Is(err, OtherMerchant) {
				t.Fatalf("an error of another kind: %v", err)
			}
			if n.Order != nil || n.Verdict != "" {
				t.Fatalf("refused with %+v", n)
			}
			return
		}
		if kind != EventUserPaid {
			if n.Order != nil || n.Verdict != "" {
				t.Fatalf("%s says %+v", kind, n)
			}
			return
		}
		o := n.Order
		if o == nil || o.MchID != mchid || o.OutOrderNo == "" {
			t.Fatalf("%+v", n)
		}
		if n.Verdict == Paid && (o.State != "DONE" || o.Collection == nil || o.Collection.State != "USER_PAID" ||
			o.Collection.PayingAmount != 0 || o.Total() != 0 && o.Paid() == 0) {
			t.Fatalf("paid: %+v %+v", o, o.Collection)
		}
		switch n.Verdict {
		case Paid, Closed, Owed, InProgress, NotCollectable, Unknown:
		default:
			t.Fatalf("a notification cannot say %s", n.Verdict)
		}
		_ = o.LastPayment()
		var reply Reply
		c.judgeQuery(&reply, Request{Owner: owner.Owner{AppID: o.AppID, ServiceID: o.ServiceID}, OutOrderNo: o.OutOrderNo}, plain)
		if reply.Verdict != n.Verdict || reply.Reason != n.Reason {
			t.Fatalf("a query says %s %s, a notification %s %s", reply.Verdict, reply.Reason, n.Verdict, n.Reason)
		}
	})
}
