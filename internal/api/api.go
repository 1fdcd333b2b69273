package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// Options are what an API is made of.
type Options struct {
	// Redis is used by the API alone, so that its requests and its readers of events
	// never wait for the connections of steps, nor steps for theirs. See PoolSize.
	Redis redis.UniversalClient
	// Merchants returns the merchants of this process, whose appid and service_id complete
	// orders that name none.
	Merchants func() []config.Order
	// Order completes orders otherwise.
	Order config.Order
	// Schedules returns those that orders may name; nil: every name is taken.
	Schedules func() config.Schedules
	// AdminToken and TokensFile are ADMIN_TOKEN and API_TOKENS_FILE; either may be empty.
	AdminToken, TokensFile string
	// BodyTime is how long the body of a request may take; 0: 10 s.
	BodyTime time.Duration
	// WriteTime is how long a caller may leave unread what is sent; 0: 10 s.
	WriteTime time.Duration
	// Loopback reports whether the address that is served is one of this machine alone.
	Loopback bool
	// Trusted reports whether Redis was found fit for the ledger; before that, operations
	// are answered 503. nil: it was.
	Trusted func() bool
	// Registry gets the metrics; nil: they are not shown.
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

// Limits of what is under way at once; beyond them, requests are answered 503.
const (
	mostRequests = 64
	mostStreams  = 64 // imports and readers of events
	// mostBodies is for the bodies of requests in memory together, in bytes.
	mostBodies = 16 << 20
)

// PoolSize is how many connections to Redis an API can use.
const PoolSize = mostRequests + mostStreams

// API is the HTTP API. Make it with New.
type API struct {
	Options
	access   *access
	metrics  *metrics
	producer *tasks.Producer
	mux      *http.ServeMux
	huma     huma.API
	document []byte // openapi.json

	requests, streams, analyses chan struct{}
	bodies                      *semaphore.Weighted

	stopping context.Context // ends the streams
	stop     context.CancelFunc
}

// New returns an API. Stop ends it.
func New(o Options) *API {
	o.BodyTime, o.WriteTime = cmp.Or(o.BodyTime, 10*time.Second), cmp.Or(o.WriteTime, 10*time.Second)
	if o.Schedules == nil {
		o.Schedules = func() config.Schedules { return config.Schedules{} }
	}
	a := &API{
		Options: o, access: newAccess(o.AdminToken, o.TokensFile, o.Loopback, o.Log), metrics: newMetrics(o.Registry), producer: tasks.NewProducer(o.Redis), mux: http.NewServeMux(),
		requests: make(chan struct{}, mostRequests), streams: make(chan struct{}, mostStreams), analyses: make(chan struct{}, mostAnalyses), bodies: semaphore.NewWeighted(mostBodies),
	}
	a.stopping, a.stop = context.WithCancel(context.Background())
	form := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: decode}
	config := huma.Config{
		OpenAPI: a.skeleton(), DefaultFormat: jsonType, RejectUnknownQueryParameters: true,
		Formats: map[string]huma.Format{jsonType: form, "json": form}, // the second one is that of problem+json
	}
	config.AllowAdditionalPropertiesByDefault = true // later releases add fields to answers
	a.huma = humago.New(a.mux, config)
	a.addOrders()
	a.addMerchants()
	a.addEvents()
	a.addStreams()
	a.addControl()
	a.addBooks()
	a.addAnalytics()
	a.addBulk()
	a.finishDocument()
	a.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(a.document)
	})
	a.addDocs()
	a.mux.HandleFunc("/", a.unknown)
	return a
}

const jsonType = "application/json"

// Register adds the API to the paths of a server.
func (a *API) Register(mux *http.ServeMux) {
	for _, path := range []string{"/v1/", "/openapi.json", "/docs", "/docs/"} {
		mux.Handle(path, a)
	}
}

// Stop ends the streams, so that the server can end in order. Other requests finish.
func (a *API) Stop() { a.stop() }

