package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/textsafe"
)

// Options says where Redis is and how to reach it: the parsed form of a
// REDIS_URL. The zero value is not usable; Parse makes one.
type Options struct {
	// Exactly one of these is set. The client that Open makes is of the
	// matching kind.
	single   *redis.Options
	sentinel *redis.FailoverOptions
	cluster  *redis.ClusterOptions

	redacted string
	hosts    []string
	files    TLSFiles
}

// String is the URL without user, password and parameters, for logs.
func (o Options) String() string { return o.redacted }

// Hosts are the names or addresses in the URL, without ports.
func (o Options) Hosts() []string { return o.hosts }

// IsZero tells an Options that Parse has not made.
func (o Options) IsZero() bool {
	return o.single == nil && o.sentinel == nil && o.cluster == nil
}

// FailsOver reports whether a replica takes over where the master is lost, and
// clients follow: by Sentinel, or in a cluster.
func (o Options) FailsOver() bool { return o.sentinel != nil || o.cluster != nil }

// The schemes of REDIS_URL. go-redis knows the first three; its own way of
// writing several hosts (?addr=h2:p&addr=h3:p) is what the others are
// translated to.
const (
	schemeTCP         = "redis"
	schemeTLS         = "rediss"
	schemeUnix        = "unix"
	schemeSentinel    = "redis-sentinel"
	schemeSentinelTLS = "rediss-sentinel"
	schemeCluster     = "redis-cluster"
	schemeClusterTLS  = "rediss-cluster"
)

const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

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
	a, err := splitURL(rawURL)
	if err != nil {
		return Options{}, err
	}
	shown := a.redacted() // before options takes the parameters out
	o, err := a.options()
	if err != nil {
		return Options{}, fmt.Errorf("%s: %w", shown, err)
	}
	o.redacted = shown
	for _, h := range a.hosts {
		host, _, _ := net.SplitHostPort(h) // it was joined by net.JoinHostPort
		o.hosts = append(o.hosts, host)
	}
	return o, nil
}

func (a address) options() (Options, error) {
	switch a.scheme {
	case schemeUnix:
		return a.unix()
	case schemeSentinel, schemeSentinelTLS:
		return a.failover()
	case schemeCluster, schemeClusterTLS:
		return a.clustered()
	default:
		return a.tcp()
	}
}

func (a address) unix() (Options, error) {
	u := url.URL{Scheme: schemeUnix, Path: a.path, RawQuery: a.query.Encode()}
	opts, err := redis.ParseURL(u.String())
	if err != nil {
		return Options{}, foreign(err)
	}
	opts.Username, opts.Password = a.user, a.password
	return Options{single: opts}, nil
}

func (a address) tcp() (Options, error) {
	if len(a.hosts) > 1 {
		return Options{}, fmt.Errorf("several hosts need the scheme %s:// or %s://", schemeSentinel, schemeCluster)
	}
	opts, err := redis.ParseURL(a.forGoRedis())
	if err != nil {
		return Options{}, foreign(err)
	}
	opts.Username, opts.Password = a.user, a.password
	return Options{single: opts}, nil
}

func (a address) failover() (Options, error) {
	if err := a.refuseReplicaReads(); err != nil {
		return Options{}, err
	}
	master := a.query.Get("master")
	if master == "" {
		return Options{}, errors.New("the parameter master is missing: add ?master=NAME, the name that the sentinels monitor")
	}
	sentinelUser, sentinelPassword := a.query.Get("sentinel_username"), a.query.Get("sentinel_password")
	for _, translated := range []string{"master", "sentinel_username", "sentinel_password"} {
		a.query.Del(translated)
	}
	a.query.Set("master_name", master)
	opts, err := redis.ParseFailoverURL(a.forGoRedis())
	if err != nil {
		return Options{}, foreign(err)
	}
	opts.Username, opts.Password = a.user, a.password
	opts.SentinelUsername, opts.SentinelPassword = sentinelUser, sentinelPassword
	a.verifyEachByName(opts.TLSConfig)
	return Options{sentinel: opts}, nil
}

