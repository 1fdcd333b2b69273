// Package notify takes WeChat Pay's notifications: POST /notify/{mchid}, directly
// from WeChat Pay or passed on by the system that its notify_url points at. The
// signature comes first, then the decryption, then the ledger, in one atomic step.
// A 200 says that what the notification tells is written down, or that there is
// nothing to write; a 5xx that WeChat Pay must send it again.
package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/connlimit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// Opener verifies, decrypts and judges: a payscore.Client. Its errors are
// payscore.Refusals.
type Opener interface {
	Notification(ctx context.Context, header http.Header, body []byte) (payscore.Notification, error)
}

// Ledger takes what a notification tells: a ledger.Ledger.
type Ledger interface {
	Notice(context.Context, ledger.Notice) (ledger.NoticeCode, []ledger.News, error)
	NoticeTold(context.Context, ledger.Notice) error
}

// Teller says what has come of it: a collect.Collector.
type Teller interface {
	Noticed(n ledger.Notice, code ledger.NoticeCode, news []ledger.News)
}

// Merchant is what takes one merchant's notifications.
type Merchant struct {
	Opener
	Ledger
	Teller
}

// Bounds of what is taken on.
const (
	// answerWithin is from a request's last byte to its answer, whatever hangs.
	// WeChat Pay waits five seconds, and a system that passes notifications on
	// wants some of that for itself.
	answerWithin = 800 * time.Millisecond
	// maxAtOnce is how many are worked on. One takes a millisecond as a rule; so
	// many at once are there only while Redis hangs, and more would not help it.
	maxAtOnce = 128
)

// Receiver is the handler of notifications. It is safe for concurrent use.
type Receiver struct {
	metrics *Metrics
	desks   map[string]*desk
	nobody  *desk // for what is addressed to no merchant
	bodies  bodies
	slots   chan struct{}
	ready   atomic.Bool
}

// desk is where one merchant's notifications are handed in.
type desk struct {
	mchid   string
	log     zerolog.Logger
	refused zerolog.Logger // what strangers can cause
	trouble zerolog.Logger // what may happen to all at once
	Merchant
}

// New returns a receiver that answers 503 until Open.
func New(mchids []string, metrics *Metrics, log zerolog.Logger) *Receiver {
	log = log.With().Str(logging.FieldCall, string(payscore.CallNotification)).Logger()
	r := &Receiver{metrics: metrics, desks: map[string]*desk{}, nobody: newDesk("", log), bodies: newBodies(), slots: make(chan struct{}, maxAtOnce)}
	for _, mchid := range mchids {
		r.desks[mchid] = newDesk(mchid, log.With().Str(logging.FieldMchID, mchid).Logger())
		metrics.introduce(mchid)
	}
	return r
}

func newDesk(mchid string, log zerolog.Logger) *desk {
	return &desk{
		mchid: mchid, log: log,
		// A flood must not fill a disk; the counter counts all.
		refused: log.Sample(&zerolog.BurstSampler{Burst: 100, Period: 10 * time.Second}),
		trouble: log.Sample(&zerolog.BurstSampler{Burst: 20, Period: 10 * time.Second}),
	}
}

// Open begins to take notifications, for all of the merchants that New was told
// of. It is to be called once.
func (r *Receiver) Open(merchants map[string]Merchant) error {
	for mchid, d := range r.desks {
		m, ok := merchants[mchid]
		if !ok {
			return fmt.Errorf("merchant %s has nobody who takes its notifications", mchid)
		}
		d.Merchant = m
	}
	r.ready.Store(true)
	return nil
}

// result is what became of one request.
type result struct {
	outcome Outcome
	note    payscore.Notification // as far as it was understood
	err     error                 // for the log, of a failure on our side
	stack   []byte                // of a panic
	told    *ledger.Notice        // what the ledger would answer again; nil where it would not
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d, body, early := r.admit(w, req)
	res := result{outcome: early}
	if early == "" {
		came := time.Now()
		defer connlimit.AtWork(req.Context())()
		res = r.within(d, req, body)
		r.metrics.observe(d.mchid, time.Since(came))
	}
	label := d.mchid
	if d == r.nobody {
		label = nobody
	}
	r.metrics.Notifications.WithLabelValues(label, string(res.outcome)).Inc()
	d.say(res, req)
	if early == "" {
		answers[res.outcome].write(w)
		return
	}
	// The rest of the body is nobody's to read. But a client that meets a closed
	// connection while it still sends might never see the answer.
	ctl := http.NewResponseController(w)
	_ = ctl.EnableFullDuplex() // without it, reading would end with the answer
	answers[res.outcome].write(w)
	_ = ctl.Flush()
	_, _ = io.CopyN(io.Discard, req.Body, 4*maxBody)
}

