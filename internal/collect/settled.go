package collect

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// settled logs and counts what a settlement did, once, and applies a change of the
// hold in this process.
func (s *step) settled(ctx context.Context, set ledger.Settlement, last payscore.Reply, res ledger.SettleResult) {
	no := s.claim.Order.OutOrderNo
	log := s.c.log.With().Str(logging.FieldOutOrderNo, no).Logger()
	code := res.Code
	if code == ledger.Repeat { // the first answer was lost
		code = res.First
	}
	switch code {
	case ledger.Lost:
		log.Warn().Str(logging.FieldEvent, "lease_lost").Msg("lease lost before settle; result discarded, except payments that it showed")
	case ledger.Reopened:
		log.Info().Str(logging.FieldEvent, "order_reopened_during_step").Msg("order ended and reopened during the step; its call was logged with the order")
	case ledger.HasEnded:
		s.yielded = true
		endedBefore(log, last, res.State)
	case ledger.Settled:
		faultpoint.Reach(faultpoint.Settled, no)
		switch {
		case set.Sync != "":
			s.synced(log, set)
		case !set.State.Open():
			s.c.ended(no, set.State, set.Reason, set.Facts)
		}
	}
	s.c.alarms(no, last.Call, set.Facts, res.News)
	s.holdChanged(ctx, res.Gate, last)
}

// endedBefore logs that a notification or a withdrawal ended the order while the
// call was under way.
func endedBefore(log zerolog.Logger, last payscore.Reply, as tasks.State) {
	switch {
	case as == tasks.Paid:
		// As a rule, by the notification of the payment that this call caused.
		log.Info().Str(logging.FieldEvent, "order_paid_during_step").Msg("order paid during the step; its call was logged with the order")
	case last.MayPay():
		log.Warn().Str(logging.FieldEvent, "order_ended_during_collect").Str(logging.FieldVerdict, string(last.Verdict)).
			Msg("order ended during a collect; if the collect succeeds, only a notification will show the payment")
	default:
		log.Info().Str(logging.FieldEvent, "order_ended_during_step").Msg("order ended during the step; its call was logged with the order")
	}
}

// synced logs and counts how the sync of a withdrawn order went.
func (s *step) synced(log zerolog.Logger, set ledger.Settlement) {
	switch set.Sync {
	case ledger.SyncDone:
		log.Info().Str(logging.FieldEvent, "sync_done").Msg("WeChat Pay knows that the user paid elsewhere, and shows the order as done")
	case ledger.SyncNoNeed:
		log.Info().Str(logging.FieldEvent, "sync_not_needed").Str(logging.FieldReason, set.SyncReason).
			Msg("sync not needed: the order was already closed at WeChat Pay")
	case ledger.SyncFailed:
		log.Error().Str(logging.FieldEvent, "sync_failed").Str(logging.FieldReason, set.SyncReason).
			Msg("sync failed: WeChat Pay does not know that the user paid elsewhere, and may deduct again; withdraw the order again with --paid-at, or sync it on the merchant platform")
	default:
		return
	}
	s.c.count(s.c.metrics.Syncs, string(set.Sync))
}

// holdChanged applies a change of the merchant's hold in this process, and logs it.
func (s *step) holdChanged(ctx context.Context, change ledger.GateChange, last payscore.Reply) {
	c := s.c
	switch change {
	case ledger.GateClosed:
		if last.Scope == payscore.ScopeService {
			// A hold of the whole merchant, if there was one, has ended with it.
			c.hold.release()
			c.hold.holdService(s.claim.Order.Scope(), firstProbe)
		} else {
			c.hold.hold(firstProbe, time.Now())
		}
		c.count(c.metrics.GateClosings)
		c.log.Error().Str(logging.FieldEvent, "calls_stopped").
			Str(logging.FieldVerdict, string(last.Verdict)).Int(logging.FieldHTTPStatus, last.HTTPStatus).
			Str(logging.FieldCode, last.Code).Str(logging.FieldDetailCode, last.DetailCode).Str(logging.FieldRequestID, last.RequestID).
			Str("appid", s.claim.Order.AppID).Str("service_id", s.claim.Order.ServiceID).
			Msg(stoppedMessage(last, c.settings.BaseURL, time.Since(s.now())))
	case ledger.GateOpened:
		c.hold.release()
		c.log.Warn().Str(logging.FieldEvent, "calls_resumed").Msg("calls to WeChat Pay work again; collecting resumes")
	case ledger.GateSlowed:
		line := c.log.Warn().Str(logging.FieldEvent, "rate_halved").Str(logging.FieldCode, last.Code)
		if holds, err := c.ledger.Holds(ctx); err == nil {
			line.Float64(logging.FieldRate, c.settings.Rate*holds.Share)
		}
		line.Msg("WeChat Pay throttles this merchant; rate halved, recovering within a minute")
	}
}

// stoppedMessage is what the engineer on call reads. Without an error code the words
// are the client's, and without any answer WeChat Pay's address is shown. ahead is
// how far this machine's clock is ahead of Redis's: WeChat Pay refuses what was
// signed by a clock that is five minutes off.
func stoppedMessage(r payscore.Reply, baseURL string, ahead time.Duration) string {
	said := r.Message
	switch {
	case r.Code != "":
		said = "WeChat Pay says: " + r.Code + " " + r.Message
	case r.HTTPStatus == 0 && baseURL != "":
		said += " (" + baseURL + ")"
	}
	scope, why := "this merchant", "WeChat Pay does not answer properly"
	switch {
	case r.Verdict == payscore.Throttled:
		why = "WeChat Pay throttles every call; lower COLLECT_RATE, or find out who else uses this merchant's quota"
	case r.Verdict == payscore.MerchantFault && r.Scope == payscore.ScopeService:
		scope = "one appid and service_id"
		why = "WeChat Pay refuses them to this mchid; check that mchid, appid and service_id are bound together and PayScore is open"
	case r.Verdict == payscore.MerchantFault:
		clock := " and the clock"
		if ahead.Abs() > time.Minute {
			clock = ", and first of all the clock of this machine, which is " + clockDifference(ahead)
		}
		why = "WeChat Pay refuses its signature; check WECHATPAY_PRIVATE_KEY_FILE, WECHATPAY_SERIAL_NO, WECHATPAY_MCHID" + clock
	case r.NeedsAPIV3Key:
		why = "replies are signed with a platform certificate, which this worker cannot download"
	case r.Reason == payscore.ReasonUnverified:
		why = "replies do not carry WeChat Pay's signature; check WECHATPAY_PUBLIC_KEY_ID and WECHATPAY_PUBLIC_KEY_FILE, and proxies that alter replies"
	}
	return "CALLS STOPPED for " + scope + ": " + why +
		"; orders keep their attempts, a probe is sent now and then, and collecting resumes by itself: " + said
}

// clockDifference puts a difference of clocks into words.
func clockDifference(ahead time.Duration) string {
	if ahead < 0 {
		return ahead.Abs().Round(time.Second).String() + " behind Redis's"
	}
	return ahead.Round(time.Second).String() + " ahead of Redis's"
}
