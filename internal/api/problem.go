package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

// Problem is the body of every error (RFC 9457).
type Problem struct {
	Type   string         `json:"type" doc:"Always about:blank: the status says what kind of problem it is." example:"about:blank"`
	Title  string         `json:"title" doc:"The status in words." example:"Unprocessable Entity"`
	Status int            `json:"status" doc:"The HTTP status." example:"422"`
	Detail string         `json:"detail" doc:"The field, what is wrong with it, and the remedy." example:"reason is missing; say why"`
	Errors []FieldProblem `json:"errors,omitempty" doc:"Each field that is wrong, where several can be told apart."`
}

// FieldProblem is what is wrong with one field.
type FieldProblem struct {
	Field  string `json:"field" doc:"The field, as the request has it." example:"reason"`
	Detail string `json:"detail" doc:"What is wrong, and the remedy; it continues where the field's name ends." example:"is missing; say why"`
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func newProblem(status int, detail string, fields ...FieldProblem) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields}
}

// refuse returns the problem of one field; the sentence continues where its name ends.
func refuse(status int, field, format string, args ...any) error {
	said := fmt.Sprintf(format, args...)
	return newProblem(status, field+" "+said, FieldProblem{field, said})
}

// Invalid returns the problem of an error of package tasks, whose FieldErrors name fields.
func Invalid(err error) error {
	p := newProblem(http.StatusUnprocessableEntity, strings.ReplaceAll(err.Error(), "\n", "; "))
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		if field, ok := errors.AsType[*tasks.FieldError](err); ok {
			p.Errors = append(p.Errors, FieldProblem{field.Field, field.Problem})
		}
	}
	return p
}

// retryAfter is when a caller should try again what Redis or a limit has refused.
const retryAfter = 5 * time.Second

// later returns a problem that passes, with the header Retry-After.
func later(status int, after time.Duration, detail string) error {
	header := http.Header{"Retry-After": {strconv.Itoa(max(1, int(after.Seconds())))}}
	return huma.ErrorWithHeaders(newProblem(status, detail), header)
}

// redisFailed is the problem of any error of Redis.
func redisFailed(err error) error {
	return later(http.StatusServiceUnavailable, retryAfter,
		"Redis does not serve: "+redisconn.Explain(err).Advice()+"; the request can be sent again without harm")
}

// asProblem is the problem of an error that an operation has returned, which is one itself,
// or names a field, or is one of Redis.
func asProblem(err error) error {
	if _, ok := errors.AsType[*Problem](err); ok || err == nil {
		return err
	}
	if _, ok := errors.AsType[*tasks.FieldError](err); ok {
		return Invalid(err)
	}
	if errors.Is(err, ledger.ErrCursor) {
		return badCursor()
	}
	return redisFailed(err)
}

// badCursor is the problem of a cursor that no page has returned.
func badCursor() error {
	return refuse(http.StatusUnprocessableEntity, "cursor", "is not one that a page has returned: leave it out to begin with the first page")
}

// writeProblem writes an error outside of an operation, and returns its status.
func writeProblem(w http.ResponseWriter, err error) (status int) {
	var p *Problem
	if !errors.As(err, &p) {
		p = newProblem(http.StatusInternalServerError, "a fault of this program; its log has more")
	}
	if h, ok := errors.AsType[huma.HeadersError](err); ok {
		for name, values := range h.GetHeaders() {
			w.Header()[name] = values
		}
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
	return p.Status
}

// huma has these settings in package variables. They are set before any API is made.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return fromHuma(nil, status, msg, errs) }
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return fromHuma(ctx.Operation(), status, msg, errs)
	}
}

