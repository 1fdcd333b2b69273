package console

import (
	"flag"
	"fmt"
	"html"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// With -args -console.orders=1000000 every page is measured, on a machine that does nothing else.
// Without it, a few orders show that each page answers, and that searches end.
var (
	ordersFlag = flag.Int("console.orders", 0, "fill a Redis with so many orders, and measure every page")
	roundsFlag = flag.Int("console.rounds", 100, "how often each page is measured")
)

const (
	pageMedian  = 100 * time.Millisecond
	pageSlowest = 300 * time.Millisecond // of 99 %
	redisBlocks = 10 * time.Millisecond  // by one command
)

// specimen is an order as the scripts have written it, to be copied.
type specimen struct {
	state  tasks.State
	fields map[string]string
	log    []string
}

func (f *fixture) specimen(no string) specimen {
	f.Helper()
	k := ledger.KeysOf(mchA)
	fields, err := f.redis.Client.HGetAll(f.Context(), k.Order(no)).Result()
	log, err2 := f.redis.Client.LRange(f.Context(), k.Log(no), 0, -1).Result()
	if err != nil || err2 != nil || len(fields) == 0 {
		f.Fatal(no, fields, err, err2)
	}
	return specimen{tasks.State(fields["state"]), fields, log}
}

// crowd fills merchant A with orders of a year: of a hundred, six are open, eighty are
// paid, and the rest have each other final state. One of them is like no other.
func (f *fixture) crowd(orders int) {
	f.Helper()
	f.open(mchA, "T-queued")
	f.settle(mchA, "T-awaiting", failed("declined", 403, "TRADE_ERROR", "271316574", "余额不足，请更换支付方式"))
	f.settle(mchA, "T-paid", paid(1250))
	f.settle(mchA, "T-closed", ended(tasks.Closed, "EXPIRED"))
	f.settle(mchA, "T-rejected", ended(tasks.Rejected, "NOTHING_OWED"))
	f.settle(mchA, "T-exhausted", ended(tasks.Exhausted, collect.ReasonGaveUp))
	f.open(mchA, "T-withdrawn")
	f.withdraw(mchA, "T-withdrawn", "paid at the counter", time.Time{})
	of := map[tasks.State]specimen{}
	for _, state := range tasks.States {
		of[state] = f.specimen("T-" + string(state))
	}
	kinds := make([]tasks.State, 0, 100)
	for state, share := range map[tasks.State]int{tasks.Queued: 2, tasks.Awaiting: 4, tasks.Paid: 80, tasks.Closed: 3, tasks.Rejected: 3, tasks.Withdrawn: 4, tasks.Exhausted: 4} {
		kinds = append(kinds, slices.Repeat([]tasks.State{state}, share)...)
	}
	slices.Sort(kinds)
	k := ledger.KeysOf(mchA)
	now, year := time.Now().UnixMilli(), (365 * 24 * time.Hour).Milliseconds()
	counts := map[tasks.State]int64{}
	for from := 0; from < orders; from += 2000 {
		pipe := f.redis.Client.Pipeline()
		for i := from; i < min(from+2000, orders); i++ {
			t := of[kinds[i*37%100]]
			no := fmt.Sprintf("%016x", uint64(i+1)*0x9e3779b97f4a7c15) // as if drawn by lot
			opened := now - int64(uint64(i)*0x9e3779b9%uint64(year))
			fields := maps.Clone(t.fields)
			delete(fields, "tally") // not counted yet
			fields["opened"], fields["since"] = fmt.Sprint(opened), fmt.Sprint(opened)
			at := opened + 3_600_000
			if fields["total"] != "" {
				fields["total"] = fmt.Sprint(1000 + i%100_000)
			}
			if t.state.Open() {
				at = now + 3_600_000 + int64(i)
				fields["due"] = fmt.Sprint(at)
				pipe.ZAdd(f.Context(), k.Due(), redis.Z{Score: float64(at), Member: no})
			} else {
				fields["ended"] = fmt.Sprint(at)
				pipe.ZAdd(f.Context(), k.Ended(t.state), redis.Z{Score: float64(at), Member: no})
			}
			if i == orders/2 {
				fields["svc"], fields["reason"] = "RARE", "like no other"
				f.Logf("%s, %s, is like no other", no, t.state)
			}
			counts[t.state]++
			flat := make([]any, 0, 2*len(fields))
			for name, value := range fields {
				flat = append(flat, name, value)
			}
			pipe.HSet(f.Context(), k.Order(no), flat...)
			if len(t.log) > 0 {
				pipe.RPush(f.Context(), k.Log(no), t.log)
			}
		}
		if _, err := pipe.Exec(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
	for state, n := range counts {
		f.redis.Client.HIncrBy(f.Context(), k.Stats(), string(state), n)
	}
}

// nextOf is the address of the next page; empty on the last one.
func (p page) next() string {
	_, rest, _ := strings.Cut(p.Body, `<nav class="pages"`)
	nav, _, _ := strings.Cut(rest, "</nav>")
	for _, link := range strings.Split(nav, "<a ")[1:] {
		if href, _, _ := strings.Cut(strings.TrimPrefix(link, `href="`), `"`); strings.Contains(link, `rel="next"`) {
			return html.UnescapeString(href)
		}
	}
	return ""
}

func TestMillion(t *testing.T) {
	if *ordersFlag == 0 {
		t.Parallel()
	}
	f := newFixture(t)
	f.world()
	orders := max(*ordersFlag, 1000)
	began := time.Now()
	f.crowd(orders)
	for more := true; more; {
		var err error
		if more, err = f.ledger(mchA).FillRecovery(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if p := f.get("/recovery"); strings.Count(p.section(t, "h-fen"), `<th scope="row"`) != recoveryWeeks {
		t.Errorf("the page Recovery lacks orders of some weeks:\n%s", p.Body)
	}
	t.Logf("%d orders in %.0f s", orders, time.Since(began).Seconds())
	if *ordersFlag > 0 {
		f.redis.Client.ConfigSet(t.Context(), "slowlog-log-slower-than", strconv.FormatInt(redisBlocks.Microseconds(), 10))
		f.redis.Client.Do(t.Context(), "SLOWLOG", "RESET")
		f.redis.Client.ConfigResetStat(t.Context())
	}
	began = time.Now()
	f.surveyed()
	t.Logf("the first survey was there after %.1f s", time.Since(began).Seconds())
	some := fmt.Sprintf("%016x", uint64(orders/3)*0x9e3779b97f4a7c15)
	deep := "/orders?state=paid"
	for range 20 {
		if next := f.get(deep).next(); next != "" {
			deep = next
		}
	}
	paths := append(paths(),
		"/orders?state=queued", deep, "/find?q="+some, "/orders?q="+some, "/orders?q="+some[:3], "/orders?q=zzz", "/orders?service=RARE", "/orders?service=none", "/orders?reason=none",
		"/orders?code=NONE", "/orders?least=99999999", "/orders?state=paid&reason=none", "/orders?state=awaiting&code=NONE", "/orders?from="+time.Now().AddDate(0, 0, -3).Format(time.DateOnly)+"&service=none",
		"/orders?sort=amount", "/orders/"+mchA+"/"+some,
	)
	t.Run("a rare order is found", func(t *testing.T) {
		pages, path := 0, "/orders?service=RARE"
		began := time.Now()
		for ; path != ""; pages++ {
			p := f.get(path)
			if p.wants(t, http.StatusOK); strings.Contains(p.Body, `form="bulk"`) {
				break
			}
			path = p.next()
		}
		if path == "" {
			t.Error("it is on no page")
		}
		t.Logf("after %d pages and %.1f s", pages+1, time.Since(began).Seconds())
	})
	rounds := 1
	if *ordersFlag > 0 {
		rounds = *roundsFlag
	}
	took := map[string][]time.Duration{}
	for range rounds {
		for _, path := range paths {
			begun := time.Now()
			p := f.get(path)
			took[path] = append(took[path], time.Since(begun))
			if p.Status >= 500 {
				t.Errorf("%s: status %d", path, p.Status)
			}
		}
	}
	if *ordersFlag == 0 {
		return
	}
	for _, path := range paths {
		list := took[path]
		slices.Sort(list)
		median, most := list[len(list)/2], list[len(list)*99/100]
		t.Logf("%-70.70s median %6.1f ms, p99 %6.1f ms", path, ms(median), ms(most))
		if median > pageMedian || most > pageSlowest {
			t.Errorf("%s is too slow", path)
		}
	}
	// A command's time has that for which redis-server did not run, so the machine must have
	// nothing else to do.
	stats := f.redis.Client.Info(t.Context(), "latencystats").Val()
	commands := 0
	for _, m := range regexp.MustCompile(`latency_percentiles_usec_(\w+):p50=([\d.]+),p99=([\d.]+),p99.9=([\d.]+)`).FindAllStringSubmatch(stats, -1) {
		p999, err := strconv.ParseFloat(m[4], 64)
		if commands++; err != nil || p999 > float64(redisBlocks.Microseconds()) && m[1] != "config|set" {
			t.Errorf("%s blocks Redis for %s µs, one time in a thousand", m[1], m[4])
		}
		t.Logf("%-30s median %s µs, p99 %s, p99.9 %s", m[1], m[2], m[3], m[4])
	}
	if commands < 5 {
		t.Errorf("Redis tells nothing of its commands: %q", stats)
	}
	slow, err := f.redis.Client.SlowLogGet(t.Context(), 100).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slow {
		t.Errorf("Redis is blocked for %.1f ms by %.100v", ms(s.Duration), s.Args)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
