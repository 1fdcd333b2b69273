package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/textsafe"
)

// Options says where Redis is and how to reach it: the parsed form of a
// REDIS_URL. The zero value is not usable; Parse makes one.
type Options struct {
	redis    *redis.UniversalOptions // a Sentinel group has a MasterName, a cluster IsClusterMode
	redacted string
	hosts    []string
	files    TLSFiles
}

// String is the URL without user, password and parameters, for logs.
func (o Options) String() string { return o.redacted }

// Hosts are the names or addresses in the URL, without ports.
func (o Options) Hosts() []string { return o.hosts }

// IsZero reports whether Parse has not made o.
func (o Options) IsZero() bool { return o.redis == nil }

// kind is what a scheme of REDIS_URL leads to.
type kind struct {
	scheme string // go-redis's
	port   string // where a host has none; empty: no host
	parse  func(address) (*redis.UniversalOptions, error)
}

const (
	schemeSentinel = "redis-sentinel"
	schemeCluster  = "redis-cluster"
)

// kinds are the schemes of REDIS_URL. go-redis knows the first three, and writes
// several hosts as ?addr=h2:p&addr=h3:p, to which the others are translated.
var kinds = map[string]kind{
	"redis":           {"redis", "6379", address.single},
	"rediss":          {"rediss", "6379", address.single},
	"unix":            {"unix", "", address.single},
	schemeSentinel:    {"redis", "26379", address.failover},
	"rediss-sentinel": {"rediss", "26379", address.failover},
	schemeCluster:     {"redis", "6379", address.clustered},
	"rediss-cluster":  {"rediss", "6379", address.clustered},
}

// Parse reads a Redis URL in one of the forms
//
//	redis://[user:password@]host[:6379][/DB]
//	unix://[user:password@]/path/to/socket[?db=DB]
//	redis-sentinel://[user:password@]h1[:26379],h2[:26379][/DB]?master=NAME
//	redis-cluster://[user:password@]h1[:6379],h2[:6379]
//
// the ones with a host also with TLS: rediss://, rediss-sentinel://,
// rediss-cluster://. User and password are the data nodes'; those of the
// sentinels, where they have any, are the parameters sentinel_username and
// sentinel_password. Special characters in them are percent-encoded, as in any
// URL. Other parameters are go-redis's (read_timeout=5s, pool_size=100,
// skip_verify=true, ...).
//
// Parse does not touch the network. Its errors never contain a user, a
// password or anything that might be a part of one.
func Parse(rawURL string) (Options, error) {
	a, err := splitURL(strings.TrimSpace(rawURL))
	if err != nil {
		return Options{}, err
	}
	o := Options{redacted: a.redacted()} // before a.parse takes parameters out
	if o.redis, err = a.parse(a); err != nil {
		// go-redis's errors quote parts of the URL.
		return Options{}, fmt.Errorf("%s: %s", o.redacted, textsafe.ScrubWords(strings.TrimPrefix(err.Error(), "redis: ")))
	}
	o.redis.Username, o.redis.Password = a.user, a.password
	if cfg := o.redis.TLSConfig; cfg != nil {
		cfg.MinVersion = tls.VersionTLS12 // go-redis leaves it open for a cluster
		if len(a.hosts) > 1 {
			// Every node is verified by the name it is dialled by. go-redis verifies all
			// of them by the first host's name, which is right only where that is the
			// only one given (an entry point in front of the nodes).
			cfg.ServerName = ""
		}
	}
	for _, h := range a.hosts {
		host, _, _ := net.SplitHostPort(h) // it was joined by net.JoinHostPort
		o.hosts = append(o.hosts, host)
	}
	return o, nil
}

func (a address) single() (*redis.UniversalOptions, error) {
	if len(a.hosts) > 1 {
		return nil, fmt.Errorf("several hosts need the scheme %s:// or %s://", schemeSentinel, schemeCluster)
	}
	opts, err := redis.ParseURL(a.forGoRedis())
	if err != nil {
		return nil, err
	}
	u := universal(opts)
	u.Addrs = []string{opts.Addr}
	return u, nil
}

func (a address) failover() (*redis.UniversalOptions, error) {
	if err := a.refuseReplicaReads(); err != nil {
		return nil, err
	}
	master, user, password := a.query.Get("master"), a.query.Get("sentinel_username"), a.query.Get("sentinel_password")
	if master == "" {
		return nil, errors.New("the parameter master is missing: add ?master=NAME, the name that the sentinels monitor")
	}
	for _, ours := range []string{"master", "sentinel_username", "sentinel_password"} {
		a.query.Del(ours)
	}
	a.query.Set("master_name", master)
	opts, err := redis.ParseFailoverURL(a.forGoRedis())
	if err != nil {
		return nil, err
	}
	u := universal(opts)
	u.Addrs, u.SentinelUsername, u.SentinelPassword = opts.SentinelAddrs, user, password
	return u, nil
}

func (a address) clustered() (*redis.UniversalOptions, error) {
	if err := a.refuseReplicaReads(); err != nil {
		return nil, err
	}
	// go-redis would ignore the path, and the operator would look for the keys in a
	// database that a cluster does not have.
	if db := strings.Trim(a.path, "/"); db != "" && db != "0" {
		return nil, fmt.Errorf("a cluster has no database %s: leave out the path", textsafe.ScrubQuoted(strconv.Quote(db)))
	}
	a.path = ""
	skipVerify := false
	if a.query.Has("skip_verify") { // ParseClusterURL does not know it
		var err error
		if skipVerify, err = strconv.ParseBool(a.query.Get("skip_verify")); err != nil {
			return nil, errors.New("skip_verify is neither true nor false")
		}
		a.query.Del("skip_verify")
	}
	opts, err := redis.ParseClusterURL(a.forGoRedis())
	if err != nil {
		return nil, err
	}
	u := universal(opts)
	u.IsClusterMode = true
	if u.TLSConfig != nil {
		u.TLSConfig.InsecureSkipVerify = skipVerify
	}
	return u, nil
}

