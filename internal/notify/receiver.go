// Package notify receives WeChat Pay's notifications: POST /notify/{mchid}, directly
// from WeChat Pay or passed on by the system that its notify_url names. It verifies
// the signature, decrypts, and writes what the notification shows into the ledger in
// one atomic step. A 200 says that this is recorded, or that there is nothing to
// record; a 5xx that WeChat Pay must send it again.
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
	"sync"
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

// Merchant is what the receiver needs of one merchant.
type Merchant struct {
	// Opener verifies, decrypts and judges: a payscore.Client. Its errors are
	// payscore.Refusals.
	Opener interface {
		Notification(ctx context.Context, header http.Header, body []byte) (payscore.Notification, error)
	}
	// Ledger records what a notification shows: a ledger.Ledger.
	Ledger interface {
		Notice(context.Context, ledger.Notice) (ledger.NoticeCode, []ledger.News, error)
		NoticeTold(context.Context, ledger.Notice) error
	}
	// Teller logs and counts what was recorded: a collect.Collector.
	Teller interface {
		Noticed(n ledger.Notice, code ledger.NoticeCode, news []ledger.News)
	}
}

const (
	// answerWithin is the time from a request's last byte to its answer, whatever
	// hangs. WeChat Pay waits five seconds, and a system that passes notifications on
	// needs some of that for itself.
	answerWithin = 800 * time.Millisecond
	// maxAtOnce is how many notifications are processed at once. Each takes a
	// millisecond as a rule: there are so many only while Redis hangs, and more would
	// not help.
	maxAtOnce = 128
)

// Receiver is the handler of notifications. It is safe for concurrent use.
type Receiver struct {
	metrics *Metrics
	log     zerolog.Logger
	mu      sync.RWMutex
	inboxes map[string]*inbox
	unknown *inbox // for requests to no merchant of this worker
	bodies  bodies
	slots   chan struct{}
	within  time.Duration // answerWithin, but for tests
	ready   atomic.Bool
}

// inbox handles one merchant's notifications.
type inbox struct {
	label   string // mchid in metrics
	log     zerolog.Logger
	refused zerolog.Logger // for what strangers can cause
	trouble zerolog.Logger // for what may happen to all notifications at once
	Merchant
}

// New returns a receiver that answers 503 until Open.
func New(mchids []string, metrics *Metrics, log zerolog.Logger) *Receiver {
	log = log.With().Str(logging.FieldCall, string(payscore.CallNotification)).Logger()
	r := &Receiver{
		metrics: metrics, log: log, inboxes: map[string]*inbox{}, unknown: newInbox(noMerchant, log),
		bodies: newBodies(), slots: make(chan struct{}, maxAtOnce), within: answerWithin,
	}
	for _, mchid := range mchids {
		r.inboxes[mchid] = r.newInbox(mchid)
	}
	return r
}

func (r *Receiver) newInbox(mchid string) *inbox {
	r.metrics.set.Introduce(mchid)
	return newInbox(mchid, r.log.With().Str(logging.FieldMchID, mchid).Logger())
}

func newInbox(label string, log zerolog.Logger) *inbox {
	return &inbox{
		label: label, log: log,
		// A flood must not fill a disk; the metric counts every request.
		refused: log.Sample(&zerolog.BurstSampler{Burst: 100, Period: 10 * time.Second}),
		trouble: log.Sample(&zerolog.BurstSampler{Burst: 20, Period: 10 * time.Second}),
	}
}

// Open starts to take notifications for all merchants that New was given. It must be
// called once.
func (r *Receiver) Open(merchants map[string]Merchant) error {
	for mchid, in := range r.inboxes {
		m, ok := merchants[mchid]
		if !ok {
			return fmt.Errorf("nothing takes the notifications of merchant %s", mchid)
		}
		in.Merchant = m
	}
	r.ready.Store(true)
	return nil
}

// Add takes the notifications of one more merchant, or those of a merchant from now on by
// other means.
func (r *Receiver) Add(mchid string, m Merchant) {
	in := r.newInbox(mchid)
	in.Merchant = m
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inboxes[mchid] = in
}

