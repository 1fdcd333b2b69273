package soak

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/api"
	"payscore-collector/internal/audit"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// day is a moment of the month, so many days before today, in Shanghai. The worker does
// then what is due, and ends; the next day finds what has become due since. No step ends
// near a day, an hour or a delay that is counted.
type day struct {
	ago, hour, minute int
	enqueues          bool
}

var days = []day{
	{38, 9, 10, true}, {37, 12, 5, false}, {33, 20, 5, false}, {24, 10, 20, true}, {12, 11, 30, true},
	{5, 13, 35, true}, {2, 15, 15, true}, {1, 17, 5, false}, {1, 17, 20, false},
}

// The days on which the user, billing and the policy do something; see act.
const (
	partlyPaid = 0
	paidInApp  = 1
	withdrawn  = 5
	givenUp    = 6 // what the first two cohorts still owe was given up the day before
	cohorts    = 5
)

// fates are those of the orders, one after the other. The user's own payments come between
// two days.
var fates = []simulator.Fate{
	"pays", "pays", "pays", "declines:1", "declines:2", "never", "never", "partial:100", "parts:2", "mixed:PM", "mixed:MP", "userpaying:1ms",
	"user_pays:30h", "user_pays:100h", "lower:77", "not_completed", "created", "revoked", "expired", "nothing_owed", "unknown", scripted,
}

// scripted pays, and its first collect is declined for another cause than the other
// orders'.
const (
	scripted       = "pays:scripted"
	scriptedDetail = "271299627"
)

// story is what the test knows of an order beside the platform.
type story struct {
	fate           simulator.Fate
	cohort         int
	notified       bool
	opened, since  time.Time
	billing        int64
	withdrawn      bool
	gaveUp         bool
	becamePaid     int // the day on which the platform told so; -1: it did not
	platformShowed bool
}

// month is everything that runs.
type month struct {
	t        *testing.T
	sim      *simulator.Simulator
	platform *httptest.Server
	rdb      *redistest.Server
	clock    *redistest.WallClock
	ahead    atomic.Int64 // of the platform's clock and Redis's
	ledger   *ledger.Ledger
	producer *tasks.Producer
	bin      string
	env      []string
	admin    string
	public   string
	today    time.Time
	now      int // index of days
	worker   *testkit.Process

	mu     sync.Mutex
	orders map[string]*story
}

// TestNumbersEqualThePlatformsTruth: orders of all fates are enqueued and collected in the
// course of a month, which Redis's clock and the platform's run through; users pay on their
// own, billing withdraws, orders are given up. What the platform then knows of orders and
// payments, of whose doing they were, and of what it answered, the console's pages, the API
// and the SQL queries say, to the fen.
func TestNumbersEqualThePlatformsTruth(t *testing.T) {
	t.Parallel()
	m := newMonth(t)
	orders := testkit.Form(2*cohorts*len(fates), 5000)
	for m.now = range days {
		m.begin()
		if days[m.now].enqueues {
			m.enqueue(orders)
		}
		m.drain()
		m.act()
		m.drain()
		m.note()
		if m.now < len(days)-1 {
			m.end()
		}
	}
	want, world := m.truth()
	m.judgeAPI(want)
	m.judgeRecovery(want)
	m.judgeOverview(world)
	m.end()
	m.judgeSQL(want, world)
	t.Logf("%d orders of %d fates: %d ended, %d paid, %s came in; %d open, %s owed; %d numbers are those of the platform in the API, on the pages and in SQL",
		orders, len(fates), want["total"].Orders, want["total"].Paid, explain.Yuan(want["total"].Fen), world.open, explain.Yuan(world.owed), len(want))
}

