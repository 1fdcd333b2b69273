package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/status"
	"payscore-collector/tasks"
)

type orderBody struct {
	Order     ledger.Order
	Facts     []explain.Fact
	Alarms    []string
	Matter    []matter // of the alarms, if there are any
	Heads     []string
	Story     []explain.Moment
	RequestID string // to copy for WeChat Pay's support
	Done      string // what the caller has just done
	// What the order's state allows.
	CanWithdraw, CanReopen, CanCollect bool
}

func (c *Console) order(v *view) error {
	mchid, no := v.r.PathValue("mchid"), v.r.PathValue("no")
	ledgers, err := v.ledgers(mchid)
	if err != nil {
		return err
	}
	if err := tasks.ValidateOutOrderNo(no); err != nil {
		return api.Invalid(err)
	}
	l := ledgers[0]
	o, s, hooks, err := status.ReadOrder(v.ctx(), c.redis, l, no)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return problem(http.StatusNotFound, v.word("order.absent", no, mchid))
	case err != nil:
		return err
	}
	b := orderBody{
		Order: o, Facts: v.Tell.Facts(o, s, hooks), Alarms: v.Tell.Alarms(o), Heads: v.Tell.StoryHeads(), Story: v.Tell.Story(o),
		CanWithdraw: o.State.Open() || o.State == tasks.Withdrawn && (o.Sync == nil || o.Sync.State == ledger.SyncFailed),
		CanReopen:   !o.State.Open() && o.State != tasks.Paid,
		CanCollect:  o.State.Open(),
	}
	if o.Alarmed() {
		b.Matter = []matter{v.orderMatter(o)}
		if err := c.acknowledged(v.ctx(), b.Matter); err != nil {
			return err
		}
	}
	if text := v.Tell.ScheduleUnknown(o, s); text != "" {
		b.Alarms = append(b.Alarms, text)
	}
	if o.LastError != nil {
		b.RequestID = explain.Printable(o.LastError.RequestID)
	}
	if done := v.r.URL.Query().Get("done"); orderActions[done] {
		b.Done = v.word("done." + done)
	}
	v.Title, v.Live = no, mchid
	return v.show("order", b)
}

var orderActions = map[string]bool{"withdraw": true, "reopen": true, "collect-now": true}

// actOnOrder withdraws an order, reopens it, or brings it forward.
func (c *Console) actOnOrder(v *view) error {
	mchid, no, action := v.r.PathValue("mchid"), v.r.PathValue("no"), v.r.PathValue("action")
	if !orderActions[action] {
		return problem(http.StatusNotFound, v.word("problem.nothing_here"))
	}
	body := map[string]string{"reason": v.r.PostFormValue("reason")}
	if action == "withdraw" && v.r.PostFormValue("tell") == "yes" {
		at, err := v.momentOf(v.r.PostFormValue("paid_at"))
		if err != nil {
			return err
		}
		body["paid_at"] = at.Format(time.RFC3339)
	}
	if err := v.call(http.MethodPost, "/v1/orders/"+url.PathEscape(mchid)+"/"+url.PathEscape(no)+"/"+action, body, nil); err != nil {
		return err
	}
	return v.done(orderURL(mchid, no) + "?done=" + action)
}

// momentOf reads what a field for date and time has sent, by Shanghai's clock.
func (v *view) momentOf(text string) (time.Time, error) {
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(form, text, tasks.China); err == nil {
			return at, nil
		}
	}
	return time.Time{}, problem(http.StatusUnprocessableEntity, v.word("problem.moment"))
}

// Cells are an order's texts in a list.
func (v *view) Cells(o ledger.Order) orderCells {
	cells := orderCells{Total: v.Tell.TotalBrief(o), Paid: explain.OrDash(explain.YuanOf(o.PaidAmount))}
	row := v.Tell.Row(o)
	cells.Words = row[len(row)-1]
	return cells
}

type orderCells struct{ Total, Paid, Words string }
