package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	formFlag     = flag.String("chaos", "off", "which profile to run: short, long, topologies or mutants")
	seedFlag     = flag.Uint64("chaos.seed", 0, "the seed of the schedule; 0 draws one")
	ordersFlag   = flag.Int("chaos.orders", 0, "the long profile with so many orders, and a part of its faults and time; 0: all of it")
	onlyFlag     = flag.String("chaos.only", "", "only the faults whose name has this in it")
	markdownFlag = flag.Bool("chaos.markdown", false, "print the closing table as Markdown")
	keepFlag     = flag.Bool("chaos.keep", false, "keep the logs and traces of the worker processes")
)

func TestMain(m *testing.M) {
	flag.Parse()
	redis.SetLogger(quiet{}) // that Redis is away is the point
	switch *formFlag {
	case "off", "short", "long", "topologies", "mutants":
	default:
		fmt.Fprintf(os.Stderr, "-chaos=%s is not known: use short, long, topologies or mutants\n", *formFlag)
		os.Exit(2)
	}
	status := m.Run()
	cleanBuilds()
	os.Exit(status)
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// seed is the run's, and is said before anything happens.
func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64N(1_000_000_000)
	}
	t.Logf("seed %d: repeat this schedule with -chaos=%s -chaos.seed=%d", s, *formFlag, s)
	return s
}

// enoughTime fails at once where go test would end the run midway.
func enoughTime(t *testing.T, need time.Duration) {
	t.Helper()
	if deadline, ok := t.Deadline(); ok && time.Until(deadline) < need {
		t.Fatalf("-chaos=%s takes up to %s, and go test gives it %s: add -timeout %s", *formFlag, need, time.Until(deadline).Round(time.Second), need+10*time.Minute)
	}
}

// All six promises at once, under everything that the profile has.
func TestAttack(t *testing.T) {
	switch *formFlag {
	case "off":
		t.Skip("nothing was attacked: say how, with -chaos=short, long, topologies or mutants")
	case "short":
		attack(t, shortProfile())
	case "topologies":
		enoughTime(t, 8*time.Minute)
		for _, topology := range []struct {
			name string
			put  func(*testing.T) store
		}{{"standalone", func(t *testing.T) store { return newStandalone(t) }}, {"sentinel", newSentinels}, {"cluster", newCluster}} {
			t.Run(topology.name, func(t *testing.T) {
				f := topologyProfile()
				f.newStore = topology.put
				attack(t, f)
			})
		}
	case "long":
		f := longProfile()
		if *ordersFlag > 0 {
			f = f.part(float64(*ordersFlag) / float64(f.orders))
		}
		enoughTime(t, f.atMost)
		attack(t, f)
	}
}

// attack runs one profile and judges it.
func attack(t *testing.T, f profile) {
	e := newEnv(t, f, seed(t))
	e.run()
	res := e.judge()
	t.Log(res)
	res.demandZeros(t)
}
