package books

import (
	"context"
	"errors"
	"io"
	"time"

	"payscore-collector/internal/payscore"
)

// Client asks WeChat Pay for bills.
type Client interface {
	AskBill(context.Context, time.Time) (payscore.Bill, error)
	DownloadBill(context.Context, payscore.Bill) (io.ReadCloser, error)
}

// Paced is a client each of whose requests takes a slot of the merchant's rate.
type Paced struct {
	Client
	Await func(context.Context) error // waits for the slot
}

// AskBill asks for the bill of a day.
func (p Paced) AskBill(ctx context.Context, day time.Time) (payscore.Bill, error) {
	if err := p.Await(ctx); err != nil {
		return payscore.Bill{}, err
	}
	return p.Client.AskBill(ctx, day)
}

// DownloadBill opens a bill.
func (p Paced) DownloadBill(ctx context.Context, b payscore.Bill) (io.ReadCloser, error) {
	if err := p.Await(ctx); err != nil {
		return nil, err
	}
	return p.Client.DownloadBill(ctx, b)
}

// again are the waits before trouble is tried again. Whoever asks for a day's bill tries
// again later.
var again = []time.Duration{time.Second, 3 * time.Second, 10 * time.Second}

// Fetch is the source of WeChat Pay's bill of a day, and of the neighbouring days that are
// over by now. An error of the day's own bill is a
// *payscore.BillError, or the client's Await's.
func Fetch(c Client, of, now time.Time) Source {
	of = Day(of)
	return func(ctx context.Context, day time.Time) (*Bill, error) {
		if !day.Before(Day(now)) {
			return nil, nil
		}
		asked, err := retried(ctx, func() (payscore.Bill, error) { return c.AskBill(ctx, day) })
		var refused *payscore.BillError
		switch {
		case errors.As(err, &refused) && refused.State == payscore.NoStatement:
			return &Bill{}, nil
		case errors.As(err, &refused) && !day.Equal(of):
			return nil, nil // a later run looks again
		case err != nil:
			return nil, err
		}
		b := &Bill{SHA1: asked.SHA1}
		b.Open = func(ctx context.Context) (io.ReadCloser, error) {
			return retried(ctx, func() (io.ReadCloser, error) {
				if time.Since(asked.At) > payscore.BillLink {
					fresh, err := c.AskBill(ctx, day)
					if err != nil {
						return nil, err
					}
					asked, b.SHA1 = fresh, fresh.SHA1
				}
				return c.DownloadBill(ctx, asked)
			})
		}
		return b, nil
	}
}

// retried calls do again after trouble that may pass.
func retried[T any](ctx context.Context, do func() (T, error)) (T, error) {
	for i := 0; ; i++ {
		v, err := do()
		var e *payscore.BillError
		if err == nil || i == len(again) || !errors.As(err, &e) || e.State != payscore.TryAgain {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(again[i]):
		}
	}
}