// NeedsToken reports whether the API answers every request with 403, for want of a token.
func (a *API) NeedsToken() bool { return a.access.open() && !a.Loopback }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if fault := recover(); fault != nil {
			if err, ok := fault.(error); ok && (errors.Is(err, http.ErrAbortHandler) || left(err)) {
				panic(http.ErrAbortHandler)
			}
			a.Log.Error().Str(logging.FieldEvent, "api_panicked").Str("path", textsafe.Clip(r.URL.Path, 100)).
				Str("panic", fmt.Sprint(fault)).Bytes("stack", debug.Stack()).Msg("a request panicked: a bug")
			writeProblem(w, errors.New("panic"))
		}
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if err := crossOrigin.Check(r); err != nil {
		writeProblem(w, newProblem(http.StatusForbidden, "Origin is another site's: call the API from a program, or from a page of its own address"))
		readOn(r, w, mostUnproven)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// left reports whether an error is that of writing to a caller that has left, or that does
// not read its answer. huma panics with it.
func left(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// crossOrigin refuses requests that a page of another site makes a browser send.
var crossOrigin = http.NewCrossOriginProtection()

// unknown answers requests that no operation takes.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	if _, err := a.access.caller(r); err != nil {
		writeProblem(w, err)
		readOn(r, w, mostUnproven)
		return
	}
	defer readOn(r, w, mostRefused)
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, "the method is "+textsafe.Clip(r.Method, 20)+": this path takes "+strings.Join(allowed, ", ")))
		return
	}
	writeProblem(w, newProblem(http.StatusNotFound, "there is nothing at this path: /docs lists every operation. An out_order_no has no slash"))
}

// op is an operation: how it is called, who may, what can go wrong, and what the document
// says of it.
type op struct {
	id, method, path string
	tag              string
	summary, doc     string
	role             config.Role
	again            string // of an operation that changes something: why it may be sent again
	refusals         map[int]string
	status           int           // of success; 0: 200
	body             int64         // the largest body in bytes; 0: 64 KiB
	within           time.Duration // for the work, after the body has arrived; 0: 10 s
	stream           bool          // it reads or writes as long as it likes
	send, reply      string        // examples of bodies
	request          *huma.RequestBody
	responses        map[string]*huma.MediaType // of success, by content type, instead of the output's
}

const (
	smallBody = 64 << 10
	workTime  = 10 * time.Second
)

func (o op) changes() bool { return o.method != http.MethodGet }

func (o op) takesBody() bool { return o.method == http.MethodPost }

// add makes an operation of a function. See asProblem for the errors that it may return.
func add[I, O any](a *API, o op, do func(context.Context, *I) (*O, error)) {
	if o.within == 0 {
		o.within = workTime
	}
	if o.body == 0 {
		o.body = smallBody
	}
	h := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Tags: []string{o.tag}, Summary: o.summary, Description: o.description(),
		DefaultStatus: o.status, Responses: o.answers(), RequestBody: o.request,
		MaxBodyBytes: o.body + 1, BodyReadTimeout: a.BodyTime, // huma refuses a body of MaxBodyBytes
		SkipValidateBody: true, // functions say better what is wrong, and a bad row is no bad document
		Security:         []map[string][]string{{"token": {}}},
		Metadata:         map[string]any{"op": o},
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			status := 0
			a.metrics.measure(ctx, o, func() int {
				status = a.guard(ctx, o, next)
				return status
			})
			if status > http.StatusBadRequest && status != http.StatusRequestTimeout { // after 400 and 408 there is nothing to read
				r, w := humago.Unwrap(ctx)
				readOn(r, w, a.mostAfter(status))
			}
		}},
	}
	huma.Register(a.huma, h, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		return out, asProblem(err)
	})
}

// reply is what most operations answer with.
type reply[T any] struct{ Body T }

// replied is the reply of an operation that ends with a call of another function.
func replied[T any](body T, err error) (*reply[T], error) { return &reply[T]{body}, err }

