// Package simulator is WeChat Pay's PayScore platform (微信支付分) to develop
// and test against, because WeChat Pay offers no sandbox. It speaks APIv3 for
// one direct merchant with real RSA signatures both ways, keeps orders through
// their states, goes wrong on demand, and audits what was done to it.
//
// # The platform
//
//	POST /v3/payscore/serviceorder/{out_order_no}/pay    collect
//	GET  /v3/payscore/serviceorder                       query
//	POST /v3/payscore/serviceorder/{out_order_no}/sync   the user paid elsewhere
//	GET  /v3/certificates                                platform certificate
//
// Requests are verified strictly: mchid, serial number, timestamp within five
// minutes, a nonce never used before, and the signature over the path exactly
// as it was sent. What fails gets 401 SIGN_ERROR, unsigned, with the reason in
// its message. Replies to good requests are signed, errors too, and carry a
// Request-ID whose digits behind the last dash are the finer code. One RSA key
// signs everything; it goes by the certificate's serial number where the
// request's Wechatpay-Serial asks for that, and by PUB_KEY_ID_… elsewhere.
//
// # The control API
//
// It has no authentication: bind it where only you can reach it. Errors are
// {"error":"one sentence"} with status 400, 404 or 409.
//
//	POST   /_sim/orders       [Order, …], at most 100,000 -> 201 {"count":N};
//	                          409 names a number that is there already; all or none
//	DELETE /_sim/orders       forgets all orders and the audit -> 204
//	GET    /_sim/orders/{no}  OrderTruth: {"entity":…,"audit":…}
//	PUT    /_sim/faults       Faults; what is left out is off -> the faults in force
//	GET    /_sim/faults       the faults in force
//	GET    /_sim/report       Report
//
// The JSON of each is documented at the type of that name, the grammar of
// fates at [Fate], scripted replies at [ScriptedReply].
//
// Notifications are not sent. What they need is in place: every payment passes
// through one function, entities are made in one, and sealing with the APIv3
// key and signing are independent of replies.
package simulator
