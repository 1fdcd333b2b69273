package ledger

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var sources embed.FS

// The scripts, each in the file of its name, with common.lua, event.lua where it emits
// events, and the named libraries before it.
var (
	claimScript    = load("claim", "pace", "hold")
	permitScript   = load("permit", "pace", "hold")
	settleScript   = load("settle", "pace", "hold", "money", "recovery", "kept", "event")
	sweepScript    = load("sweep", "hold", "clock")
	takeScript     = load("take", "pace", "recovery", "kept")
	jumpedScript   = load("jumped", "hold", "clock")
	mendScript     = load("mend", "pace")
	holdsScript    = load("holds", "pace", "hold")
	openScript     = load("open", "recovery", "kept", "event", "audit")
	withdrawScript = load("withdraw", "recovery", "kept", "event", "audit")
	rewindScript   = load("rewind")
	recordScript   = load("record", "audit")
	forgetScript   = load("forget")
	getScript      = load("get", "recovery", "kept")
	listScript     = load("list", "recovery", "kept")
	paidScript     = load("paid", "recovery", "kept")
	lagScript      = load("lag")
	noticeScript   = load("notice", "money", "recovery", "kept", "event")
	retainScript   = load("retain", "pace")
	agedScript     = load("aged")
	ripeScript     = load("ripe", "readers")
	compactScript  = load("compact", "pace", "recovery", "kept")
	streamScript   = load("stream", "readers")
	pauseScript    = load("pause", "hold", "audit")
	resumeScript   = load("resume", "hold", "audit")
	unpauseScript  = load("unpause", "hold")

	collectNowScript  = load("collectnow", "pace", "audit")
	acknowledgeScript = load("acknowledge", "audit")

	bulkOpenScript  = load("bulkopen", "audit")
	bulkClaimScript = load("bulkclaim", "bulkjob")
	bulkCountScript = load("bulkcount", "bulkjob")
	bulkTickScript  = load("bulktick", "bulkjob")
	closeBookScript = load("closebook")
	bookTurnScript  = load("bookturn")
	askScript       = load("ask", "pace", "recovery", "kept")
	toldScript      = load("told")
	callSlotScript  = load("callslot", "pace")

	fillScript = load("fill", "recovery", "kept")

	beatScript    = load("beat")
	workersScript = load("workers")

	hooksScript      = load("hooks", "pace", "hookdue")
	hookTakeScript   = load("hooktake", "pace", "hookdue")
	hookClaimScript  = load("hookclaim", "pace")
	hookMendScript   = load("hookmend")
	hookSettleScript = load("hooksettle")
	hookRetryScript  = load("hookretry", "audit")
	hookReplayScript = load("hookreplay", "audit")
	hookDropScript   = load("hookdrop", "audit")

	destroyReaderScript = load("destroyreader", "audit")
)

func load(name string, libraries ...string) *redis.Script {
	var parts []part
	for _, file := range slices.Concat([]string{"common"}, libraries, []string{name}) {
		parts = append(parts, partsOf(file)...)
	}
	src := onlyUsed(parts)
	s := redis.NewScript(src)
	names[s.Hash()], loadedSource[name], loaded = name, src, append(loaded, s)
	return s
}

// part is a function of a script's file, or what is between two.
type part struct {
	text     string
	function string   // its name; empty between two
	calls    []string // what it calls; its own head counts
}

var (
	luaFunction = regexp.MustCompile(`(?m)^local function (\w+)\(.*\bend$|^local function (\w+)\((?s:.*?)^end$`)
	luaComment  = regexp.MustCompile(`(?m)^ *--.*$`)
	luaCall     = regexp.MustCompile(`([\w.]+)\(`)
	readParts   = map[string][]part{} // by file: every process reads them all when it starts
)

func partsOf(file string) []part {
	if parts, ok := readParts[file]; ok {
		return parts
	}
	b, err := sources.ReadFile("scripts/" + file + ".lua")
	if err != nil {
		panic(err) // cannot happen: the files are embedded
	}
	readParts[file] = takeApart(generate(file, string(b)) + "\n")
	return readParts[file]
}

func takeApart(src string) (parts []part) {
	add := func(function, text string) {
		p := part{text: text, function: function}
		for _, m := range luaCall.FindAllStringSubmatch(luaComment.ReplaceAllString(text, ""), -1) {
			p.calls = append(p.calls, m[1])
		}
		parts = append(parts, p)
	}
	from := 0
	for _, at := range luaFunction.FindAllStringSubmatchIndex(src, -1) {
		name := src[max(at[2], at[4]):max(at[3], at[5])]
		add("", src[from:at[0]])
		add(name, src[at[0]:at[1]])
		from = at[1]
	}
	add("", src[from:])
	return parts
}

// onlyUsed returns the source of a script without the functions that it does not call: Lua
// makes all functions of a script anew each time that the script runs.
func onlyUsed(parts []part) string {
	for {
		uses := map[string]int{}
		for _, p := range parts {
			for _, name := range p.calls {
				uses[name]++
			}
		}
		less := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.function != "" && uses[p.function] < 2 })
		if len(less) == len(parts) {
			break
		}
		parts = less
	}
	var src strings.Builder
	for _, p := range parts {
		src.WriteString(p.text)
	}
	return src.String()
}

// All scripts, their names by their SHA-1, and their sources by their names.
var (
	loaded       []*redis.Script
	names        = map[string]string{}
	loadedSource = map[string]string{}
)

// ScriptName returns the name of the ledger's script with a SHA-1, as EVALSHA
// takes it; "" for a script that is not the ledger's.
func ScriptName(sha1 string) string { return names[sha1] }

// LoadScripts makes Redis know every script, so that each call of one is one
// command.
func LoadScripts(ctx context.Context, rdb redis.Scripter) error {
	for _, s := range loaded {
		if err := s.Load(ctx, rdb).Err(); err != nil {
			return err
		}
	}
	return nil
}

// run calls a script with named arguments, and entries for a log behind them.
func run(ctx context.Context, rdb redis.Scripter, script *redis.Script, keys []string, args any, entries ...any) reader {
	body, err := json.Marshal(args)
	if err != nil {
		return reader{err: err}
	}
	return replyTo(script.Run(ctx, rdb, keys, append([]any{body}, entries...)...))
}

// replyTo reads the reply to a call of a script.
func replyTo(call *redis.Cmd) reader {
	vals, err := call.Slice()
	if err != nil {
		return reader{err: fmt.Errorf("ledger: %w", err)}
	}
	return reader{vals: vals}
}

var errReply = errors.New("ledger: a script's reply has another shape than expected; do workers of different releases share one Redis?")

// reader takes a script's reply apart, value by value. err is the first thing that went
// wrong: the call itself, or a value that is missing or has another type. From then on
// every value is the zero value of its type.
type reader struct {
	vals []any
	err  error
}

func nextAs[T any](r *reader) (v T) {
	if !r.more() {
		r.err = cmp.Or(r.err, errReply)
		return v
	}
	v, ok := r.vals[0].(T)
	if !ok {
		r.err = errReply
	}
	r.vals = r.vals[1:]
	return v
}

// more reports whether there is another value.
func (r *reader) more() bool { return r.err == nil && len(r.vals) > 0 }

func (r *reader) str() string { return nextAs[string](r) }

func (r *reader) int() int64 { return nextAs[int64](r) }

func (r *reader) list() []any { return nextAs[[]any](r) }

// time reads a time in ms.
func (r *reader) time() time.Time {
	ms := r.int()
	if r.err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