// admit looks at what can be seen without any keys, and reads the body. outcome
// is empty where the notification is to be worked on.
func (r *Receiver) admit(w http.ResponseWriter, req *http.Request) (d *desk, body []byte, outcome Outcome) {
	mchid, ok := merchantOf(req.URL.Path)
	if d = r.desks[mchid]; !ok || d == nil {
		return r.nobody, nil, NotFound
	}
	switch {
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return d, nil, WrongMethod
	case req.ContentLength > maxBody:
		return d, nil, TooLarge
	case !r.ready.Load():
		return d, nil, NotReady
	}
	body, outcome = r.bodies.read(w, req)
	return d, body, outcome
}

// merchantOf is the mchid of a path. Slashes at the end, or more than one where one
// should be, are a base URL's that ends with one.
func merchantOf(path string) (mchid string, ok bool) {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) != 2 || parts[0] != "notify" {
		return "", false
	}
	return parts[1], true
}

// within works on a notification, and returns in time whatever the ledger's
// client makes of its deadline. What goes on behind it keeps its slot.
func (r *Receiver) within(d *desk, req *http.Request, body []byte) result {
	if !enter(r.slots) {
		return result{outcome: Busy}
	}
	// Who sent it may go away; what it tells is written down all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), answerWithin)
	done := make(chan result, 1)
	go func() {
		defer func() { <-r.slots }()
		defer cancel()
		res := d.work(ctx, req.Header, body)
		done <- res
		if res.told != nil {
			// Where that fails, the answer may be told twice.
			_ = d.NoticeTold(ctx, *res.told)
		}
	}()
	select {
	case res := <-done:
		return res
	case <-ctx.Done():
	}
	select {
	case res := <-done: // cancelled by its own end
		return res
	default:
		return result{outcome: Failed, err: errTooLate}
	}
}

var errTooLate = fmt.Errorf("it was not done with within %s", answerWithin)

// work opens one notification and hands what it tells to the ledger.
func (d *desk) work(ctx context.Context, header http.Header, body []byte) (res result) {
	defer func() {
		if p := recover(); p != nil {
			res.outcome, res.err, res.stack = Panicked, fmt.Errorf("%v", p), debug.Stack()
		}
	}()
	n, err := d.Notification(ctx, header, body)
	res.note = n
	var refusal payscore.Refusal
	switch {
	case errors.As(err, &refusal):
		res.outcome = Outcome(refusal)
		return res
	case err != nil:
		res.outcome, res.err = Failed, err
		return res
	}
	if n.Order != nil && tasks.ValidateOutOrderNo(n.Order.OutOrderNo) != nil {
		res.outcome, res.note.Order = Outcome(payscore.Unreadable), nil
		return res
	}
	notice, why := decide(n)
	if why != "" {
		res.outcome = why
		return res
	}
	code, news, err := d.Notice(ctx, notice)
	res.outcome = ofNotice[code]
	switch {
	case err != nil:
		res.outcome, res.err = Failed, err
	case res.outcome == "":
		res.outcome, res.err = Failed, fmt.Errorf("the ledger answered %q", code)
	default:
		d.taken(n, code)
		d.Noticed(notice, code, news)
		if code == ledger.NoticePaid || code == ledger.NoticeEnded || len(news) > 0 {
			res.told = &notice
		}
	}
	return res
}

