package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // COLLECT_TIMEZONE must be known on a machine without zone files, such as a bare container

	"payscore-collector/internal/logging"
	"payscore-collector/internal/textsafe"
)

// Errors of these functions continue a sentence that begins with the setting's
// name: "is %q: write ...".

// readers give a text the type of its setting.
var readers = map[reflect.Type]func(text string, d Declared) (any, error){
	reflect.TypeFor[string](): func(text string, d Declared) (any, error) {
		if check := forms[d.tag.Get("is")]; check != nil {
			return text, check(text, d)
		}
		return text, nil
	},
	reflect.TypeFor[Secret]():         func(text string, _ Declared) (any, error) { return NewSecret(text), nil },
	reflect.TypeFor[int]():            readInt,
	reflect.TypeFor[float64]():        readFloat,
	reflect.TypeFor[time.Duration]():  readDuration,
	reflect.TypeFor[Schedule]():       readSchedule,
	reflect.TypeFor[*time.Location](): readLocation,
	reflect.TypeFor[BooksAt](): func(text string, _ Declared) (any, error) {
		at, err := ParseBooksAt(text)
		if err != nil {
			err = fmt.Errorf("%w (it is %q): write for instance 10:30, or off", err, text)
		}
		return at, err
	},
	reflect.TypeFor[Window](): func(text string, _ Declared) (any, error) {
		w, err := ParseWindow(text)
		if err != nil {
			err = fmt.Errorf("%w (it is %q): write for instance 08:00-22:00, or always", err, text)
		}
		return w, err
	},
}

func readInt(text string, d Declared) (any, error) {
	n, err := strconv.Atoi(text)
	from, to := limits(d, strconv.Atoi)
	if err != nil || n < from || n > to {
		return nil, fmt.Errorf("is %q: write a whole number from %d to %d", text, from, to)
	}
	return n, nil
}

func readFloat(text string, d Declared) (any, error) {
	parse := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	n, err := parse(text)
	from, to := limits(d, parse)
	if err != nil || math.IsNaN(n) || n < from || n > to {
		return nil, fmt.Errorf("is %q: write a number from %s to %s", text, d.tag.Get("from"), d.tag.Get("to"))
	}
	return n, nil
}

// limits are the range that the tags of a setting must give.
func limits[T any](d Declared, parse func(string) (T, error)) (from, to T) {
	from, errFrom := parse(d.tag.Get("from"))
	to, errTo := parse(d.tag.Get("to"))
	if err := cmp.Or(errFrom, errTo); err != nil {
		panic(fmt.Sprintf("config: the range of %s: %v", d.Name, err))
	}
	return from, to
}

// readDuration refuses what is above zero and below a millisecond for every
// setting: Redis counts in milliseconds.
func readDuration(text string, d Declared) (any, error) {
	duration, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("is %q, which is not a duration: write a number with a unit (ms, s, m, h), for instance 90s or 720h (30 days)", text)
	}
	from, most := limits(d, func(s string) (time.Duration, error) {
		if s == "" {
			return math.MaxInt64, nil
		}
		return time.ParseDuration(s)
	})
	switch outside := duration < from || duration > most || duration > 0 && duration < time.Millisecond; {
	case outside && from == 0:
		return nil, fmt.Errorf("is %s: write 0, or a duration of at least 1ms", text)
	case outside && most == math.MaxInt64:
		return nil, fmt.Errorf("is %s: write a duration of at least 1ms", text)
	case outside:
		return nil, fmt.Errorf("is %s: write a duration from 1ms to %s", text, d.tag.Get("to"))
	}
	return duration, nil
}

// Schedule is a list of waits. Each is above zero: a zero in it would be an endless
// loop at the merchant's expense.
type Schedule []time.Duration

// longestWait is ten years: with the jitter on top it is still a duration.
const longestWait = 87600 * time.Hour

// String writes the schedule as it is read.
func (s Schedule) String() string {
	words := make([]string, len(s))
	for i, d := range s {
		words[i] = d.String()
	}
	return strings.Join(words, ",")
}

func readSchedule(text string, _ Declared) (any, error) { return ParseSchedule(text) }

