package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/textsafe"
	"payscore-collector/tasks"
)

const (
	ndjsonType = "application/x-ndjson"
	csvType    = "text/csv"
)

// importPiece is what must arrive of the body of an import within six times Options.BodyTime.
const importPiece = 64 << 10

func (a *API) addImport() {
	text := func(doc string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: doc}}
	}
	rows := text("One JSON object a line, with the names of POST /v1/orders.")
	rows.Example = "{\"out_order_no\":\"BIKE-1001\"}\n{\"out_order_no\":\"BIKE-1002\",\"at\":\"2026-01-02 10:00\"}\n"
	table := text("A header row with out_order_no and any of mchid, appid, service_id, at, amount, owed_since and schedule, in UTF-8.")
	table.Example = "out_order_no,amount\nBIKE-1001,1250\nBIKE-1002,300\n"
	add(a, op{
		id: "import-orders", method: http.MethodPost, path: "/v1/orders/import", tag: tagOrders, role: config.Billing, stream: true,
		summary: "Enqueue a stream of orders",
		refusals: map[int]string{
			http.StatusBadRequest: "The body broke off before its first row.", http.StatusRequestTimeout: "The first row did not arrive in time.",
		},
		request: &huma.RequestBody{
			Required: true, Description: "Rows of any number.",
			Content: map[string]*huma.MediaType{ndjsonType: rows, csvType: table, "application/jsonl": rows},
		},
		responses: map[string]*huma.MediaType{ndjsonType: {
			Schema:  schemaOf[ImportLine](a.huma.OpenAPI().Components.Schemas),
			Example: "{\"line\":3,\"out_order_no\":\"BIKE 1002\",\"result\":\"invalid\",\"detail\":\"out_order_no has ' ' at position 5; only digits, letters and _ | * - are allowed\"}\n{\"summary\":{\"accepted\":2,\"duplicate\":0,\"ended\":0,\"conflict\":0,\"invalid\":1,\"failed\":0}}\n",
		}},
		doc:   "Rows of any number, in little memory, as `enqueue file` takes them. The answer is one JSON object a line, while the body is read: a line for every row that was not accepted, and last the `summary`, which has how many rows got each result, 0 included. Without a summary the answer is not whole. Read it while you send: a client that leaves some ten thousand lines unread for ten seconds is cut off. A caller that leaves ends the import: what was read is in the ledger, and the rest is not begun. Each 64 KiB of the body must arrive within a minute.",
		again: "It can be sent again without harm: what is in already is answered with `duplicate`.",
	}, a.importOrders)
}

type importInput struct {
	Format string `query:"format" enum:"csv,jsonl" doc:"How the body holds its rows; without it, as Content-Type says."`
	Type   string `header:"Content-Type" doc:"text/csv, or application/x-ndjson."`
}

// ImportLine is a line of the answer to an import: that of a row has the first four
// fields, all of them, and the last line has the summary alone.
type ImportLine struct {
	Line       int64          `json:"line,omitempty" doc:"Where the row begins, from 1."`
	OutOrderNo string         `json:"out_order_no,omitempty" doc:"The order's number; empty where the row has none."`
	Result     tasks.Status   `json:"result,omitempty" doc:"What became of the row." enum:"duplicate,ended,conflict,invalid,failed"`
	Detail     string         `json:"detail,omitempty" doc:"Why, where the result does not say all."`
	Summary    map[string]int `json:"summary,omitempty" doc:"The last line alone: how many rows got each result, 0 included."`
}

// importRow is the line of a row, as it is sent.
type importRow struct {
	Line       int64        `json:"line"`
	OutOrderNo string       `json:"out_order_no"`
	Result     tasks.Status `json:"result"`
	Detail     string       `json:"detail"`
}

func (a *API) importOrders(ctx context.Context, in *importInput) (*huma.StreamResponse, error) {
	caller := callerOf(ctx)
	first, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	if err := a.Redis.Ping(first).Err(); err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		out := a.newLines(w, ndjsonType)
		format := intake.Format(in.Format)
		if format == "" {
			format = intake.JSONL
			if strings.HasPrefix(in.Type, csvType) {
				format = intake.CSV
			}
		}
		body := &patient{r: r.Body, control: out.control, within: 6 * a.BodyTime}
		rows, err := intake.NewReader(body, format)
		if err != nil {
			writeProblem(stated{w, hctx}, unreadable(err, 0))
			return
		}
		missing := intake.Missing(a.completion(caller)(intake.Row{}).Order.Owner(), rows.Has)
		if len(missing) > 0 && !rows.Has("mchid") { // whose defaults a row gets depends on its mchid
			writeProblem(stated{w, hctx}, refuse(http.StatusUnprocessableEntity, strings.Join(missing, ", "), "is in no column, and no setting of the worker has it: add the column"))
			return
		}
		_ = out.control.EnableFullDuplex() // lines are sent while the body is read
		// net/http cannot reuse the connection if the body is not read to its end.
		w.Header().Set("Connection", "close")
		a.importRows(ctx, caller, rows, out)
	}}, nil
}

