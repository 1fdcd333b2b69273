package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/textsafe"
)

// Caller is who sends a request.
type Caller struct {
	Name   string
	Role   config.Role
	MchIDs []string // empty: every merchant
	// Via is what the request came through, for the trail; empty: the API itself.
	Via string
}

// By is the caller's name in the trail.
func (c Caller) By() string { return cmp.Or(c.Via, "api") + ":" + c.Name }

// MayRead reports whether a caller may read of a merchant.
func (c Caller) MayRead(mchid string) bool { return c.may(mchid) == nil }

// may returns the problem of a caller that must not act for a merchant.
func (c Caller) may(mchid string) error {
	if len(c.MchIDs) == 0 || slices.Contains(c.MchIDs, mchid) {
		return nil
	}
	return refuse(http.StatusForbidden, "mchid", "is %s, for which the token %s is not: use a token of that merchant (mchids in API_TOKENS_FILE)", textsafe.Clip(mchid, 40), c.Name)
}

type callerKey struct{}

// callerOf returns the caller of the request that ctx belongs to.
func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// adminName is the name of the operator of ADMIN_TOKEN.
const adminName = "admin"

// access knows the tokens, and who may call.
type access struct {
	admin    [sha256.Size]byte // of ADMIN_TOKEN
	hasAdmin bool
	file     string // API_TOKENS_FILE; may be empty
	loopback bool   // the address is one of this machine alone
	log      zerolog.Logger
	failures failures

	mu      sync.Mutex
	tokens  []config.APIToken
	text    []byte // of the file, as read last
	checked time.Time
}

func newAccess(adminToken, file string, loopback bool, log zerolog.Logger) *access {
	a := &access{file: file, loopback: loopback, log: log, hasAdmin: adminToken != "", admin: sha256.Sum256([]byte(adminToken))}
	a.failures.addrs = map[netip.Addr]*attempts{}
	return a
}

// open reports whether callers need no token.
func (a *access) open() bool { return !a.hasAdmin && a.file == "" }

// checkEvery is how often the file is read, while requests arrive.
const checkEvery = time.Second

// list returns the tokens of the file. A file that has a fault changes nothing.
func (a *access) list() []config.APIToken {
	if a.file == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.checked) >= checkEvery {
		a.checked = now
		tokens, text, err := config.ReadAPITokens(a.file)
		if err != nil {
			text = []byte(err.Error())
		}
		if !bytes.Equal(text, a.text) {
			first := a.text == nil
			a.text = text
			switch {
			case err != nil:
				a.log.Error().Str(logging.FieldEvent, "api_tokens_refused").
					Msg("API_TOKENS_FILE " + textsafe.Clean(textsafe.ScrubQuoted(err.Error())) + "; the tokens that were read before remain in force")
			default:
				a.tokens = tokens
				if !first {
					a.log.Info().Str(logging.FieldEvent, "api_tokens_read").Int(logging.FieldCount, len(tokens)).Msg("API_TOKENS_FILE has changed and was read again")
				}
			}
		}
	}
	return a.tokens
}

// caller returns who sends a request, or why it is refused.
func (a *access) caller(r *http.Request) (Caller, error) {
	if inside, ok := r.Context().Value(callerKey{}).(Caller); ok {
		return inside, nil // see Call
	}
	if a.open() {
		return a.local(r)
	}
	scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if presented = strings.TrimSpace(presented); !strings.EqualFold(scheme, "Bearer") || presented == "" {
		return Caller{}, unauthorized("Authorization is missing: send Authorization: Bearer TOKEN; worker token NAME --role ROLE makes one")
	}
	return a.holder(r, presented)
}

// holder returns whose token a request presents. Wrong ones are counted and logged.
func (a *access) holder(r *http.Request, presented string) (Caller, error) {
	addr := addrOf(r)
	caller, found := a.find(presented)
	if wait := a.failures.wait(addr, caller.Name); wait > 0 {
		return Caller{}, later(http.StatusTooManyRequests, wait, "too many wrong tokens came from this address: wait, and check the token")
	}
	if !found {
		a.failures.count(addr)
		a.log.Warn().Str(logging.FieldEvent, "api_token_refused").Str(logging.FieldAddr, addr.String()).Str("path", textsafe.Clip(r.URL.Path, 100)).
			Msg("a request with a wrong token was refused")
		return Caller{}, unauthorized("Authorization has a token that is not valid here: check it, or make one with worker token NAME --role ROLE")
	}
	a.failures.good(addr, caller.Name)
	return caller, nil
}

