package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/textsafe"
)

// Kind says why Redis does not serve. The values are stable: they are a
// metric's label and a log field.
type Kind string

// The kinds of a Refusal.
const (
	Away        Kind = "away"        // no answer: it is down, unreachable, or too slow
	TLS         Kind = "tls"         // no connection, because the two ends disagree about TLS
	WrongURL    Kind = "wrong_url"   // REDIS_URL has the scheme of another kind of Redis
	Auth        Kind = "auth"        // user or password
	Denied      Kind = "denied"      // the user's ACL
	Unsupported Kind = "unsupported" // a command is disabled, renamed or unknown
	Scripts     Kind = "scripts"     // a proxy inspects scripts and refuses ours
	ReadOnly    Kind = "read_only"   // a replica
	Full        Kind = "full"        // maxmemory
	Unsaved     Kind = "unsaved"     // MISCONF: it cannot write to its disk
	NotYet      Kind = "not_yet"     // it loads, fails over or is busy
	Refused     Kind = "refused"     // any other words
)

// Kinds are all kinds, for a metric that shows each.
var Kinds = []Kind{Away, TLS, WrongURL, Auth, Denied, Unsupported, Scripts, ReadOnly, Full, Unsaved, NotYet, Refused}

// Answers reports whether Redis answers, and refuses.
func (k Kind) Answers() bool { return k != Away && k != TLS }

// Refusal explains a Redis that does not do what it is asked, to the person who can
// change that. It contains no secret: Redis repeats none, and REDIS_URL is not part
// of it.
type Refusal struct {
	Kind    Kind
	Problem string // what is wrong: a clause without a full stop
	Remedy  string // what to do about it: also a clause
	Said    string // Redis's own words, in one printable line; for Away the network's
	MchID   string // the merchant that was tried; empty if the cause is not one merchant's
}

// Error returns the problem, Redis's own words and the remedy in one line.
func (r *Refusal) Error() string {
	whose := ""
	if r.MchID != "" {
		whose = "merchant " + r.MchID + ": "
	}
	return fmt.Sprintf("%s%s (%s): %s", whose, r.Problem, r.Said, r.Remedy)
}

// Advice is the problem and its remedy for a person. It contains Redis's own words
// only if nothing better is known.
func (r *Refusal) Advice() string {
	if r.Kind == Refused {
		return r.Error()
	}
	return r.Problem + ": " + r.Remedy
}

// Passes reports whether the cause can end without a change of REDIS_URL or of the
// user's rights, so that retrying for some seconds makes sense.
func (r *Refusal) Passes() bool {
	switch r.Kind {
	case Away, ReadOnly, Full, Unsaved, NotYet:
		return true
	}
	return false
}

// ACL is the rule that suffices for a user of the worker, enqueue and outcomes:
// what follows ACL SETUSER and the user's name and password.
const ACL = "~payscore:* ~asynq:* &asynq:* +@all -@dangerous +info"

// Explain returns what a command's error means; nil for nil. An error that is not
// Redis's answer is of Kind Away or TLS. An explained error is returned unchanged.
func Explain(err error) *Refusal {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	said, answered := answer(err)
	if !answered {
		return unreachable(err)
	}
	r := &Refusal{Kind: Refused, Said: textsafe.Clip(said, mostSaid),
		Problem: "Redis refuses a command that is needed",
		Remedy:  "the words are those of Redis, or of the proxy or managed service in front of it: make it allow scripts, writes and the keys payscore:* and asynq:*"}
	text := strings.ToLower(said)
	for _, row := range refusals {
		if row.match.MatchString(text) {
			r.Kind, r.Problem, r.Remedy = row.kind, row.problem, row.remedy
			break
		}
	}
	if r.Kind == Unsupported {
		if m := quotedCommand.FindStringSubmatch(said); m != nil {
			r.Problem = fmt.Sprintf("this Redis does not know the command %s: it is disabled, renamed or not supported", strings.ToUpper(m[1]))
		}
	}
	return r
}

