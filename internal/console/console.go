// Package console serves the pages on which people see what is owed, what is wrong, and
// act on it, in English and Chinese. It shows and does what the API offers, for the same
// callers, and adds no knowledge of its own.
package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

//go:embed static
var staticFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// Console serves the pages. Make it with New.
type Console struct {
	api   *api.API
	redis redis.UniversalClient
	log   zerolog.Logger

	pages   map[explain.Language]*template.Template
	assets  map[string]asset
	hub     *hub
	surveys surveys

	stopping context.Context // ends live connections and surveys
	stop     context.CancelFunc
}

// New returns the console of an API. Stop ends it.
func New(a *api.API) *Console {
	c := &Console{api: a, redis: a.Redis, log: a.Log, pages: map[explain.Language]*template.Template{}, assets: readAssets()}
	c.stopping, c.stop = context.WithCancel(context.Background())
	c.hub = newHub(c.stopping, c.redis)
	c.surveys.of = map[string]*surveyed{}
	for _, lang := range languages {
		c.pages[lang] = template.Must(template.New("").Funcs(c.functions(lang)).ParseFS(templateFiles, "templates/*.html"))
	}
	return c
}

// Stop ends the live connections, so that the server can end in order.
func (c *Console) Stop() { c.stop() }

// Register adds the console's pages to the paths of a server.
func (c *Console) Register(mux *http.ServeMux) {
	own := http.NewServeMux()
	get := func(path string, page func(*view) error) { own.HandleFunc("GET "+path, c.serve(page)) }
	post := func(path string, action func(*view) error) {
		own.Handle("POST "+path, http.MaxBytesHandler(c.serve(action), mostForm))
	}
	get("/{$}", c.overview)
	get("/recovery", c.recovery)
	get("/orders", c.orders)
	get("/orders.csv", c.ordersCSV)
	get("/find", c.find)
	get("/orders/{mchid}/{no}", c.order)
	post("/orders/{mchid}/{no}/{action}", c.actOnOrder)
	get("/merchants", c.merchants)
	get("/merchants/{mchid}", c.merchant)
	post("/merchants/{mchid}/{action}", c.actOnMerchant)
	get("/webhooks", c.webhooks)
	post("/webhooks/{action}", c.actOnWebhooks)
	post("/readers/{mchid}/{group}/destroy", c.destroyReader)
	post("/bulk/preview", c.previewBulk)
	post("/bulk", c.startBulk)
	get("/bulk/{id}", c.bulk)
	get("/books", c.books)
	get("/trail", c.trail)
	post("/acknowledge", c.acknowledge)
	get("/live", c.live)
	own.HandleFunc("GET /signin", c.signInPage)
	own.HandleFunc("POST /signin", c.signIn)
	own.HandleFunc("POST /signout", c.signOut)
	own.HandleFunc("GET /language", c.switchLanguage)
	own.HandleFunc("GET /static/{name}", c.static)
	own.HandleFunc("/", c.serve(func(v *view) error { return problem(http.StatusNotFound, v.word("problem.nothing_here")) }))
	mux.Handle("/", c.guard(c.whenTrusted(own)))
}

// mostForm bounds the body of a request, in bytes.
const mostForm = 64 << 10

// whenTrusted answers with a page that says so until Redis was found fit for the ledger, as
// the API does: before that, nothing that Redis has is shown, and no session is looked up.
func (c *Console) whenTrusted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.api.Trusted == nil || c.api.Trusted() || strings.HasPrefix(r.URL.Path, "/static/") || r.URL.Path == "/language" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", startingAgain)
		v := c.newView(w, r)
		v.fail(problem(http.StatusServiceUnavailable, v.word("problem.starting")))
	})
}

// startingAgain is when a page of a starting worker is worth another try, in seconds.
const startingAgain = "5"