// find compares a token with every one that is known, in constant time.
func (a *access) find(presented string) (caller Caller, found bool) {
	sum := sha256.Sum256([]byte(presented))
	return a.findSum(func(known [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(sum[:], known[:]) == 1 })
}

// findSum asks for every token that is known whether it is the one, by its sum.
func (a *access) findSum(is func(sum [sha256.Size]byte) bool) (caller Caller, found bool) {
	if a.hasAdmin && is(a.admin) {
		caller, found = Caller{Name: adminName, Role: config.Operator}, true
	}
	for _, t := range a.list() {
		if is(t.SHA256) {
			caller, found = Caller{Name: t.Name, Role: t.Role, MchIDs: t.MchIDs}, true
		}
	}
	return caller, found
}

// local lets the users of this machine in where there is no token. A page in a browser
// can make a name of its own resolve to a loopback address, and then sends that name as
// the Host.
func (a *access) local(r *http.Request) (Caller, error) {
	if !a.loopback {
		return Caller{}, newProblem(http.StatusForbidden, "ADMIN_ADDR is not a loopback address and no token is set: set API_TOKENS_FILE or ADMIN_TOKEN on the worker, or bind ADMIN_ADDR to 127.0.0.1")
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if !strings.EqualFold(host, "localhost") && (err != nil || !ip.Unmap().IsLoopback()) {
		return Caller{}, refuse(http.StatusForbidden, "Host", "is %s: without a token, call 127.0.0.1 or localhost; or set API_TOKENS_FILE on the worker", textsafe.Clip(r.Host, 100))
	}
	return Caller{Name: config.LocalName, Role: config.Operator}, nil
}

// CheckHost answers requests that a page in a browser has led here under a name of its own,
// as operations do, for what needs no token: the metrics and the document.
func (a *API) CheckHost(next http.Handler) http.Handler {
	if !a.access.open() || !a.Loopback {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.access.local(r); err != nil {
			writeProblem(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func unauthorized(detail string) error {
	return huma.ErrorWithHeaders(newProblem(http.StatusUnauthorized, detail), http.Header{"WWW-Authenticate": {`Bearer realm="payscore-collector"`}})
}

// allowed returns the problem of a caller whose role does not suffice.
func (c Caller) allowed(needed config.Role) error {
	if c.Role.Can(needed) {
		return nil
	}
	return newProblem(http.StatusForbidden, fmt.Sprintf("the token %s has the role %s, and this operation needs %s: use another token", c.Name, c.Role, needed))
}

// addrOf is the address that counts failed attempts: of IPv6 the network, since a machine
// has a whole one.
func addrOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap()
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// failures limits wrong tokens by address: some at once, then one a second. A caller
// whose token was accepted from an address before is not kept out by others who share it,
// such as those behind the same proxy.
type failures struct {
	mu    sync.Mutex
	addrs map[netip.Addr]*attempts
}

type attempts struct {
	full time.Time // when all attempts are free again
	good []string  // names of tokens that were accepted
}

const (
	attemptsAtOnce = 10
	attemptEvery   = time.Second
	mostAddrs      = 10_000
)

// wait returns how long an address must wait; name is the caller's, if the token is right.
func (f *failures) wait(addr netip.Addr, name string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.addrs[addr]
	if a == nil || name != "" && slices.Contains(a.good, name) {
		return 0
	}
	return max(0, time.Until(a.full)) - (attemptsAtOnce-1)*attemptEvery
}

func (f *failures) count(addr netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.of(addr)
	if now := time.Now(); a.full.Before(now) {
		a.full = now
	}
	a.full = a.full.Add(attemptEvery)
}

func (f *failures) good(addr netip.Addr, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.of(addr); !slices.Contains(a.good, name) && len(a.good) < 100 {
		a.good = append(a.good, name)
	}
}

// of returns the attempts of an address. Where there are too many addresses, those without
// a failure are forgotten, and if need be all.
func (f *failures) of(addr netip.Addr) *attempts {
	a := f.addrs[addr]
	if a == nil {
		if len(f.addrs) >= mostAddrs {
			now := time.Now()
			for other, at := range f.addrs {
				if at.full.Before(now) {
					delete(f.addrs, other)
				}
			}
			if len(f.addrs) >= mostAddrs {
				clear(f.addrs)
			}
		}
		a = &attempts{}
		f.addrs[addr] = a
	}
	return a
}
