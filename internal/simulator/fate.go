package simulator

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Fate says how one order behaves, in the words of the control API. The empty
// fate is [FatePays].
//
//	pays            the first collect pays
//	declines:N      N collects are declined, the next one pays
//	userpaying:D    the first collect answers USERPAYING; its deduction
//	                completes, and the order is paid, D later
//	user_pays:D     collects are declined; D after the order was added the
//	                user pays in the app on their own
//	never           every collect is declined
//	partial:FEN     the first collect pays FEN only, the next one the rest
//	parts:N         N collects pay a part each, with a transaction_id each
//	mixed:LETTERS   as parts, a letter a part: P is paid through PayScore by a
//	                collect (paid_type NEWTON); at M the collect is declined,
//	                and at that moment the merchant reports the part as paid
//	                elsewhere (paid_type MCH). mixed alone is mixed:PMP
//	lower:FEN       two collects are declined; behind the second the merchant
//	                lowers the total amount to FEN, and the next one pays
//	not_completed   the merchant has not completed it (DOING/USER_CONFIRM)
//	created         the user has not confirmed it (CREATED)
//	revoked         cancelled by the merchant (REVOKED)
//	expired         never confirmed in time (EXPIRED)
//	nothing_owed    finished with nothing to collect (DONE, no collection)
//	unknown         the platform has no such order, yet audits calls for it
//
// N is a whole number from 0 to 1,000,000, D a Go duration such as 5s or
// 1m30s, and FEN a whole number above 0 and below the order's total amount. The
// N of parts, and the count of LETTERS, is from 2 to 20 and at most the total
// amount; the parts are equal, and the last one is what is left.
type Fate string

// The fates that take no argument.
const (
	FatePays         Fate = "pays"
	FateNever        Fate = "never"
	FateNotCompleted Fate = "not_completed"
	FateCreated      Fate = "created"
	FateRevoked      Fate = "revoked"
	FateExpired      Fate = "expired"
	FateNothingOwed  Fate = "nothing_owed"
	FateUnknown      Fate = "unknown"
)

// The names of the fates that take an argument.
const (
	fateDeclines   = "declines"
	fateUserPaying = "userpaying"
	fateUserPays   = "user_pays"
	fatePartial    = "partial"
	fateParts      = "parts"
	fateMixed      = "mixed"
	fateLower      = "lower"
)

const maxDeclines = 1_000_000

// maxParts bounds the parts of one order. A transaction_id has two digits for
// the payment's place.
const maxParts = 20

// The letters of [FateMixed].
const (
	partPayScore  = 'P'
	partElsewhere = 'M'
)

// lowerAfter is how many collects the fate lower:FEN declines before the total
// amount is lowered.
const lowerAfter = 2

// FateDeclines is the fate of an order whose first n collects are declined.
func FateDeclines(n int) Fate { return Fate(fateDeclines + ":" + strconv.Itoa(n)) }

// FateUserPaying is the fate of an order whose first collect starts a
// deduction that completes d later.
func FateUserPaying(d time.Duration) Fate { return Fate(fateUserPaying + ":" + d.String()) }

// FateUserPays is the fate of an order that the user pays on their own, d after
// it was added.
func FateUserPays(d time.Duration) Fate { return Fate(fateUserPays + ":" + d.String()) }

// FatePartial is the fate of an order whose first collect pays only fen.
func FatePartial(fen int64) Fate { return Fate(fatePartial + ":" + strconv.FormatInt(fen, 10)) }

// FateParts is the fate of an order that n collects pay in equal parts.
func FateParts(n int) Fate { return Fate(fateParts + ":" + strconv.Itoa(n)) }

// FateMixed is the fate of an order that is paid in parts, a letter each: P
// through PayScore, M elsewhere, as the merchant reports it.
func FateMixed(letters string) Fate { return Fate(fateMixed + ":" + letters) }

// FateLower is the fate of an order whose total amount the merchant lowers to
// fen after two declined collects.
func FateLower(fen int64) Fate { return Fate(fateLower + ":" + strconv.FormatInt(fen, 10)) }

// plan is a parsed fate. Only the fields that its kind uses are set.
type plan struct {
	kind     string
	declines int
	after    time.Duration
	first    int64  // fen: the first payment of partial, the new total of lower
	parts    string // a letter a part
}

// parse reads the fate. Its errors do not name the order; the caller adds that.
func (f Fate) parse() (plan, error) {
	kind, arg, hasArg := strings.Cut(string(f), ":")
	p := plan{kind: kind}
	switch Fate(kind) {
	case "":
		if hasArg {
			return plan{}, fmt.Errorf("fate %q has no name before the colon", string(f))
		}
		p.kind = string(FatePays)
		return p, nil
	case FatePays, FateNever, FateNotCompleted, FateCreated, FateRevoked, FateExpired, FateNothingOwed, FateUnknown:
		if hasArg {
			return plan{}, fmt.Errorf("fate %q takes no argument; write %q", string(f), kind)
		}
		return p, nil
	}
	var err error
	switch kind {
	case fateDeclines:
		p.declines, err = strconv.Atoi(arg)
		if err != nil || p.declines < 0 || p.declines > maxDeclines {
			return plan{}, fmt.Errorf("fate %q needs a whole number from 0 to %d after the colon, as in declines:2", string(f), maxDeclines)
		}
	case fateUserPaying, fateUserPays:
		p.after, err = time.ParseDuration(arg)
		if err != nil || p.after < 0 {
			return plan{}, fmt.Errorf("fate %q needs a duration after the colon, as in %s:5s", string(f), kind)
		}
	case fatePartial, fateLower:
		p.first, err = strconv.ParseInt(arg, 10, 64)
		if err != nil || p.first <= 0 {
			return plan{}, fmt.Errorf("fate %q needs an amount in fen above 0 after the colon, as in %s:100", string(f), kind)
		}
	case fateParts:
		n, err := strconv.Atoi(arg)
		if err != nil || n < 2 || n > maxParts {
			return plan{}, fmt.Errorf("fate %q needs a whole number from 2 to %d after the colon, as in parts:3", string(f), maxParts)
		}
		p.parts = strings.Repeat(string(partPayScore), n)
	case fateMixed:
		if p.parts = arg; !hasArg {
			p.parts = "PMP"
		}
		if n := len(p.parts); n < 2 || n > maxParts || strings.Trim(p.parts, string(partPayScore)+string(partElsewhere)) != "" {
			return plan{}, fmt.Errorf("fate %q needs 2 to %d letters after the colon, each P (through PayScore) or M (elsewhere), as in mixed:PMP", string(f), maxParts)
		}
	default:
		return plan{}, fmt.Errorf("fate %q is not known; use pays, declines:N, userpaying:D, user_pays:D, never, partial:FEN, parts:N, mixed:LETTERS, lower:FEN, not_completed, created, revoked, expired, nothing_owed or unknown", string(f))
	}
	return p, nil
}
