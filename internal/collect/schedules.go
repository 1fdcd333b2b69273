package collect

import (
	"cmp"
	"slices"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

// Schedules are the policies of orders that are not collected as their merchant's other
// orders are. An order keeps the name of its schedule: what stands under it holds from the
// order's next step on.
type Schedules struct {
	Named map[string]Policy
	// Defaults give a schedule to orders that name none: the first one that fits.
	Defaults []config.ScheduleDefault
}

// SchedulesOf returns the schedules of a merchant's orders.
func SchedulesOf(all config.Schedules, w config.Work, mchid string) Schedules {
	s := Schedules{Named: map[string]Policy{}}
	for name, terms := range all.Named {
		s.Named[name] = PolicyOf(terms.In(w))
	}
	for _, d := range all.Defaults {
		if d.MchID == "" || d.MchID == mchid {
			s.Defaults = append(s.Defaults, d)
		}
	}
	return s
}

// Terms are what the schedule of an order depends on.
type Terms struct {
	Schedule  string // the name that billing has given, or empty
	ServiceID string
	Amount    int64 // see ledger.Snapshot.Amount
}

// TermsOf returns an order's terms.
func TermsOf(o ledger.Order) Terms {
	t := Terms{Schedule: o.Schedule, ServiceID: o.ServiceID}
	for _, amount := range []*int64{o.BillingAmount, o.TotalAmount} {
		if amount != nil {
			t.Amount = cmp.Or(t.Amount, *amount)
		}
	}
	return t
}

// Name returns the schedule by which an order with these terms is collected: its own, or
// the first default that fits. It is empty where the merchant's policy applies. known is
// false for a name that does not exist.
func (s Schedules) Name(t Terms) (name string, known bool) {
	name = t.Schedule
	if name == "" {
		for _, d := range s.Defaults {
			if t.fit(d) {
				name = d.Schedule
				break
			}
		}
	}
	_, known = s.Named[name]
	return name, known || name == ""
}

func (t Terms) fit(d config.ScheduleDefault) bool {
	return (d.ServiceID == "" || d.ServiceID == t.ServiceID) &&
		(d.AtLeast == 0 || t.Amount >= d.AtLeast) &&
		(d.Below == 0 || t.Amount > 0 && t.Amount < d.Below)
}

// ByAmount reports whether a default depends on the amount.
func (s Schedules) ByAmount() bool {
	return slices.ContainsFunc(s.Defaults, func(d config.ScheduleDefault) bool { return d.AtLeast > 0 || d.Below > 0 })
}

// policyOf returns the policy of an order by s. known is false where its schedule does not
// exist: then it is the merchant's.
func (c *Collector) policyOf(s *Schedules, o ledger.Snapshot) (p Policy, known bool) {
	name, known := s.Name(Terms{o.Schedule, o.ServiceID, o.Amount()})
	if p, ok := s.Named[name]; ok {
		return p, true
	}
	return c.settings.Policy, known
}

// unknownEvery is how often an unknown schedule is logged.
const unknownEvery = 10 * time.Minute

// policyFor returns the policy of an order that a step works on. A schedule that does not
// exist must not keep the order from being collected: it is by the merchant's settings,
// and that is said loudly.
func (c *Collector) policyFor(s *Schedules, o ledger.Snapshot) Policy {
	p, known := c.policyOf(s, o)
	if known || o.Sync {
		return p
	}
	c.count(c.metrics.UnknownSchedule)
	c.unknown.Lock()
	defer c.unknown.Unlock()
	if time.Since(c.unknownSaid[o.Schedule]) < unknownEvery {
		return p
	}
	if c.unknownSaid == nil || len(c.unknownSaid) >= 1000 { // names come from outside
		c.unknownSaid = map[string]time.Time{}
	}
	c.unknownSaid[o.Schedule] = time.Now()
	c.log.Warn().Str(logging.FieldEvent, "schedule_unknown").Str(logging.FieldSchedule, o.Schedule).Str(logging.FieldOutOrderNo, o.OutOrderNo).
		Msg("SCHEDULE UNKNOWN: an order names a schedule that this worker's SCHEDULES_FILE does not have; it is collected by the worker's settings (each name is logged once in ten minutes)")
	return p
}

// longestGap is the longest time between two collect calls that any order must keep.
func (c *Collector) longestGap() time.Duration {
	gap := c.settings.Policy.MinGap
	for _, p := range c.named.Load().Named {
		gap = max(gap, p.MinGap)
	}
	return gap
}
