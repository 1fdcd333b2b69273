package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
)

// cluster is Redis Cluster of three masters with a replica each.
type cluster struct {
	nodes []*node
	url   string
	rdb   redis.UniversalClient
}

const slots = 16384

func newCluster(t *testing.T) store {
	t.Helper()
	c := &cluster{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	buses := make([]int, 6)
	for i := range buses {
		buses[i] = testkit.FreePort(t)
		c.nodes = append(c.nodes, newNode(t, testkit.FreePort(t), "--cluster-enabled", "yes", "--cluster-node-timeout", "1500",
			"--cluster-config-file", "nodes.conf", "--cluster-port", fmt.Sprint(buses[i])))
	}
	ask := func(n *node, words ...any) string {
		t.Helper()
		said, err := n.rdb.Do(ctx, words...).Text()
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return said
	}
	for i, n := range c.nodes {
		if i < 3 {
			ask(n, "cluster", "addslotsrange", i*slots/3, (i+1)*slots/3-1)
		}
		if i > 0 {
			ask(c.nodes[0], "cluster", "meet", "127.0.0.1", n.port, buses[i])
		}
	}
	for i, n := range c.nodes[3:] {
		master := ask(c.nodes[i], "cluster", "myid")
		for n.rdb.Do(ctx, "cluster", "replicate", master).Err() != nil { // until the two have met
			if ctx.Err() != nil {
				t.Fatalf("%s does not meet its master", n.addr())
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	c.url = joinURL("redis-cluster", c.nodes, "")
	c.rdb = openStore(t, c.url)
	if err := awaitHealthy(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) client() redis.UniversalClient { return c.rdb }

func (c *cluster) urlOf(*testing.T, int) (string, *proxy) { return c.url, nil }

func (c *cluster) heal() error { return startAgain(c.nodes) }

// faults are a failover of each kind, and slots that move while they are written
// to.
func (c *cluster) faults(e *env) []fault {
	mchid := e.sim.Merchant().MchID
	faults := failoverFaults(c)
	for _, m := range []struct{ what, key string }{
		{"the slot of the merchant's ledger moved", ledger.KeysOf(mchid).Due()},
		{"the slot of the merchant's queue moved", e.queueKey("pending")},
	} {
		faults = append(faults, fault{name: m.what, takes: 6 * time.Second, do: func(e *env, _ *rand.Rand, _ *worker) bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			from := time.Now()
			err := c.move(ctx, m.key)
			e.journal.outage(outage{what: m.what, from: from, to: time.Now()})
			if err != nil {
				e.journal.fail("%s: %v", m.what, err)
			}
			return err == nil
		}})
	}
	return faults
}

// member is a node in the eyes of another.
type member struct {
	id     string
	port   string
	flags  string
	linked bool
	slots  []string // as in 0-5460
}

func (n *node) members(ctx context.Context) ([]member, error) {
	text, err := n.rdb.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	var all []member
	for line := range strings.Lines(text) {
		// ID IP:PORT@BUS[,NAME] FLAGS MASTER PING PONG EPOCH LINK SLOT...
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("CLUSTER NODES says %q", line)
		}
		_, port, _ := strings.Cut(f[1], ":")
		port, _, _ = strings.Cut(port, "@")
		all = append(all, member{f[0], port, f[2], f[7] == "connected", f[8:]})
	}
	return all, nil
}

func (m member) has(slot int) bool {
	for _, text := range m.slots {
		var from, to int
		if n, _ := fmt.Sscanf(text, "%d-%d", &from, &to); n == 1 {
			to = from
		} else if n == 0 {
			continue // [SLOT->-ID]: on its way
		}
		if from <= slot && slot <= to {
			return true
		}
	}
	return false
}

// masterOf asks one node after the other who has the key's slot.
func (c *cluster) masterOf(ctx context.Context, key string, but *node) (*node, error) {
	var last error = errors.New("no node has the slot")
	for _, asked := range c.nodes {
		if asked == but {
			continue
		}
		once, cancel := context.WithTimeout(ctx, time.Second)
		members, err := asked.members(once)
		cancel()
		if err != nil {
			last = err
			continue
		}
		for _, m := range members {
			if m.has(slotOf(key)) {
				for _, n := range c.nodes {
					if fmt.Sprint(n.port) == m.port {
						return n, nil
					}
				}
			}
		}
	}
	return nil, last
}

func (c *cluster) whole(ctx context.Context) error {
	for _, n := range c.nodes {
		members, err := n.members(ctx)
		if err != nil {
			return err
		}
		masters := 0
		for _, m := range members {
			switch {
			case strings.Contains(m.flags, "fail") || strings.Contains(m.flags, "handshake") || !m.linked && !strings.Contains(m.flags, "myself"):
				return fmt.Errorf("%s sees %s as %s", n.addr(), m.port, m.flags)
			case len(m.slots) > 0:
				masters++
			case strings.Contains(m.flags, "myself"):
				if err := n.follows(ctx); err != nil {
					return err
				}
			}
		}
		if len(members) != len(c.nodes) || masters != 3 {
			return fmt.Errorf("%s knows %d nodes and %d masters", n.addr(), len(members), masters)
		}
	}
	return nil
}

// move moves the slot of a key to another master, a few keys at a time, as
// redis-cli --cluster reshard does. Meanwhile a script that needs keys of both sides
// is refused with TRYAGAIN.
func (c *cluster) move(ctx context.Context, key string) error {
	slot := slotOf(key)
	from, err := c.masterOf(ctx, key, nil)
	if err != nil {
		return err
	}
	members, err := from.members(ctx)
	if err != nil {
		return err
	}
	var source, target member
	for _, m := range members {
		switch {
		case m.port == fmt.Sprint(from.port):
			source = m
		case len(m.slots) > 0 && target.id == "":
			target = m
		}
	}
	var masters []*node
	var to *node
	for _, m := range members {
		for _, n := range c.nodes {
			if len(m.slots) > 0 && m.port == fmt.Sprint(n.port) {
				masters = append(masters, n)
				if m.id == target.id {
					to = n
				}
			}
		}
	}
	if to == nil {
		return errors.New("there is no other master")
	}
	if err := errors.Join(
		to.rdb.Do(ctx, "cluster", "setslot", slot, "importing", source.id).Err(),
		from.rdb.Do(ctx, "cluster", "setslot", slot, "migrating", target.id).Err(),
	); err != nil {
		return err
	}
	for {
		keys, err := from.rdb.ClusterGetKeysInSlot(ctx, slot, 50).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		words := []any{"migrate", "127.0.0.1", to.port, "", 0, 5000, "keys"}
		for _, k := range keys {
			words = append(words, k)
		}
		if err := from.rdb.Do(ctx, words...).Err(); err != nil {
			return err
		}
		<-time.After(10 * time.Millisecond) // so that it takes a while
	}
	// The new owner first: otherwise no node has the slot for a moment.
	err = to.rdb.Do(ctx, "cluster", "setslot", slot, "node", target.id).Err()
	for _, n := range masters {
		if n != to {
			err = errors.Join(err, n.rdb.Do(ctx, "cluster", "setslot", slot, "node", target.id).Err())
		}
	}
	return errors.Join(err, awaitHealthy(c, 20*time.Second))
}

// slotOf is the slot of a key with a hash tag or without one.
func slotOf(key string) int {
	if _, tag, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(tag, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0) // CRC-16/XMODEM
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
