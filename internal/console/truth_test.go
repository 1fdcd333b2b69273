package console_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/console"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// world is what the platform knows of a merchant's orders: what is still owed, by age, what
// was paid, and what has ended otherwise.
type world struct {
	open, owed       int64
	unseen           int64 // open orders of which the platform has not told twice what they come to
	ages             [6]struct{ orders, fen int64 }
	paid, fen, ended int64
	states           map[tasks.State]int64
}

// The overview, the orders' pages, their CSV, the preview of a bulk action and the API say
// what the platform knows, to the fen. TestNumbersEqualThePlatformsTruth of test/soak does
// the same for 5,000 orders, with the page Recovery and SQL.
func TestTruth(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, func(w *config.Worker) { w.GiveUpAfter = time.Hour })
	fates := []simulator.Fate{
		simulator.FatePays, simulator.FatePays, simulator.FateDeclines(1), simulator.FateNever, simulator.FatePartial(100), simulator.FateParts(2), simulator.FateMixed("PM"),
		simulator.FateUserPays(time.Millisecond), simulator.FateLower(77), simulator.FateNotCompleted, simulator.FateRevoked, simulator.FateExpired, simulator.FateNothingOwed, simulator.FateUnknown, simulator.FateUserPaying(time.Millisecond),
	}
	days := []float64{0.5, 2, 5, 10, 20, 40} // one in each class of age
	began := time.Now()
	age := map[string]int{}
	orders := make([]simulator.Order, 8*len(fates))
	handed := make([]tasks.Order, len(orders))
	for i := range orders {
		no := fmt.Sprintf("TRUTH-%05d", i)
		orders[i] = simulator.Order{OutOrderNo: no, TotalAmount: int64(1000 + i*37%5000), Fate: fates[i%len(fates)]}
		if orders[i].Fate == simulator.FateNothingOwed {
			orders[i].TotalAmount = 0
		}
		handed[i] = r.Order(no)
		age[no] = i / len(fates) % len(days)
		handed[i].OwedSince = began.Add(-time.Duration(days[age[no]] * float64(24*time.Hour)))
	}
	r.Add(orders...)
	r.Work()
	for o, res := range r.Producer.EnqueueAll(t.Context(), slices.Values(handed)) {
		if res.Status != tasks.Accepted {
			t.Fatalf("%s: %s %v", o.OutOrderNo, res.Status, res.Err)
		}
	}
	want := world{}
	r.Until(testkit.Patience+time.Duration(len(orders))*20*time.Millisecond, "every order to stand as the platform has it", func() bool {
		want = truth(r, age)
		s, err := r.Ledger.Stats(t.Context())
		return err == nil && want.unseen == 0 && s.Orders[tasks.Queued] == 0 && s.Orders[tasks.Awaiting] == want.open && s.Orders[tasks.Paid] == want.paid && s.PaidAmount == want.fen
	})
	if want.open == 0 || want.paid == 0 || want.ended == want.paid || want.owed == 0 {
		t.Fatalf("the platform's truth is poor: %+v", want)
	}

	a := api.New(api.Options{Redis: r.Redis.Client, Loopback: true, Log: zerolog.New(r.Logs)})
	c := console.New(a)
	mux := http.NewServeMux()
	a.Register(mux)
	c.Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(func() { c.Stop(); a.Stop(); s.Close() })
	get := func(path string) string { return body(t, http.MethodGet, s.URL+path, nil) }

	overview := ""
	testkit.Eventually(t, "the survey", func() bool {
		overview = get("/")
		return !strings.Contains(overview, "The amounts are being counted")
	}, r.Logs)
	count := func(n int64) string { return group(n) }
	tiles := []string{
		"<dt>Still owed</dt><dd>" + explain.Yuan(want.owed) + `</dd><dd class="note">` + count(want.open) + " open orders",
		"<dt>Came in, 7 days</dt><dd>" + explain.Yuan(want.fen) + `</dd><dd class="note">` + count(want.paid) + " orders became paid",
		"<dt>Came in, 30 days</dt><dd>" + explain.Yuan(want.fen) + `</dd><dd class="note">` + count(want.paid) + " orders became paid",
		fmt.Sprintf("<dt>Recovery rate</dt><dd>%.1f %%", 100*float64(want.paid)/float64(want.ended)),
		count(want.paid) + " paid of " + count(want.ended) + " orders that have ended",
	}
	if tasks.China != nil && began.In(tasks.China).Day() == time.Now().In(tasks.China).Day() {
		tiles = append(tiles, "<dt>Came in today</dt><dd>"+explain.Yuan(want.fen)+`</dd><dd class="note">`+count(want.paid)+" orders became paid")
	}
	for i, name := range []string{"up to 1 day", "up to 3 days", "up to 7 days", "up to 14 days", "up to 30 days", "more than 30 days"} {
		tiles = append(tiles, fmt.Sprintf(`<th scope="row">%s</th><td class="n">%s</td><td class="n">%s</td>`, name, count(want.ages[i].orders), explain.Yuan(want.ages[i].fen)))
	}
	for _, tile := range tiles {
		if !strings.Contains(overview, tile) {
			t.Errorf("the overview lacks %s:\n%s", tile, overview)
		}
	}

	// The same from the API, from the orders' pages and their CSV, and from a preview.
	var stats map[string]map[string]int64
	if err := json.Unmarshal([]byte(get("/v1/stats")), &stats); err != nil {
		t.Fatal(err)
	}
	mchid := r.Sim.Merchant().MchID
	if got := stats[mchid]; got["paid_amount"] != want.fen || got["paid"] != want.paid || got["awaiting"] != want.open {
		t.Errorf("GET /v1/stats says %v, want %+v", got, want)
	}
	for state, n := range want.states {
		rows, total, paid := int64(0), int64(0), int64(0)
		records, err := csv.NewReader(strings.NewReader(get("/orders.csv?state=" + string(state)))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records[1:] {
			rows++
			total += number(t, record[slices.Index(records[0], "total_amount")])
			paid += number(t, record[slices.Index(records[0], "paid_amount")])
		}
		if rows != n || state == tasks.Paid && paid != want.fen || state == tasks.Awaiting && total-paid != want.owed {
			t.Errorf("%s: the CSV has %d orders, %d fen, %d paid; want %d, %+v", state, rows, total, paid, n, want)
		}
		if got := listed(t, get, "/orders?state="+string(state)); int64(got) != n {
			t.Errorf("%s: the pages have %d orders, want %d", state, got, n)
		}
		preview := body(t, http.MethodPost, s.URL+"/bulk/preview", url.Values{"action": {"withdraw"}, "why": {"x"}, "which": {"all"}, "state": {string(state)}})
		for _, w := range []string{"<strong>" + count(n) + "</strong>", "<strong>" + explain.Yuan(total) + "</strong>"} {
			if !strings.Contains(preview, w) {
				t.Errorf("%s: the preview lacks %s:\n%s", state, w, preview)
			}
		}
	}
	t.Logf("%d orders in %.1f s: %d paid, %s; %d open, %s owed; %d ended in all", len(orders), time.Since(began).Seconds(), want.paid, explain.Yuan(want.fen), want.open, explain.Yuan(want.owed), want.ended)
}

