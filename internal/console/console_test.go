package console

import (
	"net/http"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// paths are all pages of the world.
func paths() []string {
	return []string{
		"/", "/?acknowledged=yes", "/recovery", "/recovery?from=2026-01-01&to=2026-01-31", "/orders", "/orders?state=paid&state=closed", "/orders?q=BIKE-", "/merchants", "/merchants/" + mchA, "/merchants/" + mchB, "/webhooks", "/trail", "/books", "/books?mchid=" + mchA + "&date=2026-01-01",
		"/orders/" + mchA + "/BIKE-QUEUED", "/orders/" + mchA + "/BIKE%7CPAID%2A3", "/orders/" + mchA + "/BIKE-LATE", "/orders/" + mchA + "/BIKE-DIFFERS", "/orders/" + mchA + "/BIKE-SYNC", "/orders/" + mchB + "/RAIN-1",
		"/nowhere",
	}
}

// surveyed waits until the overview shows amounts.
func (f *fixture) surveyed() {
	f.Helper()
	testkit.Eventually(f, "the amounts on the overview", func() bool {
		return !strings.Contains(f.get("/").Body, word(explain.English, "overview.counting"))
	}, f.logs)
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.world()
	f.surveyed()
	for _, lang := range []string{"en", "zh-CN"} {
		for _, path := range paths() {
			p := f.get(path, "Accept-Language: "+lang)
			if want := map[bool]int{true: 404, false: 200}[path == "/nowhere"]; p.Status != want {
				t.Errorf("%s in %s: status %d:\n%s", path, lang, p.Status, p.Body)
			}
			if !strings.Contains(p.Body, `<html lang="`+lang+`">`) || !strings.Contains(p.Body, "</html>") {
				t.Errorf("%s is not whole, or not in %s", path, lang)
			}
			if strings.Contains(p.Body, "style=") || strings.Contains(p.Body, "<script>") || strings.Contains(p.Body, "onclick") {
				t.Errorf("%s has inline style or script", path)
			}
			if p.Header.Get("Content-Security-Policy") != policy || p.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s has the headers %v", path, p.Header)
			}
		}
	}
	t.Run("overview", func(t *testing.T) {
		p := f.get("/")
		p.wants(t, 200, "PAID AFTER ITS END", "AMOUNTS DIFFER", "WECHAT PAY COULD NOT BE TOLD", "¥75.00", "nothing is collected: calls are stopped", "collect calls are paused since")
		p = f.get("/", "Accept-Language: zh")
		p.wants(t, 200, "终态之后又付款", "金额矛盾", "同步失败", "近 7 天到账")
	})
	t.Run("every state and cause on the list", func(t *testing.T) {
		p := f.get("/orders?q=CODE-")
		p.wants(t, 200, "the deduction failed: balance, card or risk control")
		for _, state := range tasks.States {
			f.get("/orders?state="+string(state)).wants(t, 200, `<span class="state `+string(state)+`">`)
		}
	})
	t.Run("an order", func(t *testing.T) {
		f.get("/orders/"+mchA+"/CODE-TRADE_ERROR").wants(t, 200, "query, and collect if it is still owed", "not sooner: COLLECT_SCHEDULE says so", `data-copy="08FF-271316574"`, "balance, card or risk control")
		f.get("/orders/"+mchA+"/ABSENT").wants(t, 404, "There is no order ABSENT")
		f.get("/orders/x/ABSENT").wants(t, 422, "mchid")
	})
	t.Run("books", func(t *testing.T) {
		f.get("/books?mchid="+mchA+"&date=2026-01-01").wants(t, 200, "1 exception, 1 refunds for information", "the amounts differ", "¥12.60", `<a href="/orders/`+mchA+`/BIKE-PAID-1">`, "2 orders, ¥17.50")
		f.get("/books?mchid="+mchA+"&date=2026-01-02").wants(t, 200, "The books of 2026-01-02 are not closed")
	})
	t.Run("filters", func(t *testing.T) {
		for query, want := range map[string]int{
			"code=TRADE_ERROR": 2, "code=271316657": 1, "service=500001&state=closed": 1, "service=other": 0, // the one whose sync failed has a newer error
			"least=12.51&below=75": 3, "least=12.50&below=12.51&state=paid": 1, "least=0.01&state=queued": 0, "below=12.50": 0,
		} {
			p := f.get("/orders?" + query)
			if p.wants(t, 200); strings.Count(p.Body, `<tr><td><input type="checkbox" name="no"`) != want {
				t.Errorf("%s finds %d orders, want %d", query, strings.Count(p.Body, `<tr><td><input type="checkbox" name="no"`), want)
			}
		}
		for _, amount := range []string{"x", "1.234", "-5", "1.-5", "99999999999999999999"} {
			f.get("/orders?least="+amount).wants(t, 422, "one in yuan")
		}
		f.get("/orders?code=TRADE_ERROR&least=1").wants(t, 200, `name="code" value="TRADE_ERROR"`, `<input type="hidden" name="least" value="1">`, "/orders.csv?code=TRADE_ERROR&amp;least=1")
	})
	t.Run("find", func(t *testing.T) {
		if p := f.get("/find?q=BIKE%7CPAID%2A3"); p.Path != "/orders/"+mchA+"/BIKE%7CPAID%2A3" {
			t.Errorf("the number of an order leads to %s", p.Path)
		}
		if p := f.get("/find?q=BIKE-PAID"); p.Path != "/orders?q=BIKE-PAID" || strings.Count(p.Body, `<span class="state paid">`) != 2 {
			t.Errorf("the beginning of a number leads to %s: %s", p.Path, p.Body)
		}
	})
	t.Run("CSV", func(t *testing.T) {
		p := f.get("/orders.csv?state=paid")
		if lines := strings.Split(strings.TrimSpace(p.Body), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "mchid,out_order_no,") || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/csv") {
			t.Errorf("%v\n%s", p.Header, p.Body)
		}
		if p := f.get("/orders.csv?state=paid&excel=1"); !strings.HasPrefix(p.Body, "\ufeff") || !strings.Contains(p.Body, "12.50") {
			t.Errorf("%s", p.Body)
		}
		f.get("/orders.csv?state=nonsense").wants(t, 422, "queued, awaiting")
	})
}

