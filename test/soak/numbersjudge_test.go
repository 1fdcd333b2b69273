package soak

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"payscore-collector/internal/api"
	"payscore-collector/internal/audit"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/tasks"
)

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
				"collect":   "after our collect within CONFIRM_SCHEDULE’s first interval of a collect call that was accepted or got no clear answer",
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