// guard lets a request through to its operation: who calls, what is under way, how much
// time it has. It returns the status of the answer.
func (a *API) guard(ctx huma.Context, o op, next func(huma.Context)) int {
	r, w := humago.Unwrap(ctx)
	begun := time.Now()
	caller, err := a.admit(ctx, r, o)
	if err != nil {
		return writeProblem(w, err)
	}
	if a.Trusted != nil && !a.Trusted() {
		return writeProblem(w, later(http.StatusServiceUnavailable, retryAfter, "the worker is starting, and has not found Redis fit for the ledger yet: GET /readyz says why; nothing was done, and the request can be sent again"))
	}
	slots := a.requests
	if o.stream {
		slots = a.streams
	}
	busy := later(http.StatusServiceUnavailable, time.Second, "too many requests are under way on this worker: try again, or send fewer at once")
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		return writeProblem(w, busy)
	}
	control := http.NewResponseController(w)
	work := context.WithValue(r.Context(), callerKey{}, caller)
	switch {
	case o.stream:
		// Its function sets deadlines as it reads and writes.
		_ = control.SetReadDeadline(time.Time{})
		_ = control.SetWriteDeadline(time.Time{})
	default:
		limit := o.within
		if r.Body != nil && r.Body != http.NoBody {
			limit += a.BodyTime
			held := o.body
			if r.ContentLength >= 0 {
				held = min(held, r.ContentLength)
			}
			waiting, cancel := context.WithTimeout(work, workTime)
			err := a.bodies.Acquire(waiting, held)
			cancel()
			if err != nil {
				return writeProblem(w, busy)
			}
			defer a.bodies.Release(held)
			r.Body = io.NopCloser(r.Body) // huma closes it, and readOn reads it
		}
		_ = control.SetWriteDeadline(time.Now().Add(limit + a.WriteTime))
		if o.changes() { // what is begun is finished, whether or not the caller waits for it
			work = context.WithoutCancel(work)
		}
		var cancel context.CancelFunc
		work, cancel = context.WithTimeout(work, limit)
		defer cancel()
	}
	next(huma.WithContext(ctx, work))
	status := max(ctx.Status(), http.StatusOK)
	if o.changes() {
		a.Log.Info().Str(logging.FieldEvent, "api_request").Str(logging.FieldBy, caller.By()).Str("operation", o.id).Int("status", status).
			Int64(logging.FieldElapsedMS, time.Since(begun).Milliseconds()).Msg("request through the API")
	}
	return status
}

// admit returns the caller of a request that may be worked on.
func (a *API) admit(ctx huma.Context, r *http.Request, o op) (Caller, error) {
	caller, err := a.access.caller(r)
	if err == nil {
		err = caller.allowed(o.role)
	}
	if err != nil {
		return caller, err
	}
	// Read as huma reads it for the operation: net/url takes another one of two parameters
	// in a query such as mchid&mchid=1900000109.
	for _, mchid := range []string{ctx.Param("mchid"), ctx.Query("mchid")} {
		if mchid == "" {
			continue
		}
		if err := tasks.ValidateMchID(mchid); err != nil {
			return caller, Invalid(err)
		}
		if err := caller.may(mchid); err != nil {
			return caller, err
		}
	}
	if no := r.PathValue("out_order_no"); no != "" {
		if err := tasks.ValidateOutOrderNo(no); err != nil {
			return caller, Invalid(err)
		}
	}
	if !o.takesBody() {
		return caller, nil
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return caller, refuse(http.StatusUnsupportedMediaType, "Content-Encoding", "is %s: send the body as it is, without compression", textsafe.Clip(coding, 40))
	}
	if r.ContentLength != 0 {
		if err := checkType(r, o); err != nil {
			return caller, err
		}
	}
	if !o.stream && r.ContentLength > o.body {
		return caller, tooLarge(o.body)
	}
	return caller, nil
}

// A refused body is read on for a while: many callers send the whole body before they read
// the answer, and never see the answer if the connection is cut off meanwhile. Of a caller
// without a valid token less is read.
const (
	mostRefused  = 64 << 20
	mostUnproven = 1 << 20
	refusedTime  = 5 * time.Second
)

