package logging

// The names of log fields. Metrics use the same words as labels if they mean the same.
// Operators' searches and alarms rely on them, so a name must never change.
const (
	FieldMchID      = "mchid"        // merchant number
	FieldOutOrderNo = "out_order_no" // the merchant's order number
	FieldAttempt    = "attempt"      // the order's answered collect calls so far, and one
	FieldCall       = "call"         // which WeChat Pay call: collect, query, sync; or its own, notification
	FieldVerdict    = "verdict"      // what the reply means
	FieldHTTPStatus = "http_status"  // of WeChat Pay's reply, or of billing's to a webhook
	FieldCode       = "code"         // WeChat Pay's error code, e.g. TRADE_ERROR
	FieldDetailCode = "detail_code"  // the last digits of Request-ID
	FieldRequestID  = "request_id"   // whole, as WeChat Pay's support asks for it
	FieldElapsedMS  = "elapsed_ms"   // milliseconds, of the call or the step
	FieldState      = "state"        // of the order in the ledger
	FieldOutcome    = "outcome"      // what became of a notification
	FieldRemote     = "remote"       // host:port that a request came from
	FieldReason     = "reason"       // why an order ended, a merchant is held, or a webhook failed
	FieldDue        = "due"          // when the order's next step is due
	FieldEventID    = "event_id"     // of an event of the stream of outcomes; of a notification, WeChat Pay's, the same in every delivery
	FieldEventType  = "event_type"   // its type, e.g. order.paid; of a notification PAYSCORE.USER_PAID
	FieldCount      = "count"        // how many of what the message names
	FieldError      = "error"        // the same as zerolog's Err writes
	FieldComponent  = "component"    // the library that wrote the line: asynq, redis, go
	FieldTaskID     = "task_id"      // asynq's
	FieldAddr       = "addr"         // host:port, of a listener or of Redis
	FieldVersion    = "version"      // of this program
	FieldRevision   = "revision"     // the commit it was built from
	FieldSetting    = "setting"      // environment variable
	FieldGroup      = "group"        // consumer group of the stream of outcomes
	FieldConsumer   = "consumer"     // member of that group
	FieldEvent      = "event"        // what happened, a stable snake_case name that alerts, tests and the runbook go by
	FieldCause      = "cause"        // code of what keeps a merchant's orders from being collected
	FieldRate       = "rate"         // calls a second that a merchant has now
	FieldDatabase   = "database"     // host:port/name of a PostgreSQL database
	FieldEvents     = "events"       // how many were written
	FieldKnown      = "known"        // how many were there already
	FieldOrders     = "orders"       // how many were made or brought up to date
	FieldLeftOut    = "left_out"     // how many could not be written
	FieldBulk       = "bulk"         // id of a bulk action
	FieldBy         = "by"           // who has made a change: api:NAME, console:NAME, cli:USER
	FieldDate       = "date"         // a day of Asia/Shanghai whose books are closed
	FieldSchedule   = "schedule"     // name of an order's schedule, of SCHEDULES_FILE
)
