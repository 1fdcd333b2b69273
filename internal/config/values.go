package config

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // COLLECT_TIMEZONE must be known on a machine without zone files, a bare container for one

	"payscore-collector/internal/textsafe"
)

// least says from where on a duration is allowed.
type least bool

const (
	zeroAllowed least = true
	aboveZero   least = false
)

// The longest values that can work.
const (
	// longestCall: no lease of an order is longer than the call, the wait for its
	// slot and the time to settle; see LONGEST_LEASE in internal/ledger/pace.lua.
	longestCall = 2 * time.Minute
	// longestSweep bounds how late a worker notices what the queue has lost.
	longestSweep = 24 * time.Hour
	// longestStep: with the jitter on top it is still a duration.
	longestStep = 10 * 365 * 24 * time.Hour
	// A rate below lowestRate is no rate, and above highestRate calls would not be
	// told apart by Redis's microseconds.
	lowestRate, highestRate = 0.01, 100_000.0
)

// durationUpTo is duration with the longest that is allowed.
func (c *Collector) durationUpTo(setting, s string, from least, most time.Duration) time.Duration {
	d := c.duration(setting, s, from)
	if d > most {
		c.Problem(setting, "is %s: write a duration from 1ms to %s", s, inWords(most))
		return 0
	}
	return d
}

// inWords is a duration without its zeros, 2m for 2m0s.
func inWords(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func (c *Collector) duration(setting, s string, from least) time.Duration {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		c.Problem(setting, "is %q, which is not a duration: write a number with a unit (ms, s, m, h), for instance 90s or 720h (30 days)", s)
	case d < 0:
		c.Problem(setting, "is %s: a duration cannot be negative", s)
	case d > 0 && d < time.Millisecond:
		c.Problem(setting, "is %s: it must be at least 1ms", s)
	case d == 0 && from == aboveZero:
		c.Problem(setting, "is 0: it must be longer, though it may be as short as 1ms")
	default:
		return d
	}
	return 0
}

// schedule reads durations separated by commas, each above zero: a zero in it
// would be an endless loop at the merchant's expense.
func (c *Collector) schedule(setting, s string) []time.Duration {
	var ds []time.Duration
	for part := range strings.SplitSeq(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || d < time.Millisecond || d > longestStep {
			c.Problem(setting, "has %q in it: write durations from 1ms to %s, separated by commas, for instance 10m,1h,6h", part, inWords(longestStep))
			return nil
		}
		ds = append(ds, d)
	}
	return ds
}

func (c *Collector) number(setting, s string, lowest, highest int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < lowest || n > highest {
		c.Problem(setting, "is %q: write a whole number from %d to %d", s, lowest, highest)
		return 0
	}
	return n
}

func (c *Collector) rate(setting, s string) float64 {
	r, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(r) || r < lowestRate || r > highestRate {
		c.Problem(setting, "is %q: write calls a second, a number from 0.01 to 100000, for instance 50 or 0.5", s)
		return 0
	}
	return r
}

func (c *Collector) window(setting, s string) Window {
	w, err := ParseWindow(s)
	if err != nil {
		c.Problem(setting, "%v (it is %q): write for instance 08:00-22:00, or always", err, s)
	}
	return w
}

// location refuses Local: workers on machines set up differently would keep
// different windows for the same orders.
func (c *Collector) location(setting, s string) *time.Location {
	loc, err := time.LoadLocation(s)
	if err != nil || loc == time.Local {
		c.Problem(setting, "is %q, which is no time zone: write a name such as Asia/Shanghai or UTC", s)
		return nil
	}
	return loc
}

// listenAddr reads [HOST]:PORT; empty is fine and means off. Port 0 means any
// free one.
func (c *Collector) listenAddr(setting, s string) string {
	if s == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		if _, err = strconv.ParseUint(port, 10, 16); errors.Is(err, strconv.ErrRange) {
			c.Problem(setting, "has the port %q: a port is a number from 1 to 65535, or 0 for any that is free", port)
			return ""
		}
	}
	if err != nil {
		port := "9090"
		if setting == "PUBLIC_ADDR" { // ADMIN_ADDR has the other by default
			port = "8081"
		}
		c.Problem(setting, "is %q: write HOST:PORT, for instance 127.0.0.1:%[2]s, or :%[2]s for all interfaces", s, port)
		return ""
	}
	return s
}

// The forms of WeChat's identifiers.
var (
	mchIDForm       = regexp.MustCompile(`^[0-9]{1,32}$`)
	appIDForm       = regexp.MustCompile(`^[0-9A-Za-z_-]{1,32}$`) // also of service_id
	publicKeyIDForm = regexp.MustCompile(`^PUB_KEY_ID_[0-9A-Za-z_-]{1,64}$`)
)

// baseURL reads the root of an API host and returns it without a trailing
// slash. A path is refused because WeChat Pay's signature covers the path that
// it sees itself.
func baseURL(s string, r reporter, field string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		r.problem(field, "is not a URL of the form https://HOST")
		return ""
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		r.problem(field, "has more than a scheme and a host: write https://HOST and nothing behind it")
		return ""
	}
	if u.Port() == "" && secretHost(u.Hostname()) {
		r.problem(field, "has a host that looks like a secret: write https://HOST")
		return ""
	}
	isIP, near := whereIs(u.Hostname())
	if isIP && !near {
		r.warn(field, "names an IP address: WeChat Pay may change those any day, use the domain")
	}
	if u.Scheme == "http" && !near {
		r.warn(field, "is not https: anybody on the way can read and hold back the calls")
	}
	return u.Scheme + "://" + u.Host
}

// secretHost tells a secret in a host's place, where no port follows. A host that has
// a dot is one, and so is what a port follows: container platforms give hosts names
// of random characters.
func secretHost(host string) bool {
	return !strings.Contains(host, ".") && !textsafe.Repeatable(host)
}

// whereIs says of a host whether it is an IP address, and whether it is on this
// machine or on a network of one's own.
func whereIs(host string) (isIP, near bool) {
	addr, err := netip.ParseAddr(host)
	isIP = err == nil
	return isIP, host == "localhost" || isIP && (addr.IsLoopback() || addr.IsPrivate())
}
