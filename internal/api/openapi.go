package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/version"
	"payscore-collector/tasks"
)

// skeleton is the document without its operations.
func (a *API) skeleton() *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "payscore-collector", Version: version.Read().Version,
			Description: "Collects what users still owe on WeChat Pay PayScore orders. Amounts are in fen, times in RFC 3339. Every error is a problem (RFC 9457) whose `detail` names the field and the remedy.\n\nSend `Authorization: Bearer TOKEN`. `worker token NAME --role ROLE` makes a token for `API_TOKENS_FILE`; `ADMIN_TOKEN` is that of the operator `admin`. A worker without any token answers the users of its own machine, if `ADMIN_ADDR` is a loopback address, and nobody otherwise.",
			License:     &huma.License{Name: "Apache 2.0", Identifier: "Apache-2.0"},
		},
		Servers: []*huma.Server{{URL: "/", Description: "The worker that serves this document, at ADMIN_ADDR."}},
		Tags: []*huma.Tag{
			{Name: tagOrders, Description: "What is collected."},
			{Name: tagMerchants, Description: "What slows or stops the collection of a merchant, and counters."},
			{Name: tagBulk, Description: "The same done to many orders."},
			{Name: tagEvents, Description: "What happens to orders."},
			{Name: tagTrail, Description: "Who has changed what."},
			{Name: tagAnalytics, Description: "What came in, when and by whose doing."},
			{Name: tagBooks, Description: "Payments held against WeChat Pay's own bill."},
			{Name: tagWebhooks, Description: "Who gets events: billing's receiver, and readers that keep their place in Redis."},
		},
		Components: &huma.Components{
			Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token": {Type: "http", Scheme: "bearer", Description: "A token of API_TOKENS_FILE, or ADMIN_TOKEN."},
			},
		},
	}
}

