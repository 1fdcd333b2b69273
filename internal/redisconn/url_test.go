package redisconn

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Both ways asynq is given a client must take what Open returns.
var (
	_ = func(c redis.UniversalClient) *asynq.Client { return asynq.NewClientFromRedisClient(c) }
	_ = func(c redis.UniversalClient) *asynq.Server {
		return asynq.NewServerFromRedisClient(c, asynq.Config{})
	}
)

// reached is what a URL leads to, for comparing.
type reached struct {
	Kind             string
	Addrs            []string
	Network          string
	User, Password   string
	DB               int
	Master           string
	SentinelUser     string
	SentinelPassword string
	TLS              bool
	ServerName       string
	SkipVerify       bool
	Read             time.Duration
}

func reach(t *testing.T, o Options) reached {
	t.Helper()
	u := o.redis
	r := reached{
		Kind: "single", Addrs: u.Addrs, User: u.Username, Password: u.Password, DB: u.DB, Master: u.MasterName,
		SentinelUser: u.SentinelUsername, SentinelPassword: u.SentinelPassword, TLS: u.TLSConfig != nil, Read: u.ReadTimeout,
	}
	if r.TLS {
		r.ServerName, r.SkipVerify = u.TLSConfig.ServerName, u.TLSConfig.InsecureSkipVerify
		if u.TLSConfig.MinVersion != tls.VersionTLS12 {
			t.Errorf("the lowest version of TLS is %x, want %x", u.TLSConfig.MinVersion, tls.VersionTLS12)
		}
	}
	client := o.Open(Pool{})
	defer client.Close()
	switch {
	case u.IsClusterMode:
		r.Kind = "cluster"
		_ = client.(*redis.ClusterClient)
	case u.MasterName != "":
		r.Kind = "sentinel"
	default:
		r.Network = client.(*redis.Client).Options().Network
	}
	return r
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, url string
		want      reached
		shown     string // by String
	}{
		{
			"a host alone", "redis://cache",
			reached{Kind: "single", Network: "tcp", Addrs: []string{"cache:6379"}}, "redis://cache:6379",
		},
		{
			"user, password, database and parameters", "redis://me:s%2Fe%40c@cache:6380/3?read_timeout=7s",
			reached{Kind: "single", Network: "tcp", Addrs: []string{"cache:6380"}, User: "me", Password: "s/e@c", DB: 3, Read: 7 * time.Second},
			"redis://cache:6380/3",
		},
		{
			"an @ in the password is the password's", "redis://:a@b@cache",
			reached{Kind: "single", Network: "tcp", Addrs: []string{"cache:6379"}, Password: "a@b"}, "redis://cache:6379",
		},
		{
			"IPv6", "redis://[::1]",
			reached{Kind: "single", Network: "tcp", Addrs: []string{"[::1]:6379"}}, "redis://[::1]:6379",
		},
		{
			"TLS", "rediss://cache:6390?skip_verify=true",
			reached{Kind: "single", Network: "tcp", Addrs: []string{"cache:6390"}, TLS: true, ServerName: "cache", SkipVerify: true}, "rediss://cache:6390",
		},
		{
			"a socket", "unix://me:pw@/run/redis.sock?db=2",
			reached{Kind: "single", Network: "unix", Addrs: []string{"/run/redis.sock"}, User: "me", Password: "pw", DB: 2}, "unix:///run/redis.sock",
		},
		{
			"sentinels: user and password are the data nodes'", "redis-sentinel://me:pw@s1,s2:26380,[::1]/4?master=mymaster&sentinel_username=su&sentinel_password=sp",
			reached{
				Kind: "sentinel", Addrs: []string{"s1:26379", "s2:26380", "[::1]:26379"}, User: "me", Password: "pw", DB: 4,
				Master: "mymaster", SentinelUser: "su", SentinelPassword: "sp",
			},
			"redis-sentinel://s1:26379,s2:26380,[::1]:26379/4?master=mymaster",
		},
		{
			"sentinels with TLS, each verified by its own name", "rediss-sentinel://s1,s2?master=m",
			reached{Kind: "sentinel", Addrs: []string{"s1:26379", "s2:26379"}, Master: "m", TLS: true}, "rediss-sentinel://s1:26379,s2:26379?master=m",
		},
		{
			"a cluster", "redis-cluster://me:pw@c1,c2:7001?read_timeout=1s",
			reached{Kind: "cluster", Addrs: []string{"c1:6379", "c2:7001"}, User: "me", Password: "pw", Read: time.Second}, "redis-cluster://c1:6379,c2:7001",
		},
		{
			"a cluster with TLS behind one name", "rediss-cluster://entry:7000/0?skip_verify=1",
			reached{Kind: "cluster", Addrs: []string{"entry:7000"}, TLS: true, ServerName: "entry", SkipVerify: true}, "rediss-cluster://entry:7000/0",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, reach(t, o)); diff != "" {
				t.Errorf("leads elsewhere (-want +got):\n%s", diff)
			}
			if o.String() != tc.shown {
				t.Errorf("shown as %q, want %q", o, tc.shown)
			}
		})
	}
}

