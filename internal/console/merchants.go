package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

type merchantsBody struct {
	Q    string // a part of the mchid
	All  int    // merchants that have it
	Rows []merchantRow
	pages
}

// merchants shows merchants by their numbers, page by page.
func (c *Console) merchants(v *view) error {
	ledgers, err := v.ledgers("")
	if err != nil {
		return err
	}
	q := v.r.URL.Query()
	b := merchantsBody{Q: strings.TrimSpace(q.Get("q"))}
	ledgers = slices.DeleteFunc(ledgers, func(l *ledger.Ledger) bool { return !strings.Contains(l.MchID(), b.Q) })
	b.All = len(ledgers)
	page := func(after string) string {
		return address("/merchants", url.Values{"q": {b.Q}, "after": {after}})
	}
	if after := q.Get("after"); after != "" {
		b.First = page("")
		ledgers = slices.DeleteFunc(ledgers, func(l *ledger.Ledger) bool { return l.MchID() <= after })
	}
	if len(ledgers) > mostMerchants {
		ledgers = ledgers[:mostMerchants]
		b.Next = page(ledgers[mostMerchants-1].MchID())
	}
	if b.Rows, err = v.merchantRows(ledgers); err != nil {
		return err
	}
	v.Live = everyMerchant
	return v.show("merchants", b)
}

type merchantBody struct {
	merchantRow
	Stats   []bar
	Workers []workerRow
	Set     *ledger.Settings // in force: the newest report's
	Done    string
}

type workerRow struct {
	ledger.Worker
	Alive bool
}

func (c *Console) merchant(v *view) error {
	mchid := v.r.PathValue("mchid")
	ledgers, err := v.ledgers(mchid)
	if err != nil {
		return err
	}
	l := ledgers[0]
	b := merchantBody{}
	if b.merchantRow, err = v.merchantRow(v.ctx(), l); err != nil {
		return err
	}
	stats, err := l.Stats(v.ctx())
	if err != nil {
		return err
	}
	total := int64(0)
	for _, state := range tasks.States {
		total += stats.Orders[state]
		b.Stats = append(b.Stats, bar{Name: v.Tell.StateWords(state), State: state, Orders: stats.Orders[state]})
	}
	share(b.Stats)
	workers, now, err := l.Workers(v.ctx())
	if err != nil {
		return err
	}
	for _, w := range workers {
		b.Workers = append(b.Workers, workerRow{w, w.Alive(now)})
	}
	if len(workers) > 0 {
		b.Set = &workers[0].Settings
	}
	if total == 0 && len(workers) == 0 {
		return problem(http.StatusNotFound, v.word("merchant.absent", mchid))
	}
	if done := v.r.URL.Query().Get("done"); merchantActions[done] {
		b.Done = v.word("done." + done)
	}
	v.Title, v.Live = v.word("merchant.title", mchid), mchid
	return v.show("merchant", b)
}

var merchantActions = map[string]bool{"pause": true, "resume": true}

// actOnMerchant pauses or resumes a merchant.
func (c *Console) actOnMerchant(v *view) error {
	mchid, action := v.r.PathValue("mchid"), v.r.PathValue("action")
	if !merchantActions[action] {
		return problem(http.StatusNotFound, v.word("problem.nothing_here"))
	}
	body := map[string]string{"reason": v.r.PostFormValue("reason")}
	if length := v.r.PostFormValue("for"); action == "pause" && length != "" {
		body["for"] = length
	}
	path := "/merchants/" + url.PathEscape(mchid)
	if err := v.call(http.MethodPost, "/v1"+path+"/"+action, body, nil); err != nil {
		return err
	}
	return v.done(path + "?done=" + action)
}