// universal copies what opts, a pointer to options of one kind, has in common with
// those of all kinds.
func universal(opts any) *redis.UniversalOptions {
	u := &redis.UniversalOptions{}
	from, to := reflect.ValueOf(opts).Elem(), reflect.ValueOf(u).Elem()
	for i := range to.NumField() {
		field := from.FieldByName(to.Type().Field(i).Name)
		if field.IsValid() && field.Type() == to.Field(i).Type() {
			to.Field(i).Set(field)
		}
	}
	return u
}

// refuseReplicaReads keeps out go-redis's options that send reads to replicas:
// a replica lags, and a record read from it may be one that has changed.
func (a address) refuseReplicaReads() error {
	for _, p := range []string{"route_by_latency", "route_randomly", "replica_only", "read_only"} {
		if a.query.Has(p) {
			return fmt.Errorf("the parameter %s is refused: a replica may be behind, so every read must come from the master", p)
		}
	}
	return nil
}

// address is a REDIS_URL in its parts, decoded.
type address struct {
	kind
	shownScheme    string
	user, password string
	hosts          []string // host:port; empty for unix
	path           string   // with its leading slash, or empty
	query          url.Values
}

// splitURL does what url.Parse does not: it takes several hosts, and keeps what may be
// a password out of its errors.
func splitURL(raw string) (address, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return address{}, errors.New("it has no scheme: write redis://HOST:PORT/DB or one of the other forms")
	}
	a := address{shownScheme: strings.ToLower(scheme)}
	if a.kind, ok = kinds[a.shownScheme]; !ok {
		return address{}, errors.New("its scheme is unknown: use redis, rediss, unix, redis-sentinel, rediss-sentinel, redis-cluster or rediss-cluster")
	}
	authority, rest := rest, ""
	if end := strings.IndexAny(authority, "/?#"); end >= 0 {
		authority, rest = authority[:end], authority[end:]
	}
	path, rawQuery, _ := strings.Cut(rest, "?")
	// A raw '/', '?' or '#' in a password ends the authority too early. The rest
	// would be taken for a path and quoted in some error, or, worse, be accepted, and
	// another server used.
	parameter, _, _ := strings.Cut(rawQuery, "=")
	if strings.Contains(path+parameter, "@") || strings.Contains(rest, "#") || (strings.Contains(rawQuery, "@") && !strings.Contains(authority, "@")) {
		return address{}, errors.New("it has an @ or # in the wrong place: percent-encode special characters in user and password (/ as %2F, ? as %3F, # as %23, @ as %40)")
	}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, both := strings.Cut(authority[:at], ":")
		if !both && user != "" {
			// go-redis would send neither.
			return address{}, errors.New("it has a user and no password: a password stands behind a colon, redis://:PASSWORD@HOST:PORT/DB")
		}
		var errUser, errPassword error
		a.user, errUser = url.PathUnescape(user)
		a.password, errPassword = url.PathUnescape(password)
		if errUser != nil || errPassword != nil {
			return address{}, errors.New("its user or password is wrongly percent-encoded: write % itself as %25")
		}
		authority = authority[at+1:]
	}
	var err error
	if a.path, err = url.PathUnescape(path); err != nil {
		return address{}, errors.New("its path is wrongly percent-encoded: write % itself as %25")
	}
	if a.query, err = url.ParseQuery(rawQuery); err != nil {
		return address{}, errors.New("its parameters are wrongly percent-encoded: write % itself as %25")
	}
	if a.port == "" {
		if authority != "" {
			return address{}, errors.New("a unix socket needs three slashes: unix:///path/to/redis.sock")
		}
		return a, nil
	}
	for h := range strings.SplitSeq(authority, ",") {
		hostPort, err := withPort(h, a.port)
		if err != nil {
			return address{}, err
		}
		a.hosts = append(a.hosts, hostPort)
	}
	return a, nil
}

// withPort completes host[:port]. Errors do not quote the host: where the @ was
// forgotten it is the password.
func withPort(s, port string) (string, error) {
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1] // IPv6 without a port
	} else if strings.Contains(s, ":") {
		return "", errors.New("one of its hosts is malformed: write HOST:PORT, and an IPv6 address in brackets")
	}
	if host == "" {
		return "", errors.New("a host is missing: write HOST:PORT, several of them separated by single commas")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("one of its ports is not a number from 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// forGoRedis writes the address the way go-redis reads it, without user and
// password: those are set afterwards, so that none of its errors can hold them.
func (a address) forGoRedis() string {
	u := url.URL{Scheme: a.kind.scheme, Path: a.path}
	for i, h := range a.hosts {
		if i == 0 {
			u.Host = h
		} else {
			a.query.Add("addr", h)
		}
	}
	u.RawQuery = a.query.Encode()
	return u.String()
}

func (a address) redacted() string {
	s := a.shownScheme + "://" + strings.Join(a.hosts, ",")
	if textsafe.Repeatable(a.path) {
		s += a.path
	}
	if m := a.query.Get("master"); m != "" && textsafe.Repeatable(m) {
		s += "?master=" + m
	}
	return s
}
