package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"payscore-collector/internal/signer"
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
// the query that confirms it a second later. They are so many that queries are due before
// the last collect is made: with fewer, a fast side waits for them with nothing to do.
const callOrders = 6000

// calls lets the worker, with each signer that it has here, and the peer alternate on the
// same platform and Redis.
func calls(ctx context.Context, e *env) error {
	platform, err := e.startPlatform(ctx)
	if err != nil {
		return err
	}
	defer platform.kill()
	if err := e.measureSignatures(ctx); err != nil {
		return err
	}
	for _, latency := range []time.Duration{0, 100 * time.Millisecond} {
		if err := platform.faults(simulator.Faults{Latency: simulator.Duration(latency)}); err != nil {
			return err
		}
		ours, peers := map[string][]sample{}, []sample(nil)
		for range e.rounds {
			for _, s := range e.signatures {
				done, err := e.run(ctx, platform, e.startWorker, e.enqueue, "WECHATPAY_SIGNER="+s.Signer)
				if err != nil {
					return fmt.Errorf("the worker with %s: %w", s.Signer, err)
				}
				ours[s.Signer] = append(ours[s.Signer], done)
			}
			p, err := e.run(ctx, platform, e.startPeer, e.enqueuePeer)
			if err != nil {
				return fmt.Errorf("the peer: %w", err)
			}
			peers = append(peers, p)
		}
		for _, s := range e.signatures {
			e.addCallRows(latency, s, ours[s.Signer], peers)
		}
	}
	return nil
}

// run enqueues orders, starts one side, and waits until its calls are made.
func (e *env) run(ctx context.Context, p platform, start func(platform, ...string) (*process, error), enqueue func(context.Context, []string) error, environment ...string) (sample, error) {
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
	side, err := start(p, environment...)
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

// bars are what a call with a signer may cost beside the peer, which signs with Go, where
// the platform answers at once.
type bars struct{ cpu, orders, signatures float64 }

func (e *env) barsOf(name string) bars {
	switch {
	case name == signer.Go:
		return bars{1.10, 0.95, 1.3}
	case e.ifma():
		return bars{0.55, 1.5, 1.6}
	}
	return bars{0.75, 1.25, 1.6}
}

func (e *env) addCallRows(latency time.Duration, with signature, ours, peers []sample) {
	cpu := func(s sample) float64 { return ms(s.cpu) / float64(s.calls) }
	redis := func(s sample) float64 { return ms(s.redisCPU) / float64(s.calls) }
	rate := func(s sample) float64 { return s.perSecond }
	cpuOurs, cpuPeers := medianOf(ours, cpu), medianOf(peers, cpu)
	detail := fmt.Sprintf("%.3f ms, peer %.3f ms", cpuOurs, cpuPeers)
	orders := fmt.Sprintf("%.0f, peer %.0f", medianOf(ours, rate), medianOf(peers, rate))
	b := e.barsOf(with.Signer)
	if latency > 0 {
		where := fmt.Sprintf("%s signs, a platform that takes %v: ", with.Signer, latency)
		e.table.atMost(1.10, "x", ratio(ours, peers, cpu), where+"processor time of a call", "%s", detail)
		e.table.atLeast(0.95, "x", ratio(ours, peers, rate), where+"orders a second, WORKER_CONCURRENCY=64", "%s", orders)
		return
	}
	where := with.Signer + " signs, a platform that answers at once: "
	e.table.atMost(b.cpu, "x", ratio(ours, peers, cpu), where+"processor time of a call", "%s", detail)
	e.table.atMost(b.signatures, "x", cpuOurs/ms(with.Cost), where+"the same in RSA-2048 signatures of that signer",
		"%.3f ms, a signature %.3f ms", cpuOurs, ms(with.Cost))
	e.table.atMost(1.3, "", medianOf(ours, func(s sample) float64 { return s.signatures }), where+"signatures that a call takes",
		"peer %s", short(medianOf(peers, func(s sample) float64 { return s.signatures })))
	e.table.atLeast(b.orders, "x", ratio(ours, peers, rate), where+"orders a second, WORKER_CONCURRENCY=64", "%s", orders)
	if with.Signer == e.signatures[0].Signer { // Redis does the same whatever signs
		e.table.atMost(0.12, " ms", medianOf(ours, redis), where+"processor time of Redis for a call", "peer %.3f ms", medianOf(peers, redis))
	}
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
