package redistest

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// PatchScripts has a client run every Lua script as patch returns it: with a fault
// that a test must notice, or with a clock that the test sets. It is called before
// the client's first command.
func PatchScripts(client *redis.Client, patch func(src string) string) {
	client.AddHook(&patcher{patch: patch, known: map[string]string{}})
}

type patcher struct {
	Hook
	patch func(string) string
	mu    sync.Mutex
	known map[string]string // SHA-1 of the patched script by that of the script
}

// noScript makes go-redis send the source, which patcher needs.
type noScript struct{ error }

func (noScript) RedisError() {}

var errNoScript = noScript{errors.New("NOSCRIPT not patched yet")}

func (p *patcher) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		if cmd.Name() != "eval" && cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if name := args[1].(string); cmd.Name() == "evalsha" {
			if p.known[name] == "" {
				cmd.SetErr(errNoScript)
				return errNoScript
			}
			args[1] = p.known[name]
			return next(ctx, cmd)
		}
		src := args[1].(string)
		load := redis.NewStringCmd(ctx, "script", "load", p.patch(src))
		if err := next(ctx, load); err != nil {
			cmd.SetErr(err)
			return err
		}
		sum := sha1.Sum([]byte(src))
		p.known[hex.EncodeToString(sum[:])] = load.Val()
		args[0], args[1] = "evalsha", load.Val()
		return next(ctx, cmd)
	}
}

// clockKey has the time of the scripts, in seconds and microseconds, where a test
// sets it.
const clockKey = "redistest:clock"

// Scripted sets the time that scripts have from Redis. It can jump.
type Scripted struct {
	t      testing.TB
	client *redis.Client
}

// ScriptClock makes the scripts of a client read a clock that the test sets, where
// they ask for TIME.
func ScriptClock(t testing.TB, client *redis.Client) Scripted { return ScriptClockAnd(t, client, nil) }

// ScriptClockAnd is ScriptClock for scripts that are patched otherwise too.
func ScriptClockAnd(t testing.TB, client *redis.Client, patch func(string) string) Scripted {
	PatchScripts(client, func(src string) string {
		if patch != nil {
			src = patch(src)
		}
		return strings.ReplaceAll(src, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
	})
	return Scripted{t, client}
}

// Set sets the clock, with what it shows in microseconds.
func (c Scripted) Set(now time.Time) {
	c.t.Helper()
	us := now.UnixMicro()
	if err := c.client.HSet(context.Background(), clockKey, "s", us/1e6, "us", us%1e6).Err(); err != nil {
		c.t.Fatal(err)
	}
}
