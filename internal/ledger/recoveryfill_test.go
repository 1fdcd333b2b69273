package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// Orders that ended before are counted exactly once, and those that a
// previous release ends during an upgrade a day later.
func TestRecovery_Fill(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	var nos []string
	old := func(no string) { // as a previous release leaves it
		s.redis.Client.HDel(s.Context(), k.Order(no), "tally", "pby", "cause", "accepted")
		nos = append(nos, no)
	}
	for i := range 130 { // with the same time, more than a page
		no := fmt.Sprint("A-", i)
		s.open(no)
		s.withdraw(no)
		old(no)
	}
	for i := range 60 {
		no := fmt.Sprint("B-", i)
		s.open(no)
		s.called(no, "declined", "TRADE_ERROR")
		s.pass(time.Second)
		s.found(no, tasks.Paid, 100, s.payment(1, 100, "1"+strconv.Itoa(i)))
		old(no)
	}
	s.pass(26 * time.Hour)
	s.compact(ledger.CompactArgs{Patient: 365 * day, After: 26*time.Hour - 30*time.Second})
	s.redis.Client.Del(s.Context(), k.Recovery())
	s.open("NEW")

	if r, err := s.ledger.Recovery(s.Context(), "2000-01-01", "2999-01-01"); err != nil || r.Filled {
		t.Errorf("before: %v %v", r.Filled, err)
	}
	fill := func() bool {
		more, err := s.ledger.FillRecovery(s.Context(), s.now)
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		return more || err != nil
	}
	kill := &killing{at: 3}
	s.redis.Client.AddHook(kill)
	for fill() { // each time the worker dies after three more pages
		if s.get("NEW").State.Open() {
			s.withdraw("NEW")
			s.open("NEWER")
			s.withdraw("NEWER")
		}
		kill.n = 0
	}
	s.recountsFilled(append(nos, "NEW", "NEWER")...)
	if kill.killed < 2 {
		t.Errorf("killed %d times", kill.killed)
	}
	s.open("LATER")
	s.withdraw("LATER")
	old("LATER")
	tally := s.recovery()
	kill.at = 0
	if fill() || gocmp.Diff(tally, s.recovery()) != "" {
		t.Error("it was filled again at once")
	}
	s.pass(25 * time.Hour)
	for fill() {
	}
	if r, err := s.ledger.Recovery(s.Context(), "2000-01-01", "2999-01-01"); err != nil || !r.Filled {
		t.Errorf("%v %v", r.Filled, err)
	}
	if fields := s.stored("LATER"); fields["tally"] == "" {
		t.Errorf("an order that a previous release ended is not counted: %q", fields)
	}
	if got := s.redis.Client.HGet(s.Context(), k.Recovery(), "fill").Val(); got != "done" {
		t.Errorf("fill is %q", got)
	}

	// A place that cannot be read begins again, and counts nothing twice.
	before := s.recovery()
	s.redis.Client.HSet(s.Context(), k.Recovery(), "fill", "7 x")
	for fill() {
	}
	if diff := gocmp.Diff(before, s.recovery()); diff != "" {
		t.Error(diff)
	}
}

// A first pass can take longer than a day: the second one comes a day after its end, also if
// Redis's clock goes back meanwhile.
func TestRecovery_FillAgainADayAfterTheEnd(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	fill := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := func(what string, want bool) {
		t.Helper()
		if fill(); s.stored("LATER")["tally"] != "" != want {
			t.Errorf("%s: counted is not %t", what, want)
		}
	}
	s.redis.Client.HSet(t.Context(), k.Recovery(), "fill", fmt.Sprintf("1 %d 0 0 0", s.now.UnixMilli()))
	s.pass(30 * time.Hour)
	fill()
	s.pass(20 * time.Hour)
	s.open("LATER") // which a previous release ends
	s.withdraw("LATER")
	s.redis.Client.HDel(t.Context(), k.Order("LATER"), "tally")
	counted("less than a day after the end", false)
	s.pass(-60 * time.Hour)
	counted("after the clock went back", false)
	s.pass(23 * time.Hour)
	counted("less than a day after that", false)
	s.pass(2 * time.Hour)
	counted("a day later", true)
}

// A pass that Redis's clock sees begin ahead, and right again before its end, is followed by
// one that takes what ended from then on.
func TestRecovery_FillBegunByAClockThatWasAhead(t *testing.T) {
	s := newRecovery(t)
	kill := &killing{at: 1}
	s.redis.Client.AddHook(kill)
	page := func() {
		t.Helper()
		kill.n = 0
		if _, err := s.ledger.FillRecovery(t.Context(), s.now); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	s.pass(2 * day)
	page() // the paid orders
	s.pass(-2 * day)
	page()
	s.open("LATER") // which a previous release makes paid
	s.notice(paidNotice("LATER"))
	s.redis.Client.HDel(t.Context(), ledger.KeysOf(mchid).Order("LATER"), "tally")
	s.pass(3 * time.Hour)
	kill.at = 0
	for _, want := range []bool{false, true} {
		for more := true; more; {
			var err error
			if more, err = s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.stored("LATER")["tally"] != ""; got != want {
			t.Errorf("counted is %t, want %t", got, want)
		}
		s.pass(25 * time.Hour)
	}
}

// An order that a previous release has reopened, and ended again, counts as it stands.
func TestRecovery_ReopenedByAPreviousRelease(t *testing.T) {
	s := newRecovery(t)
	k := ledger.KeysOf(mchid)
	s.open("A")
	s.called("A", "declined", "TRADE_ERROR")
	s.found("A", tasks.Exhausted, 100)
	s.open("B")
	s.called("B", "accepted", "")
	s.found("B", tasks.Paid, 100, s.payment(1, 100, "T"))
	tally, counters := s.stored("A")["tally"], s.redis.Client.HGetAll(t.Context(), k.Recovery()).Val()
	s.reopenLater("A")
	s.withdraw("A")
	s.redis.Client.HSet(t.Context(), k.Order("A"), "tally", tally)
	s.redis.Client.Del(t.Context(), k.Recovery())
	s.redis.Client.HSet(t.Context(), k.Recovery(), counters)
	if _, err := s.ledger.FillRecovery(t.Context(), s.now); err != nil {
		t.Fatal(err)
	}
	s.wantCounts(ledger.RecoveryState, map[string]ledger.RecoveryCount{"w": {Orders: 1, Owed: 100}, "p": {Orders: 1, Owed: 100, Paid: 1, Fen: 100}})
	s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1, Owed: 100}, "": {Orders: 1, Owed: 100, Paid: 1, Fen: 100}})
	s.recounts("A", "B")
}

