package ledger

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"payscore-collector/tasks"
)

//go:embed *.lua
var sources embed.FS

// The scripts, each in the file of its name, with tasks.EventScript and
// common.lua before it.
var (
	claimScript  = load("claim")
	permitScript = load("permit")
	settleScript = load("settle")
	sweepScript  = load("sweep")
	rewindScript = load("rewind")
	getScript    = load("get")
	listScript   = load("list")
	lagScript    = load("lag")
	noticeScript = load("notice")
	retainScript = load("retain")
	streamScript = load("stream")

	beatScript    = load("beat")
	workersScript = load("workers")

	hooksScript      = load("hooks")
	hookClaimScript  = load("hookclaim")
	hookSettleScript = load("hooksettle")
)

func load(name string) *redis.Script {
	src := tasks.EventScript
	for _, file := range []string{"common.lua", name + ".lua"} {
		b, err := sources.ReadFile(file)
		if err != nil {
			panic(err) // the files are embedded: they are there, or it did not build
		}
		src += string(b) + "\n"
	}
	return redis.NewScript(src)
}

// run calls a script with named arguments, and entries for a log behind them, and
// returns its reply.
func run(ctx context.Context, rdb redis.Scripter, script *redis.Script, keys []string, args any, entries ...any) ([]any, error) {
	body, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	reply, err := script.Run(ctx, rdb, keys, append([]any{body}, entries...)...).Slice()
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return reply, nil
}

var errReply = errors.New("ledger: a script's reply has another shape than expected; do workers of different releases share one Redis?")

// reader takes a script's reply apart, value by value, and remembers whether
// everything had the right type.
type reader struct {
	vals []any
	bad  bool
}

func (r *reader) next() any {
	if len(r.vals) == 0 {
		r.bad = true
		return nil
	}
	v := r.vals[0]
	r.vals = r.vals[1:]
	return v
}

func (r *reader) str() string {
	s, ok := r.next().(string)
	r.bad = r.bad || !ok
	return s
}

func (r *reader) int() int64 {
	n, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return n
}

func (r *reader) list() []any {
	l, ok := r.next().([]any)
	r.bad = r.bad || !ok
	return l
}

func (r *reader) err() error {
	if r.bad {
		return errReply
	}
	return nil
}
