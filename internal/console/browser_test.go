package console

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

// axe is the program that finds what keeps people with screen readers and keyboards out.
//
//go:embed testdata/axe-4.14.1.min.js
var axe string

// browserOff is an environment variable: set to 1, no test drives a browser.
const browserOff = "BROWSER_OFF"

// browser is a Chromium, whose pages must cause no error and ask no other address.
type browser struct {
	*testing.T
	f   *fixture
	ctx context.Context

	mu      sync.Mutex
	faults  []string
	refusal string // an answer that the test causes, as the browser's log has it
	refused bool   // there was one
}

// expect lets the server refuse requests with an answer such as "401 (Unauthorized)".
func (b *browser) expect(refusal string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusal = refusal
}

// newBrowser starts a Chromium. It skips the test where there is none.
func newBrowser(t *testing.T, f *fixture) *browser {
	t.Helper()
	if os.Getenv(browserOff) == "1" {
		t.Skip(browserOff + " is set")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no chromium on the PATH")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(testkit.ShortDir(t), "profile")), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-US"), chromedp.WSURLReadTimeout(testkit.Patience),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	allocator, end := chromedp.NewExecAllocator(ctx, options...)
	b := &browser{T: t, f: f, ctx: allocator}
	t.Cleanup(func() {
		end()
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			t.Error(fault)
		}
	})
	return b
}

// tab is a page of the browser.
type tab struct {
	b   *browser
	ctx context.Context
}

// tab opens a page, beside others of the same browser if there are any.
func (b *browser) tab(beside ...*tab) *tab {
	b.Helper()
	parent := b.ctx
	if len(beside) > 0 {
		parent = beside[0].ctx
	}
	ctx, cancel := chromedp.NewContext(parent)
	b.Cleanup(cancel)
	err := chromedp.Listen(ctx, b.watch)
	for _, enable := range []cdp.Command[cdp.Empty, cdp.Empty]{log.Enable, runtime.Enable} {
		if err == nil {
			_, err = chromedp.Call(ctx, enable, cdp.Empty{})
		}
	}
	if err == nil {
		_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	}
	if err == nil { // every tab takes itself for the one in front: a hidden one would not be live
		_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	}
	if err != nil {
		b.Fatalf("open a tab: %v", err)
	}
	return &tab{b, ctx}
}

// watch notes errors, and requests to other addresses.
func (b *browser) watch(event any) {
	fault := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			fault = fmt.Sprintf("the browser's log: %s %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		fault = "a script failed: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			fault = fmt.Sprintf("a script complains: %v", e.Args)
		}
	case *network.EventRequestWillBeSent:
		// data: is the browser's own, such as the sign of a field for dates.
		if !strings.HasPrefix(e.Request.URL, b.f.url+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			fault = "a request to another address: " + e.Request.URL
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case fault == "":
	case b.refusal != "" && strings.Contains(fault, b.refusal):
		b.refused = true
	default:
		b.faults = append(b.faults, fault)
	}
}

// step is something that is done on a page.
type step = chromedp.Action[chromedp.Void]

func (t *tab) do(what string, steps ...step) {
	t.b.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, testkit.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(t.ctx, chromedp.Location())
		text, _ := chromedp.Run(t.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		t.b.Fatalf("%s: %v; the page %s:\n%s", what, err, at, text)
	}
}

func click(css string) step       { return chromedp.Click(chromedp.CSS(css)) }
func ready(css string) step       { return chromedp.WaitReady(chromedp.CSS(css)) }
func enter(css, text string) step { return chromedp.SendKeys(chromedp.CSS(css), text) }
func open(summary string) step {
	return chromedp.Click(chromedp.Search(`//summary[contains(., "` + summary + `")]`))
}

func (t *tab) visit(path string) {
	t.b.Helper()
	t.do("visit "+path, chromedp.Navigate(t.b.f.url+path), ready("main"))
}

// sees waits for a text in the element of a selector.
func (t *tab) sees(selector, text string) {
	t.b.Helper()
	script := fmt.Sprintf(`Array.from(document.querySelectorAll(%s)).some(e => e.innerText.includes(%s))`, quote(selector), quote(text))
	ctx, cancel := context.WithTimeout(t.ctx, testkit.Patience)
	defer cancel()
	for seen := false; !seen; <-time.After(20 * time.Millisecond) {
		// An error is that of a page that is left at the moment.
		if seen, _ = chromedp.Run(ctx, chromedp.Evaluate[bool](script)); ctx.Err() != nil {
			page := evaluate[string](t, `document.body.innerText`)
			t.b.Fatalf("%s has no %q:\n%s", selector, text, page)
		}
	}
}