// Remove answers the notifications of a merchant as those of an unknown one.
func (r *Receiver) Remove(mchid string) {
	r.mu.Lock()
	delete(r.inboxes, mchid)
	r.mu.Unlock()
	r.metrics.set.Forget(mchid)
}

func (r *Receiver) inbox(mchid string) *inbox {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.inboxes[mchid]
}

// handled is what became of one request.
type handled struct {
	result Result
	note   payscore.Notification // as far as it was understood
	err    error                 // of a failure on our side, for the log
	stack  []byte                // of a panic
	told   *ledger.Notice        // what the ledger would answer again; nil where it would not
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	in, body, early := r.admit(w, req)
	h := handled{result: early}
	if early == "" {
		received := time.Now()
		defer connlimit.AtWork(req.Context())()
		h = r.process(in, req, body)
		r.metrics.Seconds.WithLabelValues(in.label).Observe(time.Since(received).Seconds())
	}
	r.metrics.Notifications.WithLabelValues(in.label, string(h.result)).Inc()
	in.logUnrecorded(h, req)
	if early == "" {
		answers[h.result].write(w)
		return
	}
	// The rest of the body is not needed. But a client that meets a closed connection
	// while it still sends might never see the answer.
	ctl := http.NewResponseController(w)
	_ = ctl.EnableFullDuplex() // without it, reading would end with the answer
	answers[h.result].write(w)
	_ = ctl.Flush()
	_, _ = io.CopyN(io.Discard, req.Body, 4*maxBody)
}

// admit checks what needs no key, and reads the body. The result is empty where the
// notification must be processed.
func (r *Receiver) admit(w http.ResponseWriter, req *http.Request) (in *inbox, body []byte, early Result) {
	mchid, ok := merchantOf(req.URL.Path)
	if in = r.inbox(mchid); !ok || in == nil {
		return r.unknown, nil, NotFound
	}
	switch {
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return in, nil, WrongMethod
	case req.ContentLength > maxBody:
		return in, nil, TooLarge
	case !r.ready.Load():
		return in, nil, NotReady
	}
	body, early = r.bodies.read(w, req)
	return in, body, early
}

// merchantOf returns the mchid of a path. It accepts doubled slashes and slashes at
// the end: a notify_url that ends with one makes them.
func merchantOf(path string) (mchid string, ok bool) {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(parts) != 2 || parts[0] != "notify" {
		return "", false
	}
	return parts[1], true
}

// process returns in time whatever the ledger's client makes of its deadline. What
// continues behind it keeps its slot.
func (r *Receiver) process(in *inbox, req *http.Request, body []byte) handled {
	if !enter(r.slots) {
		return handled{result: Busy}
	}
	// Detached from the request's context: the payment is recorded even if the sender
	// disconnects.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), r.within)
	done := make(chan handled, 1)
	go func() {
		defer func() { <-r.slots }()
		defer cancel()
		h := in.record(ctx, req.Header, body)
		done <- h
		if h.told != nil {
			// If that fails, the same news may be logged twice.
			_ = in.Ledger.NoticeTold(ctx, *h.told)
		}
	}()
	select {
	case h := <-done:
		return h
	case <-ctx.Done():
	}
	select {
	case h := <-done: // the goroutine itself cancelled ctx
		return h
	default:
		return handled{result: Failed, err: errTooLate}
	}
}

var errTooLate = fmt.Errorf("not done within %s", answerWithin)