func TestParse_refuses(t *testing.T) {
	for _, tc := range []struct{ name, url, want string }{
		{"no scheme", "hunter2@cache:6379", "no scheme"},
		{"an unknown scheme", "http://:hunter2@cache", "its scheme is unknown"},
		{"a raw slash in the password", "redis://:12/hunter2@cache/0", "percent-encode"},
		{"a raw question mark in the password", "redis://:12?hunter2@cache/0", "percent-encode"},
		{"a raw question mark behind an @", "redis://:a@b?hunter2@cache/0", "percent-encode"},
		{"a raw hash in the password", "redis://:12#hunter2@cache/0", "percent-encode"},
		{"a raw percent sign in the password", "redis://:hunter2%zz@cache", "write % itself as %25"},
		{"the @ forgotten", "redis://me:hunter2", "ports is not a number"},
		{"a bare IPv6 address", "redis://::1:6379", "brackets"},
		{"a port out of range", "redis://:hunter2@cache:70000", "ports is not a number"},
		{"no host", "redis://:hunter2@", "a host is missing"},
		{"a password in a user's place", "redis://hunter2@cache", "a password stands behind a colon, redis://:PASSWORD@HOST"},
		{"an empty host in a list", "redis-cluster://:hunter2@a,,b", "a host is missing"},
		{"a database that is no number", "redis://:hunter2@cache/zero", `invalid database number: "zero"`},
		{"an unknown parameter", "redis://:hunter2@cache?colour=red", "unexpected option: colour"},
		{"several hosts without a kind", "redis://:hunter2@a,b", "several hosts need the scheme redis-sentinel:// or redis-cluster://"},
		{"sentinels without a master", "redis-sentinel://:hunter2@a,b/0", "the parameter master is missing"},
		{"reads from replicas through sentinels", "redis-sentinel://:hunter2@a?master=m&replica_only=true", "replica_only is refused"},
		{"routing by latency, which would panic", "redis-sentinel://:hunter2@a?master=m&route_by_latency=true", "route_by_latency is refused"},
		{"reads from a cluster's replicas", "redis-cluster://:hunter2@a?read_only=true", "read_only is refused"},
		{"a cluster with a database", "redis-cluster://:hunter2@a/3", `a cluster has no database "3"`},
		{"a socket with a host", "unix://cache/run/redis.sock", "three slashes"},
		{"a socket without a path", "unix://", "empty unix socket path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.url)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error is %v, want %q in it", err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestOptions_neverShowThePassword(t *testing.T) {
	for _, url := range []string{
		"redis://me:hunter2@cache",
		"redis-sentinel://me:hunter2@s1?master=m&sentinel_password=hunter2",
		"redis-cluster://me:hunter2@c1",
	} {
		o, err := Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		nested := struct{ inner Options }{o}
		for _, s := range []string{fmt.Sprintf("%v", o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o), fmt.Sprintf("%+v", nested)} {
			if strings.Contains(s, "hunter2") {
				t.Errorf("the password of %s is in %s", o, s)
			}
		}
	}
}

func TestOpen(t *testing.T) {
	t.Run("the pool and the time-outs are ours", func(t *testing.T) {
		client, err := Open("redis://cache", Pool{Size: 77, Name: "worker"})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		o := client.(*redis.Client).Options()
		if o.PoolSize != 77 || o.OnConnect == nil || o.DialTimeout != 5*time.Second || o.ReadTimeout != 3*time.Second ||
			o.WriteTimeout != 3*time.Second || o.MaxRetries != 3 || !o.ContextTimeoutEnabled {
			t.Errorf("options are pool %d, dial %s, read %s, write %s, retries %d, context %v",
				o.PoolSize, o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.MaxRetries, o.ContextTimeoutEnabled)
		}
	})

	t.Run("the URL's own parameters win", func(t *testing.T) {
		client, err := Open("redis://cache?pool_size=5&read_timeout=9s&max_retries=-1", Pool{Size: 77})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		o := client.(*redis.Client).Options()
		if o.PoolSize != 5 || o.ReadTimeout != 9*time.Second || o.MaxRetries != 0 {
			t.Errorf("pool %d, read %s, retries %d", o.PoolSize, o.ReadTimeout, o.MaxRetries)
		}
	})

	t.Run("a client that tries once", func(t *testing.T) {
		client, err := Open("redis://cache?max_retries=7", Pool{once: true})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if o := client.(*redis.Client).Options(); o.MaxRetries != 0 || o.PipelinePoolSize >= 0 {
			t.Errorf("%d retries, %d connections for pipelines; want none of either", o.MaxRetries, o.PipelinePoolSize)
		}
	})

	t.Run("one Options opens several pools", func(t *testing.T) {
		for _, url := range []string{"redis://cache", "redis-sentinel://s1,s2?master=m", "rediss-cluster://c1,c2"} {
			o, err := Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{3, 4} {
				client := o.Open(Pool{Size: size})
				got := 0
				switch c := client.(type) {
				case *redis.Client:
					got = c.Options().PoolSize
				case *redis.ClusterClient:
					got = c.Options().PoolSize
				}
				if got != size {
					t.Errorf("%s opened with %d has a pool of %d", url, size, got)
				}
				client.Close()
			}
		}
	})
}
