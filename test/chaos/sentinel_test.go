package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/testkit"
)

// sentinels are a master with a replica, and three who watch them.
type sentinels struct {
	data, watch []*node
	url         string
	rdb         redis.UniversalClient
}

// masterName is what the sentinels call the master.
const masterName = "collector"

func newSentinels(t *testing.T) store {
	t.Helper()
	first := testkit.FreePort(t)
	s := &sentinels{data: []*node{
		newNode(t, first),
		newNode(t, testkit.FreePort(t), "--replicaof", fmt.Sprintf("127.0.0.1 %d", first)),
	}}
	for range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf")
		conf := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2\nsentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 5000\n",
			masterName, first, masterName, masterName)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		s.watch = append(s.watch, newServer(t, nil, testkit.FreePort(t), dir, file, "--sentinel"))
	}
	s.url = joinURL("redis-sentinel", s.watch, "/0?master="+masterName)
	s.rdb = openStore(t, s.url)
	if err := awaitHealthy(s, time.Minute); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sentinels) client() redis.UniversalClient { return s.rdb }

func (s *sentinels) urlOf(*testing.T, int) (string, *proxy) { return s.url, nil }

func (s *sentinels) faults(*env) []fault { return failoverFaults(s) }

func (s *sentinels) heal() error { return startAgain(append(s.data, s.watch...)) }

func (s *sentinels) masterOf(ctx context.Context, _ string, _ *node) (*node, error) {
	at, err := redis.NewSentinelClient(s.watch[0].rdb.Options()).GetMasterAddrByName(ctx, masterName).Result()
	if err != nil {
		return nil, err
	}
	for _, n := range s.data {
		if at[1] == fmt.Sprint(n.port) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the sentinels say that the master is at %v", at)
}

func (s *sentinels) whole(ctx context.Context) error {
	master, err := s.masterOf(ctx, "", nil)
	if err != nil {
		return err
	}
	for _, n := range s.data {
		if n != master {
			err = errors.Join(err, n.follows(ctx))
		}
	}
	for _, n := range s.watch {
		of := redis.NewSentinelClient(n.rdb.Options())
		known, asked := of.Master(ctx, masterName).Result()
		err = errors.Join(err, asked, of.CkQuorum(ctx, masterName).Err(), of.Close())
		if known["num-slaves"] != "1" || known["num-other-sentinels"] != "2" || known["flags"] != "master" || known["port"] != fmt.Sprint(master.port) {
			err = errors.Join(err, fmt.Errorf("sentinel %s knows %s replicas and %s others of a %s at %s",
				n.addr(), known["num-slaves"], known["num-other-sentinels"], known["flags"], known["port"]))
		}
	}
	return err
}
