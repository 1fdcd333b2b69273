package console

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/chromedp/chromedp"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// hostile is a text from outside that would run, break out of its place, hide what follows
// or be wider than a page.
var hostile = `"'></td></table><script>hacked=1</script><img src=x onerror="hacked=1"><a href="javascript:hacked=1">{{.Caller}}` +
	"\x00\x1b[31m\u202e\u2066\u200f\u061c\ufeff\u2028\r\n\t" + strings.Repeat("W", 10_000) + "\xff"

// besieged fills a merchant's ledger with hostile texts at every place that takes one from
// outside, past what producers check.
func (f *fixture) besieged() []string {
	f.Helper()
	deed := ledger.Deed{By: hostile, Reason: hostile, Token: ledger.NewToken()}
	set := failed("declined", 403, hostile, hostile, hostile)
	set.Log[0].RequestID, set.Log[0].Verdict, set.Log[0].Call = hostile, hostile, hostile
	set.Facts.OrderID, set.Facts.TransactionID, set.Facts.PaidType = hostile, hostile, hostile
	f.settle(mchA, "OPEN", set)
	for _, state := range []tasks.State{tasks.Closed, tasks.Rejected, tasks.Exhausted} {
		f.settle(mchA, "END-"+string(state), ended(state, hostile))
	}
	declined := set
	declined.Call, declined.Verdict, declined.Code, declined.DetailCode, declined.Due = "collect", "declined", hostile, hostile, time.Now()
	f.settle(mchA, "DECLINED", declined)
	f.step(mchA, "DECLINED", ended(tasks.Exhausted, hostile))
	p := paid(100)
	p.Facts.TransactionID, p.Facts.PaidType, p.Facts.OrderID = hostile, hostile, hostile
	p.Facts.Payments[0].TransactionID, p.Facts.Payments[0].PaidType = hostile, hostile
	f.settle(mchA, "END-paid", p)
	f.open(mchA, "END-withdrawn")
	l := f.ledger(mchA)
	if _, err := l.Withdraw(f.Context(), "END-withdrawn", deed, time.Now(), 0); err != nil {
		f.Fatal(err)
	}
	f.step(mchA, "END-withdrawn", ledger.Settlement{State: tasks.Withdrawn, Sync: ledger.SyncFailed, SyncReason: hostile})
	if _, err := l.Pause(f.Context(), deed, 0); err != nil {
		f.Fatal(err)
	}
	if err := l.Record(f.Context(), deed, hostile, "OPEN", hostile); err != nil {
		f.Fatal(err)
	}
	if err := f.redis.Client.XGroupCreate(f.Context(), ledger.KeysOf(mchA).Outcomes(), hostile, "0").Err(); err != nil {
		f.Fatal(err)
	}
	if err := l.Beat(f.Context(), "worker", time.Minute, ledger.Settings{
		Rate: 1, CollectWindow: hostile, Timezone: hostile, CollectSchedule: hostile, MinGap: hostile, GiveUpAfter: hostile,
		Schedules: []ledger.NamedSchedule{{Name: hostile, CollectSchedule: hostile}},
	}, false); err != nil {
		f.Fatal(err)
	}
	if _, err := l.RelayHooks(f.Context(), ledger.HookRelayArgs{Scan: 1000, Take: 100, Most: 100}); err != nil {
		f.Fatal(err)
	}
	token := ledger.NewToken()
	claim, err := l.ClaimHook(f.Context(), "END-paid", token, ledger.NoRound, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := l.SettleHook(f.Context(), ledger.HookSettlement{OutOrderNo: "END-paid", Token: token, EntryID: claim.EntryID, Failed: true, Status: 500, Why: hostile, Wait: time.Hour}); err != nil {
		f.Fatal(err)
	}
	query := url.QueryEscape(hostile[:500])
	paths := []string{
		"/", "/recovery", "/recovery?from=" + query + "&to=" + query + "&mchid=" + query, "/orders", "/orders?reason=" + query, "/orders?from=" + query, "/find?q=" + query, "/merchants", "/merchants/" + mchA, "/webhooks", "/trail",
		"/orders/" + mchA + "/OPEN?done=" + query, "/nowhere/" + url.PathEscape(hostile[:500]), "/signin?next=" + query, "/orders?q=" + query, "/orders?mchid=" + query,
	}
	for _, state := range tasks.States {
		if !state.Open() {
			paths = append(paths, "/orders/"+mchA+"/END-"+string(state))
		}
	}
	return paths
}

// What comes from outside runs nowhere, and hides nothing.
func TestHostile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	paths := f.besieged()
	f.surveyed()
	shown := 0
	for _, lang := range []string{"en", "zh"} {
		for _, path := range paths {
			p := f.get(path, "Accept-Language: "+lang)
			if p.Status >= 500 {
				t.Errorf("%.80s: status %d: %.300s", path, p.Status, p.Body)
			}
			for _, raw := range []string{"<script>hacked", "<img", "</table><script", `href="javascript`} {
				if strings.Contains(p.Body, raw) {
					t.Errorf("%.80s has %s as it is", path, raw)
				}
			}
			for _, r := range p.Body {
				if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) || r == '\ufeff' || r == unicode.ReplacementChar && !strings.Contains(p.Body, "&lt;script") {
					t.Errorf("%.80s has the character %U", path, r)
					break
				}
			}
			if strings.Contains(p.Body, "&lt;script&gt;hacked") {
				shown++
			}
			if len(p.Body) > 500_000 {
				t.Errorf("%.80s has %d bytes", path, len(p.Body))
			}
		}
	}
	if shown < 20 {
		t.Errorf("%d pages show the text: does this test still reach them?", shown)
	}
	for _, row := range strings.Split(f.get("/orders.csv?excel=1").Body, "\n") {
		if strings.HasPrefix(row, "=") || strings.Contains(row, ",=1") {
			t.Errorf("a formula: %s", row)
		}
	}
}

func TestBrowser_Hostile(t *testing.T) {
	f := newFixture(t)
	b := newBrowser(t, f)
	paths := f.besieged()
	f.surveyed()
	tab := b.tab()
	const desk, phone = 1280, 390
	for _, path := range paths {
		if f.get(path).Status != 200 {
			continue // its status is an error in the browser's log
		}
		tab.do("a desk's width", chromedp.EmulateViewport(desk, 900))
		tab.visit(path)
		tab.fits(path, desk)
		tab.do("a phone's width", chromedp.EmulateViewport(phone, 844, chromedp.EmulateMobile))
		tab.fits(path, phone)
		if evaluate[bool](tab, `typeof hacked !== 'undefined'`) {
			t.Errorf("%.80s: the text has run", path)
		}
		if evaluate[bool](tab, `!document.querySelector('main > footer') && !document.querySelector('footer')`) {
			t.Errorf("%.80s is broken", path)
		}
	}
}
