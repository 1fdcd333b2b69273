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
	Page api.WebhookPage
	pages
	Readers   []eventstream.Standing
	Merchants []string
	Done      string
}

var streamActions = map[string]bool{"retry": true, "replay": true, "destroy": true}

func (c *Console) webhooks(v *view) error {
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	b := webhooksBody{Merchants: mchidsOf(ledgers)}
	cursor := v.r.URL.Query().Get("cursor")
	if err := v.call(http.MethodGet, address("/v1/webhooks", url.Values{"limit": {"50"}, "cursor": {cursor}}), nil, &b.Page); err != nil {
		return err
	}
	b.pages = pagesOf("/webhooks", url.Values{}, cursor, b.Page.Next)
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

// actOnWebhooks delivers webhooks of a merchant now, or once more.
func (c *Console) actOnWebhooks(v *view) error {
	action := v.r.PathValue("action")
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
	path := "/v1/readers/" + url.PathEscape(v.r.PathValue("mchid")) + "/" + url.PathEscape(v.r.PathValue("group")) +
		"?" + url.Values{"reason": {v.r.PostFormValue("reason")}}.Encode()
	if err := v.call(http.MethodDelete, path, nil, nil); err != nil {
		return err
	}
	return v.done("/webhooks?done=destroy")
}

type trailBody struct {
	Heads []string
	Rows  []trailRow
	pages
}

type trailRow struct {
	ledger.Audited
	Cells []string
}

func (c *Console) trail(v *view) error {
	cursor := v.r.URL.Query().Get("cursor")
	var page api.ActionPage
	if err := v.call(http.MethodGet, address("/v1/audit", url.Values{"limit": {"100"}, "cursor": {cursor}}), nil, &page); err != nil {
		return err
	}
	b := trailBody{Heads: v.Tell.AuditHeads(), pages: pagesOf("/trail", url.Values{}, cursor, page.Next)}
	for _, a := range page.Actions {
		b.Rows = append(b.Rows, trailRow{a, v.Tell.AuditRow(a)})
	}
	v.Live = everyMerchant
	return v.show("trail", b)
}