// evaluate returns the value of a script, or of its promise.
func evaluate[T any](t *tab, script string) T {
	t.b.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, testkit.Patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.b.Fatalf("%.100s: %v", script, err)
	}
	return v
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// accessible reports what axe finds serious on the page.
func (t *tab) accessible(path string) {
	t.b.Helper()
	type violation struct {
		ID, Impact string
		Nodes      []struct {
			HTML    string `json:"html"`
			Summary string `json:"failureSummary"`
		}
	}
	found := evaluate[[]violation](t, axe+`;axe.run({resultTypes: ['violations']}).then(r => r.violations)`)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			t.b.Errorf("%s: %s: %s: %s\n%s", path, v.Impact, v.ID, v.Nodes[0].HTML, v.Nodes[0].Summary)
		}
	}
}

// fits reports a page that is wider than the screen.
func (t *tab) fits(path string, screen int64) {
	t.b.Helper()
	if width := evaluate[int64](t, `document.documentElement.scrollWidth`); width > screen {
		t.b.Errorf("%s is %d pixels wide on a screen of %d", path, width, screen)
	}
}

// signIn signs in with a token, on the page that asks for it.
func (t *tab) signIn(token string) {
	t.b.Helper()
	t.visit("/signin")
	t.do("sign in", enter("input[name=token]", token), click("button.primary"), ready(`nav a[aria-current=page][href="/"]`))
}

func TestBrowser_Tour(t *testing.T) {
	f := newFixture(t, withTokens(t))
	b := newBrowser(t, f)
	f.settle(mchA, "BIKE-1001", failed("declined", 403, "TRADE_ERROR", "271316574", "余额不足"))
	f.settle(mchA, "BIKE-1002", paid(1250))
	one := b.tab()
	one.signIn("operator")

	// Find an order by its number, and withdraw it; another tab shows it by itself.
	one.do("find", enter(`input[name=q]`, "BIKE-1001\r"), ready(".state.awaiting"))
	two := b.tab(one)
	two.visit("/orders/" + mchA + "/BIKE-1001")
	two.sees(".state", "awaiting")
	two.do("wait until the page is live", ready("body.is-live"))
	const form = `form[action$="/withdraw"]`
	one.do("withdraw", open("Withdraw"),
		enter(form+` input[name=reason]`, "paid at the counter"), click(form+` button`))
	one.sees("[role=status]", "The order is withdrawn.")
	one.sees(".state", "withdrawn")
	two.sees(".state", "withdrawn")
	two.sees("#live", "console:operator")
	if o, err := f.ledger(mchA).Get(t.Context(), "BIKE-1001"); err != nil || o.State != tasks.Withdrawn || o.Reason != "paid at the counter" {
		t.Errorf("%+v, %v", o, err)
	}

	// What is opened to be filled in is not taken away by a change elsewhere.
	two.do("open a form", open("Reopen"),
		enter(`form[action$="/reopen"] input[name=reason]`, "half a rea"))
	f.open(mchA, "BIKE-1003") // a change, which the tab learns of
	one.visit("/orders?state=queued")
	one.sees("table.orders", "BIKE-1003")
	f.open(mchA, "BIKE-1004")
	one.sees("table.orders", "BIKE-1004")
	if typed := evaluate[string](two, `document.querySelector('form[action$="/reopen"] input[name=reason]').value`); typed != "half a rea" {
		t.Errorf("a form that was begun has %q", typed)
	}

	// Many orders, after a preview; what is ticked is not taken away meanwhile.
	one.visit("/orders?q=BIKE-")
	one.do("tick", click(`input[value="`+mchA+` BIKE-1003"]`), click(`input[value="`+mchA+` BIKE-1004"]`))
	f.open(mchA, "BIKE-1005")
	one.do("preview", chromedp.SetValue(chromedp.CSS(`#bulk select`), "withdraw"), enter(`#bulk input[name=why]`, "waived"), click(`#bulk button`), ready("#h-preview"))
	one.sees("dd", "2 · those that are ticked")
	one.accessible("the preview")
	one.do("confirm", click("button.danger"))
	one.sees("[role=status]", "Done for 2 of 2 orders.")
	one.visit("/orders?q=BIKE-")
	one.do("preview all", click(`input[value=all]`), enter(`#bulk input[name=why]`, "topped up"), click(`#bulk button`), ready("#h-preview"))
	one.sees("dd", "5 · all that match the filter")
	one.do("confirm", click("button.danger"), ready("progress"))
	one.sees("#live", "topped up")

	// Acknowledge what needs attention; another tab shows by itself that it is done.
	f.settle(mchA, "BIKE-LATE", ended(tasks.Exhausted, "x"))
	if _, _, err := f.ledger(mchA).Notice(t.Context(), ledger.Notice{OutOrderNo: "BIKE-LATE", ID: "n1", Token: ledger.NewToken(), Paid: true, Facts: paid(4700).Facts, Entry: ledger.Entry{Call: "notification", Verdict: "paid"}}); err != nil {
		t.Fatal(err)
	}
	one.visit("/orders/" + mchA + "/BIKE-LATE")
	two.visit("/orders/" + mchA + "/BIKE-LATE")
	two.do("wait until the page is live", ready("body.is-live"))
	one.do("acknowledge", open("Acknowledge"), enter(`form[action="/acknowledge"] input[name=reason]`, "refunded"), click(`form[action="/acknowledge"] button`))
	one.sees("#live", "Acknowledged by console:operator: “refunded”")
	two.sees("#live", "Acknowledged by console:operator: “refunded”")

	// Pause and resume.
	one.visit("/merchants/" + mchA)
	one.do("pause", open("Pause"),
		enter(`form[action$="/pause"] input[name=reason]`, "wrong amounts"), chromedp.SetValue(chromedp.CSS(`form[action$="/pause"] select`), "2h"), click(`form[action$="/pause"] button`))
	one.sees("[role=status]", "Collecting is paused.")
	one.sees("#live", "wrong amounts")
	one.do("resume", open("Resume"),
		enter(`form[action$="/resume"] input[name=reason]`, "corrected"), click(`form[action$="/resume"] button`))
	one.sees("[role=status]", "Collecting is resumed.")

	// By keyboard alone: the first stop leads past the menu.
	one.visit("/trail")
	one.sees("td", "corrected")
	one.do("the first stop of Tab", chromedp.KeyEvent("\t"), ready(".skip:focus"), chromedp.KeyEvent("\r"), ready("#main:focus, #main:target"))

	// The other language, which every tab then has.
	one.do("switch the language", click("a.lang"), ready(`html[lang="zh-CN"]`))
	one.sees("h1", "操作记录")
	two.visit("/orders/" + mchA + "/BIKE-1001")
	two.sees("h1", "已撤回")
	two.do("wait until the page is live", ready("body.is-live"))

	// Signing out ends the session for every tab, by itself: an open page learns of it by 401.
	b.expect("401 (Unauthorized)")
	one.do("sign out", click(`form[action="/signout"] button`), ready("input[name=token]"))
	two.sees("h1", "登录")
	if keys, err := f.redis.Client.Keys(t.Context(), sessionPrefix+"*").Result(); err != nil || len(keys) != 0 {
		t.Errorf("after signing out there is the session %v, %v", keys, err)
	}
}

