package ledger

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"payscore-collector/internal/payscore"
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

// Whatever stands in a log, reading it ends with an entry or an error.
func TestEntry_OfNobodyIsAnError(t *testing.T) {
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

// Every verdict and every code that payscore can give has a place: an entry of
// one that has none is right, but longer.
func TestEntry_KnowsTheWordsOfTheClient(t *testing.T) {
	for _, v := range payscore.Verdicts {
		if _, ok := verdictAt[string(v)]; !ok {
			t.Errorf("verdict %s has no place", v)
		}
	}
	codes, details := payscore.Codes()
	for _, d := range details {
		if n, err := strconv.ParseUint(d, 10, 31); err != nil || len(appendTail(nil, uint32(n))) != 1 {
			t.Errorf("finer code %s has no place", d)
		}
	}
	for _, code := range codes {
		known := false
		for _, a := range entryAnswers {
			known = known || a.code == code
		}
		if !known {
			t.Errorf("code %s has no place", code)
		}
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
