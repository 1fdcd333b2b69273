package notify

import (
	"encoding/json"
	"net/http"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
)

// Outcome is what became of a notification; the words are labels of a metric.
type Outcome string

// The outcomes. Those of a notification that was refused for what it is are
// payscore's refusals.
const (
	// Taken: answered 200.
	Paid         Outcome = "paid"          // the order ended as paid
	Partial      Outcome = "partial"       // more of it has come in
	Ended        Outcome = "ended"         // the order had ended otherwise; the payment stands beside that
	Repeat       Outcome = "repeat"        // nothing new
	UnknownOrder Outcome = "unknown_order" // never handed over, or gone after RETENTION
	OtherEvent   Outcome = "other_event"   // no PAYSCORE.USER_PAID
	Unclear      Outcome = "unclear"       // a USER_PAID that tells of no payment

	// Refused: answered 4xx.
	NotFound    Outcome = "not_found" // no such path, or no such merchant here
	WrongMethod Outcome = "wrong_method"
	TooLarge    Outcome = "too_large"
	Incomplete  Outcome = "incomplete" // the body did not come whole, or not in time

	// Failed on our side: answered 5xx, so that WeChat Pay sends it again.
	Failed   Outcome = "failed"    // the ledger could not be written in time
	NotReady Outcome = "not_ready" // the worker starts, and waits for Redis
	Busy     Outcome = "busy"      // too many at once
	Panicked Outcome = "panicked"
)

// ofNotice is what became of one that the ledger took.
var ofNotice = map[ledger.NoticeCode]Outcome{
	ledger.NoticePaid: Paid, ledger.NoticePartial: Partial, ledger.NoticeEnded: Ended,
	ledger.NoticeRepeat: Repeat, ledger.NoticeAbsent: UnknownOrder,
}

// answer is what is said to who sent the notification: a status, and where that
// is no 200 a sentence.
type answer struct {
	status  int
	message string
}

var answers = map[Outcome]answer{
	Paid: {status: http.StatusOK}, Partial: {status: http.StatusOK}, Ended: {status: http.StatusOK},
	Repeat: {status: http.StatusOK}, UnknownOrder: {status: http.StatusOK},
	OtherEvent: {status: http.StatusOK}, Unclear: {status: http.StatusOK},

	NotFound:    {http.StatusNotFound, "notifications are taken at /notify/{mchid}, of this service's own merchants"},
	WrongMethod: {http.StatusMethodNotAllowed, "notifications are sent by POST"},
	TooLarge:    {http.StatusRequestEntityTooLarge, "the body is too large for a notification"},
	Incomplete:  {http.StatusRequestTimeout, "the body did not come whole"},

	Failed:   {http.StatusServiceUnavailable, "it could not be written down; send it again"},
	NotReady: {http.StatusServiceUnavailable, "this service is starting; send it again"},
	Busy:     {http.StatusServiceUnavailable, "too many notifications at once; send it again"},
	Panicked: {http.StatusInternalServerError, "it could not be worked on; send it again"},
}

func init() {
	status := map[payscore.Refusal]int{
		payscore.BadSignature: http.StatusUnauthorized, payscore.OldTimestamp: http.StatusUnauthorized,
		payscore.MissingHeader: http.StatusUnauthorized, payscore.RenamedHeader: http.StatusUnauthorized,
		payscore.DoubledHeader: http.StatusUnauthorized, payscore.Compressed: http.StatusUnauthorized,
		payscore.NoCertificates: http.StatusServiceUnavailable, payscore.NoAPIV3Key: http.StatusServiceUnavailable,
	}
	for _, r := range payscore.Refusals {
		a := answer{http.StatusBadRequest, r.Error()}
		if s, ok := status[r]; ok {
			a.status = s
		}
		answers[Outcome(r)] = a
	}
}

// write answers: nothing but the status where the notification was taken, and
// else WeChat Pay's form of a refusal. A refused connection is closed: a stranger
// must not keep it.
func (a answer) write(w http.ResponseWriter) {
	if a.message == "" {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Connection", "close")
	body, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{"FAIL", a.message})
	if err != nil {
		panic(err) // two strings can always be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // who has gone away is not told
}