// stated is the writer of an operation that answers by itself. The log, the metrics and
// readOn know the status that is written to it.
type stated struct {
	http.ResponseWriter
	ctx huma.Context
}

// WriteHeader implements http.ResponseWriter.
func (s stated) WriteHeader(status int) { s.ctx.SetStatus(status) }

// importRows enqueues the rows, and writes the answer.
func (a *API) importRows(ctx context.Context, caller Caller, rows *intake.Reader, out *lines) {
	complete := a.completion(caller)
	var end error // why reading ended
	last := int64(0)
	items := func(yield func(intake.Item) bool) {
		for {
			if out.dirty {
				out.flush() // the next row may take long to arrive
			}
			var row intake.Row
			if row, end = rows.Next(); end != nil {
				return
			}
			it := complete(row)
			if it.Row.Err == nil && it.Order.MchID != "" {
				if err := caller.may(it.Order.MchID); err != nil {
					it.Row.Err = err
				}
			}
			if last = row.Line; !yield(it) {
				return
			}
		}
	}
	summary := map[tasks.Status]int{tasks.Accepted: 0, tasks.Duplicate: 0, tasks.Ended: 0, tasks.Conflict: 0, tasks.Invalid: 0, tasks.Failed: 0}
	submitter := intake.Submitter{Producer: a.producer, Schedule: a.Schedules().Check, Retry: workTime, Grace: workTime, Say: func(string, ...any) {}}
	failed := false
	for it, res := range submitter.Submit(ctx, items) {
		summary[res.Status]++
		failed = failed || res.Status == tasks.Failed
		if res.Status != tasks.Accepted {
			out.write(importRow{Line: it.Row.Line, OutOrderNo: clip(it.Order.OutOrderNo), Result: res.Status,
				Detail: textsafe.Clip(cmp.Or(intake.Detail(res), string(res.State)), 300)})
		}
	}
	switch {
	case ctx.Err() != nil && !errors.Is(end, os.ErrDeadlineExceeded): // net/http ends ctx for both
		return // nobody reads the answer
	case failed:
		out.write(importRow{Line: last, Result: tasks.Failed, Detail: "Redis fails, and rows behind this line were not read: send them again"})
	case !errors.Is(end, io.EOF):
		out.write(importRow{Line: last, Result: tasks.Failed, Detail: unreadable(end, last).Error()})
	}
	out.write(map[string]any{"summary": summary})
	out.flush()
}

// unreadable is the problem of a body that cannot be read, or not to its end.
func unreadable(err error, line int64) *Problem {
	if wrong, ok := errors.AsType[*intake.FormatError](err); ok {
		return refuse(http.StatusUnprocessableEntity, "body", "%s", strings.Replace(wrong.Error(), `feed it in by "zcat FILE | enqueue file -"`, "send it without compression", 1)).(*Problem)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body came too slowly after line %d: send what follows again, %d KiB a minute at least", line, importPiece>>10))
	}
	return newProblem(http.StatusBadRequest, fmt.Sprintf("the body broke off after line %d: send what follows again", line))
}

// patient reads a body that may take long, as long as it does not stall.
type patient struct {
	r       io.Reader
	control *http.ResponseController
	within  time.Duration // for a piece
	left    int           // of the present piece
}

func (p *patient) Read(b []byte) (int, error) {
	if p.left <= 0 {
		p.left = importPiece
		_ = p.control.SetReadDeadline(time.Now().Add(p.within))
	}
	n, err := p.r.Read(b)
	p.left -= n
	return n, err
}

// lines writes a streamed answer. A reader that does not keep up is cut off.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	within  time.Duration // for each write
	enc     *json.Encoder
	dirty   bool // something is not flushed
	err     error
}

func (a *API) newLines(w http.ResponseWriter, contentType string) *lines {
	w.Header().Set("Content-Type", contentType)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &lines{w: w, control: http.NewResponseController(w), within: a.WriteTime, enc: enc}
}

func (l *lines) write(v any) {
	if l.err != nil {
		return
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(l.within))
	l.err = l.enc.Encode(v)
	l.dirty = true
}

func (l *lines) flush() {
	if l.err == nil {
		l.dirty = false
		_ = l.control.SetWriteDeadline(time.Now().Add(l.within))
		l.err = l.control.Flush()
	}
}
