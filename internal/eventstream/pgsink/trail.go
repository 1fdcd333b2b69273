package pgsink

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/eventstream"
	"payscore-collector/internal/ledger"
)

//go:embed trail.sql
var insertTrail string

// trailPlaces finds how far each merchant's trail is in the table.
const trailPlaces = `select mchid, max(array[split_part(event_id, '-', 3)::bigint, split_part(event_id, '-', 4)::bigint])
	from actions where event_id like 'trail-%' group by mchid`

// trailEvery is how often the trail is copied. Actions are few, and no program waits for them.
const trailEvery = 15 * time.Second

// trailBatch is how many actions are read and written together.
const trailBatch = 500

// Trail copies the trails of merchants into the table actions, but for what comes there
// with an event: withdrawals and reopenings. It keeps its place in the table itself, so
// that several instances, and one that starts again, write each action once.
type Trail struct {
	sink   *Sink
	rdb    redis.UniversalClient
	mchid  string            // the only merchant; empty: every one
	places map[string]string // by merchant, positions in the trail's stream; nil until they are read
}

// NewTrail returns a Trail. Prepare must have made the tables.
func (s *Sink) NewTrail(rdb redis.UniversalClient, mchid string) *Trail {
	return &Trail{sink: s, rdb: rdb, mchid: mchid}
}

// Run copies until ctx ends. What fails is tried again.
func (t *Trail) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := t.Copy(ctx); err != nil && ctx.Err() == nil {
			t.sink.trailOutage.Failed(err)
		} else if err == nil {
			t.sink.trailOutage.Over()
		}
		eventstream.Pause(ctx, trailEvery)
	}
}

// Copy copies what is new.
func (t *Trail) Copy(ctx context.Context) error {
	if t.places == nil {
		if err := t.resume(ctx); err != nil {
			return err
		}
	}
	mchids := []string{t.mchid}
	if t.mchid == "" {
		var err error
		if mchids, err = ledger.Merchants(ctx, t.rdb); err != nil {
			return fmt.Errorf("ask Redis which merchants there are: %w", err)
		}
	}
	for len(mchids) > 0 {
		n := min(len(mchids), 100)
		behind, err := t.copySome(ctx, mchids[:n])
		if err != nil {
			return err
		}
		mchids = append(mchids[n:], behind...)
	}
	return nil
}

// copySome copies a batch of each merchant's trail, and returns those that have more.
func (t *Trail) copySome(ctx context.Context, mchids []string) (behind []string, err error) {
	trails, err := ledger.TrailsAfter(ctx, t.rdb, mchids, t.places, trailBatch)
	if err != nil {
		return nil, err
	}
	for i, list := range trails {
		if len(list) == 0 {
			continue
		}
		if err := t.write(ctx, list); err != nil {
			return nil, err
		}
		t.places[mchids[i]] = list[len(list)-1].Position()
		if len(list) == trailBatch {
			behind = append(behind, mchids[i])
		}
	}
	return behind, nil
}

func (t *Trail) write(ctx context.Context, list []ledger.Audited) error {
	var ids, mchids, nos, bys, actions, reasons, details []string
	var ats []time.Time
	for _, a := range list {
		if a.Action.Action == ledger.ActWithdraw || a.Action.Action == ledger.ActReopen {
			continue
		}
		ids, ats, mchids, nos = append(ids, a.ID), append(ats, a.At), append(mchids, a.MchID), append(nos, a.OutOrderNo)
		bys, actions, reasons, details = append(bys, a.By), append(actions, a.Action.Action), append(reasons, a.Reason), append(details, a.Detail)
	}
	if len(ids) == 0 {
		return nil
	}
	try, cancel := untilDone(ctx)
	defer cancel()
	if _, err := t.sink.pool.Exec(try, insertTrail, ids, ats, mchids, nos, bys, actions, reasons, details); err != nil {
		return fmt.Errorf("write the trail to PostgreSQL: %w", t.sink.told(err))
	}
	return nil
}

// resume finds the places in the table.
func (t *Trail) resume(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	type place struct {
		MchID string
		Place []int64
	}
	rows, _ := t.sink.pool.Query(try, trailPlaces)
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place]) // has the error of the query, too
	if err != nil {
		return fmt.Errorf("read PostgreSQL's table actions: %w", t.sink.told(err))
	}
	t.places = map[string]string{}
	for _, p := range places {
		if len(p.Place) != 2 {
			return errors.New("the table actions has an event_id that no trail has")
		}
		t.places[p.MchID] = fmt.Sprintf("%d-%d", p.Place[0], p.Place[1])
	}
	return nil
}
