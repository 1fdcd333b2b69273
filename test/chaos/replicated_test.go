package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
)

// replicated is Redis in a topology that survives the loss of a master, by
// replicas that follow it asynchronously.
type replicated interface {
	store
	// masterOf is the node to which a key is written, in the eyes of who
	// decides that; but, where given, is not asked.
	masterOf(ctx context.Context, key string, but *node) (*node, error)
	// whole returns nil where every node is up and every replica in touch.
	whole(ctx context.Context) error
}

// openStore is the harness's own client, made as the workers make theirs.
func openStore(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url, redisconn.Pool{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// awaitHealthy waits until all is up, and returns what is missing else.
func awaitHealthy(s replicated, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		err := s.whole(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		<-time.After(100 * time.Millisecond)
	}
}

// follows reports whether a replica is in touch with its master, and has all
// that it held when they met.
func (n *node) follows(ctx context.Context) error {
	info, err := n.rdb.InfoMap(ctx, "replication").Result()
	if err != nil {
		return err
	}
	of := info["Replication"]
	if of["role"] != "slave" || of["master_link_status"] != "up" || of["master_sync_in_progress"] != "0" {
		return fmt.Errorf("%s is a %s, its link %q", n.addr(), of["role"], of["master_link_status"])
	}
	return nil
}

// failoverFaults take the masters away that the ledger and the queue are on.
func failoverFaults(s replicated) []fault {
	const takes = 15 * time.Second
	// strike makes the master unreachable, and returns how to bring it back.
	by := func(name string, strike func(e *env, master *node) (undo func() error)) fault {
		return fault{name: name, takes: takes, do: func(e *env, _ *rand.Rand, _ *worker) bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			key := ledger.KeysOf(e.sim.Merchant().MchID).Due()
			master, err := s.masterOf(ctx, key, nil)
			if err != nil {
				e.journal.fail("no master to strike: %v", err)
				return false
			}
			lost := outage{what: name, from: time.Now(), lossy: true}
			undo := strike(e, master)
			other := e.awaitFailover(ctx, s, key, master)
			if err := errors.Join(undo(), awaitHealthy(s, 45*time.Second)); err != nil {
				e.journal.fail("after %q: %v", name, err)
			}
			lost.to = time.Now()
			e.journal.outage(lost)
			return other
		}}
	}
	kill := func(_ *env, m *node) func() error {
		m.kill()
		return m.start
	}
	return []fault{
		by("failover: the master killed", kill),
		by("failover: the master killed half a second after its replica had lost touch", func(e *env, m *node) func() error {
			// It comes back by itself within a second or so.
			for until := time.Now().Add(500 * time.Millisecond); time.Now().Before(until); <-time.After(5 * time.Millisecond) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_ = m.rdb.ClientKillByFilter(ctx, "TYPE", "replica").Err()
				cancel()
			}
			return kill(e, m)
		}),
		by("failover: the master frozen, and back later", func(_ *env, m *node) func() error {
			m.signal(syscall.SIGSTOP)
			return func() error {
				m.signal(syscall.SIGCONT)
				return nil
			}
		}),
	}
}

// awaitFailover reports whether another node takes a master's place.
func (e *env) awaitFailover(ctx context.Context, s replicated, key string, master *node) bool {
	for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		if now, err := s.masterOf(ctx, key, master); err == nil && now != master {
			return true
		}
	}
	e.journal.fail("no other node has taken the place of the master %s", master.addr())
	return false
}

// startAgain starts what is dead, and resumes what is frozen.
func startAgain(nodes []*node) error {
	var errs []error
	for _, n := range nodes {
		n.signal(syscall.SIGCONT)
		errs = append(errs, n.start())
	}
	return errors.Join(errs...)
}

func joinURL(scheme string, nodes []*node, rest string) string {
	var hosts []string
	for _, n := range nodes {
		hosts = append(hosts, n.addr())
	}
	return scheme + "://" + strings.Join(hosts, ",") + rest
}