func newMonth(t *testing.T) *month {
	t.Helper()
	redistest.NeedReal(t)
	m := &month{t: t, clock: redistest.NewWallClock(t), orders: map[string]*story{}, today: startOfDay(time.Now())}
	m.rdb = redistest.StartWithClock(t, m.clock, "--appendfsync", "no")
	var err error
	if m.sim, err = simulator.New(simulator.Options{KeyBits: 1024, Clock: m.time, Watch: m.saw}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.sim.Close)
	m.platform = httptest.NewServer(m.sim.Handler())
	t.Cleanup(m.platform.Close)
	if err := m.sim.SetNotifications(simulator.Notifications{Retry: slices.Repeat([]simulator.Duration{simulator.Duration(300 * time.Millisecond)}, 500)}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.sim.WriteMerchantDir(dir, m.platform.URL); err != nil {
		t.Fatal(err)
	}
	merchant, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	m.admin, m.public = testkit.FreeAddr(t), testkit.FreeAddr(t)
	m.env = append(strings.Fields(string(merchant)),
		"PATH="+os.Getenv("PATH"), "REDIS_URL="+m.rdb.URL, "ADMIN_ADDR="+m.admin, "PUBLIC_ADDR="+m.public, "COLLECT_WINDOW=always", "BOOKS_AT=off",
		"COLLECT_RATE=3000", "CALL_TIMEOUT=30s", "COLLECT_SCHEDULE=20h", "CONFIRM_SCHEDULE=3m", "GIVE_UP_AFTER=360h", "SWEEP_EVERY=200ms", "LOG_LEVEL=warn")
	m.ledger, m.producer = ledger.New(m.rdb.Client, m.sim.Merchant().MchID), tasks.NewProducer(m.rdb.Client)
	m.bin = programs(t)
	return m
}

func startOfDay(at time.Time) time.Time {
	y, mo, d := at.In(tasks.China).Date()
	return time.Date(y, mo, d, 0, 0, 0, 0, tasks.China)
}

// time is that of Redis and the platform.
func (m *month) time() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }

// saw notes that the platform has shown an order's final state.
func (m *month) saw(s simulator.Seen) {
	if s.Ended {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.orders[s.OutOrderNo].platformShowed = true
	}
}