// truth counts what the platform knows.
func truth(r *workertest.Rig, age map[string]int) world {
	w := world{states: map[tasks.State]int64{}}
	for _, o := range r.Sim.Report().Orders {
		state := tasks.Rejected
		switch {
		case o.State == simulator.StateDone && o.CollectionState == "USER_PAID" && o.PaidAmount > 0:
			state, w.paid, w.fen = tasks.Paid, w.paid+1, w.fen+o.PaidAmount
		case o.State == simulator.StateRevoked || o.State == simulator.StateExpired:
			state = tasks.Closed
		case o.CollectionState == "USER_PAYING":
			left := o.TotalAmount - o.PaidAmount
			state, w.open, w.owed = tasks.Awaiting, w.open+1, w.owed+left
			if o.QueryCalls < 2 { // when the second one arrives, the first one's answer is in the ledger
				w.unseen++
			}
			w.ages[age[o.OutOrderNo]].orders++
			w.ages[age[o.OutOrderNo]].fen += left
		}
		if !state.Open() {
			w.ended++
		}
		w.states[state]++
	}
	return w
}

func listed(t *testing.T, get func(string) string, path string) (orders int) {
	t.Helper()
	for pages := 0; path != "" && pages < 1000; pages++ {
		page := get(path)
		orders += strings.Count(page, `form="bulk" value="`)
		path = ""
		if before, _, ok := strings.Cut(page, `" rel="next">`); ok {
			path = strings.ReplaceAll(before[strings.LastIndex(before, `href="`)+6:], "&amp;", "&")
		}
	}
	return orders
}

func body(t *testing.T, method, address string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", address, resp.Status, err, text)
	}
	return string(text)
}

// group writes a number as the pages do.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