// fromHuma makes a problem of what huma finds wrong with a request. It drops the values
// that huma repeats: they may be a secret in the wrong place.
func fromHuma(o *huma.Operation, status int, msg string, errs []error) *Problem {
	switch {
	case o == nil:
	case status == http.StatusRequestEntityTooLarge:
		return tooLarge(o.MaxBodyBytes - 1)
	case status == http.StatusRequestTimeout:
		return newProblem(status, fmt.Sprintf("the body did not arrive within %v: send it faster, or less at a time", o.BodyReadTimeout))
	case msg == "cannot read request body":
		return newProblem(http.StatusBadRequest, "the body broke off or is not well-formed HTTP: send the request again")
	case msg == "request body is required":
		return refuse(http.StatusUnprocessableEntity, "body", "is missing: send a JSON object").(*Problem)
	}
	p := newProblem(status, "")
	var said []string
	for _, err := range errs {
		f := FieldProblem{Field: "request", Detail: err.Error()}
		if d, ok := err.(*huma.ErrorDetail); ok {
			_, f.Field, _ = strings.Cut(d.Location, ".")
			if f.Field == "" {
				f.Field = "body"
			}
			f.Detail = remedy(d.Message)
			if name, fault, ok := strings.Cut(strings.TrimPrefix(f.Detail, "has "), " as a"); ok && f.Field == "body" && !strings.ContainsAny(name, `" `) { // see decode
				f.Field, f.Detail = name, "is a"+fault
			}
		}
		f.Detail, f.Field = textsafe.Clip(f.Detail, 300), textsafe.Clip(f.Field, 64)
		p.Errors = append(p.Errors, f)
		said = append(said, f.Field+" "+f.Detail)
	}
	if p.Detail = strings.Join(said, "; "); p.Detail == "" {
		p.Detail = textsafe.Clip(msg, 300)
	}
	return p
}

// tooLarge is the problem of a body of more than so many bytes.
func tooLarge(most int64) *Problem {
	return newProblem(http.StatusRequestEntityTooLarge, "the body is larger than "+size(most)+": send less at a time")
}

// remedy turns huma's words about a parameter into a sentence that continues its name.
func remedy(words string) string {
	switch {
	case words == "invalid integer":
		return "is not a whole number: write digits"
	case words == "invalid boolean":
		return "is neither true nor false: write one of them"
	case words == "required query parameter is missing":
		return "is missing: add it to the query"
	case words == "expected string to be RFC 3339 date":
		return "is not a day: write it as 2026-01-01"
	case words == "unknown query parameter":
		return "is no parameter of this operation: /docs lists them"
	case strings.HasPrefix(words, "expected value to be one of "):
		return "is unknown: write one of " + strings.TrimPrefix(words, "expected value to be one of ")
	case strings.HasPrefix(words, "expected "):
		return "is out of range: write a " + strings.TrimPrefix(words, "expected ")
	}
	return words
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// decode reads a JSON body into v. Its errors continue where "body" ends.
func decode(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("is not valid UTF-8: convert it first")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is not JSON at byte %d: %s", syntax.Offset, strings.TrimPrefix(syntax.Error(), "json: "))
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := strings.Replace(wrong.Field, "MoreFilter.", "", 1) // an embedded struct has no name in JSON
		if field == "" {
			return fmt.Errorf("is %s: send a JSON object", article(wrong.Value))
		}
		return fmt.Errorf("has %s as %s: write %s", field, article(wrong.Value), kindOf(wrong.Type.Kind().String()))
	}
	if err != nil {
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return fmt.Errorf("has the unknown field %s: /docs lists the fields", textsafe.Clip(field, 64))
		}
		return errors.New("is not whole JSON: it ends too early")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("has more behind its JSON object: send one object")
	}
	return nil
}

// article puts the article before what a value is.
func article(kind string) string {
	if strings.ContainsAny(kind[:1], "ao") {
		return "an " + kind
	}
	return "a " + kind
}

func kindOf(goKind string) string {
	switch goKind {
	case "bool":
		return "true or false"
	case "slice":
		return "a list"
	case "struct", "map":
		return "a JSON object"
	case "int", "int64":
		return "a whole number"
	}
	return "a string"
}
