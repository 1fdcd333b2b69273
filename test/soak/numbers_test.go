package soak

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"payscore-collector/internal/audit"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
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
