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

// sample is what one side, the worker or the peer, did in one run.
type sample struct {
	calls      int
	cpu        time.Duration
	redisCPU   time.Duration
	perSecond  float64 // orders, between a fifth and four fifths of the calls
	signatures float64 // requests, per call that was needed
}

// callOrders is how many orders a run has. Each takes two calls: a collect, and
// the query that confirms it.
const callOrders = 3000

// calls lets the worker and the peer alternate on the same platform and Redis.
func calls(ctx context.Context, e *env) error {
	platform, err := e.startPlatform(ctx)
	if err != nil {
		return err
	}
	defer platform.kill()
	e.signature = signatureCost()
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		if err := platform.faults(simulator.Faults{Latency: simulator.Duration(latency)}); err != nil {
			return err
		}
		var ours, peers []sample
		for range e.rounds {
			s, err := e.run(ctx, platform, e.startWorker, e.enqueue)
			if err != nil {
				return fmt.Errorf("the worker: %w", err)
			}
			p, err := e.run(ctx, platform, e.startPeer, e.enqueuePeer)
			if err != nil {
				return fmt.Errorf("the peer: %w", err)
			}
			ours, peers = append(ours, s), append(peers, p)
		}
		e.addCallRows(latency, ours, peers)
	}
	return nil
}

// run enqueues orders, starts one side, and waits until its calls are made.
func (e *env) run(ctx context.Context, p platform, start func(platform, ...string) (*process, error), enqueue func(context.Context, []string) error) (sample, error) {
	nos := numbers("CALL", callOrders)
	if err := e.flush(ctx); err != nil {
		return sample{}, err
	}
	if err := p.reset(nos, simulator.FatePays); err != nil {
		return sample{}, err
	}
	if err := enqueue(ctx, nos); err != nil {
		return sample{}, err
	}
	redisBefore := e.cpu(e.redis)
	side, err := start(p)
	if err != nil {
		return sample{}, err
	}
	defer side.kill()
	if err := until(ctx, 2*time.Minute, "the calls to be made", func() (bool, error) {
		n, err := p.countCalls()
		return n >= 2*callOrders, err
	}); err != nil {
		return sample{}, err
	}
	redisAfter := e.cpu(e.redis)
	cpu, err := side.stop()
	if err != nil {
		return sample{}, err
	}
	all, err := p.calls()
	if err != nil {
		return sample{}, err
	}
	return sample{
		calls: len(all), cpu: cpu, redisCPU: redisAfter - redisBefore,
		perSecond: rateOf(all) / 2, signatures: float64(len(all)) / (2 * callOrders),
	}, nil
}

// rateOf is the calls a second between a fifth and four fifths of them: without
// the start, and without the end, when only the last confirmations are due.
func rateOf(calls []simulator.Seen) float64 {
	slices.SortFunc(calls, func(a, b simulator.Seen) int { return a.Began.Compare(b.Began) })
	from, to := len(calls)/5, len(calls)*4/5
	return float64(to-from) / calls[to].Began.Sub(calls[from].Began).Seconds()
}

func (e *env) addCallRows(latency time.Duration, ours, peers []sample) {
	cpu := func(s sample) float64 { return ms(s.cpu) / float64(s.calls) }
	redis := func(s sample) float64 { return ms(s.redisCPU) / float64(s.calls) }
	rate := func(s sample) float64 { return s.perSecond }
	cpuOurs, cpuPeers := medianOf(ours, cpu), medianOf(peers, cpu)
	where := "a platform that answers at once"
	if latency > 0 {
		where = fmt.Sprintf("a platform that takes %v", latency)
	}
	e.table.atMost(1.10, "x", ratio(ours, peers, cpu), "processor time of a call; "+where,
		"%.3f ms, peer %.3f ms", cpuOurs, cpuPeers)
	if latency == 0 {
		e.table.atMost(1.3, "x", cpuOurs/ms(e.signature), "processor time of a call, in RSA-2048 signatures",
			"%.3f ms, a signature %.3f ms, peer %.2f signatures", cpuOurs, ms(e.signature), cpuPeers/ms(e.signature))
		e.table.atMost(1.3, "", medianOf(ours, func(s sample) float64 { return s.signatures }), "signatures that a call takes",
			"peer %s", short(medianOf(peers, func(s sample) float64 { return s.signatures })))
	}
	e.table.atLeast(0.95, "x", ratio(ours, peers, rate), "orders a second, WORKER_CONCURRENCY=64; "+where,
		"%.0f, peer %.0f", medianOf(ours, rate), medianOf(peers, rate))
	e.table.note("x", ratio(ours, peers, redis), "processor time of Redis for a call; "+where,
		"%.3f ms, peer %.3f ms", medianOf(ours, redis), medianOf(peers, redis))
}

// ratio is the median over the rounds of ours to the peer's: a disturbance of a
// round affects both.
func ratio(ours, peers []sample, of func(sample) float64) float64 {
	var r []float64
	for i := range ours {
		r = append(r, of(ours[i])/of(peers[i]))
	}
	return median(r)
}

func medianOf(samples []sample, of func(sample) float64) float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	return median(v)
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// signatureCost is the processor time of one RSA-2048 signature on this machine.
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
