package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"payscore-collector/internal/simulator"
)

// baseline is the platform between two faults: a little slow, and now and then wrong.
func baseline() simulator.Faults {
	return simulator.Faults{
		Latency: simulator.Duration(5 * time.Millisecond), LatencyJitter: simulator.Duration(15 * time.Millisecond),
		Error5xx: 0.01, DropAfter: 0.01, WrongSignature: 0.01,
	}
}

// twoFaults are two of the merchant's faults, the second of which is met by the
// probe that finds the first one mended: a new merchant number is set up wrongly
// in two ways.
func twoFaults(f profile, noAuthFirst func(*rand.Rand) bool) fault {
	each := f.merchant * 3 / 4
	return fault{name: "merchant's faults: SIGN_ERROR and NO_AUTH, one after the other", takes: 2 * each, do: func(e *env, r *rand.Rand, _ *worker) bool {
		order := []func(*simulator.Faults){
			func(c *simulator.Faults) { c.SignError = true },
			func(c *simulator.Faults) { c.NoAuth = true },
		}
		if noAuthFirst(r) {
			slices.Reverse(order)
		}
		for _, set := range order {
			faults := baseline()
			set(&faults)
			e.setFaults(faults)
			wait(each)
		}
		e.setFaults(baseline())
		return true
	}}
}

// platformFaults are what WeChat Pay does, or what lies between.
func platformFaults(f profile) []fault {
	wrong := func(name string, takes time.Duration, set func(*simulator.Faults)) fault {
		return fault{name: name, takes: takes, do: func(e *env, _ *rand.Rand, _ *worker) bool {
			faults := baseline()
			set(&faults)
			e.setFaults(faults)
			wait(takes)
			e.setFaults(baseline())
			return true
		}}
	}
	const often = 0.2
	spell := max(4*time.Second, f.attack/100)
	only := func(set func(*simulator.Faults)) func(*simulator.Faults) {
		return func(c *simulator.Faults) {
			c.Error5xx, c.DropAfter, c.WrongSignature = 0, 0, 0
			set(c)
		}
	}
	rare := func(d fault) fault {
		d.rare, d.closesGate = true, true
		return d
	}
	closing := func(d fault) fault {
		d.closesGate = true
		return d
	}
	half := closing(wrong("429 for half of the calls", spell, func(c *simulator.Faults) { c.MaxRate = max(1, int(f.rate/2)) }))
	// The rate takes a minute to recover, which is longer than a short form: it comes
	// last there, or hardly an order would be collected a second time.
	half.rare = !f.everyFault
	faults := []fault{
		wrong("20 % faults, of every kind", spell, only(func(c *simulator.Faults) {
			const each = often / 7
			c.Error5xx, c.Hang, c.DropBefore, c.DropAfter, c.WrongSignature, c.MissingSignature, c.HTML502 = each, each, each, each, each, each, each
		})),
		wrong("20 % of replies lost after taking effect", spell, only(func(c *simulator.Faults) { c.DropAfter = often })),
		half,
		rare(twoFaults(f, func(r *rand.Rand) bool { return r.IntN(2) == 0 })),
		wrong("slow: up to just below the call's time-out", spell, func(c *simulator.Faults) {
			c.Latency, c.LatencyJitter = simulator.Duration(f.callTimeout/10), simulator.Duration(f.callTimeout*4/5)
		}),
	}
	if !f.everyFault {
		return faults
	}
	return append(faults,
		rare(wrong("merchant's fault: SIGN_ERROR", f.merchant, func(c *simulator.Faults) { c.SignError = true })),
		rare(wrong("429 storm", spell, func(c *simulator.Faults) { c.MaxRate = max(1, int(f.rate/8)) })),
		rare(wrong("merchant's fault: NO_AUTH", f.merchant, func(c *simulator.Faults) { c.NoAuth = true })),
		rare(wrong("outage", f.merchant, func(c *simulator.Faults) { c.Down = true })),
		wrong("20 % HTTP 500, 502, 503", spell, only(func(c *simulator.Faults) { c.Error5xx = often })),
		wrong("20 % hang", spell, only(func(c *simulator.Faults) { c.Hang = often })),
		wrong("20 % reset before taking effect", spell, only(func(c *simulator.Faults) { c.DropBefore = often })),
		wrong("20 % wrongly signed", spell, only(func(c *simulator.Faults) { c.WrongSignature = often })),
		wrong("20 % unsigned", spell, only(func(c *simulator.Faults) { c.MissingSignature = often })),
		wrong("20 % a proxy's page", spell, only(func(c *simulator.Faults) { c.HTML502 = often })),
	)
}
