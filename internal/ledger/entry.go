package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// The form of an entry in an order's log. Each order has several, so they are short:
// frequent words are numbers, and a Request-ID is the bytes that it is the hexadecimal
// form of. The usual entry takes some 50 bytes; JSON took 240.
//
//	1  flags, of which the highest is always set
//	5  when it was settled: ms since the beginning of 2020, set by the script
//	1  call and verdict: five bits of the verdict's place in words, three of the call's
//	1  HTTP status and code: their place in answers
//	…  elapsed ms, as a uvarint
//	…  what the flags announce, in their order; texts behind their length
//
// Entries of releases before 0.3 are "<ms> <JSON>": their first byte is a digit.
//
// The lists of words below are frozen: records have their places, and a release that
// does not know a place cannot read the order. What they do not have, such as a new
// error code, is stored as text, which costs some ten bytes and which every release
// reads. testdata/entries.golden holds the stored bytes.

const (
	entryFailed  = 1 << iota // the call is an error that last_error may show
	entryWords               // call and verdict follow as texts, because a list lacks one
	entryAnswer              // HTTP status (a uvarint) and code (a text) follow, because the list lacks them
	entryMessage             // a text
	entryHexID               // the Request-ID: its bytes behind their number, and what follows its dash, see appendTail
	entryTextID              // the Request-ID as a text
	entryDetail              // the detail code as a text; else it is what follows the Request-ID's dash, or nothing
	entryBinary              // always
)

var entryCalls = []string{"collect", "query", "sync", "notification"}

var entryVerdicts = []string{
	"accepted", "in_progress", "declined", "owed", "paid", "closed", "not_collectable",
	"not_found", "bad_request", "throttled", "merchant_fault", "unavailable", "unknown",
}

type httpAnswer struct {
	status int
	code   string
}

var entryAnswers = []httpAnswer{
	{0, ""}, {200, ""}, {204, ""},
	{400, "PARAM_ERROR"}, {400, "INVALID_REQUEST"}, {400, "INVALID_ORDER_STATE"}, {400, "ORDER_DONE"}, {400, "ORDER_CANCELED"},
	{401, "SIGN_ERROR"}, {403, "NO_AUTH"}, {403, "TRADE_ERROR"}, {404, "ORDER_NOT_EXIST"},
	{429, "FREQUENCY_LIMITED"}, {429, "RATELIMIT_EXCEEDED"}, {429, "RATE_LIMITED"},
	{500, "SYSTEM_ERROR"}, {502, "SYSTEM_ERROR"}, {503, "SYSTEM_ERROR"}, {500, ""}, {502, ""}, {503, ""}, {504, ""},
}

// entryTails are what follows the dash of a Request-ID: 0, or a detail code.
var entryTails = []uint32{
	0, 271316574, 271316657, 271316754, 271302262, 271302332, 271302333, 271317510,
	268435472, 268503786, 270924332, 271302144, 271302149, 268435464,
}

var (
	tailAt    = places(entryTails)
	callAt    = places(entryCalls)
	verdictAt = places(entryVerdicts)
	answerAt  = places(entryAnswers)
)

func places[T comparable](list []T) map[T]byte {
	m := make(map[T]byte, len(list))
	for i, v := range list {
		m[v] = byte(i)
	}
	return m
}

// entryEpoch is stamp's in common.lua.
const entryEpoch = 1_577_836_800_000

// encode returns the entry without its time, which the script puts behind the first
// byte.
func (e Entry) encode() []byte {
	flags := byte(entryBinary)
	b := make([]byte, 1, 96)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	call, ok1 := callAt[e.Call]
	verdict, ok2 := verdictAt[e.Verdict]
	if ok1 && ok2 {
		b = append(b, call<<5|verdict)
	} else {
		flags |= entryWords
		text(e.Call)
		text(e.Verdict)
	}
	if at, ok := answerAt[httpAnswer{e.HTTPStatus, e.Code}]; ok {
		b = append(b, at)
	} else {
		flags |= entryAnswer
		b = binary.AppendUvarint(b, uint64(max(0, e.HTTPStatus)))
		text(e.Code)
	}
	b = binary.AppendUvarint(b, uint64(max(0, e.ElapsedMS)))
	if e.Message != "" {
		flags |= entryMessage
		text(e.Message)
	}
	raw, tail, isHex := splitID(e.RequestID)
	detail := ""
	switch {
	case isHex:
		flags |= entryHexID
		b = append(b, byte(len(raw)))
		b = append(b, raw...)
		b = appendTail(b, tail)
		detail = strconv.FormatUint(uint64(tail), 10)
	case e.RequestID != "":
		flags |= entryTextID
		text(e.RequestID)
	}
	if e.DetailCode != detail {
		flags |= entryDetail
		text(e.DetailCode)
	}
	if e.Failed {
		flags |= entryFailed
	}
	b[0] = flags
	return b
}