// A payment of an order whose first decline was not recorded does not make it one that was
// not declined, also if the order is compact meanwhile.
func TestRecovery_FilledAndPaidLater(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact=", compact), func(t *testing.T) {
			s := newRecovery(t)
			s.open("A")
			s.called("A", "declined", "TRADE_ERROR")
			s.found("A", tasks.Exhausted, 100)
			s.redis.Client.HDel(t.Context(), ledger.KeysOf(mchid).Order("A"), "tally", "pby", "cause")
			s.redis.Client.Del(t.Context(), ledger.KeysOf(mchid).Recovery())
			if _, err := s.ledger.FillRecovery(t.Context(), s.now); err != nil {
				t.Fatal(err)
			}
			s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100}})
			if s.pass(30 * time.Hour); compact {
				s.compact(compactNow)
				if fields := s.stored("A"); fields["tally"] != "" {
					t.Errorf("the tally stands beside the compact record: %q", fields)
				}
			}
			n := paidNotice("A")
			n.Facts = said(100, s.payment(1, 40, "A"))
			n.Paid = false
			s.notice(n)
			s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100, Fen: 40}})
		})
	}
}

// An order that a previous release has had declined, without recording the cause, does not
// get the code of a later decline as its first, and does not count as never declined.
func TestRecovery_DeclinedBefore(t *testing.T) {
	unknown := map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100}}
	for _, last := range []struct {
		what string
		do   func(s *timed)
		want map[string]ledger.RecoveryCount
	}{
		{"declined again", func(s *timed) {
			s.called("A", "declined", "OTHER")
			s.found("A", tasks.Exhausted, 100)
		}, unknown},
		{"given up", func(s *timed) { s.found("A", tasks.Exhausted, 100) }, unknown},
		{"notified", func(s *timed) {
			n := paidNotice("A")
			n.Facts = said(100, s.payment(1, 100, "A"))
			s.notice(n)
		}, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1, Owed: 100, Paid: 1, Fen: 100}}},
		{"withdrawn", func(s *timed) { s.withdraw("A") }, map[string]ledger.RecoveryCount{ledger.CauseUnknown: {Orders: 1}}},
	} {
		for _, log := range []string{"", `1795532001189 {"call":"collect","verdict":"declined","http_status":403,"code":"TRADE_ERROR","elapsed_ms":1}`} {
			t.Run(fmt.Sprint(last.what, ", log of a release before 0.3: ", log != ""), func(t *testing.T) {
				s := newRecovery(t)
				s.open("A")
				s.called("A", "declined", "TRADE_ERROR")
				k := ledger.KeysOf(mchid)
				s.redis.Client.HDel(t.Context(), k.Order("A"), "cause")
				if log != "" {
					s.redis.Client.LSet(t.Context(), k.Log("A"), 0, log)
				}
				last.do(s)
				s.wantCounts(ledger.RecoveryCause, last.want)
				s.recounts("A")
			})
		}
	}
	t.Run("accepted before, without a payment", func(t *testing.T) {
		s := newRecovery(t)
		s.open("A")
		s.called("A", "accepted", "")
		s.found("A", tasks.Awaiting, 100)
		s.called("A", "declined", "TRADE_ERROR")
		s.withdraw("A")
		s.wantCounts(ledger.RecoveryCause, map[string]ledger.RecoveryCount{"TRADE_ERROR": {Orders: 1, Owed: 100}})
	})
}

// recountsFilled is recounts for orders whose cause may be unknown.
func (s *setup) recountsFilled(nos ...string) {
	s.Helper()
	want := audit.RecoveryCounts{}
	for _, no := range nos {
		cause := ""
		if o := s.get(no); o.Attempts > 0 {
			cause = ledger.CauseUnknown
		}
		want.Add(s.get(no), cause)
	}
	for _, d := range want.Differ(s.recovery()) {
		s.Error(d.Text)
	}
}

var errKilled = errors.New("killed")

// killing lets every at-th run of fill.lua be the last thing that a worker does.
type killing struct {
	redistest.Hook
	n, at, killed int
}

func (k *killing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if args := cmd.Args(); k.at > 0 && len(args) > 3 && args[0] == "evalsha" && args[3] == ledger.KeysOf(mchid).Recovery() {
			if k.n++; k.n == k.at {
				k.killed++
				cmd.SetErr(errKilled)
				return errKilled
			}
		}
		return err
	}
}
