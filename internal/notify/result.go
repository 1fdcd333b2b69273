package notify

import (
	"encoding/json"
	"net/http"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// Result is what became of a notification. The words are values of the label outcome
// of a metric and of the log field outcome.
type Result string

// The results. A notification that was refused for its content has a
// payscore.Refusal as its result.
const (
	// Answered 200.
	Paid         Result = "paid"          // the order ended as paid
	Partial      Result = "partial"       // more of the order has been paid
	Ended        Result = "ended"         // the order had ended otherwise; the payment is recorded beside that
	Repeat       Result = "repeat"        // nothing new
	UnknownOrder Result = "unknown_order" // never enqueued, or removed after RETENTION
	OtherEvent   Result = "other_event"   // not PAYSCORE.USER_PAID
	Unclear      Result = "unclear"       // a USER_PAID that shows no payment

	// Refused, answered 4xx.
	NotFound    Result = "not_found" // no such path, or no such merchant here
	WrongMethod Result = "wrong_method"
	TooLarge    Result = "too_large"
	Incomplete  Result = "incomplete" // the body did not arrive whole and in time

	// Failed on our side, answered 5xx, so that WeChat Pay sends it again.
	Failed   Result = "failed"    // the ledger could not be written in time
	NotReady Result = "not_ready" // the worker is starting, and waits for Redis
	Busy     Result = "busy"      // too many at once
	Panicked Result = "panicked"
)

// recorded has the result and the log message for each answer of the ledger.
var recorded = map[ledger.NoticeCode]struct {
	result  Result
	message string
}{
	ledger.NoticePaid:    {Paid, "notification shows the order paid"},
	ledger.NoticePartial: {Partial, "notification shows the order partly paid"},
	ledger.NoticeEnded:   {Ended, "notification shows a payment of an order that had ended otherwise"},
	ledger.NoticeRepeat:  {Repeat, "notification shows nothing new"},
	ledger.NoticeAbsent:  {UnknownOrder, "notification for an order that was never enqueued"},
}

// answer is the HTTP answer to a notification. Its message is empty for a 200.
type answer struct {
	status  int
	message string
}

var answers = map[Result]answer{
	Paid: {status: http.StatusOK}, Partial: {status: http.StatusOK}, Ended: {status: http.StatusOK},
	Repeat: {status: http.StatusOK}, UnknownOrder: {status: http.StatusOK},
	OtherEvent: {status: http.StatusOK}, Unclear: {status: http.StatusOK},

	NotFound:    {http.StatusNotFound, "notifications are taken at /notify/{mchid}, of this service's own merchants"},
	WrongMethod: {http.StatusMethodNotAllowed, "notifications are sent by POST"},
	TooLarge:    {http.StatusRequestEntityTooLarge, "the body is too large for a notification"},
	Incomplete:  {http.StatusRequestTimeout, "the body did not arrive whole"},

	Failed:   {http.StatusServiceUnavailable, "it could not be recorded; send it again"},
	NotReady: {http.StatusServiceUnavailable, "this service is starting; send it again"},
	Busy:     {http.StatusServiceUnavailable, "too many notifications at once; send it again"},
	Panicked: {http.StatusInternalServerError, "it could not be processed; send it again"},
}

func init() {
	statuses := map[payscore.Refusal]int{
		payscore.BadSignature: http.StatusUnauthorized, payscore.OldTimestamp: http.StatusUnauthorized,
		payscore.MissingHeader: http.StatusUnauthorized, payscore.RenamedHeader: http.StatusUnauthorized,
		payscore.DoubledHeader: http.StatusUnauthorized, payscore.Compressed: http.StatusUnauthorized,
		payscore.NoCertificates: http.StatusServiceUnavailable, payscore.NoAPIV3Key: http.StatusServiceUnavailable,
	}
	for _, r := range payscore.Refusals {
		status := statuses[r]
		if status == 0 {
			status = http.StatusBadRequest
		}
		answers[Result(r)] = answer{status, r.Error()}
	}
}

// write sends only the status of a 200, and WeChat Pay's form of a refusal otherwise.
// A refused connection is closed, so that a stranger cannot keep it.
func (a answer) write(w http.ResponseWriter) {
	if a.message == "" {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	// A client that has disconnected gets no answer.
	_ = json.NewEncoder(w).Encode(map[string]string{"code": "FAIL", "message": a.message})
}
