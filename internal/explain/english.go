package explain

import (
	"payscore-collector/internal/collect"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

var english = phrasebook{
	states: map[tasks.State]string{
		tasks.Queued:    "not tried yet",
		tasks.Awaiting:  "tried; the money is not in",
		tasks.Paid:      "the money is in",
		tasks.Closed:    "over at WeChat Pay without payment",
		tasks.Rejected:  "there is nothing to collect",
		tasks.Withdrawn: "stopped by billing",
		tasks.Exhausted: "given up; still owed",
	},

	reasons: map[string]string{
		payscore.ReasonRevoked:      "the merchant cancelled it",
		payscore.ReasonExpired:      "the user never confirmed it",
		payscore.ReasonNotConfirmed: "the user has not confirmed it",
		payscore.ReasonNotCompleted: "the merchant has not completed it",
		payscore.ReasonNothingOwed:  "it is finished, and nothing was owed",
		payscore.ReasonWrongService: "it exists under another appid or service_id",
		collect.ReasonGaveUp:        "its time (GIVE_UP_AFTER) is over",
		collect.ReasonPaid:          "the user paid through WeChat Pay",
	},

	plans: map[ledger.Plan]string{
		ledger.Collect:  "collect",
		ledger.Recheck:  "query, and collect if it is still owed",
		ledger.Confirm:  "query whether the money is in",
		ledger.Resolve:  "query what the last call did",
		ledger.Inspect:  "query why it was refused",
		ledger.Final:    "query for the last time",
		ledger.TellPaid: "tell WeChat Pay that the user paid elsewhere",
	},

	syncPlans: map[ledger.Plan]string{
		ledger.Recheck: "query, and tell WeChat Pay if it is still owed there",
		ledger.Confirm: "query whether WeChat Pay knows",
	},

	syncs: map[ledger.SyncState]string{
		ledger.SyncPending: "WeChat Pay is to be told that the user paid elsewhere",
		ledger.SyncDone:    "WeChat Pay knows that the user paid elsewhere, and deducts no more",
		ledger.SyncFailed:  "WeChat Pay could not be told, and may go on deducting",
		ledger.SyncNoNeed:  "WeChat Pay need not be told",
	},

	holds: map[ledger.HoldKind]string{
		ledger.HoldFault:     "WeChat Pay refuses the merchant's signature",
		ledger.HoldDown:      "WeChat Pay does not answer properly",
		ledger.HoldThrottled: "WeChat Pay throttles every call",
	},

	verdicts: map[payscore.Verdict]string{
		payscore.Accepted:       "taken; that is no payment yet",
		payscore.InProgress:     "a deduction is running",
		payscore.Declined:       "the deduction failed",
		payscore.Owed:           "still owed",
		payscore.Paid:           "paid",
		payscore.Closed:         "cancelled by the merchant, or never confirmed",
		payscore.NotCollectable: "cannot be collected as it is",
		payscore.NotFound:       "WeChat Pay knows no such order",
		payscore.BadRequest:     "the order's data are malformed",
		payscore.Throttled:      "too fast; not the order's fault",
		payscore.MerchantFault:  "the merchant's set-up is refused; not the order's fault",
		payscore.Unavailable:    "WeChat Pay is in trouble; it may have taken effect",
		payscore.Unknown:        "no answer to rely on; it may have taken effect",
	},

	calls: map[payscore.Call]map[payscore.Verdict]string{
		payscore.CallQuery: {
			payscore.InProgress:  "changing, or paid in part",
			payscore.Unavailable: "WeChat Pay is in trouble",
			payscore.Unknown:     "no answer to rely on",
		},
		payscore.CallSync: {
			payscore.Accepted: "taken; a query is to show that it is known",
		},
		payscore.CallNotification: {
			payscore.Paid:       "WeChat Pay reports that all is paid",
			payscore.Owed:       "WeChat Pay reports a payment in part",
			payscore.InProgress: "WeChat Pay reports a payment in part",
		},
	},

	details: map[string]string{
		"271316574": "the deduction failed: balance, card or risk control",
		"271316657": "refused: it does not wait for payment",
		"271316754": "a deduction is running",
		"271302262": "refused: its state does not allow it",
		"271302332": "refused: still to be confirmed or completed",
		"271302333": "refused: it is cancelled",
		"271317510": "WeChat Pay knows no such order",
		"268435472": "too fast; not the order's fault",
		"268503786": "no permission for this appid and service_id; not the order's fault",
		"270924332": "the signature is refused; not the order's fault",
		"271302144": "the mchid is not known; not the order's fault",
		"271302149": "mchid and appid are not bound together; not the order's fault",
		"268435464": "a parameter is out of range",
	},

	codes: map[string]string{
		"PARAM_ERROR":         "the order's data are malformed",
		"INVALID_REQUEST":     "refused: against one of WeChat Pay's rules",
		"INVALID_ORDER_STATE": "refused: its state does not allow it",
		"ORDER_DONE":          "refused: it is finished, says an error",
		"ORDER_CANCELED":      "refused: it is cancelled, says an error",
		"SIGN_ERROR":          "the signature is refused: key, serial number or clock; not the order's fault",
		"NO_AUTH":             "mchid, appid and service_id are not bound together, or PayScore is not open; not the order's fault",
		"TRADE_ERROR":         "the deduction failed: balance, card or risk control",
		"ORDER_NOT_EXIST":     "WeChat Pay knows no such order",
		"FREQUENCY_LIMITED":   "too fast; not the order's fault",
		"RATELIMIT_EXCEEDED":  "too fast; not the order's fault",
		"SYSTEM_ERROR":        "WeChat Pay is in trouble; it may have taken effect",
	},

	now: "now", ago: "%s ago", ahead: "in %s", dueFor: "due for %s",
	days: "%d days", hours: "%d hours", minutes: "%d minutes", seconds: "%d seconds", oneSecond: "1 second",

	paidElsewhere: "paid: elsewhere, as the merchant told WeChat Pay",
	paidBoth:      "paid: a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay",
	queuedBegun:   "queued: a collect was begun, and what came of it is not known",
	queuedAgain:   "queued: not tried since it was reopened",
	paidInPart:    "a part of the money is in",
	byPayScore:    "NEWTON: through PayScore",
	byBoth:        "NEWTON and MCH: a part through PayScore, and the rest elsewhere, as the merchant told WeChat Pay",
	byMerchant:    "MCH: elsewhere, as the merchant told WeChat Pay; no money moved through it",

	throughPayScore: "through PayScore",
	elsewhere:       "elsewhere, as the merchant told WeChat Pay",
	transaction:     "transaction %s",
	paymentAt:       "%s on %s",

	partElsewhere: "paid partly elsewhere",
	allElsewhere:  "paid elsewhere",

	totalSaid:      "%s, said by billing: WeChat Pay has signed no total yet",
	totalSaidBrief: "%s (billing)",
	owedSince:      "%s, said by billing",

	syncNone:   "none: WeChat Pay was not told, and goes on deducting by itself (enqueue withdraw NO --reason TEXT --paid-at TIME tells it)",
	syncTime:   "PARAM_ERROR: the time of payment is refused",
	syncPaidAt: "billing says that it was paid on %s",

	callCounts: "%d collect, %d query",
	syncCount:  ", %d sync",
	attempts:   "answered attempts: %d",
	overdue:    "overdue: no worker has taken it up",

	webhook:   "billing's receiver has not taken %d of its ends, the oldest of %s; failures in a row: %d, next try %s",
	notSooner: "not sooner: %s",

	redisRefuses:     "Redis cannot serve: %s",
	noWorker:         "no worker runs for this merchant; the last one reported at %s",
	noWorkerEver:     "no worker has reported for this merchant",
	paused:           "the queue has been paused since %s; to resume: redis-cli DEL '%s'",
	hold:             "calls are stopped since %s, because %s; %s",
	serviceHold:      "calls for %s (appid:service_id) are stopped since %s, because WeChat Pay gives this merchant no permission for it; %s",
	probe:            "the next probe is %s",
	probeWithNext:    "the next order that is due is the probe",
	outsideWindow:    "it is outside the collection window (%s); the window opens at %s",
	notDue:           "no order is due before %s",
	slowed:           "WeChat Pay throttles calls: %s calls a second now, of %s (COLLECT_RATE)",
	slowedShare:      "WeChat Pay throttles calls: %.0f %% of COLLECT_RATE now",
	hooksWaiting:     "billing's receiver does not take webhooks: %d orders wait, the oldest since %s",
	jumpedAhead:      "Redis's clock jumped ahead by %s at %s: see redis_clock_jumped in the runbook",
	jumpedBack:       "Redis's clock jumped back by %s at %s: see redis_clock_jumped in the runbook",
	nothingCollected: "nothing is collected: %s",

	orderNotDue: "it is not due before %s: %s",
	thenWindow:  "the collection window (%s) opens then",
	thenAsked:   "billing asked for that time",
	thenTrouble: "the last call failed, and the next one waits",
	then: map[ledger.Plan]string{
		ledger.Collect:  "the collect was postponed to that time",
		ledger.Recheck:  "the schedule (COLLECT_SCHEDULE) says so",
		ledger.Confirm:  "WeChat Pay needs time for the deduction (CONFIRM_SCHEDULE)",
		ledger.Resolve:  "the last call failed, and the next one waits",
		ledger.Inspect:  "WeChat Pay has just refused the order",
		ledger.Final:    "its time (GIVE_UP_AFTER) ends then",
		ledger.TellPaid: "the sync call was postponed to that time",
	},

	aPayment:     "a payment",
	alarmLate:    "PAID AFTER ITS END: %s came in, as was learnt on %s, of an order that had ended as %s. Billing must decide what becomes of the money.",
	alarmDiffers: "AMOUNTS DIFFER in %s: %s was expected, and on %s WeChat Pay signed %s. Ask WeChat Pay's support which is right.",
	alarmSync:    "WECHAT PAY COULD NOT BE TOLD that the user paid elsewhere, and may deduct once more. See to the reason, and withdraw the order again with --paid-at, or tell it on the merchant platform.",

	whatOpened: "opened", whatEnded: "ended", whatReopened: "reopened", whatDiffers: "AMOUNTS DIFFER", whatLate: "PAID AFTER END", whatLowered: "lowered",
	opened:    "handed over by billing",
	reopened:  "opened again by billing",
	callsGone: "%d calls before this have left the log",
	differs:   "%s: %s was expected, %s is signed",
	lowered:   "the merchant lowered the total from %s to %s",
	late:      "paid all the same",
	begun:     "begun, and what came of it is not known; it is looked at first",
}
