package payscore_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"payscore-collector/internal/owner"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/simulator"
)

// platformWith returns a client of a simulated platform with the given orders, and
// whose orders they are.
func platformWith(orders ...simulator.Order) (client *payscore.Client, sim *simulator.Simulator, whose owner.Owner, closeAll func()) {
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		panic(err)
	}
	if err := sim.AddOrders(orders...); err != nil {
		panic(err)
	}
	server := httptest.NewServer(sim.Handler())
	m := sim.Merchant()
	client, err = payscore.New(payscore.Config{
		MchID: m.MchID, SerialNo: m.SerialNo, Signer: m.PrivateKey, // sign requests
		PublicKeyID: m.PublicKeyID, PublicKey: m.PublicKey, APIV3Key: m.APIv3Key, // verify replies, decrypt notifications
		BaseURL: server.URL, Timeout: 15 * time.Second, Connections: 4,
	})
	if err != nil {
		panic(err)
	}
	return client, sim, owner.Owner{MchID: m.MchID, AppID: m.AppID, ServiceID: m.ServiceID}, func() {
		client.Close()
		server.Close()
		sim.Close()
	}
}

// An accepted collect is not a payment. Only a query's signed order, or a
// notification, shows that the money is in.
func ExampleClient_Collect() {
	client, _, whose, closeAll := platformWith(simulator.Order{OutOrderNo: "RENT-1", TotalAmount: 250})
	defer closeAll()
	r := payscore.Request{Owner: whose, OutOrderNo: "RENT-1"}
	fmt.Println("collect:", client.Collect(context.Background(), r).Verdict)
	query := client.Query(context.Background(), r)
	fmt.Println("query:", query.Verdict, query.Order.Paid(), "fen, signed:", query.Verified)
	// Output:
	// collect: accepted
	// query: paid 250 fen, signed: true
}

// A refusal is a verdict too. What it implies can be asked of the reply.
func ExampleReply() {
	client, sim, whose, closeAll := platformWith(simulator.Order{OutOrderNo: "RENT-2", Fate: simulator.FateNever})
	defer closeAll()
	r := payscore.Request{Owner: whose, OutOrderNo: "RENT-2"}
	show := func(r payscore.Reply) {
		fmt.Printf("%s (%d %s): attempts used %d, trouble %t, signal %q\n", r.Verdict, r.HTTPStatus, r.Code, r.Attempts(), r.Trouble(), r.Signal())
	}
	show(client.Collect(context.Background(), r))
	if err := sim.SetFaults(simulator.Faults{SignError: true}); err != nil {
		panic(err)
	}
	show(client.Collect(context.Background(), r))
	// Output:
	// declined (403 TRADE_ERROR): attempts used 1, trouble false, signal "ok"
	// merchant_fault (401 SIGN_ERROR): attempts used 0, trouble true, signal "fault"
}

// An order that the user paid elsewhere is reported with sync, so that WeChat Pay
// deducts no more.
func ExampleClient_Sync() {
	client, _, whose, closeAll := platformWith(simulator.Order{OutOrderNo: "RENT-3", Fate: simulator.FateNever})
	defer closeAll()
	r := payscore.Request{Owner: whose, OutOrderNo: "RENT-3"}
	fmt.Println("sync:", client.Sync(context.Background(), r, "20261123120010").Verdict)
	query := client.Query(context.Background(), r)
	fmt.Println("query:", query.Verdict, query.Order.LastPayment().PaidType)
	// Output:
	// sync: accepted
	// query: paid MCH
}

// A notification is verified, decrypted and judged like a query's reply.
func ExampleClient_Notification() {
	client, sim, whose, closeAll := platformWith(simulator.Order{OutOrderNo: "RENT-4", TotalAmount: 250})
	defer closeAll()
	client.Collect(context.Background(), payscore.Request{Owner: whose, OutOrderNo: "RENT-4"})
	raw, err := sim.Notification("RENT-4", simulator.NotificationOptions{})
	if err != nil {
		panic(err)
	}
	n, err := client.Notification(context.Background(), raw.Header, raw.Body)
	fmt.Println(n.EventType, n.Order.OutOrderNo, n.Verdict, err)
	raw.Header.Del("Wechatpay-Signature")
	_, err = client.Notification(context.Background(), raw.Header, raw.Body)
	fmt.Println(err)
	// Output:
	// PAYSCORE.USER_PAID RENT-4 paid <nil>
	// a header is missing: Wechatpay-Timestamp, -Nonce, -Signature and -Serial must be passed on
}
