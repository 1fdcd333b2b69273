package ledger_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

const day = 24 * time.Hour

// compactNow keeps compact what ended by now.
var compactNow = ledger.CompactArgs{Patient: 365 * day}

func (s *setup) compact(a ledger.CompactArgs) int64 {
	s.Helper()
	n, err := s.ledger.Compact(s.Context(), a)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

// stored is an order's record as it stands in Redis.
func (s *setup) stored(no string) map[string]string {
	s.Helper()
	return s.redis.Client.HGetAll(s.Context(), ledger.KeysOf(mchid).Order(no)).Val()
}

func (s *setup) isCompact(no string) bool { return s.stored(no)["k"] != "" }

// withoutLog is an order as it must be after Compact.
func withoutLog(o ledger.Order) ledger.Order {
	o.Log, o.LogGone = nil, false
	return o
}

// real ids have these lengths.
const (
	longOrderID = "1000320261127000000000000000000042"
	longTx      = "4200002345202611271234567890"
	longService = "00004000000000172198264112345678"
)

func declinedBy(message string) ledger.Entry {
	return ledger.Entry{
		Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574",
		Message: message, RequestID: "08F4B8C1B10610B0031897A2E95820E2D90B28B39E02-271316574", ElapsedMS: 183, Failed: true,
	}
}

// finish brings an order to its end by so many declined attempts, and one that pays it or
// ends it otherwise.
func (s *timed) finish(no string, declined int, state tasks.State, reason string) {
	s.Helper()
	for range declined {
		c := s.granted(no)
		set := back(c, ledger.Recheck)
		set.AddAttempts, set.Collected, set.Declines = 1, c.Now, 1
		set.Facts = ledger.Facts{OrderID: longOrderID, Total: fen(1250)}
		set.Log = []ledger.Entry{declinedBy("扣款失败")}
		s.settle(c, set)
		s.pass(7 * time.Second)
	}
	c := s.granted(no)
	set := back(c, ledger.Confirm)
	set.AddAttempts, set.Collected = 1, c.Now
	set.Log = []ledger.Entry{{Call: "collect", Verdict: "accepted", HTTPStatus: 200, ElapsedMS: 80, RequestID: "08F4-0"}}
	s.settle(c, set)
	s.pass(11 * time.Second)
	c = s.granted(no)
	set = ledger.Settlement{State: state, Reason: reason, Log: []ledger.Entry{{Call: "query", Verdict: string(state), HTTPStatus: 200, ElapsedMS: 31}}}
	set.Facts = ledger.Facts{OrderID: longOrderID, Total: fen(1250)}
	if state == tasks.Paid {
		pay := through(1, 1250, longTx)
		pay.PaidAt = s.now.Add(-9 * time.Second).Truncate(time.Second).UTC()
		set.Facts, set.VerifiedPaid = final(said(1250, pay)), true
		set.Facts.OrderID = longOrderID
	}
	s.settle(c, set)
	s.pass(time.Second)
}

func newCompactable(t *testing.T) *timed { return newTimed(t) }

func TestCompact(t *testing.T) {
	t.Run("keeps every answer but the log", func(t *testing.T) {
		s := newCompactable(t)
		owed := s.now.Add(-40 * day).Truncate(time.Second)
		open := func(no string) {
			t.Helper()
			p := tasks.Payload{MchID: mchid, OutOrderNo: no, AppID: "wx8888888888888888", ServiceID: longService}
			if err := openOrder(t.Context(), s.ledger, tasks.Order{Payload: p, Amount: 1250, OwedSince: owed}); err != nil {
				t.Fatal(err)
			}
		}
		for _, state := range []tasks.State{tasks.Paid, tasks.Closed, tasks.Rejected, tasks.Exhausted} {
			open(string(state))
			s.finish(string(state), 3, state, map[bool]string{true: "", false: "REVOKED"}[state == tasks.Paid])
		}
		open("withdrawn")
		s.withdraw("withdrawn", "told")
		c := s.granted("withdrawn")
		set := told(c, ledger.SyncDone)
		set.Log = []ledger.Entry{declinedBy("参数错误")}
		s.settled(c, set)
		before := map[string]ledger.Order{}
		for _, state := range tasks.States[2:] {
			before[string(state)] = s.get(string(state))
			if len(before[string(state)].Log) == 0 {
				t.Errorf("%s has no log", state)
			}
		}
		listed := func() (list []ledger.Order) {
			for _, state := range tasks.States[2:] {
				for o, err := range s.ledger.List(t.Context(), state) {
					if err != nil {
						t.Fatal(err)
					}
					list = append(list, withoutLog(o))
				}
			}
			return list
		}
		list, stats := listed(), s.stats()
		if n := s.compact(compactNow); n != 5 {
			t.Errorf("%d are compact, want 5", n)
		}
		for no, was := range before {
			o := s.get(no)
			if !s.isCompact(no) || !o.LogGone || len(o.Log) != 0 || was.LogGone {
				t.Errorf("%s is not compact: %v", no, s.stored(no))
			}
			if diff := cmp.Diff(withoutLog(was), withoutLog(o)); diff != "" {
				t.Errorf("%s (-whole +compact)\n%s", no, diff)
			}
			if n := s.redis.Client.Exists(t.Context(), ledger.KeysOf(mchid).Log(no)).Val(); n != 0 {
				t.Errorf("%s has its log", no)
			}
			for _, name := range []string{"state", "events"} {
				if s.stored(no)[name] == "" {
					t.Errorf("%s has no %s, which the previous release needs", no, name)
				}
			}
		}
		if s.stored("paid")["paid"] != "1250" {
			t.Errorf("the previous release would count the payment again: %v", s.stored("paid"))
		}
		if diff := cmp.Diff(list, listed()); diff != "" {
			t.Errorf("listed (-whole +compact)\n%s", diff)
		}
		if diff := cmp.Diff(stats, s.stats()); diff != "" {
			t.Error(diff)
		}
		if before["paid"].LastError == nil || before["withdrawn"].LastError == nil || before["paid"].LastAttemptAt.IsZero() {
			t.Errorf("%+v", before)
		}
	})
	t.Run("keeps many at once, each once, and goes on where it stopped", func(t *testing.T) {
		s := newCompactable(t)
		for i := range 130 {
			s.end(fmt.Sprintf("A%d", i)) // all at the same time
		}
		if n := s.compact(compactNow); n != 130 {
			t.Errorf("%d", n)
		}
		if n := s.compact(compactNow); n != 0 {
			t.Errorf("%d again", n)
		}
		mark := s.redis.Client.HGet(t.Context(), ledger.KeysOf(mchid).Sweep(), "kept:withdrawn").Val()
		if want := fmt.Sprintf("%d 130", s.now.UnixMilli()); mark != want {
			t.Errorf("the index was read to %q, want %q", mark, want)
		}
		s.end("B") // at that time too
		s.pass(time.Second)
		s.end("C")
		if n := s.compact(compactNow); n != 2 || !s.isCompact("B") || !s.isCompact("C") {
			t.Errorf("%d", n)
		}
	})
	t.Run("not before After", func(t *testing.T) {
		s := newCompactable(t)
		s.end("A")
		s.pass(25*time.Hour - 1*time.Millisecond)
		a := ledger.CompactArgs{After: 25 * time.Hour, Patient: 30 * day}
		if n := s.compact(a); n != 0 {
			t.Errorf("%d", n)
		}
		s.pass(time.Millisecond)
		if n := s.compact(a); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("not what was reopened or ended anew since its page was read", func(t *testing.T) {
		s := newCompactable(t)
		s.open("A")
		s.redis.Client.ZAdd(t.Context(), ledger.KeysOf(mchid).Ended(tasks.Closed), zAt(1, "A"), zAt(2, "GONE"))
		s.end("B")
		s.redis.Client.ZAdd(t.Context(), ledger.KeysOf(mchid).Ended(tasks.Withdrawn), zAt(1, "B"))
		if n := s.compact(ledger.CompactArgs{After: time.Hour, Patient: day}); n != 0 || s.isCompact("A") || s.isCompact("B") {
			t.Errorf("%d", n)
		}
	})
	t.Run("after Redis's clock was ahead", func(t *testing.T) {
		s := newCompactable(t)
		a := ledger.CompactArgs{After: time.Hour, Patient: day}
		s.end("A")
		s.pass(365 * day)
		s.end("AHEAD")
		s.pass(time.Hour)
		if n := s.compact(a); n != 2 {
			t.Errorf("%d", n)
		}
		s.pass(-365 * day)
		s.end("B")
		for range 3 {
			s.compact(a)
			s.end(fmt.Sprint("C", s.now.UnixMilli()))
			s.pass(time.Hour)
		}
		if n := s.compact(a); n != 1 || !s.isCompact("B") || s.redis.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Ended(tasks.Withdrawn)).Val() != 6 {
			t.Errorf("%d, B %t", n, s.isCompact("B"))
		}
	})
}

// The record of an order in which one thing or another is odd is as it was, whatever form
// it has.
func TestCompact_WhateverTheRecordSays(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	l := ledger.New(srv.Client, mchid)
	k := ledger.KeysOf(mchid)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		no := fmt.Sprint("A", run)
		ctx := t.Context()
		srv.Client.Del(ctx, k.Sweep()) // it ends anywhere in time
		pick := func(name string, list ...string) string { return rapid.SampledFrom(list).Draw(rt, name) }
		digits := func(name string, n int) string {
			return rapid.StringMatching(fmt.Sprintf("[0-9]{%d}", n)).Draw(rt, name)
		}
		end := time.Now().Add(-time.Hour).UnixMilli() + int64(rapid.IntRange(-5000, 5000).Draw(rt, "end"))
		ms := func(name string) string {
			return strconv.FormatInt(end+int64(rapid.SampledFrom([]int{0, 1, -1, -999, -120_000, -86_400_123, -9_000_000_000}).Draw(rt, name)), 10)
		}
		amount := func(name string) string { return pick(name, "1250", "0", "1", "16384", "10000000000000", "1251") }
		total := amount("total")
		tx := digits("tx", rapid.SampledFrom([]int{28, 28, 1, 14, 15, 32}).Draw(rt, "tx digits"))
		rec := map[string]string{
			"state": pick("state", "paid", "paid", "closed", "rejected", "withdrawn", "exhausted"), "ended": strconv.FormatInt(end, 10), "events": "5",
		}
		set := func(name, value string) {
			if rapid.IntRange(0, 7).Draw(rt, "has "+name) > 0 {
				rec[name] = value
			}
		}
		set("opened", ms("opened"))
		set("appid", pick("appid", "wx8888888888888888", "wx8888888888888888", "", "a b"))
		set("svc", pick("svc", longService, longService, "s 1", ""))
		set("schedule", pick("schedule", "monthly", "月 结"))
		set("reason", pick("reason", "REVOKED", strings.Repeat("因", 40), strings.Repeat("x", 300)))
		set("oid", pick("oid", digits("oid", 34), digits("oid", 20), digits("oid", 64), "007", "A-1", strings.Repeat("9", 34)))
		set("total", total)
		set("paid", pick("paid", total, total, total, "7"))
		set("tx", pick("tx", tx, tx, tx, "T-1"))
		set("pt", pick("pt", "NEWTON", "NEWTON", "MCH"))
		at := pick("paid at", strconv.FormatInt(end/1000, 10), strconv.FormatInt(end/1000-1, 10), strconv.FormatInt(end/1000-700_000, 10), strconv.FormatInt(end/1000+5, 10), "")
		one := fmt.Sprintf("1|%s|NEWTON|%s|%s", total, at, tx)
		set("pays", pick("pays", one, one, one, "2|7|MCH||", one+";2|3|MCH||", one+";2|300|NEWTON|1764000000|"+longTx))
		set("bill", pick("bill", total, "99"))
		set("owed", pick("owed", "1764000000000", "1764000000001", "5000"))
		for _, name := range []string{"attempts", "collects", "queries", "round"} {
			set(name, pick(name, "0", "1", "12", "127", "128", "70000"))
		}
		act := `[1764000000000,"cli:root","withdraw","用户已在门店现金支付","` + pick("token", "9223372036854775807", "7", "t-1") + `"]`
		set("acts", "["+strings.Join(slices.Repeat([]string{act}, rapid.IntRange(1, 4).Draw(rt, "acts")), ",")+"]")
		if rapid.IntRange(0, 3).Draw(rt, "odd") == 0 {
			rec[pick("odd field", "late", "life", "known", "syncs")] = "1"
			rec["differs"] = "1764000000000 total_amount 5 7"
			rec["n:EV-1"] = "token 1 paid"
			rec["past"] = `[{"state":"closed","ended":1764000000000,"reopened":1764000000000}]`
		}
		if err := srv.Client.HSet(ctx, k.Order(no), rec).Err(); err != nil {
			rt.Fatal(err)
		}
		srv.Client.ZAdd(ctx, k.Ended(tasks.Closed), redis.Z{Score: float64(end), Member: no})
		for range rapid.IntRange(0, 3).Draw(rt, "entries") {
			e := declinedBy(pick("message", "", "扣款失败", strings.Repeat("很长", 60), "x"))
			e.Failed = rapid.Bool().Draw(rt, "failed")
			e.Call = pick("call", "collect", "notification", "another")
			e.RequestID = pick("request id", e.RequestID, "abc", "", "08F4-271316574", "08F4-99")
			e.DetailCode = pick("detail", "271316574", "", "5")
			e.HTTPStatus = rapid.SampledFrom([]int{403, 0, 418}).Draw(rt, "status")
			srv.Client.LPush(ctx, k.Log(no), ledger.EncodeEntry(e, end))
		}
		was, err := l.Get(ctx, no)
		if err != nil {
			rt.Skip() // no record is like that
		}
		if _, err := l.Compact(ctx, ledger.CompactArgs{Patient: day}); err != nil {
			rt.Fatal(err)
		}
		is, err := l.Get(ctx, no)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(withoutLog(was), withoutLog(is)); diff != "" {
			rt.Fatalf("%v (-whole +compact)\n%s", rec, diff)
		}
		stored := srv.Client.HGetAll(ctx, k.Order(no)).Val()
		if _, ok := rec["appid"]; ok && stored["k"] == "" && !strings.Contains(rec["appid"]+rec["svc"], " ") {
			rt.Fatalf("it is not compact: %v", rec)
		}
		for name, value := range stored {
			if strings.HasPrefix(name, "k") && name != "known" && len(value) > 64 {
				rt.Fatalf("%s has %d bytes", name, len(value))
			}
		}
		// What a script expands is the record again.
		if _, err := l.Open(ctx, ledger.Opening{OutOrderNo: no, Reopen: true}); err != nil {
			rt.Fatal(err)
		}
		if rec["state"] == "paid" {
			return
		}
		whole := srv.Client.HGetAll(ctx, k.Order(no)).Val()
		for _, name := range []string{"oid", "tx", "pt", "total", "paid", "pays", "bill", "owed", "attempts", "collects", "queries", "known"} {
			if got, want := whole[name], rec[name]; got != want && (got != "" || want != "0") {
				rt.Fatalf("%s is %q after a reopening, was %q", name, got, want)
			}
		}
	})
}