// mostAfter is how many bytes of a body are read after a refusal with a status. A caller that
// has not proven who it is gets less.
func (a *API) mostAfter(status int) int64 {
	if status == http.StatusUnauthorized || status == http.StatusTooManyRequests || a.NeedsToken() {
		return mostUnproven
	}
	return mostRefused
}

// readOn reads what a refused request still sends.
func readOn(r *http.Request, w http.ResponseWriter, most int64) {
	if r.ContentLength == 0 || r.Header.Get("Expect") != "" { // such a caller waits for the answer
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusedTime))
	_, _ = io.CopyN(io.Discard, r.Body, most)
}

// checkType refuses a body of another form than the operation takes. A body whose form is
// not named is taken for what the operation wants, and so is what curl -d and curl
// --data-binary send where they are not told otherwise: a page of another site, which could
// send the same, has been refused before. An import's parameter format names the form by
// itself.
func checkType(r *http.Request, o op) error {
	wanted := []string{jsonType}
	if o.request != nil {
		wanted = slices.Sorted(maps.Keys(o.request.Content))
	}
	sent := r.Header.Get("Content-Type")
	got, _, err := mime.ParseMediaType(sent)
	switch {
	case err == nil && slices.Contains(wanted, got):
		return nil
	case o.stream && r.URL.Query().Get("format") != "" && !strings.HasPrefix(got, "multipart/"):
		return nil
	case !o.stream && (sent == "" || err == nil && got == "application/x-www-form-urlencoded"):
		r.Header.Set("Content-Type", jsonType) // by which huma reads it
		return nil
	}
	remedy := "send " + strings.Join(wanted, " or ")
	if o.stream {
		remedy += ", or name the form by format=csv or format=jsonl"
	}
	return refuse(http.StatusUnsupportedMediaType, "Content-Type", "is %q: %s", textsafe.Clip(sent, 60), remedy)
}

// answers are the statuses of an operation, but for the body of success, which huma adds.
func (o op) answers() map[string]*huma.Response {
	all := map[int]string{
		http.StatusUnauthorized:        "No token, or a wrong one.",
		http.StatusForbidden:           "The token's role or merchants do not allow it; or no token is set on a worker whose address others can reach.",
		http.StatusUnprocessableEntity: "Something in the request is wrong; detail names the field and the remedy.",
		http.StatusTooManyRequests:     "Too many wrong tokens came from this address. Retry-After says when to try again.",
		http.StatusServiceUnavailable:  "Redis does not serve, or too much is under way on this worker. Retry-After says when to try again.",
	}
	if o.takesBody() {
		all[http.StatusUnsupportedMediaType] = "The body has another form or is compressed."
		if !o.stream {
			all[http.StatusRequestTimeout] = "The body did not arrive in time."
			all[http.StatusRequestEntityTooLarge] = "The body is too large: at most " + size(max(o.body, smallBody)) + "."
			all[http.StatusBadRequest] = "The body broke off, or is not well-formed HTTP."
		}
	}
	for status, when := range o.refusals {
		all[status] = when
	}
	responses := map[string]*huma.Response{}
	for status, when := range all {
		r := &huma.Response{Description: when, Content: map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}}}
		if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
			r.Headers = map[string]*huma.Header{"Retry-After": {Description: "Seconds after which to try again.", Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		responses[strconv.Itoa(status)] = r
	}
	if o.responses != nil {
		responses["200"] = &huma.Response{Description: "OK", Content: o.responses}
	}
	return responses
}

func (o op) description() string {
	text := o.doc + "\n\nRole: `" + string(o.role) + "`."
	if o.again != "" {
		text += " " + o.again
	}
	return text
}

// example reads the JSON of an example.
func example(text string) any {
	if text == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(fmt.Sprintf("api: an example is not JSON: %v: %s", err, text))
	}
	return v
}