// A page of fifty orders leads to the next one, until every order has been shown once.
func TestOrders_Pages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const orders = 120
	for i := range orders {
		f.open(mchA, "P-"+string(rune('A'+i/26))+string(rune('A'+i%26)))
	}
	seen, path := map[string]bool{}, "/orders?state=queued"
	for pages := 0; path != ""; pages++ {
		if pages > 10 {
			t.Fatal("the pages do not end")
		}
		p := f.get(path)
		p.wants(t, 200)
		for _, part := range strings.Split(p.Body, `<th scope="row"><a href="`)[1:] {
			no, _, _ := strings.Cut(part, `"`)
			if seen[no] {
				t.Errorf("%s came twice", no)
			}
			seen[no] = true
		}
		path = p.next()
	}
	if len(seen) != orders {
		t.Errorf("%d orders were shown, want %d", len(seen), orders)
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A-1")
	order := "/orders/" + mchA + "/A-1"
	f.post(order+"/withdraw", []string{"reason", "", "tell", "no"}).wants(t, 422, "reason")
	f.post(order+"/withdraw", []string{"reason", "paid", "tell", "yes", "paid_at", ""}).wants(t, 422, "date and time")
	f.post(order+"/withdraw", []string{"reason", "paid at the <counter>", "tell", "no"}).wants(t, 200, "The order is withdrawn.", "console:local", "paid at the &lt;counter&gt;")
	f.post(order+"/collect-now", []string{"reason", "x"}).wants(t, 409, "withdrawn")
	f.post(order+"/reopen", []string{"reason", "a mistake"}).wants(t, 200, "The order is open again.")
	f.settle(mchA, "A-2", failed("declined", 403, "TRADE_ERROR", "271316574", ""))
	f.post("/orders/"+mchA+"/A-2/collect-now", []string{"reason", "topped up"}).wants(t, 200, "brought forward", "collect now", "topped up")
	f.post(order+"/withdraw", []string{"reason", "again", "tell", "yes", "paid_at", "2026-01-02T10:00"}).wants(t, 200, "2026-01-02 10:00:00")
	f.post(order+"/explode", []string{"reason", "x"}).wants(t, 404)
	o, err := f.ledger(mchA).Get(t.Context(), "A-1")
	if err != nil || len(o.Actions) != 3 || o.Actions[0].By != "console:local" || o.Sync == nil || !o.Sync.PaidAt.Equal(time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", o, err)
	}

	merchant := "/merchants/" + mchA
	f.post(merchant+"/pause", []string{"reason", "wrong amounts", "for", "2h"}).wants(t, 200, "Collecting is paused.", "console:local", "wrong amounts")
	if h, err := f.ledger(mchA).Holds(t.Context()); err != nil || h.Pause == nil || h.Pause.Until.Sub(h.Pause.Since) != 2*time.Hour {
		t.Errorf("%+v, %v", h.Pause, err)
	}
	f.post(merchant+"/resume", []string{"reason", "corrected"}).wants(t, 200, "Collecting is resumed.")
	if h, err := f.ledger(mchA).Holds(t.Context()); err != nil || h.Pause != nil {
		t.Errorf("%+v, %v", h.Pause, err)
	}
	f.get("/trail").wants(t, 200, "wrong amounts", "corrected", "console:local", order)

	t.Run("readers and webhooks", func(t *testing.T) {
		f := newFixture(t)
		f.world()
		f.post("/webhooks/retry", []string{"mchid", mchA, "no", "BIKE-PAID-1"}).wants(t, 200, "The deliveries are due now.")
		f.post("/webhooks/replay", []string{"mchid", mchA, "since", "2026-01-02T10:00"}).wants(t, 200, "delivered again")
		f.post("/readers/"+mchA+"/billing/destroy", []string{"reason", "not used"}).wants(t, 200, "The reader is forgotten.")
		f.post("/readers/"+mchA+"/billing/destroy", []string{"reason", "not used"}).wants(t, 404, "no such reader")
		f.get("/trail").wants(t, 200, "webhooks retried", "webhooks replayed", "reader removed", "not used")
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	f.open(mchA, "A-1")
	f.open(mchB, "B-1")
	f.get("/orders?state=queued").wants(t, 401, "Sign in", `name="next" value="/orders?state=queued"`)
	f.post("/orders/"+mchA+"/A-1/withdraw", []string{"reason", "x"}).wants(t, 401)
	f.post("/signin", []string{"token", "wrong"}).wants(t, 401, "This token is not valid here")

	p := f.post("/signin", []string{"token", "operator", "next", "/orders?state=queued"})
	if p.wants(t, 200, "A-1", "B-1"); p.Path != "/orders?state=queued" {
		t.Errorf("signing in leads to %s", p.Path)
	}
	t.Run("the cookie", func(t *testing.T) {
		other := browserOf(t)
		other.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		g := *f
		g.client = other
		set := g.post("/signin", []string{"token", "viewer"}).Header.Get("Set-Cookie")
		for _, want := range []string{"HttpOnly", "SameSite=Strict", "Max-Age=43200", "Path=/"} {
			if !strings.Contains(set, want) {
				t.Errorf("the cookie lacks %s: %s", want, set)
			}
		}
		if set := g.post("/signin", []string{"token", "viewer"}, "X-Forwarded-Proto: https").Header.Get("Set-Cookie"); !strings.Contains(set, "Secure") {
			t.Errorf("behind TLS the cookie is not Secure: %s", set)
		}
		keys, err := f.redis.Client.Keys(t.Context(), sessionPrefix+"*").Result()
		if err != nil || len(keys) != 3 {
			t.Fatalf("%v, %v", keys, err)
		}
		if ttl := f.redis.Client.TTL(t.Context(), keys[0]).Val(); ttl <= 11*time.Hour || ttl > 12*time.Hour {
			t.Errorf("a session ends after %s", ttl)
		}
	})
	t.Run("leads nowhere else", func(t *testing.T) {
		for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "/\t/evil.example"} {
			if got := local(next); got != "/" {
				t.Errorf("%q leads to %q", next, got)
			}
		}
	})
	t.Run("is valid at every worker, and ends at every worker", func(t *testing.T) {
		g := serve(t, f.redis, withTokens(t))
		g.client = f.client // the host is the same, and cookies know no ports
		g.get("/trail").wants(t, 200)
		f.post("/signout", nil).wants(t, 200, "Sign in")
		g.get("/trail").wants(t, 401)
		f.get("/trail").wants(t, 401)
	})
	t.Run("ends with its token", func(t *testing.T) {
		file := testkit.WriteFile(t, "tokens.yaml", "[]")
		f.post("/signin", []string{"token", "viewer"}).wants(t, 200)
		g := serve(t, f.redis, func(o *api.Options) { o.TokensFile, o.AdminToken = file, "another token" })
		g.client = f.client
		g.get("/trail").wants(t, 401)
	})
	t.Run("roles", func(t *testing.T) {
		f.client = browserOf(t)
		f.post("/signin", []string{"token", "viewer"}).wants(t, 200)
		p := f.get("/orders/" + mchA + "/A-1")
		if p.wants(t, 200, "needs a token with a higher role"); strings.Contains(p.Body, `name="reason"`) {
			t.Error("a viewer is offered an action")
		}
		f.post("/orders/"+mchA+"/A-1/withdraw", []string{"reason", "x"}).wants(t, 403, "needs billing")
	})
	t.Run("merchants", func(t *testing.T) {
		f.client = browserOf(t)
		f.post("/signin", []string{"token", "only-b"}).wants(t, 200)
		for _, path := range []string{"/", "/recovery", "/orders", "/merchants", "/webhooks", "/trail", "/orders.csv"} {
			if p := f.get(path); p.Status != 200 || strings.Contains(p.Body, mchA) || strings.Contains(p.Body, "A-1") {
				t.Errorf("%s shows another merchant, or nothing: %d", path, p.Status)
			}
		}
		for _, path := range []string{"/orders/" + mchA + "/A-1", "/merchants/" + mchA, "/recovery?mchid=" + mchA, "/orders?mchid=" + mchA, "/orders?q=A-1&mchid=" + mchA, "/live?mchid=" + mchA, "/orders.csv?mchid=" + mchA} {
			if p := f.get(path); p.Status != 403 {
				t.Errorf("%s is answered with %d", path, p.Status)
			}
		}
		if p := f.get("/find?q=A-1"); p.Path != "/orders?q=A-1" || strings.Contains(p.Body, `href="/orders/`+mchA) {
			t.Errorf("another merchant's order is found: %s", p.Path)
		}
		f.post("/orders/"+mchA+"/A-1/withdraw", []string{"reason", "x"}).wants(t, 403)
	})
}

// Without a token only this machine is let in, and no page of another site acts.
func TestOrigins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A-1")
	f.get("/", "Host: evil.example").wants(t, 403, "Host is evil.example")
	f.post("/orders/"+mchA+"/A-1/withdraw", []string{"reason", "x"}, "Sec-Fetch-Site: cross-site").wants(t, 403)
	f.post("/orders/"+mchA+"/A-1/withdraw", []string{"reason", "x"}, "Origin: https://evil.example").wants(t, 403)
	if o, err := f.ledger(mchA).Get(t.Context(), "A-1"); err != nil || o.State != tasks.Queued {
		t.Errorf("%s, %v", o.State, err)
	}
	open := serve(t, f.redis, func(o *api.Options) { o.Loopback = false })
	open.get("/").wants(t, 403, "ADMIN_ADDR is not a loopback address")
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.get("/trail").wants(t, 200, "<h1>Trail</h1>")
	f.get("/trail", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.8").wants(t, 200, "<h1>操作记录</h1>", "/language?to=en&amp;back=%2ftrail")
	p := f.get("/language?to=zh&back=/trail%3Fa%3Db")
	if p.wants(t, 200, "<h1>操作记录</h1>"); p.Path != "/trail?a=b" {
		t.Errorf("the switch leads to %s", p.Path)
	}
	f.get("/trail", "Accept-Language: en").wants(t, 200, "<h1>操作记录</h1>")
	f.get("/language?to=en&back=https://evil.example/").wants(t, 200, "<h1>Overview</h1>")
}

// While Redis is away, a page says so, and the log has why.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A-1")
	f.redis.Client.Close()
	for _, path := range []string{"/", "/recovery", "/orders", "/orders/" + mchA + "/A-1", "/trail"} {
		f.get(path).wants(t, 503)
	}
}