// policy lets a page load and call nothing but this address, and run nothing but its files.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard sets the headers of every answer, and refuses what a page of another site sends.
func (c *Console) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(fault)
			}
			c.log.Error().Str(logging.FieldEvent, "console_panicked").Str("path", textsafe.Clip(r.URL.Path, 100)).
				Str("panic", fmt.Sprint(fault)).Bytes("stack", debug.Stack()).Msg("a page panicked: a bug")
			http.Error(w, "a fault of this program; its log has more", http.StatusInternalServerError)
		}()
		if err := origin.Check(r); err != nil {
			http.Error(w, "the request comes from a page of another site", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// view is one request for a page, and what every page shows.
type view struct {
	c      *Console
	w      http.ResponseWriter
	r      *http.Request
	Caller api.Caller
	Lang   explain.Language
	Tell   explain.Teller
	Signed bool // in with a token, and may sign out

	Page  string // its template, and its place in the navigation
	Title string
	Live  string // the merchant whose changes it shows; "*": every one; empty: none
	Body  any
}

const pageTime = 10 * time.Second

// serve makes a handler of a page: for callers who are signed in, and with errors as pages.
func (c *Console) serve(page func(*view) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := c.newView(w, r)
		caller, signed, err := c.caller(r)
		if err != nil {
			v.fail(err)
			return
		}
		if caller.Name == "" {
			v.askToken()
			return
		}
		v.Caller, v.Signed = caller, signed
		if r.URL.Path != "/live" && !strings.HasSuffix(r.URL.Path, ".csv") {
			ctx, cancel := context.WithTimeout(r.Context(), pageTime)
			defer cancel()
			v.r = r.WithContext(ctx)
		}
		if err := page(v); err != nil {
			v.fail(err)
		}
	}
}

func (c *Console) newView(w http.ResponseWriter, r *http.Request) *view {
	lang := languageOf(r)
	return &view{c: c, w: w, r: r, Lang: lang, Tell: explain.Teller{Now: time.Now(), Zone: tasks.China, Lang: lang}}
}

func (v *view) ctx() context.Context { return v.r.Context() }

func (v *view) word(key string, args ...any) string { return word(v.Lang, key, args...) }

// call makes a request to the API as the caller of the page.
func (v *view) call(method, path string, body, into any) error {
	return v.c.api.Call(v.ctx(), v.Caller, method, path, body, into)
}

// problem is an error that its page shows.
func problem(status int, detail string) error {
	return &api.Problem{Title: http.StatusText(status), Status: status, Detail: detail}
}

// show writes a page.
func (v *view) show(page string, body any) error { return v.write(http.StatusOK, page, body) }

func (v *view) write(status int, page string, body any) error {
	v.Page, v.Body = page, body
	if v.Title == "" {
		v.Title = v.word("nav." + page)
	}
	var b bytes.Buffer
	if err := v.c.pages[v.Lang].ExecuteTemplate(&b, page+".html", v); err != nil {
		panic(fmt.Sprintf("console: the page %s: %v", page, err)) // a bug: templates read nothing
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", string(v.Lang))
	h.Add("Vary", "Accept-Language, Cookie")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
	return nil
}

// fail shows an error as a page.
func (v *view) fail(err error) {
	if v.ctx().Err() != nil && v.r.Context().Err() == context.Canceled {
		return // the browser has left
	}
	p, ok := errors.AsType[*api.Problem](err)
	if !ok {
		v.c.log.Error().Str(logging.FieldEvent, "console_failed").Str("path", textsafe.Clip(v.r.URL.Path, 100)).Err(err).Msg("a page could not be made")
		p = &api.Problem{Status: http.StatusServiceUnavailable, Detail: v.word("problem.unavailable")}
	}
	v.Title = v.word("problem.title")
	if err := v.write(p.Status, "problem", p); err != nil {
		http.Error(v.w, p.Detail, p.Status)
	}
}

// done leads the browser back to a page after a change.
func (v *view) done(path string) error {
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}

// ledgers are those of the merchants that the caller may read, or the one that is named.
func (v *view) ledgers(mchid string) ([]*ledger.Ledger, error) {
	mchids := []string{mchid}
	if mchid == "" {
		var err error
		if mchids, err = ledger.Merchants(v.ctx(), v.c.redis); err != nil {
			return nil, err
		}
	} else if err := tasks.ValidateMchID(mchid); err != nil {
		return nil, api.Invalid(err)
	} else if !v.Caller.MayRead(mchid) {
		return nil, problem(http.StatusForbidden, v.word("problem.other_merchant", mchid))
	}
	var list []*ledger.Ledger
	for _, mchid := range mchids {
		if v.Caller.MayRead(mchid) && tasks.ValidateMchID(mchid) == nil {
			list = append(list, ledger.New(v.c.redis, mchid))
		}
	}
	return list, nil
}

// mchidsOf are the merchants of ledgers.
func mchidsOf(ledgers []*ledger.Ledger) []string {
	mchids := make([]string, len(ledgers))
	for i, l := range ledgers {
		mchids[i] = l.MchID()
	}
	return mchids
}

// address is a path with those of the parameters that have a value.
func address(path string, q url.Values) string {
	maps.DeleteFunc(q, func(_ string, values []string) bool { return len(values) == 0 || values[0] == "" })
	return path + "?" + q.Encode()
}

// pages are the addresses of a list's first page, empty on it, and of its next page, empty
// on the last one.
type pages struct{ First, Next string }

// pagesOf are those of the page at a cursor, behind which the next one begins at next.
func pagesOf(path string, q url.Values, cursor, next string) (p pages) {
	if cursor != "" {
		p.First = address(path, q)
	}
	if next != "" {
		q.Set("cursor", next)
		p.Next = address(path, q)
	}
	return p
}

// asset is an embedded file.
type asset struct {
	body []byte
	kind string
	path string // with the sum of its content, so that browsers may keep it for ever
}

func readAssets() map[string]asset {
	all := map[string]asset{}
	kinds := map[string]string{"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "txt": "text/plain; charset=utf-8"}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		all[e.Name()] = asset{body, kinds[e.Name()[strings.LastIndexByte(e.Name(), '.')+1:]], "/static/" + e.Name() + "?" + hex.EncodeToString(sum[:6])}
	}
	return all
}

func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.body)
}