// appendTail writes a number below 2^31: its place in entryTails, or else four
// bytes of which the highest bit is set.
func appendTail(b []byte, tail uint32) []byte {
	if at, ok := tailAt[tail]; ok {
		return append(b, at)
	}
	return binary.BigEndian.AppendUint32(b, tail|1<<31)
}

func (r *entryReader) tail() uint32 {
	first := r.byte()
	if first < 1<<7 {
		return pick(r, entryTails, first)
	}
	rest := r.take(3)
	if r.bad {
		return 0
	}
	return uint32(first&^(1<<7))<<24 | uint32(rest[0])<<16 | uint32(rest[1])<<8 | uint32(rest[2])
}

// splitID splits a Request-ID of WeChat Pay's form, "<HEX>-<number>". It reports false
// for one that joinID would not restore to the same text.
func splitID(id string) (raw []byte, tail uint32, ok bool) {
	head, digits, ok := strings.Cut(id, "-")
	if !ok || len(head) > 2*255 {
		return nil, 0, false
	}
	raw, err := hex.DecodeString(head)
	n, err2 := strconv.ParseUint(digits, 10, 31)
	if err != nil || err2 != nil || joinID(raw, uint32(n)) != id {
		return nil, 0, false
	}
	return raw, uint32(n), true
}

func joinID(raw []byte, tail uint32) string {
	return strings.ToUpper(hex.EncodeToString(raw)) + "-" + strconv.FormatUint(uint64(tail), 10)
}

// parseEntry reads an entry as it stands in a log.
func parseEntry(raw any) (Entry, error) {
	s, _ := raw.(string)
	if s == "" || s[0]&entryBinary == 0 {
		return parseOldEntry(s)
	}
	r := entryReader{rest: s[1:]}
	flags := s[0]
	has := func(flag byte) bool { return flags&flag != 0 }
	var ms int64
	for range 5 {
		ms = ms<<8 | int64(r.byte())
	}
	e := Entry{At: time.UnixMilli(entryEpoch + ms).UTC(), Failed: has(entryFailed)}
	if has(entryWords) {
		e.Call, e.Verdict = r.text(), r.text()
	} else {
		b := r.byte()
		e.Call, e.Verdict = pick(&r, entryCalls, b>>5), pick(&r, entryVerdicts, b&31)
	}
	if has(entryAnswer) {
		e.HTTPStatus, e.Code = int(r.uvarint()), r.text()
	} else {
		a := pick(&r, entryAnswers, r.byte())
		e.HTTPStatus, e.Code = a.status, a.code
	}
	e.ElapsedMS = int64(r.uvarint())
	if has(entryMessage) {
		e.Message = r.text()
	}
	switch {
	case has(entryHexID):
		id, tail := r.take(int(r.byte())), r.tail()
		e.RequestID, e.DetailCode = joinID([]byte(id), tail), strconv.FormatUint(uint64(tail), 10)
	case has(entryTextID):
		e.RequestID = r.text()
	}
	if has(entryDetail) {
		e.DetailCode = r.text()
	}
	if r.bad || r.rest != "" {
		return Entry{}, errReply
	}
	return e, nil
}

// parseOldEntry reads "<ms> <json>".
func parseOldEntry(s string) (Entry, error) {
	ms, body, ok := strings.Cut(s, " ")
	var e Entry
	if !ok || json.Unmarshal([]byte(body), &e) != nil {
		return e, errReply
	}
	e.At = millis(ms).UTC()
	return e, nil
}

// entryReader reads an entry piece by piece, and remembers whether one was missing.
type entryReader struct {
	rest string
	bad  bool
}

func (r *entryReader) take(n int) string {
	if n > len(r.rest) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *entryReader) byte() byte {
	if s := r.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (r *entryReader) uvarint() uint64 {
	n, used := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if used <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

func (r *entryReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}

// pick returns a list's value at a place, which a later release may have added.
func pick[T any](r *entryReader, list []T, at byte) (v T) {
	if int(at) >= len(list) {
		r.bad = true
		return v
	}
	return list[at]
}
