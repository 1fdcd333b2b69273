package worker

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/asynqx"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/queue"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// looker reads from Redis whether merchants have something to do, for many of them in one
// round trip. It changes nothing.
type looker struct {
	rdb      redis.UniversalClient
	cluster  bool // commands name the keys of one merchant only
	webhooks bool
	carried  time.Duration // see collect.Carried
}

func newLooker(rdb redis.UniversalClient, webhooks bool, carried time.Duration) looker {
	_, cluster := rdb.(*redis.ClusterClient)
	return looker{rdb, cluster, webhooks, carried}
}

// lookTogether is how many merchants one round trip asks for: the reply stays below some
// tens of kilobytes, and Redis is not blocked.
const lookTogether = 100

// finding is what a look has found of a merchant.
type finding struct {
	known bool      // false: Redis did not answer, and nothing is known
	stirs bool      // there is something to do, or that cannot be told
	due   time.Time // of the first order of the due index, or earlier; zero if the index is empty
	tip   string    // the newest event of the stream; "0-0" where there is none
}

// busy reports whether a merchant has something to do before a time.
func (f finding) busy(before time.Time) bool {
	return f.stirs || !f.due.IsZero() && !f.due.After(before)
}

// clock is the later one of Redis's clock and this machine's: to look too early at an
// order costs little, and too late would delay it. (The nodes of a cluster have clocks of
// their own.)
func clock(cmd *redis.TimeCmd) time.Time {
	now := time.Now()
	if theirs := cmd.Val(); cmd.Err() == nil && theirs.After(now) {
		return theirs
	}
	return now
}