// A page that is live learns of a change, of a merchant that the caller may read.
func TestLive(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.open(mchA, "A-1")
	h := newHub(t.Context(), f.redis.Client)
	seen := map[string]string{}
	if got := h.look([]string{mchA, mchB}, seen); !got[mchA] || !got[mchB] {
		t.Errorf("what is new has not changed: %v", got)
	}
	if got := h.look([]string{mchA, mchB}, seen); len(got) != 0 {
		t.Errorf("%v have changed", got)
	}
	f.withdraw(mchA, "A-1", "x", time.Time{})
	if got := h.look([]string{mchA, mchB}, seen); !got[mchA] || got[mchB] {
		t.Errorf("%v have changed", got)
	}
	if _, err := f.ledger(mchB).Pause(t.Context(), ledger.Deed{By: "cli:x", Reason: "x", Token: ledger.NewToken()}, 0); err != nil {
		t.Fatal(err)
	}
	if got := h.look([]string{mchA, mchB}, seen); got[mchA] || !got[mchB] {
		t.Errorf("%v have changed", got)
	}

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/live?mchid="+mchA, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := make(chan string, 100)
	go func() {
		defer close(stream)
		buf := make([]byte, 1000)
		for {
			n, err := resp.Body.Read(buf)
			if err != nil {
				return
			}
			stream <- string(buf[:n])
		}
	}()
	got := ""
	want := func(event string) {
		t.Helper()
		for !strings.Contains(got, event) {
			part, ok := <-stream
			if !ok {
				t.Fatalf("the stream ended before %q: %q", event, got)
			}
			got += part
		}
		got = ""
	}
	want("event: changed") // the first look
	res, err := tasks.NewProducer(f.redis.Client).Enqueue(t.Context(), tasks.Order{Payload: tasks.Payload{MchID: mchA, OutOrderNo: "A-2", AppID: "wx1", ServiceID: "5"}})
	if err != nil || res.Status != tasks.Accepted {
		t.Fatal(res, err)
	}
	want("event: changed")
}