// ParseSchedule reads durations with commas between, such as 10m,1h,6h.
func ParseSchedule(text string) (Schedule, error) {
	var s Schedule
	for part := range strings.SplitSeq(text, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || d < time.Millisecond || d > longestWait {
			return nil, fmt.Errorf("has %q in it: write durations from 1ms to 87600h, separated by commas, for instance 10m,1h,6h", part)
		}
		s = append(s, d)
	}
	return s, nil
}

// readLocation refuses Local: workers on machines set up differently would keep
// different windows for the same orders.
func readLocation(text string, _ Declared) (any, error) {
	loc, err := time.LoadLocation(text)
	if err != nil || loc == time.Local {
		return nil, fmt.Errorf("is %q, which is not a time zone: write a name such as Asia/Shanghai or UTC", text)
	}
	return loc, nil
}

// forms are the rules that the tag "is" names.
var forms = map[string]func(text string, d Declared) error{
	"mchid":         form(`^[0-9]{1,32}$`, "a merchant number has 1 to 32 digits and nothing else"),
	"appid":         form(`^[0-9A-Za-z_-]{1,32}$`, "an appid has 1 to 32 characters of 0-9 A-Z a-z _ -"),
	"service_id":    form(`^[0-9A-Za-z_-]{1,32}$`, "a service_id has 1 to 32 characters of 0-9 A-Z a-z _ -"),
	"public_key_id": form(`^PUB_KEY_ID_[0-9A-Za-z_-]{1,64}$`, "the ID of WeChat Pay's public key begins with PUB_KEY_ID_"),
	"address":       address,
	"signer":        form(`^(auto|go|openssl)$`, "write auto, go or openssl"),
	"level": func(text string, _ Declared) error {
		_, err := logging.ParseLevel(text)
		return wrong(err)
	},
	"format": func(text string, _ Declared) error { return wrong(logging.ParseFormat(text)) },
}

func form(pattern, rule string) func(string, Declared) error {
	re := regexp.MustCompile(pattern)
	return func(text string, _ Declared) error {
		if !re.MatchString(text) {
			return fmt.Errorf("is %q: %s", text, rule)
		}
		return nil
	}
}

func wrong(err error) error {
	if err != nil {
		return fmt.Errorf("is wrong: %w", err)
	}
	return nil
}

// address checks [HOST]:PORT; empty means off. Port 0 means any free one.
func address(text string, d Declared) error {
	if text == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		if _, err = strconv.ParseUint(port, 10, 16); errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("has the port %q: a port is a number from 1 to 65535, or 0 for any that is free", port)
		}
	}
	if err != nil {
		_, port, _ = net.SplitHostPort(cmp.Or(d.Default, ":8081"))
		return fmt.Errorf("is %q: write HOST:PORT, for instance 127.0.0.1:%[2]s, or :%[2]s for all interfaces", text, port)
	}
	return nil
}

// baseURL reads the root of an API host and returns it without a trailing slash. A
// path is refused because WeChat Pay's signature covers the path that it sees itself.
func (r reporter) baseURL(text, field string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		r.problem(field, "is not a URL of the form https://HOST")
		return ""
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		r.problem(field, "has more than a scheme and a host: write https://HOST and nothing behind it")
		return ""
	case u.Port() == "" && secretHost(u.Hostname()):
		r.problem(field, "has a host that looks like a secret: write https://HOST")
		return ""
	}
	isIP, near := whereIs(u.Hostname())
	if isIP && !near {
		r.warn(field, "names an IP address: WeChat Pay may change it any day, use the domain")
	}
	if u.Scheme == "http" && !near {
		r.warn(field, "is not https: anyone on the network path can read and hold back the calls")
	}
	return u.Scheme + "://" + u.Host
}

// secretHost recognises a secret in a host's place, where no port follows. A name
// with a dot is a host, and so is one with a port: container platforms give hosts
// names of random characters.
func secretHost(host string) bool {
	return !strings.Contains(host, ".") && !textsafe.Repeatable(host)
}

// whereIs says whether a host is an IP address, and whether it is on this machine or
// on a private network.
func whereIs(host string) (isIP, near bool) {
	addr, err := netip.ParseAddr(host)
	isIP = err == nil
	return isIP, host == "localhost" || isIP && (addr.IsLoopback() || addr.IsPrivate())
}
