package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// What follows is for the console, which runs in the same process: its pages show and do
// what the API offers, for the same callers.

// Open reports whether callers need no token.
func (a *API) Open() bool { return a.access.open() }

// Local returns the caller of a request to an API without tokens, or why it is refused.
func (a *API) Local(r *http.Request) (Caller, error) { return a.access.local(r) }

// SignIn returns whose token a request presents, and the token's sum. Wrong tokens are
// counted as those of requests to the API.
func (a *API) SignIn(r *http.Request, token string) (Caller, [sha256.Size]byte, error) {
	token = strings.TrimSpace(token)
	if token == "" {
		return Caller{}, [sha256.Size]byte{}, unauthorized("the token is missing: worker token NAME --role ROLE makes one")
	}
	caller, err := a.access.holder(r, token)
	return caller, sha256.Sum256([]byte(token)), err
}

// Holder returns whose token it is for which is reports true, by the token's sum. It is
// false for a token that has been removed since.
func (a *API) Holder(is func(sum [sha256.Size]byte) bool) (Caller, bool) { return a.access.findSum(is) }

// Call makes a request to an operation as the caller, within the process. body, if it is
// not nil, is sent as JSON, and the answer is read into the value that into points to. An
// error is a *Problem.
func (a *API) Call(ctx context.Context, caller Caller, method, path string, body, into any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return newProblem(http.StatusUnprocessableEntity, err.Error())
		}
	}
	r, err := http.NewRequestWithContext(context.WithValue(ctx, callerKey{}, caller), method, path, &sent)
	if err != nil {
		return newProblem(http.StatusBadRequest, "the path is malformed")
	}
	if body != nil {
		r.Header.Set("Content-Type", jsonType)
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	a.mux.ServeHTTP(w, r)
	if w.status >= http.StatusMultipleChoices {
		p := newProblem(w.status, http.StatusText(w.status))
		_ = json.Unmarshal(w.body.Bytes(), p) // else the status has to do
		return p
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(w.body.Bytes(), into); err != nil {
		return newProblem(http.StatusInternalServerError, fmt.Sprintf("the answer cannot be read: %v", err))
	}
	return nil
}

// answer keeps what an operation writes. The deadlines of connections do not concern it.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answer) Header() http.Header              { return w.header }
func (w *answer) WriteHeader(status int)           { w.status = status }
func (w *answer) Write(b []byte) (int, error)      { return w.body.Write(b) }
func (w *answer) SetReadDeadline(time.Time) error  { return nil }
func (w *answer) SetWriteDeadline(time.Time) error { return nil }