func TestCompact_WaitsForReaders(t *testing.T) {
	after := ledger.CompactArgs{After: 25 * time.Hour, Patient: 30 * day}
	start := func(t *testing.T) *timed {
		s := newCompactable(t)
		// The stream's clock is Redis's own, which these tests do not move: no order ends
		// long before the event of its end.
		s.pass(time.Since(s.now) + time.Minute)
		return s
	}
	read := func(s *timed) []redis.XMessage {
		s.Helper()
		got, err := s.redis.Client.XReadGroup(s.Context(), &redis.XReadGroupArgs{Group: "books", Consumer: "c", Streams: []string{ledger.KeysOf(mchid).Outcomes(), ">"}}).Result()
		if err != nil {
			s.Fatal(err)
		}
		return got[0].Messages
	}
	group := func(s *timed) {
		s.redis.Client.XGroupCreateMkStream(s.Context(), ledger.KeysOf(mchid).Outcomes(), "books", "0")
	}
	t.Run("a group that was not given its end, or has not acknowledged it", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before it was read", n)
		}
		messages := read(s)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before it was acknowledged", n)
		}
		for _, m := range messages {
			s.redis.Client.XAck(t.Context(), ledger.KeysOf(mchid).Outcomes(), "books", m.ID)
		}
		if n := s.compact(after); n != 1 || !s.isCompact("A") {
			t.Errorf("%d after that", n)
		}
	})
	t.Run("a group that is destroyed is waited for no longer", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d", n)
		}
		s.redis.Client.XGroupDestroy(t.Context(), ledger.KeysOf(mchid).Outcomes(), "books")
		if n := s.compact(after); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("a group that stands still is not waited for longer than Patient", func(t *testing.T) {
		s := start(t)
		group(s)
		s.end("A")
		s.pass(30*day - time.Second)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d", n)
		}
		s.pass(2 * time.Second)
		if n := s.compact(after); n != 1 {
			t.Errorf("%d", n)
		}
	})
	t.Run("the relay of webhooks, and billing behind it", func(t *testing.T) {
		s := start(t)
		s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Hooks(), "cursor", "0-0")
		s.end("A", "B")
		s.pass(26 * time.Hour)
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before they were relayed", n)
		}
		s.relay(ledger.HookRelayArgs{Scan: 100, Take: 100, Most: 1000, Grace: time.Minute})
		c := s.claimHook("A", "t", 1000)
		s.settleHook(done("A", "t", c))
		if n := s.compact(after); n != 1 || !s.isCompact("A") || s.isCompact("B") {
			t.Errorf("%d: want A, whose webhook was delivered", n)
		}
		c = s.claimHook("B", "t", 1000)
		s.settleHook(done("B", "t", c))
		if n := s.compact(after); n != 0 {
			t.Errorf("%d before B comes again", n)
		}
		s.pass(day)
		if n := s.compact(after); n != 1 || !s.isCompact("B") {
			t.Errorf("%d: want B, in its next turn", n)
		}
		if n := s.redis.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Whole()).Val(); n != 0 {
			t.Errorf("%d are to come again", n)
		}
	})
}

