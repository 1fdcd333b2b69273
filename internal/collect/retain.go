package collect

import (
	"context"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
)

// A reader of the stream is logged as far behind when its oldest unread event is
// this old: billing does not receive the outcomes of its orders.
const (
	farBehind       = time.Hour
	warnBehindEvery = 10 * time.Minute
)

// An order is kept whole for compactAfter: WeChat Pay repeats a notification for a day and
// four minutes, and an order from which nothing follows any more is not changed again. A
// reader that has not read its final state is waited for, but not for ever.
const (
	compactAfter   = 25 * time.Hour
	compactPatient = 30 * 24 * time.Hour
)

// retain removes ended orders and old events, keeps the other ended orders compact, counts
// those that ended before the counters of the recovery existed, and checks the readers of
// the stream.
// What fails is left for the next sweep.
func (s *Sweeper) retain(ctx context.Context) {
	mchid := s.c.mchid
	if s.c.settings.Retention > 0 {
		removed, err := s.c.ledger.Retain(ctx, s.c.settings.Retention, s.c.longestGap(), s.c.clock.sure())
		s.c.metrics.Removed.WithLabelValues(mchid).Add(float64(removed))
		s.tidied.Add(removed)
		if removed > 0 {
			s.c.log.Debug().Str(logging.FieldEvent, "orders_removed").Int64(logging.FieldCount, removed).Msg("ended orders removed after RETENTION")
		}
		if err == nil {
			err = s.c.ledger.Forget(ctx, s.c.settings.Retention)
		}
		if err != nil {
			return // the sweep itself fails and logs it
		}
	}
	compacted, err := s.c.ledger.Compact(ctx, ledger.CompactArgs{After: compactAfter, Patient: compactPatient, Gap: s.c.longestGap(), Sure: s.c.clock.sure()})
	s.c.metrics.Compacted.WithLabelValues(mchid).Add(float64(compacted))
	s.tidied.Add(compacted)
	if err != nil {
		return
	}
	readers, err := s.c.ledger.Trim(ctx, s.c.settings.Retention)
	if err != nil {
		return
	}
	for _, r := range readers {
		if r.Behind < farBehind || time.Since(s.warnedBehind[r.Group]) < warnBehindEvery {
			continue
		}
		s.warnedBehind[r.Group] = time.Now()
		s.c.log.Warn().Str(logging.FieldEvent, "reader_far_behind").Str(logging.FieldGroup, r.Group).
			Int64("pending", r.Pending).Dur("behind", r.Behind.Round(time.Second)).
			Msg("a reader of the stream is far behind, and its unread events cannot be trimmed: " + remedy(mchid, r.Group))
	}
	// The last, since nothing else waits for it. The next housekeeping continues: the
	// worker collects meanwhile.
	if now, err := s.rdb.Time(ctx).Result(); err == nil {
		// A clock that is ahead must not make the counters old, which are then removed.
		if sure := s.c.clock.sure(); !sure.IsZero() && sure.Before(now) {
			now = sure
		}
		_, _ = s.c.ledger.FillRecovery(ctx, now)
	}
}

// remedy is what to do about a reader that is far behind.
func remedy(mchid, group string) string {
	destroy := "outcomes readers destroy --mchid " + mchid + " --reason TEXT '" + group + "'"
	if group == "webhooks" {
		return "start a worker with BILLING_WEBHOOK_URL, or find out why billing does not take them; if webhooks are off for good, " + destroy
	}
	return "start it again, or, if it is no longer needed, " + destroy
}
