package pgsink_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
)

const mchB = "1900000002"

// What people have changed is in the table once: whatever the number of instances and
// starts, and without the withdrawals and reopenings, which come with their events.
func TestTrail(t *testing.T) {
	server := pgtest.Shared(t)
	url, rds := server.Database(t, "trail"), redistest.Start(t)
	var log testkit.LogBuffer
	s := prepared(t, url, &log)
	conn := pgtest.Connect(t, url)
	a, b := ledger.New(rds.Client, mchA), ledger.New(rds.Client, mchB)
	// The directory of merchants, which every producer writes.
	if err := rds.Client.SAdd(t.Context(), ledger.MerchantsKey, mchA, mchB).Err(); err != nil {
		t.Fatal(err)
	}
	record := func(l *ledger.Ledger, by, action, no, reason, detail string) {
		t.Helper()
		if err := l.Record(t.Context(), ledger.Deed{By: by, Reason: reason}, action, no, detail); err != nil {
			t.Fatal(err)
		}
	}
	copied := func(ctx context.Context, mchid string, want ...string) {
		t.Helper()
		for i, trail := 0, s.NewTrail(rds.Client, mchid); i < 2; i++ { // a second time, there is nothing
			if err := trail.Copy(ctx); err != nil {
				t.Fatal(err)
			}
		}
		rows, err := conn.Query(t.Context(), `select concat_ws(' ', mchid, coalesce(out_order_no, '-'), by, action, coalesce(reason, '-'), coalesce(detail, '-'))
			from actions where event_id = 'trail-' || mchid || '-' || split_part(event_id, '-', 3) || '-' || split_part(event_id, '-', 4)
				and at between now() - interval '1 hour' and now() + interval '1 hour' order by mchid, at, event_id`)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if _, err := a.Pause(t.Context(), ledger.Deed{By: "cli:anna", Reason: "wrong amounts"}, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	record(a, "cli:anna", ledger.ActWithdraw, "A", "waived", "")
	record(a, "api:ops", ledger.ActCollectNow, "A", "topped up", "")
	record(a, "api:ops", ledger.ActReopen, "A", "", "")
	record(b, "api:ops", ledger.ActRetryWebhooks, "", "", "every order that waits")

	paused, now := mchA+" - cli:anna pause wrong amounts for 2h0m0s", mchA+" A api:ops collect-now topped up -"
	copied(t.Context(), mchA, paused, now)
	retried := mchB + " - api:ops retry-webhooks - every order that waits"
	copied(t.Context(), "", paused, now, retried)

	record(a, "cli:anna", ledger.ActResume, "", "amounts corrected", "")
	resumed := mchA + " - cli:anna resume amounts corrected -"
	copied(t.Context(), "", paused, now, retried, resumed)

	t.Run("more than a batch", func(t *testing.T) {
		want := []string{paused, now, retried, resumed}
		for i := range 1100 {
			detail := fmt.Sprintf("reader-%04d", i)
			record(b, "cli:bob", ledger.ActDestroyReader, "", "unused", detail)
			want = append(want, mchB+" - cli:bob destroy-reader unused "+detail)
		}
		copied(t.Context(), "", want...)
	})
	t.Run("PostgreSQL fails", func(t *testing.T) {
		server.Exec(t, url, "alter table actions rename to gone")
		if err := s.NewTrail(rds.Client, "").Copy(t.Context()); err == nil || !strings.Contains(err.Error(), "actions") {
			t.Errorf("%v", err)
		}
	})
}
