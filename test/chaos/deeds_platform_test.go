package chaos

import (
	"math/rand/v2"
	"slices"
	"time"

	"payscore-collector/internal/simulator"
)

// calm is the platform between two faults: a little slow, and now and then wrong.
func calm() simulator.Faults {
	return simulator.Faults{
		Latency: simulator.Duration(5 * time.Millisecond), LatencyJitter: simulator.Duration(15 * time.Millisecond),
		Error5xx: 0.01, DropAfter: 0.01, WrongSignature: 0.01,
	}
}

// twoFaults are two of the merchant's faults, the second of which is met by the
// probe that finds the first one mended: a new merchant number is set up wrongly
// in two ways.
func twoFaults(f form, noAuthFirst func(*rand.Rand) bool) deed {
	each := f.merchant * 3 / 4
	return deed{name: "merchant's faults: SIGN_ERROR and NO_AUTH, one after the other", takes: 2 * each, do: func(w *world, r *rand.Rand, _ *worker) bool {
		order := []func(*simulator.Faults){
			func(c *simulator.Faults) { c.SignError = true },
			func(c *simulator.Faults) { c.NoAuth = true },
		}
		if noAuthFirst(r) {
			slices.Reverse(order)
		}
		for _, set := range order {
			faults := calm()
			set(&faults)
			w.setFaults(faults)
			hold(each)
		}
		w.setFaults(calm())
		return true
	}}
}

// platformDeeds are what WeChat Pay does, or what lies between.
func platformDeeds(f form) []deed {
	wrong := func(name string, takes time.Duration, set func(*simulator.Faults)) deed {
		return deed{name: name, takes: takes, do: func(w *world, _ *rand.Rand, _ *worker) bool {
			faults := calm()
			set(&faults)
			w.setFaults(faults)
			hold(takes)
			w.setFaults(calm())
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
	rare := func(d deed) deed {
		d.rare, d.closesGate = true, true
		return d
	}
	closing := func(d deed) deed {
		d.closesGate = true
		return d
	}
	deeds := []deed{
		wrong("20 % faults, of every kind", spell, only(func(c *simulator.Faults) {
			const each = often / 7
			c.Error5xx, c.Hang, c.DropBefore, c.DropAfter, c.WrongSignature, c.MissingSignature, c.HTML502 = each, each, each, each, each, each, each
		})),
		wrong("20 % of replies lost after taking effect", spell, only(func(c *simulator.Faults) { c.DropAfter = often })),
		closing(wrong("429 for half of the calls", spell, func(c *simulator.Faults) { c.MaxRate = max(1, int(f.rate/2)) })),
		rare(twoFaults(f, func(r *rand.Rand) bool { return r.IntN(2) == 0 })),
		wrong("slow: up to just below the call's time-out", spell, func(c *simulator.Faults) {
			c.Latency, c.LatencyJitter = simulator.Duration(f.callTimeout/10), simulator.Duration(f.callTimeout*4/5)
		}),
	}
	if !f.everyFault {
		return deeds
	}
	return append(deeds,
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
