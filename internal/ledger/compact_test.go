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
				for o, err := range s.ledger.Select(t.Context(), ledger.Filter{State: state}) {
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