func TestCompact_LeavesOutWhatMayChangeSoon(t *testing.T) {
	gap := ledger.CompactArgs{After: time.Hour, Patient: 30 * day, Gap: 5 * time.Hour}
	for name, begin := range map[string]func(s *timed) (finish func()){
		"a sync that is pending": func(s *timed) func() {
			s.open("A")
			s.withdraw("A", "told")
			return func() {
				c := s.granted("A")
				s.settled(c, told(c, ledger.SyncDone))
			}
		},
		"a call under way": func(s *timed) func() {
			s.open("A")
			lim := limits()
			lim.Lease = 2 * time.Minute
			c := s.claim("A", lim)
			s.withdraw("A")
			s.redis.Client.HSet(s.Context(), ledger.KeysOf(mchid).Order("A"), "lease", s.now.Add(2*time.Hour).UnixMilli())
			return func() { s.settle(c, back(c, ledger.Confirm)) }
		},
		"a collect less than MIN_GAP ago": func(s *timed) func() {
			s.open("A")
			c := s.granted("A")
			s.settle(c, ledger.Settlement{State: tasks.Rejected, Collected: c.Now, Log: []ledger.Entry{entry("collect", "bad_request")}})
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCompactable(t)
			finish := begin(s)
			s.pass(90 * time.Minute)
			if n := s.compact(gap); n != 0 || s.isCompact("A") {
				t.Fatalf("%d", n)
			}
			finish()
			s.pass(day - time.Minute)
			if n := s.compact(gap); n != 0 {
				t.Errorf("%d before its next turn", n)
			}
			s.pass(2 * time.Minute)
			if n := s.compact(gap); n != 1 || !s.isCompact("A") {
				t.Errorf("%d in its next turn", n)
			}
		})
	}
}