// ExplainText explains an error that is only known as text, inside other words; nil if
// it is not Redis's answer.
func ExplainText(text string) *Refusal {
	if m := replyWords.FindString(text); m != "" {
		return Explain(reply(m))
	}
	return nil
}

var quotedCommand = regexp.MustCompile("['`\"]([A-Za-z|]{2,20})['`\"]")

// refusals is the table of what Redis, its proxies and managed services say,
// in lower case. The first match counts. A script's error has Redis's words
// inside others, so the patterns are not anchored.
var refusals = []struct {
	match           *regexp.Regexp
	kind            Kind
	problem, remedy string
}{
	{regexp.MustCompile(`^moved \d|^ask \d|^crossslot`), WrongURL,
		"this is one node of a Redis Cluster", "write REDIS_URL as redis-cluster://HOST:PORT,HOST:PORT (rediss-cluster:// with TLS)"},
	{regexp.MustCompile(`cluster support disabled|unknown (sub)?command '?.?cluster`), WrongURL,
		"this Redis is not a Cluster", "write REDIS_URL as redis://HOST:PORT/DB (rediss:// with TLS)"},
	{regexp.MustCompile("unknown command ['`\"]?sentinel"), WrongURL,
		"this is a Redis and not a Sentinel", "write REDIS_URL as redis://HOST:PORT/DB (rediss:// with TLS), or name the sentinels, whose port is usually 26379"},
	{regexp.MustCompile(`no such master with that name|^redis: nil$`), WrongURL,
		"the sentinels monitor no master with that name", "write the name of their \"sentinel monitor\" line into REDIS_URL: ?master=NAME"},
	{regexp.MustCompile(`without any password configured|but no password is set`), Auth,
		"this Redis has no password, and REDIS_URL has one", "take the password out of REDIS_URL"},
	{regexp.MustCompile(`^noauth|authentication required`), Auth,
		"this Redis requires a password", "write it into REDIS_URL behind a colon: redis://:PASSWORD@HOST:PORT, or redis://USER:PASSWORD@HOST:PORT"},
	{regexp.MustCompile(`wrongpass|invalid password|invalid username-password`), Auth,
		"this Redis refuses the user or the password", "check both in REDIS_URL, with special characters percent-encoded"},
	{regexp.MustCompile(`bad lua script|keys array|script.*(declare|inspect)|(eval|evalsha|lua|script)\S* .*not support|not support.*(eval|lua|script)`), Scripts,
		"the proxy in front of this Redis refuses the scripts that collecting needs",
		"connect to Redis without the proxy: a standard (master and replica) instance, or the Cluster's direct address with redis-cluster://; on Alibaba Cloud see script_check_enable"},
	{regexp.MustCompile("(noperm|permission).*['`\"](eval|evalsha)['`\"]"), Denied,
		"this user may not run scripts", aclRemedy},
	{regexp.MustCompile(`(noperm|acl failure|no permissions|can't).*\bkeys?\b`), Denied,
		"this user may not use the keys that are needed", aclRemedy},
	{regexp.MustCompile(`(noperm|acl failure|no permissions|can't).*\bchannels?\b`), Denied,
		"this user may not use the channel asynq:cancel", aclRemedy},
	{regexp.MustCompile(`noperm|acl failure|no permission|the user executing the script can't|permission denied`), Denied,
		"this user may not run a command that is needed", aclRemedy},
	{regexp.MustCompile(`readonly|read only replica|read only slave`), ReadOnly,
		"this is a replica, which takes no writes", "let REDIS_URL name the master, or the sentinels (redis-sentinel://)"},
	{regexp.MustCompile(`oom command not allowed|\boom\b|used memory > 'maxmemory'`), Full,
		"Redis is full", "raise maxmemory (\"redis-cli CONFIG SET maxmemory BYTES\", or a larger instance)"},
	{regexp.MustCompile(`misconf`), Unsaved,
		"Redis cannot write to its disk, and refuses writes until it can", "Redis's log has the cause: usually a full disk, or a directory that Redis may not write to"},
	{regexp.MustCompile(`^loading|loading the dataset`), NotYet, "Redis is loading its data", waitRemedy},
	{regexp.MustCompile(`masterdown|master_link_status`), NotYet, "this replica has lost its master", waitRemedy},
	{regexp.MustCompile(`clusterdown|tryagain`), NotYet, "the Redis Cluster is not whole", "look at \"redis-cli CLUSTER INFO\": a master is down, or slots are not served"},
	{regexp.MustCompile(`noreplicas|not enough good replicas`), NotYet,
		"Redis has too few connected replicas to accept writes (min-replicas-to-write)", "bring the replicas back, or lower min-replicas-to-write"},
	{regexp.MustCompile(`max number of clients`), NotYet, "Redis accepts no more connections", "raise maxclients, or run fewer workers"},
	{regexp.MustCompile(`^busy`), NotYet, "another client's script blocks Redis", "look at \"redis-cli SCRIPT KILL\""},
	{regexp.MustCompile(`syntax error`), Unsupported,
		"this Redis is too old", "upgrade to Redis 6.2 or later"},
	{regexp.MustCompile(`unknown.*command|command.*(disabled|not allowed|forbidden|not support)|not support.*command`), Unsupported,
		"this Redis does not know a command that is needed", "enable it (no rename-command for it; on a managed service its list of disabled commands), or use another Redis"},
}