// However often pages come and go, one goroutine looks for changes.
func TestLive_OneLooksForAll(t *testing.T) {
	f := newFixture(t) // not parallel: it counts goroutines
	h := newHub(t.Context(), f.redis.Client)
	for range 20 {
		h.leave(h.listen([]string{mchA}))
	}
	defer h.leave(h.listen([]string{mchA}))
	testkit.Eventually(t, "one goroutine alone to look", func() bool {
		var all strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
			t.Fatal(err)
		}
		return strings.Count(all.String(), "(*hub).run(") == 1
	})
}

// Many orders: those that are ticked are done at once, all that match by a bulk action of
// the API; both after a preview.
func TestBulk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	amount := func(no string, fen int64) {
		t.Helper()
		res, err := tasks.NewProducer(f.redis.Client).Enqueue(t.Context(), tasks.Order{Payload: tasks.Payload{MchID: mchA, OutOrderNo: no, AppID: "wx1", ServiceID: "5"}, Amount: fen})
		if err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	amount("T-1", 1000)
	amount("T-2", 250)
	amount("U-1", 99)
	f.settle(mchA, "T-PAID", paid(700))
	f.get("/orders?q=T-").wants(t, 200, `name="no" form="bulk" value="`+mchA+` T-1"`, `<input type="hidden" name="q" value="T-">`)

	form := []string{"action", "withdraw", "why", "waived <b>", "no", mchA + " T-1", "no", mchA + " T-PAID", "no", mchA + " ABSENT", "no", "nonsense"}
	f.post("/bulk/preview", form).wants(t, 200, "<strong>2</strong>", "<strong>¥17.00</strong>", "waived &lt;b&gt;", "Withdraw: 2 orders", `value="`+mchA+` T-1"`)
	if o, err := f.ledger(mchA).Get(t.Context(), "T-1"); err != nil || o.State != tasks.Queued {
		t.Errorf("the preview has changed it: %s, %v", o.State, err)
	}
	f.post("/bulk", form).wants(t, 200, "Done for 1 of 3 orders.", "state is paid", "no such order")
	if o, err := f.ledger(mchA).Get(t.Context(), "T-1"); err != nil || o.State != tasks.Withdrawn || o.Actions[0].By != "console:local" || o.Reason != "waived <b>" {
		t.Errorf("%+v, %v", o, err)
	}

	all := []string{"action", "withdraw", "why", "waived", "which", "all", "q", "T-", "state", "queued", "state", "awaiting", "least", "2", "tell", "yes", "paid_at", "2026-01-02T10:00"}
	f.post("/bulk/preview", all).wants(t, 200, "<strong>1</strong>", "<strong>¥2.50</strong>", `name="which" value="all"`, `name="paid_at" value="2026-01-02T10:00"`)
	p := f.post("/bulk", all)
	p.wants(t, 200, "console:local", "waived", "counting")
	if !strings.HasPrefix(p.Path, "/bulk/") {
		t.Errorf("a bulk action leads to %s", p.Path)
	}
	bulks, err := ledger.Bulks(t.Context(), f.redis.Client, []string{mchA}, strings.TrimPrefix(p.Path, "/bulk/"))
	if err != nil || len(bulks) != 1 || bulks[0].Query.Prefix != "T-" || bulks[0].Query.AmountFrom != 200 || len(bulks[0].Query.States) != 2 || !bulks[0].PaidAt.Equal(time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", bulks, err)
	}

	f.post("/bulk/preview", []string{"action", "withdraw", "why", "x"}).wants(t, 422, "No order is ticked")
	f.post("/bulk/preview", []string{"action", "explode", "why", "x", "which", "all"}).wants(t, 422, "Choose what to do")
	f.post("/bulk/preview", []string{"action", "reopen", "why", "", "which", "all"}).wants(t, 422, "reason")
	f.post("/bulk/preview", []string{"action", "withdraw", "why", "x", "which", "all", "tell", "yes"}).wants(t, 422, "date and time")
	f.get("/bulk/12").wants(t, 404, "no such bulk action")
}