func TestCompact_IsChangedLikeAWholeOne(t *testing.T) {
	// Each deed is done to two orders, one of them compact, which must then be alike.
	paid := func(s *timed, no string) { s.finish(no, 1, tasks.Paid, "") }
	closed := func(s *timed, no string) { s.finish(no, 1, tasks.Closed, "REVOKED") }
	withdrawn := func(s *timed, no string) { s.withdraw(no) }
	enqueue := func(reopen bool) func(s *timed, no string) string {
		return func(s *timed, no string) string {
			res, err := s.producer.Enqueue(s.Context(), tasks.Order{Payload: payload(no), Reopen: reopen})
			return fmt.Sprint(res.Status, " ", res.State, " ", err)
		}
	}
	withdraw := func(told bool) func(s *timed, no string) string {
		return func(s *timed, no string) string {
			w := tasks.Withdrawal{MchID: mchid, OutOrderNo: no, Reason: "again"}
			if told {
				w.PaidAt = paidInCash
			}
			res, err := s.producer.Withdraw(s.Context(), w)
			return fmt.Sprint(res.Status, " ", res.State, " ", err)
		}
	}
	notice := func(f ledger.Facts) func(s *timed, no string) string {
		return func(s *timed, no string) string { return s.notice(saying(no, f)) }
	}
	second := through(2, 400, "4200002345202611271234567899")
	first := through(1, 1250, longTx)
	collectAgain := func(s *timed, no string) string {
		enqueue(true)(s, no)
		c := s.granted(no)
		said := fmt.Sprint(c.Plan, c.Order.Attempts, c.Order.Known, c.Order.Total, c.Order.Life, c.Order.Round)
		s.finish0(c)
		return said
	}
	for name, c := range map[string]struct {
		end   func(*timed, string)
		deed  func(*timed, string) string
		stays bool // compact
	}{
		"paid, enqueued":                    {paid, enqueue(false), true},
		"paid, enqueued to reopen":          {paid, enqueue(true), true},
		"paid, withdrawn":                   {paid, withdraw(false), true},
		"paid, the same notification":       {paid, notice(final(said(1250, first))), true},
		"paid, a second payment":            {paid, notice(final(said(1250, first, second))), false},
		"paid, a second payment alone":      {paid, notice(said(1650, second)), false},
		"closed, enqueued":                  {closed, enqueue(false), true},
		"closed, reopened":                  {closed, enqueue(true), false},
		"closed, reopened and worked on":    {closed, collectAgain, false},
		"closed, a late payment":            {closed, notice(final(said(1250, first))), false},
		"withdrawn again":                   {withdrawn, withdraw(false), true},
		"withdrawn, and WeChat Pay is told": {withdrawn, withdraw(true), false},
		"withdrawn, a late payment":         {withdrawn, notice(final(said(1250, first))), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCompactable(t)
			at := s.now
			for _, no := range []string{"COMPACT", "WHOLE"} {
				s.pass(at.Sub(s.now)) // both at the same times
				s.open(no)
				c.end(s, no)
				if no == "COMPACT" {
					s.pass(time.Second)
					if n := s.compact(compactNow); n != 1 {
						t.Fatalf("%d are compact", n)
					}
				}
			}
			s.pass(time.Minute)
			if got, want := c.deed(s, "COMPACT"), c.deed(s, "WHOLE"); got != want {
				t.Errorf("answered %q, a whole one %q", got, want)
			}
			if s.isCompact("COMPACT") != c.stays {
				t.Errorf("compact: %t", !c.stays)
			}
			a, b := s.get("COMPACT"), s.get("WHOLE")
			a.OutOrderNo = b.OutOrderNo
			if diff := cmp.Diff(withoutLog(b), withoutLog(a)); diff != "" {
				t.Errorf("-whole +compact\n%s", diff)
			}
			events := map[string][]ledger.Event{}
			for _, e := range s.stream() {
				e.ID, e.At = "", time.Time{}
				no := e.OutOrderNo
				e.OutOrderNo = ""
				events[no] = append(events[no], e)
			}
			if diff := cmp.Diff(events["WHOLE"], events["COMPACT"]); diff != "" {
				t.Errorf("events (-whole +compact)\n%s", diff)
			}
			index := func(no string) (in []string) {
				for _, state := range tasks.States {
					if s.redis.Client.ZScore(t.Context(), ledger.KeysOf(mchid).Ended(state), no).Err() == nil {
						in = append(in, string(state))
					}
				}
				return in
			}
			if !slices.Equal(index("COMPACT"), index("WHOLE")) {
				t.Errorf("indexes %v, %v", index("COMPACT"), index("WHOLE"))
			}
		})
	}
}

