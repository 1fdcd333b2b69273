package explain

import (
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/payscore"
	"payscore-collector/tasks"
)

// phrasebook has everything that is said in one language. Formats are fmt's; a
// language with another order of words numbers the arguments (%[2]s).
type phrasebook struct {
	states    map[tasks.State]string // what a state means for the merchant who is owed money
	plans     map[ledger.Plan]string // what the next step does
	syncPlans map[ledger.Plan]string // the same of a withdrawn order of which WeChat Pay has to be told
	syncs     map[ledger.SyncState]string
	holds     map[ledger.HoldKind]string  // why a merchant's calls are stopped
	verdicts  map[payscore.Verdict]string // what a call came to, where no code says it better
	// calls are for the verdicts that mean something else after other calls than a
	// collect.
	calls map[payscore.Call]map[payscore.Verdict]string
	// reasons explain the reasons of an end, and why WeChat Pay need not be told of a
	// withdrawn order. Any other reason is a code of WeChat Pay's.
	reasons        map[string]string
	codes, details map[string]string

	now, ago, ahead, dueFor                  string
	days, hours, minutes, seconds, oneSecond string

	paidElsewhere, paidBoth, queuedBegun, queuedAgain, paidInPart string // states
	byPayScore, byBoth, byMerchant                                string // ways of payment
	throughPayScore, elsewhere, transaction, paymentAt            string // of one payment
	partElsewhere, allElsewhere                                   string // in few words
	totalSaid, totalSaidBrief, owedSince                          string // what billing said
	syncNone, syncTime, syncPaidAt                                string
	callCounts, syncCount, attempts, overdue                      string
	webhook                                                       string
	notSooner                                                     string

	// Causes, see Why.
	redisRefuses, noWorker, noWorkerEver, paused             string
	hold, serviceHold, probe, probeWithNext                  string
	outsideWindow, notDue, slowed, slowedShare, hooksWaiting string
	jumpedAhead, jumpedBack                                  string
	nothingCollected                                         string
	// Why an order is due when it is.
	orderNotDue, thenWindow, thenAsked, thenTrouble string
	then                                            map[ledger.Plan]string

	aPayment, alarmLate, alarmDiffers, alarmSync string

	whatOpened, whatEnded, whatReopened, whatDiffers, whatLate, whatLowered string
	opened, reopened, callsGone, differs, late, lowered, begun              string
}