// A page of orders can be sorted by what it shows; the page says that it is only the page.
func TestOrders_Sort(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, fen := range []int64{300, 0, 5000, 42} {
		o := tasks.Order{Payload: tasks.Payload{MchID: mchA, OutOrderNo: "S-" + string(rune('A'+i)), AppID: "wx1", ServiceID: "5"}, Amount: fen, At: time.Now().Add(time.Duration(40-i*7%5*10) * time.Minute)}
		if res, err := tasks.NewProducer(f.redis.Client).Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	f.settle(mchA, "S-PAID", paid(100))
	shown := func(p page) string {
		var nos []string
		for _, part := range strings.Split(p.Body, `<th scope="row"><a href="/orders/`+mchA+`/S-`)[1:] {
			no, _, _ := strings.Cut(part, `"`)
			nos = append(nos, no)
		}
		return strings.Join(nos, " ")
	}
	for by, want := range map[string]string{"amount": "C A PAID D B", "age": "A B C D PAID"} {
		p := f.get("/orders?q=S-&sort=" + by)
		if p.wants(t, 200, `aria-sort="`, `href="/orders?q=S-"`, `<input type="hidden" name="sort" value="`+by+`">`); shown(p) != want {
			t.Errorf("by %s: %s, want %s", by, shown(p), want)
		}
	}
	due := strings.Fields(shown(f.get("/orders?q=S-&sort=due")))
	last := time.Time{}
	for i, no := range due {
		o, err := f.ledger(mchA).Get(t.Context(), "S-"+no)
		if err != nil {
			t.Fatal(err)
		}
		if i < len(due)-1 && o.NextDueAt.Before(last) || (i == len(due)-1) != (no == "PAID") {
			t.Errorf("by due time: %v", due)
		}
		last = o.NextDueAt
	}
	if p := f.get("/orders?q=S-&sort=nonsense"); strings.Contains(p.Body, "aria-sort") {
		t.Error("the page says that it is sorted, by a key that does not exist")
	}
	for i := range 160 {
		f.open(mchA, "MANY-"+string(rune('A'+i/26))+string(rune('A'+i%26)))
	}
	for to, want := range map[string]string{"en": "There may be more. Only the orders of this page are sorted", "zh": "可能还有更多。 仅对本页的订单排序"} {
		f.get("/language?to=" + to)
		p := f.get("/orders?sort=amount")
		p.wants(t, 200, want, "sort=amount")
		if head, _, _ := strings.Cut(p.Body, "<tbody>"); !strings.Contains(head, want) {
			t.Errorf("%q stands behind the orders", want)
		}
	}
}

// More merchants than a page has are found by their numbers, page by page; the overview
// shows those first that are stopped.
func TestMerchants_Many(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const merchants = 2*mostMerchants + 20
	mchids := make([]any, merchants)
	for i := range mchids {
		mchids[i] = strconv.Itoa(1900001000 + i)
	}
	if err := f.redis.Client.SAdd(t.Context(), ledger.MerchantsKey, mchids...).Err(); err != nil {
		t.Fatal(err)
	}
	last := mchids[merchants-1].(string)
	if _, err := f.ledger(last).Pause(t.Context(), ledger.Deed{By: "cli:x", Reason: "wrong amounts", Token: ledger.NewToken()}, 0); err != nil {
		t.Fatal(err)
	}
	seen, path, pages := map[string]bool{}, "/merchants", 0
	for ; path != "" && pages < 10; pages++ {
		p := f.get(path)
		p.wants(t, 200, "120 merchants")
		for _, part := range strings.Split(p.Body, `<th scope="row"><a href="/merchants/`)[1:] {
			mchid, _, _ := strings.Cut(part, `"`)
			if seen[mchid] {
				t.Errorf("%s came twice", mchid)
			}
			seen[mchid] = true
		}
		path = p.next()
	}
	if len(seen) != merchants || pages != 3 {
		t.Errorf("%d merchants on %d pages", len(seen), pages)
	}
	f.get("/merchants?q=1119").wants(t, 200, last, "1 merchants, 1 on this page")
	// Webhooks of more merchants wait than the overview has; one of the others has waited
	// least. They come behind what is stopped, and each of them needs attention.
	wait := func(mchid string, minutes int) {
		at := time.Now().Add(-time.Duration(minutes) * time.Minute).UnixMilli()
		f.redis.Client.ZAdd(t.Context(), ledger.KeysOf(mchid).HookWaiting(), redis.Z{Score: float64(at), Member: "A"})
	}
	for _, mchid := range mchids[:mostMerchants+10] {
		wait(mchid.(string), 10)
	}
	newest := mchids[merchants-2].(string)
	wait(newest, 2)
	f.attends("Needs attention: 61")
	p := f.get("/")
	if p.wants(t, 200, "/merchants/"+last, "wrong amounts", "70 more merchants", "Webhooks of merchant "+newest); strings.Count(p.Body, `<th scope="row"><a href="/merchants/`) != mostMerchants {
		t.Error("the overview has another number of merchants")
	}
	if strings.Contains(p.Body, `<th scope="row"><a href="/merchants/`+newest) {
		t.Error("the test needs a merchant that is not on the page")
	}
	f.post("/acknowledge", append(ackFields(p)["webhooks"], "reason", "the billing team knows")).wants(t, 200, "Needs attention: 60")
}

// Until the worker has found Redis fit, every page says that it is starting, and nothing
// else is shown or changed.
func TestNotTrusted(t *testing.T) {
	t.Parallel()
	trusted := false
	f := newFixture(t, func(o *api.Options) { o.Trusted = func() bool { return trusted } })
	f.world()
	before := f.redis.Client.DBSize(t.Context()).Val()
	for _, path := range append(paths(), "/signin", "/live") {
		p := f.get(path)
		if p.wants(t, http.StatusServiceUnavailable, "The worker is starting"); p.Header.Get("Retry-After") == "" || strings.Contains(p.Body, ">BIKE-") {
			t.Errorf("%s: %v %s", path, p.Header, p.Body)
		}
	}
	f.get("/", "Accept-Language: zh").wants(t, http.StatusServiceUnavailable, "worker 正在启动")
	f.post("/orders/"+mchA+"/BIKE-QUEUED/withdraw", []string{"reason", "x"}).wants(t, http.StatusServiceUnavailable)
	if after := f.redis.Client.DBSize(t.Context()).Val(); after != before || f.get("/static/console.css").Status != http.StatusOK {
		t.Errorf("%d keys, and %d before; or a page has no style", after, before)
	}
	trusted = true
	f.get("/").wants(t, http.StatusOK)
}