// finish0 settles a claim as paid.
func (s *timed) finish0(c ledger.Claim) {
	s.Helper()
	s.settle(c, shows(c, final(said(1250, through(1, 1250, longTx)))))
}

// A settle that arrives after its order became compact writes payments and nothing else.
func TestCompact_LateSettle(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	c := s.granted("A")
	s.withdraw("A")
	s.pass(time.Hour) // the lease has expired
	if n := s.compact(compactNow); n != 1 {
		t.Fatalf("%d", n)
	}
	res := s.settled(c, shows(c, final(said(1250, through(1, 1250, longTx)))))
	if res.Code != ledger.Lost || !slices.Equal(res.News, []ledger.News{ledger.Late}) {
		t.Errorf("%+v", res)
	}
	if o := s.get("A"); o.State != tasks.Withdrawn || o.Reason != "paid in cash" || o.AppID != "wx1" || len(o.Payments) != 1 || o.LatePaymentAt.IsZero() {
		t.Errorf("%+v", o)
	}
	s.wantEvents("A", "opened queued", "withdrawn withdrawn", "paid withdrawn 1250")
}

// What a worker of the previous release, which does not know k, does to a compact order
// during an upgrade stands, and the rest of the order is there again with the next step.
func TestCompact_AndThePreviousRelease(t *testing.T) {
	s := newCompactable(t)
	ctx, k := t.Context(), ledger.KeysOf(mchid)
	s.open("A")
	s.finish("A", 2, tasks.Closed, "REVOKED")
	s.compact(compactNow)
	was := s.get("A")
	// Its open.lua, to reopen.
	pipe := s.redis.Client.Pipeline()
	pipe.HSet(ctx, k.Order("A"), "past", `[{"state":"closed","ended":0,"reopened":1}]`)
	pipe.HDel(ctx, k.Order("A"), "reason", "ended")
	pipe.HIncrBy(ctx, k.Order("A"), "life", 1)
	pipe.ZRem(ctx, k.Ended(tasks.Closed), "A")
	pipe.HIncrBy(ctx, k.Stats(), "closed", -1)
	pipe.HIncrBy(ctx, k.Stats(), "queued", 1)
	pipe.HSet(ctx, k.Order("A"), "state", "queued", "appid", "wx1", "svc", "s1", "next", "recheck", "due", 1, "round", 1, "since", 1, "opened", s.now.UnixMilli())
	pipe.HIncrBy(ctx, k.Order("A"), "events", 1)
	pipe.ZAdd(ctx, k.Due(), zAt(1, "A"))
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.compact(compactNow); n != 0 {
		t.Errorf("%d", n)
	}
	o := s.get("A")
	if o.State != tasks.Queued || o.Reason != "" || !o.EndedAt.IsZero() || o.OrderID != was.OrderID || o.CollectCalls != was.CollectCalls {
		t.Errorf("%+v", o)
	}
	// The step of its task would not see what k says, so that the sweep goes first.
	if c := s.claim("A", ledger.Limits{Lease: time.Minute, Rate: 1000, Horizon: time.Second, Most: time.Second}); c.Code != ledger.Stale || !s.isCompact("A") {
		t.Errorf("%+v", c)
	}
	swept, err := s.ledger.Sweep(ctx, ledger.SweepArgs{Limit: 10, Closed: 10, Grace: time.Hour})
	if err != nil || len(swept.Orders) != 1 || swept.Orders[0].Round != 1 || swept.Orders[0].AppID != "wx1" {
		t.Fatalf("%+v %v", swept, err)
	}
	if s.isCompact("A") {
		t.Error("the sweep has not made it whole")
	}
	c := s.granted("A")
	s.finish0(c)
	if o := s.get("A"); o.State != tasks.Paid || o.Reason != "" || o.Attempts < was.Attempts || o.QueryCalls != was.QueryCalls+1 || o.EndedAt.Before(was.EndedAt) {
		t.Errorf("%+v", o)
	}
	s.compact(compactNow)
	if o := s.get("A"); o.State != tasks.Paid || o.Reason != "" || *o.PaidAmount != 1250 || len(o.Past) != 1 {
		t.Errorf("%+v", o)
	}
}

