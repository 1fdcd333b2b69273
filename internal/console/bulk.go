package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/control"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// What is done to many orders is shown first: how many there are, and what they come to.
// All that match a filter are a bulk action of the API; those that are ticked are done at
// once, one after another.

// bulkForm is what the form below a list of orders has sent.
type bulkForm struct {
	Action, Reason, PaidAt string
	Tell, All              bool
	Filter                 filter
	Ticked                 []ticked
}

// ticked is an order that is ticked, and what has become of it.
type ticked struct {
	MchID, No string
	Problem   string
}

// Value is how a form names the order; neither part has a blank.
func (t ticked) Value() string { return t.MchID + " " + t.No }

// mostTicked bounds what one request does; a page has fewer orders.
const mostTicked = 200

func (v *view) bulkForm() (bulkForm, error) {
	if err := v.r.ParseForm(); err != nil {
		return bulkForm{}, problem(http.StatusBadRequest, v.word("bulk.broken"))
	}
	q := v.r.PostForm
	f := bulkForm{Action: q.Get("action"), Reason: q.Get("why"), PaidAt: q.Get("paid_at"), Tell: q.Get("tell") == "yes", All: q.Get("which") == "all", Filter: filterOf(q)}
	if _, err := v.asked(f.Filter); err != nil {
		return f, err
	}
	if !orderActions[f.Action] {
		return f, problem(http.StatusUnprocessableEntity, v.word("bulk.no_action"))
	}
	if err := tasks.ValidateReason(f.Reason); err != nil {
		return f, api.Invalid(err)
	}
	if f.Tell && f.Action == ledger.ActWithdraw {
		if _, err := v.momentOf(f.PaidAt); err != nil {
			return f, err
		}
	}
	if f.All {
		return f, nil
	}
	for _, name := range q["no"] {
		mchid, no, _ := strings.Cut(name, " ")
		if tasks.ValidateMchID(mchid) == nil && tasks.ValidateOutOrderNo(no) == nil && len(f.Ticked) < mostTicked {
			f.Ticked = append(f.Ticked, ticked{MchID: mchid, No: no})
		}
	}
	if len(f.Ticked) == 0 {
		return f, problem(http.StatusUnprocessableEntity, v.word("bulk.none_ticked"))
	}
	return f, nil
}

// paidAt is when the users paid elsewhere, as the API takes it; empty where WeChat Pay is
// not told.
func (v *view) paidAt(f bulkForm) string {
	at, err := v.momentOf(f.PaidAt)
	if err != nil || !f.Tell || f.Action != ledger.ActWithdraw {
		return ""
	}
	return at.Format(time.RFC3339)
}

// request is the body of the API's bulk action.
func (v *view) request(f bulkForm, dry bool) map[string]any {
	asked, _ := f.Filter.asked() // bulkForm has checked it
	body := map[string]any{"action": f.Action, "reason": f.Reason, "dry_run": dry, "filter": asked}
	if at := v.paidAt(f); at != "" {
		body["paid_at"] = at
	}
	return body
}

type bulkBody struct {
	Form    bulkForm
	Act     string // the action in words
	Matched int64
	Sum     sum
	Done    bool // of ticked orders
}

// previewBulk shows what a bulk action would be about.
func (c *Console) previewBulk(v *view) error {
	f, err := v.bulkForm()
	if err != nil {
		return err
	}
	b := bulkBody{Form: f, Act: v.word("act." + f.Action)}
	if f.All {
		// Counting a million orders takes longer than a page.
		_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(2 * time.Minute))
		var p control.Preview
		if err := v.call(http.MethodPost, "/v1/bulk", v.request(f, true), &p); err != nil {
			return err
		}
		b.Matched, b.Sum = p.Matched, sum{Orders: p.Matched, Fen: p.Total}
	} else {
		for _, t := range f.Ticked {
			ledgers, err := v.ledgers(t.MchID)
			if err != nil {
				return err
			}
			o, err := ledgers[0].Get(v.ctx(), t.No)
			switch {
			case errors.Is(err, ledger.ErrNotFound):
				continue
			case err != nil:
				return err
			}
			total := o.TotalAmount
			if total == nil {
				total = o.BillingAmount
			}
			b.Sum.add(total)
		}
		b.Matched = b.Sum.Orders
	}
	v.Title = v.word("bulk.title")
	return v.show("bulk", b)
}

// startBulk does it.
func (c *Console) startBulk(v *view) error {
	f, err := v.bulkForm()
	if err != nil {
		return err
	}
	if f.All {
		var started api.BulkStarted
		if err := v.call(http.MethodPost, "/v1/bulk", v.request(f, false), &started); err != nil {
			return err
		}
		return v.done("/bulk/" + started.ID)
	}
	b := bulkBody{Form: f, Act: v.word("act." + f.Action), Done: true}
	body := map[string]string{"reason": f.Reason}
	if at := v.paidAt(f); at != "" {
		body["paid_at"] = at
	}
	for i, t := range f.Ticked {
		err := v.call(http.MethodPost, "/v1"+orderURL(t.MchID, t.No)+"/"+f.Action, body, nil)
		if p, ok := errors.AsType[*api.Problem](err); ok {
			b.Form.Ticked[i].Problem = v.Detail(p)
		} else if err != nil {
			return err
		} else {
			b.Matched++
		}
	}
	v.Title = v.word("bulk.title")
	return v.show("bulk", b)
}

type progressBody struct {
	ledger.BulkProgress
	Share int64
	Ended bool
}

// bulk shows how far a bulk action is.
func (c *Console) bulk(v *view) error {
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	absent := problem(http.StatusNotFound, v.word("bulk.absent"))
	if !ledger.ValidBulkID(id) {
		return absent
	}
	p, err := ledger.ProgressOfBulk(v.ctx(), c.redis, mchidsOf(ledgers), id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return absent
	case err != nil:
		return err
	}
	b := progressBody{BulkProgress: p, Ended: p.Stage == ledger.BulkDone}
	if p.Matched > 0 && p.Stage != ledger.BulkCounting {
		b.Share = (p.Matched - p.Left) * 100 / p.Matched
	}
	slices.SortFunc(b.Merchants, func(a, b ledger.MerchantBulk) int { return strings.Compare(a.MchID, b.MchID) })
	v.Title, v.Live = v.word("bulk.progress"), everyMerchant
	return v.show("progress", b)
}
