package ledger

import (
	"context"
	"errors"
	"fmt"
)

// Found is an order and the ledger that has it.
type Found struct {
	Ledger *Ledger
	Order  Order
}

// Find returns the order of a number in each of the ledgers that has it. A number is
// unique only within one merchant, so several may have it.
func Find(ctx context.Context, ledgers []*Ledger, no string) ([]Found, error) {
	var found []Found
	for _, l := range ledgers {
		o, err := l.Get(ctx, no)
		switch {
		case err == nil:
			found = append(found, Found{l, o})
		case !errors.Is(err, ErrNotFound):
			return nil, fmt.Errorf("read order %s: %w", no, err)
		}
	}
	return found, nil
}