// decide makes a notice of a notification, or says why there is none to be made.
func decide(n payscore.Notification) (ledger.Notice, Outcome) {
	if n.Order == nil {
		return ledger.Notice{}, OtherEvent
	}
	notice := ledger.Notice{
		OutOrderNo: n.Order.OutOrderNo,
		ID:         n.EventID,
		Token:      ledger.NewToken(),
		Paid:       n.Verdict == payscore.Paid,
		Facts:      collect.FactsOf(n.Order),
		Entry: ledger.Entry{
			Call: string(payscore.CallNotification), Verdict: string(n.Verdict),
			RequestID: n.RequestID, Message: "event " + n.EventID,
		},
	}
	if !notice.Paid && notice.Facts.Paid == nil && !notice.Facts.Done {
		return ledger.Notice{}, Unclear
	}
	return notice, ""
}

// taken logs a notification that the ledger has taken, a line each.
func (d *desk) taken(n payscore.Notification, code ledger.NoticeCode) {
	e := d.log.Info()
	if code == ledger.NoticeRepeat || code == ledger.NoticeAbsent {
		e = d.log.Debug()
	}
	about(e, n).Str(logging.FieldOutcome, string(ofNotice[code])).Msg(takenTexts[code])
}

var takenTexts = map[ledger.NoticeCode]string{
	ledger.NoticePaid:    "a notification shows the order paid",
	ledger.NoticePartial: "a notification shows the order paid in part",
	ledger.NoticeEnded:   "a notification shows a payment of an order that had ended otherwise",
	ledger.NoticeRepeat:  "a notification tells nothing new",
	ledger.NoticeAbsent:  "a notification is about an order that was never handed over",
}

// about says what a notification is about; there may be little that is known.
func about(e *zerolog.Event, n payscore.Notification) *zerolog.Event {
	if n.Order != nil {
		e = e.Str(logging.FieldOutOrderNo, n.Order.OutOrderNo).Str(logging.FieldVerdict, string(n.Verdict))
		if n.Reason != "" {
			e = e.Str(logging.FieldReason, n.Reason)
		}
	}
	if n.EventType != "" {
		e = e.Str(logging.FieldEventID, n.EventID).Str(logging.FieldEventType, n.EventType)
	}
	return e.Str(logging.FieldRequestID, n.RequestID)
}

// say logs what was not handed to the ledger, a line each.
func (d *desk) say(res result, req *http.Request) {
	a := answers[res.outcome]
	var e *zerolog.Event
	switch {
	case res.outcome == Outcome(payscore.NoCertificates):
		e = d.refused.Warn() // a stranger can name a certificate that nobody has
	case a.status >= 500:
		e = d.trouble.Error()
	case a.status >= 400:
		e = d.refused.Warn()
	case res.outcome == OtherEvent || res.outcome == Unclear:
		about(d.log.Debug(), res.note).Str(logging.FieldOutcome, string(res.outcome)).Msg("a notification tells of no payment")
		return
	default:
		return // taken has said it
	}
	e = about(e, res.note).Str(logging.FieldOutcome, string(res.outcome)).Int(logging.FieldHTTPStatus, a.status)
	if d.mchid == "" {
		e = e.Str("path", textsafe.Clip(req.URL.Path, 96))
	}
	if res.stack != nil {
		e = e.Str("stack", string(res.stack))
	}
	if res.note.Header != "" {
		e = e.Str("header", res.note.Header)
	}
	e.Str(logging.FieldRemote, req.RemoteAddr).AnErr(logging.FieldError, told(res.err)).Msg(d.text(res.outcome, a))
}

// told makes an error out of the ledger's client fit to be read.
func told(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errTooLate
	}
	return err
}

// text is what the engineer on call reads.
func (d *desk) text(o Outcome, a answer) string {
	switch o {
	case Outcome(payscore.Undecryptable):
		return "a notification was refused: WeChat Pay has signed it, but it cannot be decrypted; is WECHATPAY_API_V3_KEY this merchant's APIv3 key?"
	case Outcome(payscore.NoAPIV3Key):
		return "a notification was not taken: this merchant has no APIv3 key; set WECHATPAY_API_V3_KEY"
	case Outcome(payscore.OldTimestamp):
		return "a notification was refused: its timestamp is five minutes off or more; is the clock right, and does whoever passes it on do so at once?"
	}
	if a.status >= 500 {
		return "a notification was not taken: " + a.message
	}
	return "a notification was refused: " + a.message
}