// schemaOf returns a reference to the schema of a type.
func schemaOf[T any](r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

// finishDocument adds what huma cannot know, and writes the document down.
func (a *API) finishDocument() {
	doc := a.huma.OpenAPI()
	schemaOf[Problem](doc.Components.Schemas)
	for _, path := range doc.Paths {
		for _, o := range []*huma.Operation{path.Get, path.Post, path.Delete} {
			if o == nil {
				continue
			}
			of := o.Metadata["op"].(op)
			if body := o.RequestBody; body != nil && body.Content[jsonType] != nil {
				body.Content[jsonType].Example = example(of.send)
				body.Description = "At most " + size(max(of.body, smallBody)) + "."
			}
			for status, r := range o.Responses {
				switch {
				case r.Content[problemType] != nil:
					r.Content[problemType].Example = a.exampleProblem(status, r.Description)
				case r.Content[jsonType] != nil && r.Content[jsonType].Example == nil:
					r.Content[jsonType].Example = example(of.reply)
				}
			}
		}
	}
	for name, s := range doc.Components.Schemas.Map() {
		a.describe(name, s)
	}
	var err error
	if a.document, err = json.Marshal(doc); err != nil {
		panic(fmt.Sprintf("api: the document: %v", err))
	}
}

func (a *API) exampleProblem(status, when string) any {
	code := 0
	_, _ = fmt.Sscan(status, &code)
	p := newProblem(code, strings.ToLower(when[:1])+strings.TrimSuffix(when[1:], "."))
	return map[string]any{"type": p.Type, "title": p.Title, "status": p.Status, "detail": p.Detail}
}

// describe gives the fields of a schema their meaning, where their type does not: those of
// the ledger's types have it in the table of the record, and below.
func (a *API) describe(name string, s *huma.Schema) {
	for field, p := range s.Properties {
		if p.Description == "" {
			p.Description = meanings[name+"."+field]
		}
		if p.Description == "" {
			p.Description = meanings[field]
		}
		if p.Description == "" {
			for _, row := range ledger.Record {
				if row.JSON == field {
					p.Description = strings.ToUpper(row.Doc[:1]) + strings.TrimPrefix(row.Doc[1:], "s, ") + "."
				}
			}
		}
		if strings.HasSuffix(field, "amount") && p.Type == huma.TypeInteger && !strings.Contains(p.Description, "fen") {
			p.Description += " In fen."
		}
		if p.Ref != "" { // beside a $ref, only a description is allowed
			continue
		}
		if field == "state" && p.Type == huma.TypeString && len(p.Enum) == 0 && name != "Sync" && name != "Explanation" {
			for _, state := range tasks.States {
				p.Enum = append(p.Enum, string(state))
			}
			if name == "Event" { // closed books are of no order
				p.Enum = append(p.Enum, "")
			}
			p.PrecomputeMessages()
		}
	}
	if paused := s.Properties["paused"]; paused != nil && paused.Ref != "" {
		s.Properties["paused"] = &huma.Schema{Description: paused.Description, AnyOf: []*huma.Schema{{Ref: paused.Ref}, {Type: "null"}}}
	}
}

// meanings are of fields of the ledger's types, by schema and name, or by name.
var meanings = map[string]string{
	"Query.state":        "Only orders in these states; absent: in every state.",
	"Query.reason":       "Only orders with exactly this reason.",
	"Query.q":            "Only orders whose out_order_no begins so.",
	"Query.amount_from":  "Only orders that come to so many fen or more: by WeChat Pay's signed word, else by billing's.",
	"Query.amount_to":    "Only orders that come to less than so many fen.",
	"Query.opened_from":  "Only orders that were opened at this time or later.",
	"Query.opened_to":    "Only orders that were opened before this time.",
	"Query.service_id":   "Only orders of this PayScore service.",
	"Query.since":        "Only orders that ended at this time or later; open ones, that were opened then.",
	"Query.until":        "Only orders that ended before this time; open ones, that were opened then.",
	"mchid":              "Merchant number.",
	"out_order_no":       "The order's number.",
	"state":              "Where the order stands. queued and awaiting are open, the others final.",
	"reason":             "Why it stands there: WeChat Pay's word, the policy's or billing's.",
	"books":              "Of books.closed: what came of comparing the day with WeChat Pay's bill.",
	"appid":              "The application of the order.",
	"service_id":         "The PayScore service of the order.",
	"opened_at":          "When billing enqueued it first.",
	"ended_at":           "When it reached its final state; absent while it is open.",
	"owed_since":         "Since when it is owed, by billing's word.",
	"paid_by":            "Whose doing the last payment through PayScore was: collect, if it came after our collect call; user, if the user or the platform paid by itself.",
	"next_due_at":        "When its next step is due; absent where there is none.",
	"last_attempt_at":    "When a call was made for it last.",
	"last_error":         "The newest call that failed.",
	"late_payment_at":    "When a payment was learnt after another final state.",
	"payments":           "Every payment that WeChat Pay has signed.",
	"past":               "The final states before it was reopened, the latest ones, oldest first.",
	"actions":            "What people have done to it, oldest first.",
	"log":                "Its last 50 calls and notifications, oldest first.",
	"sync":               "How far WeChat Pay is told that the user paid elsewhere.",
	"amount_differs":     "The newest contradiction between WeChat Pay's signed amounts.",
	"total_lowered":      "The last time the merchant lowered the total.",
	"amount":             "In fen.",
	"by":                 "Who did it: api:NAME, console:NAME, cli:USER or go:PROGRAM.",
	"action":             "What was done.",
	"at":                 "When, by Redis's clock.",
	"call":               "The call: collect, query, sync or notification.",
	"verdict":            "What its reply was decided to mean.",
	"code":               "WeChat Pay's error code.",
	"detail_code":        "The finer code at the end of Request-ID.",
	"http_status":        "The HTTP status of the reply; absent where there was none.",
	"message":            "WeChat Pay's words.",
	"request_id":         "Request-ID, for WeChat Pay's support.",
	"id":                 "Unique; the order of a merchant's events: <mchid>-<ms>-<n>.",
	"type":               "What happened: order.opened, attempted, paid, closed, rejected, withdrawn, exhausted or reopened.",
	"seq":                "Of the order's events, from 1 on, without a gap.",
	"calls":              "How many sync calls were made.",
	"paid_at":            "When the user paid.",
	"reopened_at":        "When it was reopened.",
	"known":              "What was known before, in fen.",
	"said":               "What WeChat Pay has signed now, in fen.",
	"from":               "The total before, in fen.",
	"to":                 "The total now, in fen.",
	"field":              "The field of WeChat Pay's message.",
	"elapsed_ms":         "How long the call took, in ms.",
	"failed":             "Whether the call failed.",
	"events":             "How many final states wait.",
	"oldest_at":          "The time of the oldest event that is not handled.",
	"tries":              "Deliveries that have failed, in a row.",
	"next_try_at":        "When the next one is made.",
	"last_failure":       "The last delivery that failed.",
	"retried":            "How many orders were made due.",
	"not_waiting":        "Of the named orders, those for which billing has accepted everything.",
	"since":              "From when on.",
	"first_event_at":     "The time of the first event that is delivered again; absent where everything since then is still to be delivered anyway.",
	"last_event_at":      "The time of the last such event.",
	"group":              "The reader's name; webhooks for those to billing.",
	"lag":                "How many events it was not given yet; absent where Redis cannot say.",
	"pending":            "How many it was given and has not handled; for webhooks, how many orders wait.",
	"oldest_pending_at":  "The time of the oldest of those.",
	"members":            "Processes that read now; for webhooks, workers.",
	"last_seen_at":       "When one of them asked Redis last.",
	"HookFailure.reason": "What went wrong.",
	"HookFailure.at":     "When.",
	"Audited.id":         "Unique: <mchid>-<ms>-<n>.",
	"Audited.reason":     "Why, in their own words.",
	"Event.at":           "When it happened, by Redis's clock.",
	"Event.by":           "Of withdrawn and reopened: who did it.",
	"Sync.state":         "pending, done, failed or not needed.",
	"Sync.reason":        "Why it stands there.",
	"Sync.paid_at":       "When the user paid elsewhere, by billing's word.",
	"PastEnd.state":      "The final state.",
	"Action.reason":      "Why, in their own words.",
	"Audited.detail":     "What it was done to, such as a reader's group.",
	"Payment.paid_type":  "NEWTON: through PayScore; MCH: elsewhere.",
}

// Examples that several operations share.
const (
	exampleListed   = `{"mchid":"1900000109","out_order_no":"BIKE-1001","appid":"wxd678efh567hg6787","service_id":"500001","state":"awaiting","total_amount":1250,"attempts":1,"collect_calls":1,"query_calls":1,"opened_at":"2026-01-02T01:00:00Z","last_attempt_at":"2026-01-02T02:00:00Z","next_due_at":"2026-01-02T02:10:00Z"}`
	exampleOrder    = `{"mchid":"1900000109","out_order_no":"BIKE-1001","appid":"wxd678efh567hg6787","service_id":"500001","state":"awaiting","total_amount":1250,"attempts":1,"collect_calls":1,"query_calls":1,"opened_at":"2026-01-02T01:00:00Z","last_attempt_at":"2026-01-02T02:00:00Z","next_due_at":"2026-01-02T02:10:00Z","explain":{"state":"awaiting: tried; the money is not in","next":"in 9m: query, and collect if it is still owed","causes":[],"alarms":[]}}`
	exampleMerchant = `{"mchid":"1900000109","hold":{"state":"none"},"services_held":[],"paused":null,"rate":{"limit":50,"now":50},"window":{"open":true,"changes_at":"2026-01-02T14:00:00Z"},"due_now":0,"oldest_due_seconds":0,"workers":1}`
	exampleEvent    = `{"id":"1900000109-1767319200000-0","type":"order.paid","at":"2026-01-02T02:00:00Z","mchid":"1900000109","out_order_no":"BIKE-1001","seq":3,"state":"paid","total_amount":1250,"paid_amount":1250}`
)