// begin moves the clocks to the day, and starts a worker.
func (m *month) begin() {
	d := days[m.now]
	at := m.today.AddDate(0, 0, -d.ago).Add(time.Duration(d.hour)*time.Hour + time.Duration(d.minute)*time.Minute)
	ahead := time.Until(at)
	m.clock.Set(m.t, ahead)
	m.ahead.Store(int64(ahead))
	cmd := exec.Command(filepath.Join(m.bin, "worker"))
	cmd.Env = m.env
	m.worker = testkit.StartProcess(m.t, cmd)
	m.within("the worker to serve", func() bool {
		resp, err := http.Get("http://" + m.admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (m *month) end() {
	if status := m.worker.Stop(syscall.SIGTERM); status != 0 {
		m.t.Fatalf("the worker ended with %d:\n%s", status, m.worker.Log)
	}
}

// enqueue adds the day's cohort to the platform and to the ledger.
func (m *month) enqueue(orders int) {
	t, merchant := m.t, m.sim.Merchant()
	cohort := 0
	for _, d := range days[:m.now] {
		if d.enqueues {
			cohort++
		}
	}
	var handed []tasks.Order
	for i := range orders {
		if i/len(fates)%cohorts != cohort {
			continue
		}
		fate := fates[i%len(fates)]
		if cohort == cohorts-1 && fate == "lower:77" || cohort == cohorts-2 && fate == "mixed:PM" {
			fate = "never" // the last day would change what the order owes, and no query would tell
		}
		s := &story{fate: fate, cohort: cohort, notified: i/len(fates)/cohorts%2 == 1, opened: m.time(), becamePaid: -1}
		o := simulator.Order{OutOrderNo: fmt.Sprintf("MONTH-%05d", i), TotalAmount: int64(1000 + i*37%5000), Fate: s.fate}
		switch s.fate {
		case simulator.FateNothingOwed:
			o.TotalAmount = 0
		case scripted:
			o.Fate = "pays"
			o.Replies = []simulator.ScriptedReply{{Call: simulator.CallCollect, HTTP: http.StatusForbidden, Code: "TRADE_ERROR", DetailCode: scriptedDetail}}
		}
		if s.notified {
			o.NotifyURL = "http://" + m.public + "/notify/" + merchant.MchID
		}
		h := tasks.Order{Payload: tasks.Payload{MchID: merchant.MchID, OutOrderNo: o.OutOrderNo, AppID: merchant.AppID, ServiceID: merchant.ServiceID}}
		if i%4 == 0 {
			s.billing = o.TotalAmount + 11
			h.Amount = s.billing
		}
		if ago := []int{0, 40, 60}[i%3]; ago > 0 {
			s.since = m.today.AddDate(0, 0, -ago)
			h.OwedSince = s.since
		}
		m.mu.Lock()
		m.orders[o.OutOrderNo] = s
		m.mu.Unlock()
		if err := m.sim.AddOrders(o); err != nil {
			t.Fatal(err)
		}
		handed = append(handed, h)
	}
	for o, res := range m.producer.EnqueueAll(t.Context(), slices.Values(handed)) {
		if res.Status != tasks.Accepted {
			t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
}

// drain waits until nothing is due, no call is under way, and each notification is taken.
// What a lease covers becomes due within a minute, and what is planned does not.
func (m *month) drain() {
	m.within("nothing to be due", func() bool {
		due, err := m.rdb.Client.ZCount(context.Background(), ledger.KeysOf(m.sim.Merchant().MchID).Due(), "-inf", fmt.Sprint(m.time().Add(time.Minute).UnixMilli())).Result()
		return err == nil && due == 0 && m.sim.Report().Notifications.Pending == 0
	})
}

// act is what users and billing do at the end of a day.
func (m *month) act() {
	for _, o := range m.sim.Report().Orders {
		s := m.orders[o.OutOrderNo]
		waits := audit.Expected(o) == tasks.Exhausted
		if m.now == givenUp && s.cohort < 2 && waits {
			s.gaveUp = true
		}
		switch {
		case m.now == partlyPaid && s.fate == "declines:2":
			m.pay(o.OutOrderNo, 30) // a collect brings the rest
		case m.now == paidInApp && s.fate == "parts:2" && waits:
			m.pay(o.OutOrderNo, 0) // a collect has brought the other part
		case m.now == withdrawn && s.cohort == 2 && waits && (s.fate == simulator.FateNever || s.fate == "partial:100"):
			wd := tasks.Withdrawal{MchID: m.sim.Merchant().MchID, OutOrderNo: o.OutOrderNo, Reason: "paid at the counter"}
			if o.TotalAmount%2 == 0 {
				wd.PaidAt = m.time().Add(-time.Hour)
			}
			if res, err := m.producer.Withdraw(m.t.Context(), wd); err != nil || res.Status != tasks.Accepted {
				m.t.Fatalf("%s: %+v %v", o.OutOrderNo, res, err)
			}
			s.withdrawn = true
		case m.now == givenUp && s.fate == simulator.FateNever:
			switch { // the ledger learns of a payment after the end only by a notification
			case s.cohort == 0 && s.notified, s.cohort == 4:
				m.pay(o.OutOrderNo, 50)
			case s.cohort == 1 && s.notified, s.cohort == 3 && o.TotalAmount%2 == 0:
				m.pay(o.OutOrderNo, 0)
			}
		}
	}
}

// pay is a payment that the user makes in the app.
func (m *month) pay(no string, fen int64) {
	resp, err := http.Post(m.platform.URL+"/_sim/orders/"+no+"/pay", "application/json", strings.NewReader(fmt.Sprintf(`{"amount":%d}`, fen)))
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s", resp.Status, text)
	}
}

// note notes which orders the platform has told to be paid by this day.
func (m *month) note() {
	for _, o := range m.sim.Report().Orders {
		m.mu.Lock()
		if s := m.orders[o.OutOrderNo]; s.becamePaid < 0 && m.state(o) == tasks.Paid && (o.Notified > 0 || s.platformShowed) {
			s.becamePaid = m.now
		}
		m.mu.Unlock()
	}
}

// state is where an order must stand.
func (m *month) state(o simulator.OrderReport) tasks.State {
	switch s, state := m.orders[o.OutOrderNo], audit.Expected(o); {
	case s.withdrawn:
		return tasks.Withdrawn
	case s.gaveUp:
		return tasks.Exhausted
	case state == tasks.Exhausted:
		return tasks.Awaiting
	default:
		return state
	}
}

// cell is what is counted of some orders, or of some payments, in fen.
type cell struct{ Orders, Owed, Paid, Fen int64 }

// numbers are what the page Recovery shows, GET /v1/analytics answers and the queries give,
// by what they count.
type numbers map[string]cell

func (n numbers) add(key string, c cell) {
	sum := n[key]
	n[key] = cell{sum.Orders + c.Orders, sum.Owed + c.Owed, sum.Paid + c.Paid, sum.Fen + c.Fen}
}

// overview is what else the console shows.
type overview struct {
	open, owed int64 // of open orders
	allOwed    int64 // of exhausted ones, too
	ages       [6]cell
	states     map[tasks.State]int64
	paid       cell // of paid orders
	week, last cell // of those that became paid in 7 and 30 days
	byDay      map[string]int64
}

func monday(at time.Time) string {
	d := startOfDay(at)
	return d.AddDate(0, 0, -(int(d.Weekday())+6)%7).Format(time.DateOnly)
}

// truth counts what the platform knows.
func (m *month) truth() (numbers, overview) {
	n, w := numbers{}, overview{states: map[tasks.State]int64{}, byDay: map[string]int64{}}
	for _, o := range m.sim.Report().Orders {
		s, state := m.orders[o.OutOrderNo], m.state(o)
		w.states[state]++
		owed := s.billing
		if o.State == simulator.StateDone || audit.Expected(o) == tasks.Exhausted {
			if o.TotalAmount > 0 {
				owed = o.TotalAmount
			}
		}
		payments := audit.Platform(o.Payments)
		var last, ours *ledger.Payment // by time; of those through PayScore
		for i, p := range payments {
			if last == nil || !p.PaidAt.Before(last.PaidAt) {
				last = &payments[i]
			}
			if p.PaidType != simulator.PaidTypeMch && (ours == nil || !p.PaidAt.Before(ours.PaidAt)) {
				ours = &payments[i]
			}
			where := "yuan"
			if p.PaidType == simulator.PaidTypeMch {
				where = "elsewhere"
			}
			w.byDay[where+" "+p.PaidAt.In(tasks.China).Format(time.DateOnly)] += p.Amount
			if state == tasks.Withdrawn {
				w.byDay["withdrawn "+p.PaidAt.In(tasks.China).Format(time.DateOnly)] += p.Amount
			}
		}
		if state == tasks.Awaiting || state == tasks.Exhausted {
			w.allOwed += o.TotalAmount - o.PaidAmount
		}
		if state.Open() {
			since := s.since
			if since.IsZero() {
				since = s.opened
			}
			age := 0
			for _, most := range []int{1, 3, 7, 14, 30} {
				if time.Since(since) > time.Duration(most)*24*time.Hour {
					age++
				}
			}
			w.open, w.owed = w.open+1, w.owed+o.TotalAmount-o.PaidAmount
			w.ages[age].Orders++
			w.ages[age].Fen += o.TotalAmount - o.PaidAmount
			continue
		}
		whole := cell{Orders: 1, Owed: owed, Fen: o.PaidAmount}
		if state == tasks.Paid && s.becamePaid < 0 {
			m.t.Errorf("%s (%+v) is paid, and the platform has not told so: %+v", o.OutOrderNo, *s, o)
			continue
		}
		if state == tasks.Paid {
			whole.Paid = 1
			w.paid.Orders, w.paid.Fen = w.paid.Orders+1, w.paid.Fen+o.PaidAmount
			if days[s.becamePaid].ago < 7 {
				w.week.Orders, w.week.Fen = w.week.Orders+1, w.week.Fen+o.PaidAmount
			}
			if days[s.becamePaid].ago < 30 {
				w.last.Orders, w.last.Fen = w.last.Orders+1, w.last.Fen+o.PaidAmount
			}
		}
		week := monday(s.opened)
		for _, key := range []string{"total", "state " + string(state), "week " + week, fmt.Sprint("attempts ", o.CollectCalls), "first_decline " + o.FirstDecline} {
			n.add(key, whole)
		}
		for _, d := range ledger.RecoveryLags {
			n.add(fmt.Sprintf("week %s day %d", week, d), cell{})
		}
		for i := range payments {
			p := &payments[i]
			c := cell{Fen: p.Amount}
			if p == last {
				c.Paid = whole.Paid
			}
			whose := "collect"
			if p.PaidType == simulator.PaidTypeMch {
				whose = "elsewhere"
			} else if slices.Contains(o.ByUser, int(ours.Seq)) {
				whose = "user"
			}
			n.add("paid_by "+whose, c)
			n.add(fmt.Sprint("hour ", p.PaidAt.In(tasks.China).Hour()), c)
			for _, d := range ledger.RecoveryLags {
				if p.PaidAt.Sub(s.opened) <= time.Duration(d)*24*time.Hour {
					n.add(fmt.Sprintf("week %s day %d", week, d), c)
				}
			}
		}
	}
	return n, w
}

// judgeAPI compares GET /v1/analytics.
func (m *month) judgeAPI(want numbers) {
	var v api.AnalyticsView
	if err := json.Unmarshal([]byte(m.get("/v1/analytics")), &v); err != nil {
		m.t.Fatal(err)
	}
	got := numbers{}
	whole := func(key string, c api.EndedCount) { got.add(key, cell{c.Orders, c.Amount, c.PaidOrders, c.PaidAmount}) }
	part := func(key string, c api.PaidCount) { got.add(key, cell{Paid: c.PaidOrders, Fen: c.PaidAmount}) }
	whole("total", v.Total)
	for _, c := range v.States {
		whole("state "+string(c.State), c.EndedCount)
	}
	for _, c := range v.Weeks {
		whole("week "+string(c.Week), c.EndedCount)
		for _, d := range c.ByDay {
			part(fmt.Sprintf("week %s day %d", c.Week, d.Day), d.PaidCount)
		}
	}
	for _, c := range v.Attempts {
		whole(fmt.Sprint("attempts ", c.Attempts), c.EndedCount)
	}
	for _, c := range v.Declines {
		whole("first_decline "+c.Code, c.EndedCount)
	}
	for _, c := range v.Hours {
		part(fmt.Sprint("hour ", c.Hour), c.PaidCount)
	}
	for _, c := range v.PaidBy {
		part("paid_by "+c.By, c.PaidCount)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Errorf("GET /v1/analytics (-platform +API):\n%s", diff)
	}
}

var (
	tableRow  = regexp.MustCompile(`(?s)<tr>(<t[hd].*?)</tr>`)
	tableCell = regexp.MustCompile(`(?s)<(?:td|th)[^>]*>(.*?)</(?:td|th)>`)
	tag       = regexp.MustCompile(`<[^>]*>`)
)

// judgeRecovery compares the page Recovery: each table has the rows of the platform's
// numbers and no others.
func (m *month) judgeRecovery(want numbers) {
	page := m.get("/recovery")
	table := map[string][]string{}
	row := func(id string, cells ...string) { table[id] = append(table[id], strings.Join(cells, " | ")) }
	percent := func(part, whole int64) string {
		if whole == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
	}
	for key, c := range want {
		kind, value, _ := strings.Cut(key, " ")
		ended := []string{group(c.Orders), explain.Yuan(c.Owed), explain.Yuan(c.Fen), percent(c.Fen, c.Owed), percent(c.Paid, c.Orders)}
		switch kind {
		case "week":
			start, err := time.ParseInLocation(time.DateOnly, value, tasks.China)
			if err != nil {
				continue // of its days
			}
			fen, orders := []string{value, group(c.Orders)}, []string{value, group(c.Orders)}
			for _, d := range ledger.RecoveryLags {
				by, star := want[fmt.Sprintf("%s day %d", key, d)], ""
				if time.Now().Before(start.AddDate(0, 0, 7+d)) {
					star = "*"
				}
				fen, orders = append(fen, percent(by.Fen, c.Owed)+star), append(orders, percent(by.Paid, c.Orders)+star)
			}
			row("h-fen", append(fen, percent(c.Fen, c.Owed))...)
			row("h-orders", append(orders, percent(c.Paid, c.Orders))...)
		case "attempts":
			row("h-attempts", append([]string{value}, ended...)...)
		case "first_decline":
			words := "no collect call was declined"
			if value != "" {
				words = explain.Teller{Lang: explain.English}.ErrorCause(ledger.LastError{Code: value}) + " " + value
			}
			row("h-declines", append([]string{words}, ended...)...)
		case "hour":
			h, _ := strconv.Atoi(value)
			row("h-hours", fmt.Sprintf("%02d:00–%02d:00", h, h+1), group(c.Paid), explain.Yuan(c.Fen))
		case "paid_by":
			words := map[string]string{
				"collect":   "after our collect within CONFIRM_SCHEDULE’s first interval of an accepted collect call",
				"user":      "by the user or the platform itself through PayScore, without such a call",
				"elsewhere": "elsewhere the merchant told WeChat Pay so (MCH)",
			}
			row("h-whose", words[value], group(c.Paid), explain.Yuan(c.Fen), percent(c.Fen, want["total"].Fen))
		}
	}
	for id, rows := range table {
		_, section, _ := strings.Cut(page, `<section aria-labelledby="`+id+`">`)
		section, _, _ = strings.Cut(section, "</section>")
		_, section, _ = strings.Cut(section, "<tbody>")
		var got []string
		for _, r := range tableRow.FindAllStringSubmatch(section, -1) {
			var cells []string
			for _, c := range tableCell.FindAllStringSubmatch(r[1], -1) {
				if text := strings.Join(strings.Fields(html.UnescapeString(tag.ReplaceAllString(c[1], " "))), " "); text != "" {
					cells = append(cells, text)
				}
			}
			got = append(got, strings.Join(cells, " | "))
		}
		slices.Sort(got)
		slices.Sort(rows)
		if diff := cmp.Diff(rows, got); diff != "" {
			m.t.Errorf("the page Recovery, %s (-platform +page):\n%s", id, diff)
		}
	}
	total := want["total"]
	for _, tile := range []string{
		"<dd>" + explain.Yuan(total.Owed) + `</dd><dd class="note">of ` + group(total.Orders), "<dd>" + explain.Yuan(total.Fen) + "</dd>",
		"<dd>" + percent(total.Fen, total.Owed) + "</dd>", "<dd>" + percent(total.Paid, total.Orders) + "</dd>",
	} {
		if !strings.Contains(page, tile) {
			m.t.Errorf("the page Recovery lacks %s", tile)
		}
	}
}

// judgeOverview compares the overview, the counters and the CSV of the orders.
func (m *month) judgeOverview(w overview) {
	t, page := m.t, ""
	m.within("the survey", func() bool {
		page = m.get("/")
		return !strings.Contains(page, "The amounts are being counted")
	})
	ended := int64(0)
	for state, n := range w.states {
		if !state.Open() {
			ended += n
		}
	}
	tiles := []string{
		"<dt>Still owed</dt><dd>" + explain.Yuan(w.owed) + `</dd><dd class="note">` + group(w.open) + " open orders",
		"<dt>Came in, 7 days</dt><dd>" + explain.Yuan(w.week.Fen) + `</dd><dd class="note">` + group(w.week.Orders) + " orders became paid",
		"<dt>Came in, 30 days</dt><dd>" + explain.Yuan(w.last.Fen) + `</dd><dd class="note">` + group(w.last.Orders) + " orders became paid",
		fmt.Sprintf("<dt>Recovery rate</dt><dd>%.1f %%", 100*float64(w.paid.Orders)/float64(ended)),
		group(w.paid.Orders) + " paid of " + group(ended) + " orders that have ended",
	}
	for i, name := range []string{"up to 1 day", "up to 3 days", "up to 7 days", "up to 14 days", "up to 30 days", "more than 30 days"} {
		tiles = append(tiles, fmt.Sprintf(`<th scope="row">%s</th><td class="n">%s</td><td class="n">%s</td>`, name, group(w.ages[i].Orders), explain.Yuan(w.ages[i].Fen)))
	}
	for _, tile := range tiles {
		if !strings.Contains(page, tile) {
			t.Errorf("the overview lacks %s", tile)
		}
	}
	if t.Failed() {
		t.Logf("the overview: %s", page)
	}
	var stats map[string]map[string]int64
	if err := json.Unmarshal([]byte(m.get("/v1/stats")), &stats); err != nil {
		t.Fatal(err)
	}
	got := stats[m.sim.Merchant().MchID]
	for state, n := range w.states {
		if got[string(state)] != n || got["paid_amount"] != w.paid.Fen {
			t.Errorf("GET /v1/stats says %v, want %d %s, %d fen paid", got, n, state, w.paid.Fen)
		}
		rows, err := csv.NewReader(strings.NewReader(m.get("/orders.csv?" + url.Values{"state": {string(state)}}.Encode()))).ReadAll()
		if err != nil || int64(len(rows)) != n+1 {
			t.Errorf("the CSV of the %s has %d lines, %v; want %d orders", state, len(rows), err, n)
		}
	}
}

// judgeSQL has the sink write PostgreSQL, and compares the queries' answers.
func (m *month) judgeSQL(want numbers, w overview) {
	t := m.t
	pg := pgtest.Shared(t).Database(t, "month")
	sink := exec.Command(filepath.Join(m.bin, "outcomes"), "sink", "postgres", "--once")
	sink.Env = append(m.env, "DATABASE_URL="+pg)
	if out, err := sink.CombinedOutput(); err != nil {
		t.Fatalf("the sink: %v\n%s", err, out)
	}
	conn := pgtest.Connect(t, pg)
	query := func(name string) (rows [][]string) {
		t.Helper()
		text, err := os.ReadFile("../../docs/queries/" + name)
		if err != nil {
			t.Fatal(err)
		}
		results, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range results[0].Rows {
			var row []string
			for _, text := range r {
				row = append(row, string(text))
			}
			rows = append(rows, row)
		}
		return rows
	}
	count := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	fen := func(yuan string) int64 {
		if yuan == "0" { // of payments
			return 0
		}
		return count(strings.Replace(yuan, ".", "", 1))
	}
	got := numbers{}
	for _, r := range query("recovery-by-week.sql") {
		got.add("week "+r[1], cell{count(r[2]), fen(r[3]), count(r[4]), fen(r[5])})
		for i, d := range ledger.RecoveryLags {
			got.add(fmt.Sprintf("week %s day %d", r[1], d), cell{Paid: count(r[6+2*i]), Fen: fen(r[7+2*i])})
		}
	}
	for _, r := range query("recovery-by-cause.sql") {
		got.add(r[1]+" "+r[2], cell{count(r[3]), fen(r[4]), count(r[5]), fen(r[6])})
	}
	asked := numbers{}
	for key, c := range want {
		if kind, _, _ := strings.Cut(key, " "); kind != "total" && kind != "state" {
			asked[key] = c
		}
	}
	if diff := cmp.Diff(asked, got); diff != "" {
		t.Errorf("the recovery's queries (-platform +SQL):\n%s", diff)
	}
	byDay := map[string]int64{}
	for _, r := range query("collected-by-day.sql") {
		for i, where := range []string{"yuan", "elsewhere", "withdrawn"} {
			if sum := fen(r[4+i]); sum > 0 {
				byDay[where+" "+r[1]] = sum
			}
		}
	}
	if diff := cmp.Diff(w.byDay, byDay); diff != "" {
		t.Errorf("collected-by-day.sql (-platform +SQL):\n%s", diff)
	}
	var owed int64
	for _, r := range query("owed-by-age.sql") {
		owed += fen(r[3])
	}
	if owed != w.allOwed {
		t.Errorf("owed-by-age.sql comes to %d fen, want %d", owed, w.allOwed)
	}
}

func (m *month) get(path string) string {
	m.t.Helper()
	resp, err := http.Get("http://" + m.admin + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, text)
	}
	return string(text)
}

func (m *month) within(what string, ok func() bool) {
	m.t.Helper()
	testkit.Within(m.t, 4*time.Minute, what, ok, m)
}

// String is what a failed test shows.
func (m *month) String() string {
	s, err := m.ledger.Stats(context.Background())
	lines := m.worker.Log.Lines()
	return fmt.Sprintf("day %d; the ledger: %+v %v; notifications: %+v; the end of the log:\n%s", m.now, s, err, m.sim.Report().Notifications, strings.Join(lines[max(0, len(lines)-30):], "\n"))
}

// group writes a number as the pages do.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
