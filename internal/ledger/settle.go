package ledger

import (
	"context"
	"strings"
	"time"
)

// Entry is one call to WeChat Pay in an order's log. At is filled by the
// ledger, from Redis's clock, when the call's step was settled.
type Entry struct {
	At         time.Time `json:"at,omitzero"`
	Call       string    `json:"call"`
	Verdict    string    `json:"verdict"`
	HTTPStatus int       `json:"http_status,omitempty"`
	Code       string    `json:"code,omitempty"`
	DetailCode string    `json:"detail_code,omitempty"`
	Message    string    `json:"message,omitempty"`
	RequestID  string    `json:"request_id,omitempty"`
	ElapsedMS  int64     `json:"elapsed_ms"`
	Failed     bool      `json:"failed,omitempty"` // the call is an error that last_error may show
}

// GateSignal is what a step's last call says about the merchant as a whole.
type GateSignal string

// The signals; see settle.lua for what each does.
const (
	GateNothing   GateSignal = ""          // the call says nothing, or there was none
	GateOK        GateSignal = "ok"        // set-up, permission and platform are fine
	GateFault     GateSignal = "fault"     // every call of the merchant fails
	GateService   GateSignal = "service"   // every call for this appid and service_id fails
	GateDown      GateSignal = "down"      // the platform did not answer properly
	GateThrottled GateSignal = "throttled" // too fast
)

// GateChange is what a settle did to the holds of the merchant.
type GateChange string

// The changes of a hold, under the words that the scripts use.
const (
	GateClosed GateChange = "closed" // a hold began
	GateOpened GateChange = "opened" // a hold ended
	GateSlowed GateChange = "slowed" // the rate was halved
)

// Call is a kind of call to WeChat Pay.
type Call string

// The calls that a claim counts.
const (
	CollectCall Call = "collect"
	QueryCall   Call = "query"
	SyncCall    Call = "sync"
)

// counters are the record's fields that count calls.
var counters = map[Call]string{CollectCall: "collects", QueryCall: "queries", SyncCall: "syncs"}

