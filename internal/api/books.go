package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"payscore-collector/internal/books"
	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
)

const tagBooks = "Books"

func (a *API) addBooks() {
	add(a, op{
		id: "get-books", method: http.MethodGet, path: "/v1/books", tag: tagBooks, role: config.Viewer,
		summary: "Read what came of a day's books", reply: `{"mchid":"1900000109","date":"2026-01-01","bill":{"rows":4,"payscore_rows":2,"amount":1750,"sha1":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc71"},"ledger":{"orders":2,"amount":1750},"matched":{"orders":2,"amount":1750},"exceptions":[],"closed_at":"2026-01-02T02:30:00Z"}`,
		refusals: map[int]string{http.StatusNotFound: "The books of the day were not closed, or longer than 400 days ago, or what is stored of them cannot be read."},
		doc:      "What came of comparing a day's payments with WeChat Pay's trade bill, when the day was compared last. `outcomes books --json` prints the same. Workers compare each day at BOOKS_AT.",
	}, a.books)
}

type booksInput struct {
	MchID string `query:"mchid" doc:"The merchant; without it, the only one of the token." example:"1900000109"`
	Date  string `query:"date" required:"true" format:"date" doc:"The day, in Shanghai." example:"2026-01-01"`
}

func (a *API) books(ctx context.Context, in *booksInput) (*reply[books.Result], error) {
	date := ledger.BookDate(in.Date)
	if start, err := date.Start(); err != nil || start.Format(time.DateOnly) != in.Date {
		return nil, refuse(http.StatusUnprocessableEntity, "date", "is not a day: write it as 2026-01-01")
	}
	ledgers, err := a.ledgers(ctx, in.MchID)
	if err != nil {
		return nil, err
	}
	if len(ledgers) != 1 {
		return nil, refuse(http.StatusUnprocessableEntity, "mchid", "is missing, and there is not exactly one merchant: name the merchant")
	}
	r, err := books.Load(ctx, ledgers[0], date)
	switch {
	case errors.Is(err, books.ErrUnreadable):
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("the stored books of that day cannot be read, and workers do not compare the day again: outcomes books --mchid %s --date %s does", ledgers[0].MchID(), date))
	case errors.Is(err, ledger.ErrNotFound):
		return nil, newProblem(http.StatusNotFound, "the books of that day are not closed: workers close each day at BOOKS_AT, and outcomes books closes any day that has ended")
	}
	return replied(r, err)
}