// A worker or a producer of the previous release must not begin to notify WeChat Pay of a
// withdrawn order whose owner it does not find: such a due order fails its sweeps.
func TestCompact_IsNotToldByThePreviousRelease(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	s.withdraw("A")
	for _, sync := range []ledger.SyncState{ledger.SyncFailed, ledger.SyncNoNeed} {
		s.open(string(sync))
		s.withdraw(string(sync), "told")
		c := s.granted(string(sync))
		s.settled(c, told(c, sync))
	}
	s.pass(time.Second)
	if n := s.compact(compactNow); n != 1 || !s.isCompact("A") {
		t.Errorf("%d are compact, want A alone: the previous release would notify WeChat Pay of the second, and the third says what A says to it", n)
	}
	// Its withdraw.lua: "if ARGV[3] == '' or (rec.sync and rec.sync ~= 'failed')" changes nothing.
	if sync := s.stored("A")["sync"]; sync != "not_needed" {
		t.Errorf("the previous release reads sync %q", sync)
	}
	if o := s.get("A"); o.Sync != nil {
		t.Errorf("%+v", o.Sync)
	}
	for o, err := range s.ledger.List(t.Context(), tasks.Withdrawn) {
		if err != nil || o.OutOrderNo == "A" && o.Sync != nil {
			t.Errorf("listed: %+v %v", o.Sync, err)
		}
	}
	s.withdraw("A", "told")
	c := s.granted("A")
	if c.Plan != ledger.TellPaid || c.Order.AppID != "wx1" || s.isCompact("A") {
		t.Errorf("%+v", c)
	}
	s.settled(c, told(c, ledger.SyncDone))
	if o := s.get("A"); o.Sync == nil || o.Sync.State != ledger.SyncDone {
		t.Errorf("%+v", o.Sync)
	}
}

