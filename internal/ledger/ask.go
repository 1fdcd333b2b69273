package ledger

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Questions are reads that go to Redis together, in one round trip. Where the processors
// are busy, each round trip waits for them, and so does each connection.
//
// The methods Ask… of a Ledger add a question, and return what reads its answer after Ask
// has returned.
type Questions struct {
	redis.Pipeliner
	source bool // send the sources of scripts, which Redis does not know yet
}

// Ask asks what add adds. Each answer has its own error. On a Cluster, each node with
// keys of the questions is asked, at the same time. add is called again if Redis does not
// know one of the scripts.
func Ask(ctx context.Context, rdb redis.UniversalClient, add func(*Questions)) {
	q := &Questions{Pipeliner: rdb.Pipeline()}
	add(q)
	cmds, _ := q.Exec(ctx)
	if !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") }) {
		return
	}
	q = &Questions{Pipeliner: rdb.Pipeline(), source: true}
	add(q)
	_, _ = q.Exec(ctx)
}

// script adds a call of a script.
func (q *Questions) script(s *redis.Script, keys []string, args ...any) *redis.Cmd {
	if q.source {
		return s.Eval(context.Background(), q, keys, args...)
	}
	return s.EvalSha(context.Background(), q, keys, args...)
}