const (
	aclRemedy  = "let an administrator run \"ACL SETUSER USER " + ACL + "\""
	waitRemedy = "wait"
)

// answer returns what Redis said, and whether it said anything. asynq passes a
// script's error on as text only.
func answer(err error) (said string, ok bool) {
	if strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable: redis: nil") {
		return redis.Nil.Error(), true
	}
	if said, found := errors.AsType[redis.Error](err); found {
		return said.Error(), true
	}
	if _, text, found := strings.Cut(err.Error(), "redis eval error: "); found {
		said = replyWords.FindString(text)
	}
	return said, said != ""
}

// reply is an error that Redis would give.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// replyWords is how Redis's errors begin, and the network's do not.
var replyWords = regexp.MustCompile(`\b[A-Z]{3,} .*`)

// unreachable explains an error of the connection.
func unreachable(err error) *Refusal {
	r := &Refusal{Kind: TLS, Said: textsafe.Clip(err.Error(), mostSaid)}
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.As(err, &unknown):
		r.Problem, r.Remedy = "Redis's certificate is signed by an authority that this machine does not trust", "let REDIS_TLS_CA_FILE name the file with that authority's certificate"
	case errors.As(err, &host):
		r.Problem, r.Remedy = "Redis's certificate is for another host", "write the host into REDIS_URL as the certificate has it"
	case errors.As(err, &invalid):
		r.Problem, r.Remedy = "Redis's certificate is not valid", "renew it"
	case errors.As(err, &record):
		r.Problem, r.Remedy = plainPort.Problem, plainPort.Remedy
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		r.Problem, r.Remedy = "Redis refuses our side of TLS", "if it requires a client certificate, let REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE name one that it trusts"
	default:
		r.Kind, r.Problem, r.Remedy = Away, "Redis does not answer", "check REDIS_URL, and that Redis runs"
	}
	return r
}

// mostSaid is how many characters of words from elsewhere are shown.
const mostSaid = 300

// Explain is the function Explain. If there is no answer, it also finds out whether
// the address speaks TLS and REDIS_URL does not, or the reverse, which may take two
// seconds.
func (o Options) Explain(ctx context.Context, err error) *Refusal {
	r := Explain(err)
	if r == nil || r.Kind != Away {
		return r
	}
	if found := o.wrongTLS(ctx); found != nil {
		if found.Said == "" {
			found.Said = r.Said
		}
		return found
	}
	return r
}
