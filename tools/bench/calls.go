package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"syscall"
	"time"

	"payscore-collector/internal/simulator"
)

// turn is what one side did in its turn.
type turn struct {
	calls      int
	cpu        time.Duration
	redisCPU   time.Duration
	perSecond  float64 // orders, between a fifth and four fifths of the calls
	signatures float64 // requests that the platform let in, a call that was needed
}

// callOrders is how many orders a turn has. Each takes two calls: a collect, and
// the query that confirms it.
const callOrders = 3000

// calls lets worker and peer take turns on the same platform and the same Redis.
func calls(ctx context.Context, l *lab) error {
	m, err := l.startPlatform(ctx, simulator.DefaultMchID)
	if err != nil {
		return err
	}
	defer m.kill()
	l.signature = signatureCost()

	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		if err := m.faults(simulator.Faults{Latency: simulator.Duration(latency)}); err != nil {
			return err
		}
		var ours, peers []turn
		for range l.rounds {
			t, err := l.turn(ctx, m, l.startWorker0, func(ctx context.Context, nos []string) error { return l.feed(ctx, m, nos) })
			if err != nil {
				return fmt.Errorf("the worker: %w", err)
			}
			p, err := l.turn(ctx, m, l.startPeer, func(ctx context.Context, nos []string) error {
				_, err := l.feedPeer(ctx, m, nos)
				return err
			})
			if err != nil {
				return fmt.Errorf("the peer: %w", err)
			}
			ours, peers = append(ours, t), append(peers, p)
		}
		l.tellCalls(latency, ours, peers)
	}
	return nil
}

func (l *lab) startWorker0(m merchant) (*child, error) { return l.startWorker(m) }

// turn hands orders over, starts one side, and waits until the calls are made.
func (l *lab) turn(ctx context.Context, m merchant, start func(merchant) (*child, error), feed func(context.Context, []string) error) (turn, error) {
	if err := l.fresh(ctx); err != nil {
		return turn{}, err
	}
	if err := m.reset(false); err != nil {
		return turn{}, err
	}
	nos := numbers("CALL", callOrders)
	if err := m.add(nos, simulator.FatePays); err != nil {
		return turn{}, err
	}
	if err := feed(ctx, nos); err != nil {
		return turn{}, err
	}
	redisBefore := l.redis.used()
	c, err := start(m)
	if err != nil {
		return turn{}, err
	}
	defer c.kill()
	if err := until(ctx, 2*time.Minute, "the calls to be made", func() (bool, error) {
		s, err := m.seen(false)
		return s.Calls >= 2*callOrders, err
	}); err != nil {
		return turn{}, err
	}
	redisAfter := l.redis.used()
	cpu, err := c.stop()
	if err != nil {
		return turn{}, err
	}
	s, err := m.seen(true)
	if err != nil {
		return turn{}, err
	}
	r, err := m.report()
	if err != nil {
		return turn{}, err
	}
	return turn{
		calls: s.Calls, cpu: cpu, redisCPU: redisAfter - redisBefore,
		perSecond:  rateOf(s.Times) / 2,
		signatures: float64(r.Calls-r.RejectedSignatures) / float64(2*callOrders),
	}, nil
}

// rateOf is the calls a second between a fifth and four fifths of them: without
// the start, and without the end, where the last confirmations are waited for.
func rateOf(times []int64) float64 {
	times = slices.Sorted(slices.Values(times))
	from, to := len(times)/5, len(times)*4/5
	return float64(to-from) / (float64(times[to]-times[from]) / 1e9)
}

func (l *lab) tellCalls(latency time.Duration, ours, peers []turn) {
	cpu := func(t turn) float64 { return ms(t.cpu) / float64(t.calls) }
	redis := func(t turn) float64 { return ms(t.redisCPU) / float64(t.calls) }
	rate := func(t turn) float64 { return t.perSecond }
	cpuOurs, cpuPeers := median(ours, cpu), median(peers, cpu)
	where := "a platform that answers at once"
	if latency > 0 {
		where = fmt.Sprintf("a platform that takes %v", latency)
	}
	l.table.atMost(1.10, "x", ratios(ours, peers, cpu), "processor time of a call; "+where,
		"%.3f ms, peer %.3f ms", cpuOurs, cpuPeers)
	if latency == 0 {
		l.table.atMost(1.3, "x", cpuOurs/ms(l.signature), "processor time of a call, in RSA-2048 signatures",
			"%.3f ms, a signature %.3f ms, peer %.2f signatures", cpuOurs, ms(l.signature), cpuPeers/ms(l.signature))
		l.table.atMost(1.3, "", median(ours, func(t turn) float64 { return t.signatures }), "signatures that a call takes",
			"peer %s", short(median(peers, func(t turn) float64 { return t.signatures })))
	}
	l.table.atLeast(0.95, "x", ratios(ours, peers, rate), "orders a second, WORKER_CONCURRENCY=64; "+where,
		"%.0f, peer %.0f", median(ours, rate), median(peers, rate))
	l.table.note("x", ratios(ours, peers, redis), "processor time of Redis for a call; "+where,
		"%.3f ms, peer %.3f ms", median(ours, redis), median(peers, redis))
}

// ratios is the median of ours to the peer's in each round: what disturbs a
// round disturbs both.
func ratios(ours, peers []turn, of func(turn) float64) float64 {
	var r []float64
	for i := range ours {
		r = append(r, of(ours[i])/of(peers[i]))
	}
	return middle(r)
}

func median(turns []turn, of func(turn) float64) float64 {
	var v []float64
	for _, t := range turns {
		v = append(v, of(t))
	}
	return middle(v)
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// percentile of sorted values.
func percentile(sorted []float64, p float64) float64 {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// signatureCost is the processor time of one RSA-2048 signature of this machine.
func signatureCost() time.Duration {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	digest := sha256.Sum256([]byte("payscore"))
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const n = 500
	start := cpu()
	for range n {
		if _, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]); err != nil {
			panic(err)
		}
	}
	return (cpu() - start) / n
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}
