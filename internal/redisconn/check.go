package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Level says how bad a finding is.
type Level string

const (
	OK      Level = "ok"
	Warning Level = "warning" // work continues, but something can be lost
	Problem Level = "problem" // nothing is collected while it lasts
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level   Level
	Node    string // host:port of the master, in a cluster; else empty
	Subject string // connection, version, role, maxmemory-policy, persistence, memory or info
	Text    string // one or two sentences, with the command that repairs it

	// Refusal is why Redis does not serve, if that is the problem. Without it, the
	// problem is that Redis would lose what it is given.
	Refusal *Refusal
}

// String is the finding in one line, without its level.
func (f Finding) String() string {
	if f.Node != "" {
		return f.Node + " " + f.Subject + ": " + f.Text
	}
	return f.Subject + ": " + f.Text
}

// Report is what Check found, in a cluster node by node.
type Report []Finding

// Problems are the findings of that level.
func (r Report) Problems() []Finding { return r.at(Problem) }

// Warnings are the findings of that level.
func (r Report) Warnings() []Finding { return r.at(Warning) }

func (r Report) at(l Level) []Finding {
	return slices.DeleteFunc(slices.Clone(r), func(f Finding) bool { return f.Level != l })
}

// Untrusted reports whether there is a problem without a Refusal: Redis would
// serve, and lose what it is given.
func (r Report) Untrusted() bool {
	return slices.ContainsFunc(r.Problems(), func(f Finding) bool { return f.Refusal == nil })
}

// Refusal is the first one among the problems, or nil.
func (r Report) Refusal() *Refusal {
	for _, f := range r.Problems() {
		if f.Refusal != nil {
			return f.Refusal
		}
	}
	return nil
}

// Err is nil, or all problems in one error, a line for each.
func (r Report) Err() error {
	var errs []error
	for _, f := range r.Problems() {
		errs = append(errs, errors.New("redis "+f.String()))
	}
	return errors.Join(errs...)
}

// Check asks Redis, in a cluster every master, whether it can be trusted with
// what is owed. It uses only INFO, because most managed services forbid CONFIG; if
// INFO is refused too, that is a warning. A Redis that does not answer is a problem
// with a Refusal. Check changes nothing. Package redisprobe finds out whether Redis
// does what work needs.
func Check(ctx context.Context, client redis.UniversalClient) Report {
	nodes, err := infos(ctx, client)
	if err != nil {
		return Report{refused("connection", Explain(err))}
	}
	var report Report
	for _, n := range nodes {
		report = append(report, n.check()...)
	}
	if mode := checkMode(ctx, client, nodes[0]); mode != nil {
		report = append(report, *mode)
	}
	return report
}

// refused makes a finding of a refusal.
func refused(subject string, r *Refusal) Finding {
	return Finding{Level: Problem, Subject: subject, Text: r.Error(), Refusal: r}
}

// checkMode finds a node of a cluster, or a sentinel, that REDIS_URL names as a single
// Redis; nil otherwise.
func checkMode(ctx context.Context, client redis.UniversalClient, n info) *Finding {
	mode := n.fields["redis_mode"]
	if _, cluster := client.(*redis.ClusterClient); cluster || mode != "cluster" && mode != "sentinel" {
		return nil
	}
	if mode == "sentinel" {
		f := refused("mode", &Refusal{Kind: WrongURL, Said: "INFO: redis_mode:sentinel", Problem: "this is a Sentinel and not a Redis",
			Remedy: "write REDIS_URL as redis-sentinel://HOST:PORT,HOST:PORT/DB?master=NAME (rediss-sentinel:// with TLS)"})
		return &f
	}
	// A proxy that presents a cluster as one Redis may pass its INFO on, but does
	// not tell where the slots are.
	slots, err := client.ClusterSlots(ctx).Result()
	if err != nil {
		return &Finding{Level: Warning, Subject: "mode", Text: "a Cluster behind a proxy, by its INFO: where scripts are refused or time out, use the Cluster's direct address with redis-cluster://"}
	}
	masters := map[string]bool{}
	for _, s := range slots {
		if len(s.Nodes) > 0 {
			masters[s.Nodes[0].Addr] = true
		}
	}
	if len(masters) == 1 && covered(slots) {
		return &Finding{Level: Warning, Subject: "mode", Text: "a Cluster of one master: it works as long as it has no second one; redis-cluster:// works with any number"}
	}
	r := Explain(reply("MOVED 0"))
	r.Said = "INFO: redis_mode:cluster"
	f := refused("mode", r)
	return &f
}

// covered reports whether every slot of a Cluster has a master.
func covered(slots []redis.ClusterSlot) bool {
	n := 0
	for _, s := range slots {
		n += s.End - s.Start + 1
	}
	return n == 16384
}

// Memory returns the bytes that Redis uses and the most it may use, 0 if no limit is
// set. Of a cluster it returns the fullest master's: a full one stops its merchants,
// however empty the others are.
func Memory(ctx context.Context, client redis.UniversalClient) (used, limit int64, err error) {
	nodes, err := infos(ctx, client)
	if err != nil {
		return 0, 0, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	for i, n := range nodes {
		u, l, ok := n.memory()
		if !ok {
			return 0, 0, errNoMemoryInfo
		}
		if i == 0 || share(u, l) > share(used, limit) {
			used, limit = u, l
		}
	}
	return used, limit, nil
}

var errNoMemoryInfo = errors.New("this Redis does not report its memory in INFO")

func share(used, limit int64) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(used) / float64(limit)
}

// info is what INFO says of one node.
type info struct {
	node   string            // host:port in a cluster, else empty
	fields map[string]string // nil where Redis refuses the command
}

// infos asks the server, or each master of a cluster, sorted by address. An error is
// one of the connection: if Redis answers, but not to INFO, the fields are nil.
func infos(ctx context.Context, client redis.UniversalClient) ([]info, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		fields, err := askInfo(ctx, client)
		return []info{{fields: fields}}, err
	}
	var mu sync.Mutex
	var nodes []info
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		fields, err := askInfo(ctx, master)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, info{node: master.Options().Addr, fields: fields})
		return nil
	})
	if err == nil && len(nodes) == 0 {
		err = errors.New("the cluster has no master")
	}
	slices.SortFunc(nodes, func(a, b info) int { return strings.Compare(a.node, b.node) })
	return nodes, err
}

// askInfo asks for all sections at once: naming several takes Redis 7. The
// result is nil if Redis answers, but refuses this command.
func askInfo(ctx context.Context, client redis.Cmdable) (map[string]string, error) {
	text, err := client.Info(ctx).Result()
	if r := Explain(err); r != nil {
		switch r.Kind {
		case Denied, Unsupported, Refused:
			return nil, nil
		}
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

func (n info) memory() (used, limit int64, ok bool) {
	used, errUsed := strconv.ParseInt(n.fields["used_memory"], 10, 64)
	limit, errLimit := strconv.ParseInt(n.fields["maxmemory"], 10, 64)
	return used, limit, errUsed == nil && errLimit == nil
}