// record opens one notification and writes what it shows into the ledger.
func (in *inbox) record(ctx context.Context, header http.Header, body []byte) (h handled) {
	defer func() {
		if p := recover(); p != nil {
			h.result, h.err, h.stack = Panicked, fmt.Errorf("%v", p), debug.Stack()
		}
	}()
	n, err := in.Opener.Notification(ctx, header, body)
	h.note = n
	var refusal payscore.Refusal
	switch {
	case errors.As(err, &refusal):
		h.result = Result(refusal)
		return h
	case err != nil:
		h.result, h.err = Failed, err
		return h
	case n.Order == nil:
		h.result = OtherEvent
		return h
	case tasks.ValidateOutOrderNo(n.Order.OutOrderNo) != nil:
		h.result, h.note.Order = Result(payscore.Unreadable), nil
		return h
	}
	notice := noticeOf(n)
	if !notice.Paid && notice.Facts.Paid == nil && !notice.Facts.Done {
		h.result = Unclear
		return h
	}
	code, news, err := in.Ledger.Notice(ctx, notice)
	entry, known := recorded[code]
	switch {
	case err != nil:
		h.result, h.err = Failed, err
	case !known:
		h.result, h.err = Failed, fmt.Errorf("the ledger answered %q", code)
	default:
		h.result = entry.result
		line := in.log.Info()
		if code == ledger.NoticeRepeat || code == ledger.NoticeAbsent {
			line = in.log.Debug()
		}
		describe(line, h).Str(logging.FieldEvent, "notification_recorded").Msg(entry.message)
		in.Teller.Noticed(notice, code, news)
		if code == ledger.NoticePaid || code == ledger.NoticeEnded || len(news) > 0 {
			h.told = &notice
		}
	}
	return h
}

func noticeOf(n payscore.Notification) ledger.Notice {
	return ledger.Notice{
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
}

// describe adds what is known of a notification.
func describe(e *zerolog.Event, h handled) *zerolog.Event {
	n := h.note
	if n.Order != nil {
		e = e.Str(logging.FieldOutOrderNo, n.Order.OutOrderNo).Str(logging.FieldVerdict, string(n.Verdict))
		if n.Reason != "" {
			e = e.Str(logging.FieldReason, n.Reason)
		}
	}
	if n.EventType != "" {
		e = e.Str(logging.FieldEventID, n.EventID).Str(logging.FieldEventType, n.EventType)
	}
	return e.Str(logging.FieldRequestID, n.RequestID).Str(logging.FieldOutcome, string(h.result))
}

// logUnrecorded logs a notification that was not written into the ledger.
func (in *inbox) logUnrecorded(h handled, req *http.Request) {
	a := answers[h.result]
	if a.status == http.StatusOK {
		if h.result == OtherEvent || h.result == Unclear {
			describe(in.log.Debug(), h).Str(logging.FieldEvent, "notification_ignored").Msg("notification shows no payment")
		}
		return
	}
	e, message := in.refused.Warn().Str(logging.FieldEvent, "notification_refused"), "notification refused: "
	if a.status >= 500 {
		e, message = in.trouble.Error().Str(logging.FieldEvent, "notification_failed"), "notification not recorded: "
	}
	if h.result == Result(payscore.NoCertificates) {
		// A stranger can name a certificate that does not exist.
		e = in.refused.Warn().Str(logging.FieldEvent, "notification_failed")
	}
	e = describe(e, h).Int(logging.FieldHTTPStatus, a.status).Str(logging.FieldRemote, req.RemoteAddr)
	if in.label == noMerchant {
		e = e.Str("path", textsafe.Clip(req.URL.Path, 96))
	}
	if h.stack != nil {
		e = e.Str("stack", string(h.stack))
	}
	if h.note.Header != "" {
		e = e.Str("header", h.note.Header)
	}
	e.AnErr(logging.FieldError, readable(h.err)).Msg(message + a.message + hints[h.result])
}

// readable replaces the deadline errors of the ledger's client.
func readable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errTooLate
	}
	return err
}

// hints say what to check, for the results that a wrong setting causes.
var hints = map[Result]string{
	Result(payscore.Undecryptable): "; is WECHATPAY_API_V3_KEY this merchant's APIv3 key?",
	Result(payscore.NoAPIV3Key):    "; set WECHATPAY_API_V3_KEY",
	Result(payscore.OldTimestamp):  "; is the clock right, and does the system that passes notifications on do so at once?",
}
