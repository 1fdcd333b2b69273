package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// pager opens, moves, ends and lists orders.
type pager struct {
	*testing.T
	l *ledger.Ledger
}

func newPager(t *testing.T) pager {
	return pager{t, ledger.New(redistest.Start(t).Client, "1900000001")}
}

func (p pager) open(no string) {
	p.Helper()
	o := ledger.Opening{OutOrderNo: no, Reopen: true}
	o.AppID, o.ServiceID = "wx1", "500001"
	if res, err := p.l.Open(p.Context(), o); err != nil || res.Code != ledger.Accepted {
		p.Fatalf("open %s: %+v, %v", no, res, err)
	}
}

// pass waits until what is opened next is opened later than an order was opened and ended.
func (p pager) pass(no string) {
	p.Helper()
	o, err := p.l.Get(p.Context(), no)
	if err != nil {
		p.Fatal(err)
	}
	for {
		_, now, err := p.l.Readers(p.Context())
		if err != nil {
			p.Fatal(err)
		}
		if now.After(o.OpenedAt) && now.After(o.EndedAt) {
			return
		}
	}
}

// settle makes a step for an order, after which it is in a state.
func (p pager) settle(no string, s ledger.Settlement) {
	p.Helper()
	c, err := p.l.Claim(p.Context(), no, ledger.NewToken(), ledger.NoRound, ledger.Limits{Lease: time.Minute, Rate: 1e6, Horizon: time.Minute, Most: time.Second})
	if err != nil || c.Code != ledger.Granted {
		p.Fatalf("claim of %s: %+v, %v", no, c, err)
	}
	s.Failures = 10
	if res, err := p.l.Settle(p.Context(), c, s); err != nil || res.Code != ledger.Settled {
		p.Fatalf("settle of %s: %+v, %v", no, res, err)
	}
}