// Settlement is what a step brings to the ledger. Counters are absolute. The names in JSON
// are the arguments of settle.lua; Settle adds those that have another form there.
type Settlement struct {
	State    State         `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Next     Plan          `json:"next,omitempty"`
	Due      time.Time     `json:"-"`
	Grace    time.Duration `json:"-"` // how long after Due the sweep leaves the order alone
	NewRound bool          `json:"bump,omitempty"`
	// Paused: the order is put off because its merchant's collect calls are paused.
	Paused bool `json:"paused,omitempty"`

	AddAttempts int64 `json:"attempts,omitempty"`
	Declines    int64 `json:"declines,omitempty,string"`
	Confirms    int64 `json:"confirms,omitempty,string"`
	Fails       int64 `json:"fails,omitempty,string"`
	Missing     int64 `json:"missing,omitempty,string"`

	// Sync is the state of a withdrawn order's sync, and SyncReason explains it; empty
	// for a step on an open order.
	Sync       SyncState `json:"sync,omitempty"`
	SyncReason string    `json:"syncwhy,omitempty"`

	// NotMade is the call that the claim counted and that was not made; empty where it
	// was made.
	NotMade Call `json:"-"`
	// Collected is when the step's collect call was finished; zero if it made none.
	// MIN_GAP counts from the end of a call, since the platform receives it at some time
	// between its start and its end.
	Collected time.Time `json:"-"`

	Facts Facts `json:"-"`
	// VerifiedPaid: the last reply was a payment under WeChat Pay's signature.
	VerifiedPaid bool `json:"verified_paid,omitempty"`
	// Of the step's last call, for the event.
	Call       string `json:"call,omitempty"`
	Verdict    string `json:"verdict,omitempty"`
	Code       string `json:"code,omitempty"`
	DetailCode string `json:"detail,omitempty"`
	// Accepted is set if the last call was a collect that was accepted, or may have taken
	// effect: a payment at most so long before or after Collected is its doing.
	Accepted time.Duration `json:"-"`

	Gate     GateSignal `json:"gate,omitempty"`
	CalledAt time.Time  `json:"-"`
	// At is the present time by the worker, from Redis's clock at the claim on; zero if
	// it does not know. The times above are moved by a jump of Redis's clock since then.
	At time.Time `json:"-"`
	// First and Most are the time from a hold's beginning to its first probe, and the
	// longest time from one probe's call to the next probe.
	First    time.Duration `json:"-"`
	Most     time.Duration `json:"-"`
	Failures int           `json:"limit"` // consecutive ones that begin a hold of the merchant
	Log      []Entry       `json:"-"`
}

// SyncState says whether WeChat Pay knows that the user of a withdrawn order paid
// elsewhere.
type SyncState string

// The states of a sync. The worker moves it on from Pending, and billing's next
// withdrawal from Failed.
const (
	SyncPending SyncState = "pending"
	SyncDone    SyncState = "done"       // a signed reply shows the order DONE, paid by MCH
	SyncFailed  SyncState = "failed"     // WeChat Pay refuses it, or the policy ran out
	SyncNoNeed  SyncState = "not_needed" // the order was already finished at WeChat Pay
)

// SyncStates lists every state of a sync.
var SyncStates = []SyncState{SyncPending, SyncDone, SyncFailed, SyncNoNeed}

// News is what a settlement or a notice has found and an operator must know.
type News string

// The kinds of news.
const (
	// Late: a payment of an order that had ended otherwise, under WeChat Pay's
	// signature, that was not known before.
	Late News = "late"
	// Differs: WeChat Pay's signed amounts contradict each other in a way that was
	// not told before. See Order.AmountDiffers.
	Differs News = "differs"
	// Lowered: the merchant has lowered what the order comes to. It is no alarm.
	Lowered News = "lowered"
)

// newsOf reads the news that the scripts return.
func newsOf(s string) []News {
	var list []News
	for word := range strings.FieldsSeq(s) {
		list = append(list, News(word))
	}
	return list
}

// SettleResult is the answer to a settlement. That to a repeated one is the first
// one's, for that may have been lost.
type SettleResult struct {
	// Code is Settled, HasEnded, Reopened, Lost, or Repeat for a settlement that
	// was written before; First is then the code that it had.
	Code, First Code
	Now         time.Time // Redis's clock
	Gate        GateChange
	News        []News
	// State is where the order stands. It is empty where the order is gone, and
	// where First is Settled and there was nothing else to tell.
	State State
}

// Open reports whether the settlement leaves something to do.
func (s Settlement) Open() bool { return s.State.Open() || s.Sync == SyncPending }

// Settle writes a settlement under the token of its claim. It can be repeated. The
// error is ErrAmount for facts that cannot be true.
func (l *Ledger) Settle(ctx context.Context, c Claim, s Settlement) (SettleResult, error) {
	no := c.Order.OutOrderNo
	money, err := s.Facts.args()
	if err != nil {
		return SettleResult{}, err
	}
	// A query was answered just now. What it shows DONE is done, whatever its
	// verdict is made of.
	money.Fresh, money.Done = true, money.Done || s.VerifiedPaid
	args := struct {
		moneyArgs
		Settlement
		No        string `json:"no"`
		Token     string `json:"token"`
		Due       int64  `json:"due,omitempty,string"`
		Look      int64  `json:"look,omitempty,string"`
		NotMade   string `json:"not_made,omitempty"`
		Life      string `json:"life,omitempty"`
		TotalWas  int64  `json:"total_was,omitempty"`
		Collected *int64 `json:"collected,omitempty,string"`
		At        int64  `json:"at,omitempty"`
		Accepted  int64  `json:"accepted,omitempty,string"`
		CalledAt  int64  `json:"called_at,omitempty"`
		First     int64  `json:"first"`
		Most      int64  `json:"most"`
		Probe     bool   `json:"probe,omitempty"`
		Keep      int    `json:"keep"`
	}{
		moneyArgs: money, Settlement: s, No: no, Token: c.Token, NotMade: counters[s.NotMade],
		Life: c.Order.Life, TotalWas: c.Order.Total, Probe: c.Probe, Keep: LogEntries,
		At: unixMS(s.At), CalledAt: unixMS(s.CalledAt), Accepted: s.Accepted.Milliseconds(),
		First: s.First.Milliseconds(), Most: s.Most.Milliseconds(),
	}
	if !s.Due.IsZero() {
		args.Due = s.Due.UnixMilli()
		args.Look = s.Due.Add(s.Grace).UnixMilli()
	}
	if !s.Collected.IsZero() {
		over := s.Collected.UnixMilli()
		args.Collected = &over
	}
	if s.NotMade == CollectCall {
		before := unixMS(c.Order.Collected)
		args.Collected = &before
	}
	entries := make([]any, len(s.Log))
	for i, e := range s.Log {
		entries[i] = e.encode()
	}
	r := run(ctx, l.rdb, settleScript, []string{
		l.keys.Order(no), l.keys.Log(no), l.keys.Due(), l.keys.Outcomes(),
		l.keys.Stats(), l.keys.Gate(), l.keys.Ended(s.State), l.keys.Hold(), l.keys.Words(), l.keys.Paused(), l.keys.Sweep(), l.keys.Recovery(),
	}, args, entries...)
	res := SettleResult{Code: Code(r.str()), Now: r.time()}
	res.Gate, res.News, res.State, res.First = GateChange(r.str()), newsOf(r.str()), State(r.str()), Code(r.str())
	if res.Code == Repeat && res.First == "" {
		res.First = Settled
	}
	return res, r.err
}