// A page whose stream the server has refused asks for it again.
func TestBrowser_LiveAfterARefusal(t *testing.T) {
	f := newFixture(t)
	b := newBrowser(t, f)
	f.open(mchA, "BIKE-1001")
	var others []*listener
	for range liveMost {
		others = append(others, f.console.hub.listen(nil))
	}
	b.expect("503 (Service Unavailable)")
	tab := b.tab()
	tab.visit("/orders?mchid=" + mchA)
	testkit.Eventually(t, "the stream to be refused", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.refused
	})
	for _, l := range others {
		f.console.hub.leave(l)
	}
	tab.do("wait until the page is live", ready("body.is-live"))
	f.open(mchA, "BIKE-1002")
	tab.sees("table.orders", "BIKE-1002")
}

// Every page, in both languages, is accessible, and fits a phone.
func TestBrowser_EveryPage(t *testing.T) {
	f := newFixture(t)
	b := newBrowser(t, f)
	f.world()
	f.surveyed()
	tab := b.tab()
	const desk, phone = 1280, 390
	started := f.post("/bulk", []string{"action", "reopen", "why", "x", "which", "all", "state", "exhausted"})
	started.wants(t, 200)
	for i, path := range append(paths(), started.Path) {
		if path == "/nowhere" {
			continue // its status is an error in the browser's log
		}
		tab.do("a desk's width", chromedp.EmulateViewport(desk, 900))
		tab.visit(path)
		if i%2 == 0 {
			tab.do("the other language", click("a.lang"), ready("main"))
		}
		tab.do("open what is closed", chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll('details')) d.open = true`))
		tab.accessible(path)
		tab.fits(path, desk)
		tab.do("a phone's width", chromedp.EmulateViewport(phone, 844, chromedp.EmulateMobile))
		tab.fits(path, phone)
	}
}

// picturesDir is an environment variable: the README's pictures are written there, such as
// to docs/pictures, by a run of TestBrowser_Pictures.
const picturesDir = "CONSOLE_PICTURES"

func TestBrowser_Pictures(t *testing.T) {
	f := newFixture(t)
	b := newBrowser(t, f)
	f.world()
	f.bookOf(mchA, "1260")
	f.surveyed()
	tab := b.tab()
	tab.do("a desk's width", chromedp.EmulateViewport(1200, 720))
	for lang, suffix := range map[string]string{"en": "", "zh": ".zh-CN"} {
		tab.visit("/language?to=" + lang + "&back=/")
		for name, path := range map[string]string{"overview": "/", "order": "/orders/" + mchA + "/BIKE-DIFFERS"} {
			tab.visit(path)
			ctx, cancel := context.WithTimeout(tab.ctx, testkit.Patience)
			picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			cancel()
			if err != nil || !bytes.HasPrefix(picture, []byte("\x89PNG")) {
				t.Fatalf("%s: %d bytes: %v", path, len(picture), err)
			}
			if dir := os.Getenv(picturesDir); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, "console-"+name+suffix+".png"), picture, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