// pages lists everything, a page at a time; between is called before each page but the
// first.
func (p pager) pages(q ledger.Query, limit int, between func()) (nos []string) {
	p.Helper()
	at := ledger.Place{}
	for n := 0; ; n++ {
		orders, next, err := p.l.Page(p.Context(), q, at, limit)
		if err != nil {
			p.Fatal(err)
		}
		if len(orders) > limit || n > 10_000 {
			p.Fatalf("page %d has %d orders, of %d at most", n, len(orders), limit)
		}
		for _, o := range orders {
			if !q.Matches(o) {
				p.Fatalf("%s is %s, opened %v, and does not match %+v", o.OutOrderNo, o.State, o.OpenedAt, q)
			}
			nos = append(nos, o.OutOrderNo)
		}
		if next == nil {
			return nos
		}
		at = *next
		if between != nil {
			between()
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	p := newPager(t)
	var all []string
	for i := range 12 {
		no := fmt.Sprintf("A-%02d", i)
		p.open(no)
		all = append(all, no)
		switch i % 4 {
		case 1:
			p.settle(no, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now().Add(time.Hour)})
		case 2:
			p.settle(no, ledger.Settlement{State: tasks.Closed, Reason: "USER"})
		case 3:
			p.settle(no, ledger.Settlement{State: tasks.Closed, Reason: "OTHER"})
		}
		p.pass(no)
	}
	opened := func(no string) time.Time {
		o, err := p.l.Get(t.Context(), no)
		if err != nil {
			t.Fatal(err)
		}
		return o.OpenedAt
	}
	ended := func(no string) time.Time {
		o, err := p.l.Get(t.Context(), no)
		if err != nil {
			t.Fatal(err)
		}
		return o.EndedAt
	}
	for name, c := range map[string]struct {
		q    ledger.Query
		want string
	}{
		"everything":        {ledger.Query{}, strings.Join(all, " ")},
		"an open state":     {ledger.Query{States: []tasks.State{tasks.Awaiting}}, "A-01 A-05 A-09"},
		"a final state":     {ledger.Query{States: []tasks.State{tasks.Closed}}, "A-02 A-03 A-06 A-07 A-10 A-11"},
		"states of both":    {ledger.Query{States: []tasks.State{tasks.Closed, tasks.Queued}}, "A-00 A-02 A-03 A-04 A-06 A-07 A-08 A-10 A-11"},
		"a reason":          {ledger.Query{Reason: "USER"}, "A-02 A-06 A-10"},
		"a prefix":          {ledger.Query{Prefix: "A-1"}, "A-10 A-11"},
		"since an opening":  {ledger.Query{OpenedFrom: opened("A-08")}, "A-08 A-09 A-10 A-11"},
		"until an opening":  {ledger.Query{OpenedTo: opened("A-01").Add(time.Millisecond)}, "A-00 A-01"},
		"a service":         {ledger.Query{ServiceID: "500001", Prefix: "A-1"}, "A-10 A-11"},
		"another service":   {ledger.Query{ServiceID: "s2"}, ""},
		"since an end":      {ledger.Query{Since: ended("A-07")}, "A-07 A-08 A-09 A-10 A-11"},
		"until an end":      {ledger.Query{Until: ended("A-03").Add(time.Millisecond)}, "A-00 A-01 A-02 A-03"},
		"between ends":      {ledger.Query{Since: ended("A-03"), Until: ended("A-10"), States: []tasks.State{tasks.Closed}}, "A-03 A-06 A-07"},
		"nothing":           {ledger.Query{Prefix: "B"}, ""},
		"a state of no one": {ledger.Query{States: []tasks.State{tasks.Paid}}, ""},
	} {
		for _, limit := range []int{1, 2, 3, 5, 12, 1000} {
			got := p.pages(c.q, limit, nil)
			sorted := slices.Sorted(slices.Values(got))
			if strings.Join(sorted, " ") != c.want {
				t.Errorf("%s, %d a page: %v, want %s", name, limit, got, c.want)
			}
		}
	}
	newest := p.pages(ledger.Query{States: []tasks.State{tasks.Closed}}, 4, nil)
	if !slices.IsSortedFunc(newest, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("final states are not listed newest first: %v", newest)
	}
}

// While orders are opened, moved, ended and reopened, no page loses an order.
func TestPage_WhileOrdersMove(t *testing.T) {
	t.Parallel()
	redistest.NeedReal(t)                  // the embedded Redis returns an index at once
	for _, size := range []int{100, 700} { // a small index is stored, and scanned, in another way
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := pager{t, ledger.New(redistest.StartReal(t).Client, "1900000001")}
			rnd := rand.New(rand.NewPCG(1, uint64(size)))
			var open, ended []string
			for i := range size {
				open = append(open, fmt.Sprintf("M-%04d", i))
				p.open(open[i])
			}
			all := slices.Clone(open)
			extra := 0
			move := func() {
				i := rnd.IntN(len(open))
				no := open[i]
				switch rnd.IntN(4) {
				case 0: // due again, sooner than others
					p.settle(no, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now().Add(-time.Duration(rnd.IntN(1e6)) * time.Second)})
				case 1: // due later than others
					p.settle(no, ledger.Settlement{State: tasks.Awaiting, Next: ledger.Recheck, Due: time.Now()})
				case 2:
					p.settle(no, ledger.Settlement{State: tasks.Closed, Reason: "USER"})
					open, ended = slices.Delete(open, i, i+1), append(ended, no)
				case 3: // in the way of the others
					extra++
					p.open(fmt.Sprintf("L-%04d", extra))
				}
			}
			got := p.pages(ledger.Query{}, 7, move)
			seen := map[string]int{}
			for _, no := range got {
				seen[no]++
			}
			for _, no := range all {
				if seen[no] == 0 {
					t.Errorf("%s is on no page", no)
				}
				if seen[no] > 1 && !slices.Contains(ended, no) {
					t.Errorf("%s, which was open all the time, is on %d pages", no, seen[no])
				}
			}
			if len(ended) == 0 || extra == 0 {
				t.Errorf("%d ended and %d were opened meanwhile: the test shows nothing", len(ended), extra)
			}
		})
	}
}
