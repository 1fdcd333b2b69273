// Package simulator is WeChat Pay's PayScore platform (微信支付分) to develop
// and test against, because WeChat Pay offers no sandbox. It speaks APIv3 for
// one direct merchant with real RSA signatures both ways, keeps orders through
// their states, notifies the merchant of payments, fails on demand, and audits its
// calls.
//
// # The platform
//
//	POST /v3/payscore/serviceorder/{out_order_no}/pay    collect
//	GET  /v3/payscore/serviceorder                       query
//	POST /v3/payscore/serviceorder/{out_order_no}/sync   the user paid elsewhere
//	GET  /v3/certificates                                platform certificate
//	GET  /v3/bill/tradebill                              a day's trade bill: its hash and link
//	GET  /v3/billdownload/file                           the bill, by that link
//
// Requests are verified strictly: mchid, serial number, timestamp within five
// minutes, a nonce never used before, and the signature over the path exactly
// as it was sent. A request that fails gets 401 SIGN_ERROR, unsigned, with the
// reason in its message. Replies to good requests are signed, errors too, and carry a
// Request-ID whose digits behind the last dash are the detail code. One RSA key
// signs everything; it goes by the certificate's serial number where the
// request's Wechatpay-Serial asks for that, and by PUB_KEY_ID_… elsewhere.
//
// # Notifications
//
// Every payment of every kind (by a collect, by a deduction that completes
// later, by the user in the app, in part, or reported by the merchant) is notified once
// to the URL that the order or the settings name, as soon as it happens: a signed
// POST of PAYSCORE.USER_PAID with the order, encrypted, as a query would have shown
// it at that moment. A delivery that is not answered 200 or 204 within five seconds
// is repeated with a new signature; a redirect is a refusal. [Notifications] loses,
// delays, repeats and reorders them, sends other events between, and tests whether
// signatures are verified. Notifications are audited apart from calls.
// [Simulator.Notification] makes single ones, true or forged, to test a handler
// without a platform's timing.
//
// # The control API
//
// It has no authentication: bind it where only you can reach it. Errors are
// {"error":"one sentence"} with status 400, 404 or 409.
//
//	POST   /_sim/orders          [Order, …], at most 100,000 -> 201 {"count":N};
//	                             409 names a number that is there already; all or none
//	DELETE /_sim/orders          forgets all orders and the audit -> 204
//	GET    /_sim/orders/{no}     OrderTruth: {"entity":…,"audit":…}
//	POST   /_sim/orders/{no}/pay    {"amount"?,"paid_type"?} -> OrderTruth; the user
//	                             pays in the app (NEWTON), or elsewhere (MCH);
//	                             without an amount all that is left
//	POST   /_sim/orders/{no}/lower  {"total_amount"} -> OrderTruth; the merchant
//	                             lowers the total amount; 409 where it cannot
//	PUT    /_sim/faults          Faults; what is left out is off -> the faults in force
//	GET    /_sim/faults          the faults in force
//	PUT    /_sim/notifications   Notifications; what is left out is off, or its
//	                             default -> the settings in force
//	GET    /_sim/notifications   the settings in force
//	PUT    /_sim/bill            Bill: how daily bills are made, and what in them is a
//	                             lie -> what is in force
//	GET    /_sim/bill            what is in force
//	GET    /_sim/report          Report
//
// The JSON of each is documented at the type of that name, the grammar of
// fates at [Fate], scripted replies at [ScriptedReply].
package simulator
