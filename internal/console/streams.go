package console

import (
	"net/http"
	"net/url"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

type webhooksBody struct {
	Page        api.WebhookPage
	Next, First string
	Readers     []eventstream.Standing
	Merchants   []string
	Done        string
}

var streamActions = map[string]bool{"retry": true, "replay": true, "destroy": true}

func (c *Console) webhooks(v *view) error {
	b := webhooksBody{}
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	for _, l := range ledgers {
		b.Merchants = append(b.Merchants, l.MchID())
	}
	cursor := v.r.URL.Query().Get("cursor")
	if err := v.call(http.MethodGet, "/v1/webhooks?limit=50"+cursorOf(cursor), nil, &b.Page); err != nil {
		return err
	}
	if b.Page.Next != "" {
		b.Next = "/webhooks?" + url.Values{"cursor": {b.Page.Next}}.Encode()
	}
	if cursor != "" {
		b.First = "/webhooks"
	}
	var readers api.ReaderList
	if err := v.call(http.MethodGet, "/v1/readers", nil, &readers); err != nil {
		return err
	}
	b.Readers = readers.Readers
	if done := v.r.URL.Query().Get("done"); streamActions[done] {
		b.Done = v.word("done." + done)
	}
	v.Live = everyMerchant
	return v.show("webhooks", b)
}

func cursorOf(cursor string) string {
	if cursor == "" {
		return ""
	}
	return "&" + url.Values{"cursor": {cursor}}.Encode()
}

// actOnWebhooks delivers webhooks of a merchant now, or once more.
func (c *Console) actOnWebhooks(v *view) error {
	action := v.r.PathValue("action")
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 64<<10)
	body := map[string]any{"mchid": v.r.PostFormValue("mchid")}
	switch action {
	case "retry":
		if no := v.r.PostFormValue("no"); no != "" {
			body["out_order_nos"] = []string{no}
		}
	case "replay":
		since, err := v.momentOf(v.r.PostFormValue("since"))
		if err != nil {
			return err
		}
		body["since"] = since.Format(time.RFC3339)
	default:
		return problem(http.StatusNotFound, v.word("problem.nothing_here"))
	}
	if err := v.call(http.MethodPost, "/v1/webhooks/"+action, body, nil); err != nil {
		return err
	}
	return v.done("/webhooks?done=" + action)
}

// destroyReader forgets a reader that is no longer used.
func (c *Console) destroyReader(v *view) error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 64<<10)
	path := "/v1/readers/" + url.PathEscape(v.r.PathValue("mchid")) + "/" + url.PathEscape(v.r.PathValue("group")) +
		"?" + url.Values{"reason": {v.r.PostFormValue("reason")}}.Encode()
	if err := v.call(http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	return v.done("/webhooks?done=destroy")
}

type trailBody struct {
	Heads       []string
	Rows        []trailRow
	Next, First string
}

type trailRow struct {
	ledger.Audited
	Cells []string
}

func (c *Console) trail(v *view) error {
	cursor := v.r.URL.Query().Get("cursor")
	var page api.ActionPage
	if err := v.call(http.MethodGet, "/v1/audit?limit=100"+cursorOf(cursor), nil, &page); err != nil {
		return err
	}
	b := trailBody{Heads: v.Tell.AuditHeads()}
	for _, a := range page.Actions {
		b.Rows = append(b.Rows, trailRow{a, v.Tell.AuditRow(a)})
	}
	if page.Next != "" {
		b.Next = "/trail?" + url.Values{"cursor": {page.Next}}.Encode()
	}
	if cursor != "" {
		b.First = "/trail"
	}
	v.Live = everyMerchant
	return v.show("trail", b)
}
