package ledger

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/testkit"
)

// stampedByHand is what stamped of common.lua makes.
func stampedByHand(e Entry) string {
	b := e.encode()
	ms := e.At.UnixMilli() - entryEpoch
	at := []byte{byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
	return string(b[:1]) + string(at) + string(b[1:])
}

func TestEntry_IsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := func(name string, known []string) string {
			return rapid.OneOf(rapid.SampledFrom(known), rapid.StringN(0, 20, 40)).Draw(t, name)
		}
		e := Entry{
			At:         time.UnixMilli(rapid.Int64Range(entryEpoch, entryEpoch+1<<40-1).Draw(t, "at")).UTC(),
			Call:       word("call", entryCalls),
			Verdict:    word("verdict", entryVerdicts),
			HTTPStatus: rapid.IntRange(0, 999).Draw(t, "status"),
			Code:       word("code", []string{"", "TRADE_ERROR", "SYSTEM_ERROR"}),
			DetailCode: word("detail", []string{"", "271316574", "0"}),
			Message:    word("message", []string{"", "扣款失败"}),
			RequestID: rapid.OneOf(
				rapid.StringMatching(`([0-9A-F]{2}){0,40}-[0-9]{1,12}`), rapid.StringN(0, 60, 120),
			).Draw(t, "id"),
			ElapsedMS: rapid.Int64Range(0, 1e6).Draw(t, "elapsed"),
			Failed:    rapid.Bool().Draw(t, "failed"),
		}
		got, err := parseEntry(stampedByHand(e))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEntry_OfAnEarlierReleaseIsStillRead(t *testing.T) {
	got, err := parseEntry(`1795532001189 {"call":"collect","verdict":"declined","http_status":403,"code":"TRADE_ERROR","detail_code":"271316574","message":"扣款失败","request_id":"08F4-271316574","elapsed_ms":183,"failed":true}`)
	want := Entry{
		At: time.UnixMilli(1795532001189).UTC(), Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR",
		DetailCode: "271316574", Message: "扣款失败", RequestID: "08F4-271316574", ElapsedMS: 183, Failed: true,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// Reading any bytes ends with an entry or an error.
func TestEntry_AnythingElseIsAnError(t *testing.T) {
	whole := stampedByHand(Entry{At: time.UnixMilli(entryEpoch), Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", RequestID: "08F4-1", Message: "x"})
	for i := range len(whole) {
		if _, err := parseEntry(whole[:i]); err == nil {
			t.Errorf("the first %d bytes of an entry are one", i)
		}
	}
	for _, s := range []string{"", "x", "12 {", "\xff", whole + "x", "\x80\x00\x00\x00\x00\x00\xff\x00\x00"} {
		if _, err := parseEntry(s); err == nil {
			t.Errorf("%q is an entry", s)
		}
	}
}

// The stored bytes are those of every release since 0.3: what one writes, the others
// read, during an upgrade and after it is undone. The golden file has each place of each
// list, and what no list has. Lines may be added to it, and none may ever change.
func TestEntry_StoredBytes(t *testing.T) {
	at := time.UnixMilli(1795532001189).UTC()
	var entries []Entry
	for _, call := range entryCalls {
		entries = append(entries, Entry{At: at, Call: call, Verdict: "paid"})
	}
	for _, verdict := range entryVerdicts {
		entries = append(entries, Entry{At: at, Call: "query", Verdict: verdict})
	}
	for _, a := range entryAnswers {
		entries = append(entries, Entry{At: at, Call: "collect", Verdict: "declined", HTTPStatus: a.status, Code: a.code})
	}
	for _, tail := range entryTails {
		number := strconv.FormatUint(uint64(tail), 10)
		entries = append(entries, Entry{At: at, Call: "collect", Verdict: "declined", RequestID: "08F4-" + number, DetailCode: number})
	}
	entries = append(entries,
		Entry{At: at, Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR", DetailCode: "271316574", Message: "扣款失败", RequestID: "08F4B8C1B10610B0031897A2E95820E2D90B28B39E02-271316574", ElapsedMS: 183, Failed: true},
		Entry{At: at, Call: "a later call", Verdict: "a later verdict", HTTPStatus: 403, Code: "A_LATER_CODE", DetailCode: "299999999", RequestID: "08F4-299999999", ElapsedMS: 70000, Failed: true},
		Entry{At: at, Call: "query", Verdict: "unavailable", HTTPStatus: 502, Message: "<html>", RequestID: "not WeChat Pay's", DetailCode: "1"},
	)
	var lines strings.Builder
	for _, e := range entries {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%x %s\n", stampedByHand(e), text)
	}
	testkit.Golden(t, "entries", lines.String())
}

// A code that no list has stays readable: the lists never need to grow.
func TestEntry_ALaterCodeIsStoredAsText(t *testing.T) {
	e := Entry{Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "USER_ACCOUNT_ABNORMAL", RequestID: "08F4-271300099", DetailCode: "271300099"}
	if stored := stampedByHand(e); !strings.Contains(stored, "USER_ACCOUNT_ABNORMAL") {
		t.Errorf("stored as %q, want the code as text in it", stored)
	}
	if got, want := len(entryAnswers)+len(entryTails)+len(entryVerdicts)+len(entryCalls), 22+14+13+4; got != want {
		t.Errorf("the lists have %d words, want %d: releases that do not know a new place cannot read the order", got, want)
	}
}

// The usual entry is short: there are several for each order, a million times.
func TestEntry_IsShort(t *testing.T) {
	usual := Entry{
		At: time.UnixMilli(1795532001189), Call: "collect", Verdict: "declined", HTTPStatus: 403, Code: "TRADE_ERROR",
		DetailCode: "271316574", Message: "扣款失败", RequestID: "08F4B8C1B10610B0031897A2E95820E2D90B28B39E02-271316574",
		ElapsedMS: 183, Failed: true,
	}
	if n := len(stampedByHand(usual)); n > 47 {
		t.Errorf("%d bytes", n)
	}
}