// There may be more owners and messages than a merchant's words have room for.
func TestCompact_WithoutRoomForWords(t *testing.T) {
	s := newCompactable(t)
	words := map[string]any{}
	for i := range 2000 {
		words[fmt.Sprint("=w", i)], words[fmt.Sprint(i)] = i, fmt.Sprint("w", i)
	}
	s.redis.Client.HSet(t.Context(), ledger.KeysOf(mchid).Words(), words)
	s.open("A")
	s.finish("A", 1, tasks.Closed, "REVOKED")
	s.open("LONG")
	c := s.granted("LONG")
	s.settle(c, ledger.Settlement{State: tasks.Rejected, Collected: c.Now, Log: []ledger.Entry{declinedBy(strings.Repeat("长", 200))}})
	s.pass(time.Second)
	was, long := s.get("A"), s.get("LONG")
	if n := s.compact(compactNow); n != 2 {
		t.Errorf("%d", n)
	}
	if diff := cmp.Diff(withoutLog(was), withoutLog(s.get("A"))); diff != "" || was.LastError == nil {
		t.Error(diff)
	}
	if diff := cmp.Diff(withoutLog(long), withoutLog(s.get("LONG"))); diff != "" || long.LastError == nil {
		t.Error(diff)
	}
	if n := s.redis.Client.HLen(t.Context(), ledger.KeysOf(mchid).Words()).Val(); n != 4000 {
		t.Errorf("%d fields of words", n)
	}
}