func (a address) clustered() (Options, error) {
	if err := a.refuseReplicaReads(); err != nil {
		return Options{}, err
	}
	// go-redis would ignore the path, and the operator would look for his
	// keys in a database that a cluster does not have.
	if db := strings.Trim(a.path, "/"); db != "" && db != "0" {
		return Options{}, fmt.Errorf("a cluster has no database %s: leave the path away", textsafe.ScrubQuoted(strconv.Quote(db)))
	}
	a.path = ""
	skipVerify := false
	if a.query.Has("skip_verify") { // ParseClusterURL does not know it
		var err error
		if skipVerify, err = strconv.ParseBool(a.query.Get("skip_verify")); err != nil {
			return Options{}, errors.New("skip_verify is neither true nor false")
		}
		a.query.Del("skip_verify")
	}
	opts, err := redis.ParseClusterURL(a.forGoRedis())
	if err != nil {
		return Options{}, foreign(err)
	}
	opts.Username, opts.Password = a.user, a.password
	if opts.TLSConfig != nil {
		opts.TLSConfig.MinVersion = tls.VersionTLS12
		opts.TLSConfig.InsecureSkipVerify = skipVerify
	}
	a.verifyEachByName(opts.TLSConfig)
	return Options{cluster: opts}, nil
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

// verifyEachByName lets every node be verified by the name it is dialled by.
// go-redis verifies all of them by the first host's name, which is right only
// where that is the only one given (an entry point in front of the nodes).
func (a address) verifyEachByName(cfg *tls.Config) {
	if cfg != nil && len(a.hosts) > 1 {
		cfg.ServerName = ""
	}
}

// foreign takes go-redis's prefix off its errors, and what may be a secret: they
// quote the URL's parts.
func foreign(err error) error {
	return errors.New(textsafe.ScrubWords(strings.TrimPrefix(err.Error(), "redis: ")))
}

// address is a REDIS_URL in its parts, decoded.
type address struct {
	scheme         string
	user, password string
	hosts          []string // host:port; empty for unix
	path           string   // with its leading slash, or empty
	query          url.Values
}

// splitURL does by hand what url.Parse does not: it takes several hosts, and
// keeps what may be a password out of its errors.
func splitURL(raw string) (address, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return address{}, errors.New("it has no scheme: write redis://HOST:PORT/DB or one of the other forms")
	}
	a := address{scheme: strings.ToLower(scheme)}
	port := defaultPort
	switch a.scheme {
	case schemeTCP, schemeTLS, schemeUnix, schemeCluster, schemeClusterTLS:
	case schemeSentinel, schemeSentinelTLS:
		port = defaultSentinelPort
	default:
		return address{}, errors.New("its scheme is unknown: use redis, rediss, unix, redis-sentinel, rediss-sentinel, redis-cluster or rediss-cluster")
	}

	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	path, rawQuery, _ := strings.Cut(rest, "?")
	// A raw '/', '?' or '#' in a password ends the authority too early. What
	// follows would be taken for a path and quoted in some error, or, worse,
	// be accepted, and another server used.
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
		return address{}, errors.New("its path is wrongly percent-encoded")
	}
	if a.query, err = url.ParseQuery(rawQuery); err != nil {
		return address{}, errors.New("its parameters are wrongly percent-encoded")
	}
	if a.scheme == schemeUnix {
		if authority != "" {
			return address{}, errors.New("a unix socket needs three slashes: unix:///path/to/redis.sock")
		}
		return a, nil
	}
	for h := range strings.SplitSeq(authority, ",") {
		hostPort, err := withPort(h, port)
		if err != nil {
			return address{}, err
		}
		a.hosts = append(a.hosts, hostPort)
	}
	return a, nil
}

// withPort completes host[:port]. The host is not quoted in errors, for where
// the @ was forgotten it is the password.
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
	scheme := schemeTCP
	if a.scheme == schemeTLS || a.scheme == schemeSentinelTLS || a.scheme == schemeClusterTLS {
		scheme = schemeTLS
	}
	q := a.query
	for _, h := range a.hosts[1:] {
		q.Add("addr", h)
	}
	u := url.URL{Scheme: scheme, Host: a.hosts[0], Path: a.path, RawQuery: q.Encode()}
	return u.String()
}

func (a address) redacted() string {
	s := a.scheme + "://" + strings.Join(a.hosts, ",")
	if textsafe.Repeatable(a.path) {
		s += a.path
	}
	if m := a.query.Get("master"); m != "" && textsafe.Repeatable(m) {
		s += "?master=" + m
	}
	return s
}