// examine asks everything that keeps a merchant awake.
func (l looker) examine(ctx context.Context, mchids []string) (found []finding, now time.Time) {
	type asked struct {
		queue, hookQueue, ledger *redis.IntCmd
		mark                     *redis.IntCmd
		marked                   *redis.BoolCmd
		due                      *redis.ZSliceCmd
		tip                      *redis.XMessageSliceCmd
		cursor                   *redis.StringCmd
	}
	pipe := l.rdb.Pipeline()
	clockRead := pipe.Time(ctx)
	all := make([]asked, len(mchids))
	for i, mchid := range mchids {
		k, q := ledger.KeysOf(mchid), asynqx.KeysOf(tasks.QueueName(mchid))
		all[i] = asked{
			queue:  pipe.Exists(ctx, q.Stirring()...),
			marked: pipe.HExists(ctx, k.Sweep(), "queue"), // before the mark, see Sweeper; on a cluster in any order, which at worst wakes the merchant
			mark:   pipe.Exists(ctx, q.Mark),
			ledger: pipe.Exists(ctx, l.stirring(k)...),
			due:    pipe.ZRangeWithScores(ctx, k.Due(), 0, 0),
			tip:    pipe.XRevRangeN(ctx, k.Outcomes(), "+", "-", 1),
		}
		if l.webhooks {
			all[i].hookQueue = pipe.Exists(ctx, asynqx.KeysOf(queue.WebhookName(mchid)).Stirring()...)
			all[i].cursor = pipe.HGet(ctx, k.Hooks(), "cursor")
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	found = make([]finding, len(mchids))
	for i, a := range all {
		f := finding{known: true, tip: firstEvent}
		f.note(a.queue.Val() > 0, a.queue.Err())
		f.note(a.ledger.Val() > 0, a.ledger.Err())
		f.noteDue(a.due)
		f.note(false, a.mark.Err())
		f.note(false, a.marked.Err())
		if lost := a.mark.Val() == 0 && a.marked.Val(); lost && !f.due.IsZero() {
			// The queue was lost, and may have carried the order, which is due earlier than
			// the index says. A sweep finds out.
			f.due = f.due.Add(-l.carried)
		}
		f.note(false, a.tip.Err())
		if newest := a.tip.Val(); len(newest) > 0 {
			f.tip = newest[0].ID
		}
		if l.webhooks {
			f.note(a.hookQueue.Val() > 0, a.hookQueue.Err())
			f.note(before(a.cursor.Val(), f.tip), a.cursor.Err()) // the relay has not read all
		}
		found[i] = f
	}
	return found, clock(clockRead)
}

// stirring are the keys of a ledger, beside the due index, that are missing while there is
// nothing to do: orders that a pause has put off are made due by sweeps, and webhooks wait.
func (l looker) stirring(k ledger.Keys) []string {
	if l.webhooks {
		return []string{k.Paused(), k.HookDue(), k.HookWaiting()}
	}
	return []string{k.Paused()}
}

// firstEvent comes before every entry of a stream.
const firstEvent = "0-0"

// scan asks whether anything has changed for merchants that had nothing to do, with as
// few commands as it takes; tips are the findings' of examine. events says whether it also
// asks for what else is new in the ledgers, which in a cluster costs commands for each
// merchant.
func (l looker) scan(ctx context.Context, mchids, tips []string, events bool) (found []finding, now time.Time) {
	pipe := l.rdb.Pipeline()
	clockRead := pipe.Time(ctx)
	var queues, ledgers []*redis.IntCmd
	var news []*redis.XStreamSliceCmd
	due := make([]*redis.ZSliceCmd, len(mchids))
	var stirring, streams []string
	for i, mchid := range mchids {
		k := ledger.KeysOf(mchid)
		due[i] = pipe.ZRangeWithScores(ctx, k.Due(), 0, 0)
		mine := asynqx.KeysOf(tasks.QueueName(mchid)).Stirring()
		if l.cluster {
			queues = append(queues, pipe.Exists(ctx, mine...))
			if events {
				news = append(news, pipe.XRead(ctx, since([]string{k.Outcomes(), tips[i]})))
				ledgers = append(ledgers, pipe.Exists(ctx, l.stirring(k)...))
			}
			continue
		}
		mine = append(mine, l.stirring(k)...)
		if l.webhooks {
			mine = append(mine, asynqx.KeysOf(queue.WebhookName(mchid)).Stirring()...)
		}
		stirring, streams = append(stirring, mine...), append(streams, k.Outcomes())
	}
	if !l.cluster {
		queues = append(queues, pipe.Exists(ctx, stirring...))
		news = append(news, pipe.XRead(ctx, since(append(streams, tips...))))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	found = make([]finding, len(mchids))
	for i := range mchids {
		found[i] = finding{known: true, tip: tips[i]}
		found[i].noteDue(due[i])
		mine := min(i, len(queues)-1) // that of all, outside a cluster
		found[i].note(queues[mine].Val() > 0, queues[mine].Err())
		if len(ledgers) > 0 {
			found[i].note(ledgers[i].Val() > 0, ledgers[i].Err())
		}
		if len(news) > 0 {
			mine = min(i, len(news)-1)
			found[i].note(len(news[mine].Val()) > 0, news[mine].Err())
		}
	}
	return found, clock(clockRead)
}

func since(streams []string) *redis.XReadArgs {
	return &redis.XReadArgs{Streams: streams, Count: 1, Block: -1}
}

// note notes the answer to one question. Where Redis refuses it for this merchant's keys,
// nothing is known, and the merchant must stay awake: its work fails and is logged.
func (f *finding) note(stirs bool, err error) {
	var reply redis.Error
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		f.stirs = f.stirs || stirs
	case errors.As(err, &reply) && !redisconn.Explain(err).Passes():
		f.stirs = true
	default:
		f.known = false
	}
}

func (f *finding) noteDue(first *redis.ZSliceCmd) {
	f.note(false, first.Err())
	for _, z := range first.Val() {
		f.due = time.UnixMilli(int64(z.Score))
	}
}

// before reports whether an entry's ID is before another one's; "" is before all.
func before(a, b string) bool {
	number := func(id string) (ms, seq uint64) {
		left, right, _ := strings.Cut(id, "-")
		ms, _ = strconv.ParseUint(left, 10, 64)
		seq, _ = strconv.ParseUint(right, 10, 64)
		return ms, seq
	}
	ams, aseq := number(a)
	bms, bseq := number(b)
	return ams < bms || ams == bms && aseq < bseq
}
