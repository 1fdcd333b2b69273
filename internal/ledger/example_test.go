package ledger_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/owner"
)

// One order from its opening to its payment: a worker claims it, calls WeChat Pay, and
// settles what the reply means.
func Example() {
	srv, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer srv.Close()
	rdb := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer rdb.Close()
	ctx := context.Background()
	l := ledger.New(rdb, "1900000001")

	if _, err := l.Open(ctx, ledger.Opening{Owner: owner.Owner{AppID: "wx1", ServiceID: "500001"}, OutOrderNo: "BIKE-42"}); err != nil {
		fmt.Println(err)
		return
	}

	claim, err := l.Claim(ctx, "BIKE-42", ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: 20 * time.Second, Rate: 10, Horizon: time.Second, Most: 30 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claim.Code, claim.Plan, claim.Order.Scope())

	// A second worker cannot have it meanwhile.
	second, _ := l.Claim(ctx, "BIKE-42", ledger.NewToken(), ledger.NoRound, ledger.Limits{
		Lease: 20 * time.Second, Rate: 10, Horizon: time.Second, Most: 30 * time.Second,
	})
	fmt.Println(second.Code)

	fen := int64(1250)
	settled, err := l.Settle(ctx, claim, ledger.Settlement{
		State: ledger.Paid, VerifiedPaid: true, AddAttempts: 1, Collected: claim.Now,
		Facts: ledger.Facts{OrderID: "15646546545165651651", TransactionID: "1009660380201506130728806387", PaidType: "NEWTON", Total: &fen, Paid: &fen, Done: true},
		Call:  "collect", Verdict: "paid", Gate: ledger.GateOK, CalledAt: claim.Now, First: 5 * time.Second, Most: 30 * time.Second, Failures: 10,
		Log: []ledger.Entry{{Call: "collect", Verdict: "paid", HTTPStatus: 200, ElapsedMS: 120}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(settled.Code, settled.State)

	o, err := l.Get(ctx, "BIKE-42")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(o.State, *o.PaidAmount, o.TransactionID, len(o.Log))

	// Output:
	// granted collect wx1:500001
	// leased
	// settled paid
	// paid 1250 1009660380201506130728806387 1
}
