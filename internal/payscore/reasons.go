package payscore

import (
	"maps"
	"slices"
)

// The reasons that a signed order gives for its end. Where a refusal does, the
// reason is its code.
const (
	ReasonRevoked      = "REVOKED" // WeChat Pay's own words for the state
	ReasonExpired      = "EXPIRED"
	ReasonNotConfirmed = "not_confirmed" // by the user
	ReasonNotCompleted = "not_completed" // by the merchant
	ReasonNothingOwed  = "nothing_owed"
	ReasonWrongService = "wrong_appid_or_service_id"
)

// EndReasons lists the reasons above.
var EndReasons = []string{
	ReasonRevoked, ReasonExpired, ReasonNotConfirmed, ReasonNotCompleted, ReasonNothingOwed, ReasonWrongService,
}

// Codes lists the error codes that this package knows, and the finer codes
// behind Request-IDs, each sorted: so that whoever explains them to people
// leaves none out.
func Codes() (codes, details []string) {
	return slices.Sorted(maps.Keys(byCode)), slices.Sorted(maps.Keys(byDetail))
}