// Retain removes compact orders like others.
func TestCompact_AndRetain(t *testing.T) {
	s := newCompactable(t)
	s.open("A")
	s.finish("A", 0, tasks.Paid, "")
	s.compact(compactNow)
	s.pass(91 * day)
	if n := s.retain(90*day, time.Minute); n != 1 {
		t.Errorf("%d", n)
	}
	if st, err := s.ledger.Stats(t.Context()); err != nil || st.PaidLeft != 1250 || st.PaidAmount != 0 || st.Orders[tasks.Paid] != 0 {
		t.Errorf("%+v %v", st, err)
	}
}

// An order of two calls takes at most 350 bytes, with its place in the index and what
// Redis itself needs for a key, and one with a failed call little more.
func TestCompact_Bytes(t *testing.T) {
	s := newCompactable(t)
	if !s.redis.Real {
		t.Skip("the embedded Redis has no memory to measure")
	}
	ctx, k := t.Context(), ledger.KeysOf(mchid)
	// By MEMORY USAGE, in the tables of keys and of the index an entry each has its place
	// besides: 8 bytes of a table at least half full.
	const index, place = 123, 16
	for declined, most := range []int64{350, 382} {
		no := strings.Repeat("9", 31) + fmt.Sprint(declined)
		p := tasks.Payload{MchID: mchid, OutOrderNo: no, AppID: "wx8888888888888888", ServiceID: longService}
		if err := openOrder(ctx, s.ledger, tasks.Order{Payload: p}); err != nil {
			t.Fatal(err)
		}
		s.finish(no, declined, tasks.Paid, "")
		if n := s.compact(compactNow); n != 1 {
			t.Fatalf("%d", n)
		}
		if enc := s.redis.Client.ObjectEncoding(ctx, k.Order(no)).Val(); enc != "listpack" && enc != "ziplist" {
			t.Errorf("the record is a %s", enc)
		}
		if record := s.redis.Client.MemoryUsage(ctx, k.Order(no), 0).Val(); record+place+index > most {
			t.Errorf("%d declined: a record of %d bytes, want at most %d: %q", declined, record, most-place-index, s.stored(no))
		} else {
			t.Logf("%d declined: %d", declined, record)
		}
	}
	s.open(longOrderID[2:])
	s.withdraw(longOrderID[2:])
	s.pass(time.Second)
	s.compact(compactNow)
	record := s.redis.Client.MemoryUsage(ctx, k.Order(longOrderID[2:]), 0).Val()
	t.Logf("withdrawn: %d", record)
	if record+place+index > 350 {
		t.Errorf("withdrawn: %d bytes: %q", record, s.stored(longOrderID[2:]))
	}
}
