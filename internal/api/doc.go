// Package api is the HTTP API: what billing systems and operators do with orders and
// merchants over HTTP. Every worker serves it on ADMIN_ADDR.
//
// An operation is one call of add: its op holds everything that the OpenAPI document says
// of it, its input and output types say the fields, and its function does the work. add
// gives it authentication, the check of the role and of the merchant, time-outs, limits
// and problems (RFC 9457), so that a function only has to
//
//   - read its caller with callerOf(ctx), where an action is recorded (Caller.By), and call
//     Caller.may for each merchant that is named in a body (the path parameter and the
//     query parameter mchid are checked before it runs);
//   - return refuse(status, field, sentence) for what the caller must change; any other
//     error is taken for one of Redis;
//   - not watch for callers that leave: the context of an operation that changes something
//     does not end with the request.
//
// A new operation is described by the test of the document (TestDocument): it names each
// field without a meaning and each status without an example request.
package api
