package collect

import (
	"context"
	"time"

	"payscore-collector/internal/logging"
	"payscore-collector/tasks"
)

// farBehind is how old the oldest event may be that a reader of the stream of
// outcomes has not done with, before somebody is told: billing does not hear
// what became of its orders.
const farBehind = time.Hour

// sayBehindEvery is how often that is said while it lasts.
const sayBehindEvery = 10 * time.Minute

// retain lets ended orders and old events go, and looks after the readers of the
// stream. What it could not do, the next sweep does.
func (s *Sweeper) retain(ctx context.Context) {
	mchid := s.ledger.MchID()
	if s.Retention > 0 {
		removed, err := s.ledger.Retain(ctx, s.Retention, s.Policy.MinGap)
		s.metrics.Removed.WithLabelValues(mchid).Add(float64(removed))
		if removed > 0 {
			s.log.Debug().Int64(logging.FieldCount, removed).Msg("ended orders have left the ledger after RETENTION")
		}
		if err != nil {
			return // the sweep itself will say so
		}
	}
	readers, err := s.ledger.Trim(ctx, s.Retention)
	if err != nil {
		return
	}
	s.metrics.Behind.DeletePartialMatch(map[string]string{"mchid": mchid})
	for _, r := range readers {
		s.metrics.Behind.WithLabelValues(mchid, r.Group).Set(r.Behind.Seconds())
		if r.Behind < farBehind || time.Since(s.saidBehind[r.Group]) < sayBehindEvery {
			continue
		}
		if s.saidBehind == nil {
			s.saidBehind = map[string]time.Time{}
		}
		s.saidBehind[r.Group] = time.Now()
		s.log.Warn().Str(logging.FieldGroup, r.Group).Int64("pending", r.Pending).Dur("behind", r.Behind.Round(time.Second)).
			Msg("a reader of the stream of outcomes is far behind, and no event that it has not read is trimmed: " + remedy(mchid, r.Group))
	}
}

// remedy is what to do about a reader that is far behind.
func remedy(mchid, group string) string {
	keys := tasks.KeysOf(mchid)
	if group == "webhooks" {
		return "start a worker with BILLING_WEBHOOK_URL, or see why billing does not take them; if webhooks are off for good, redis-cli HDEL '" + keys.Hooks() + "' cursor"
	}
	return "start it again, or, if nobody needs it any more, redis-cli XGROUP DESTROY '" + keys.Outcomes() + "' '" + group + "'"
}
